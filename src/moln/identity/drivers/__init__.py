"""Where users come from who are not in our own database."""
