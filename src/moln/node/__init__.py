"""The process on each hypervisor: runs drivers, plugs cards, reports what it sees; holds no database and no credentials."""
