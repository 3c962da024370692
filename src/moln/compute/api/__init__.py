"""How compute is said: each module declares its routes when it is imported."""
