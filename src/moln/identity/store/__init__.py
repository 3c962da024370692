"""How things are kept: tables and queries. No other folder names the tables."""
