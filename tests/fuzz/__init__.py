"""Fuzzing: live queries under random transactions, compared at every position with a re-query in plain Python.

    python -m tests.fuzz live --transactions 200000 --seed 7

The state file, its encryption, the change capture, the ring, the reader and the engine are the real ones; what
is random comes from the seed alone, so that each finding can be replayed (episode.py).
"""
