"""The actors, one file and one process each; registry.py lists them in start order."""
