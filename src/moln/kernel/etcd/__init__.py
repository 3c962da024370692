"""What controllers share in etcd, where settings name one: who of the nodes lives, who does what only one may do, settings without a restart."""
