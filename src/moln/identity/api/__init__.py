"""How it is said: routes, bodies, views, faults."""
