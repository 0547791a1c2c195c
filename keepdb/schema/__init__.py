"""What the app stores: schema.yaml compiled to checks, tables and deterministic row changes.

load.py makes a `Schema` out of the file, validate.py turns a client's event into storage values,
materialize.py turns the stored event into row changes. Nothing here opens a database or holds a key.
"""
