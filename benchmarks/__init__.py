"""Measurements of KeepDB as its users see it: whole processes, real files, real sockets.

`python -m benchmarks` runs all of them, prints a table and writes benchmarks/latest.json, a flat map of figure
name to number. Ratios are measured in one run, round by round in turn, because machines are noisy.
"""
