"""Keys and sealing: the user's secret opens ROOT, ROOT gives every other key, a data key seals records.

Nothing in here knows actors, sockets or databases. docs/formats.md fixes the bytes on disk.
"""
