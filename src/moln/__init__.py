"""Moln: a whole IaaS cloud in one package, speaking OpenStack's APIs."""

__version__ = "0.1.0"
