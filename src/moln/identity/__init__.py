"""Identity: Keystone's v3 API. Who there is, what they may do where, and where the services are."""
