"""Several controllers of one cloud: how another one joins, and what it is given by the one that it asks."""
