"""Keeps engines running where there is no systemd to do it: two small processes that import nothing but the standard
library and watch each other. docs/adr/0022-supervisor.md says why and how."""
