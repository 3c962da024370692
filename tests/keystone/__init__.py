"""A real Keystone for tests: PyPI's own on Debian's MariaDB, both in a folder that goes at the end."""
