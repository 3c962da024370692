"""`moln bench`: DESIGN's budgets, measured on this machine in one run. docs/bench.md says how and why so."""
