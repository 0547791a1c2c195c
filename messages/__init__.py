"""The wire: every message that travels between processes, one frozen struct each.

Imports msgspec and itself only, so that a client package can carry a copy. A message's docstring says
who sends it to whom, what answers it, and the units. The wire grows by addition only: a new field has a
default, a tag is never reused, unknown fields are skipped.
"""
