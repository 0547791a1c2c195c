"""Processes: starting them, watching them, restarting them, ending them."""
