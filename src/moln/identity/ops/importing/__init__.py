"""Bringing a Keystone's database into this one: `moln import keystone`."""
