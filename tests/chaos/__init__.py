"""Chaos: real load on a real database while its processes are killed, and a checker that trusts nobody.

    python -m tests.chaos kills --rounds 20 --seed 7

Clients note what they sent and what was acknowledged, watchers what they were told; afterwards the log and the
state are read from disk without the database, and the two stories are compared (history.py).
"""
