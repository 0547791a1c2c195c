"""TypeScript from what Python already knows: the messages of the wire, and the schema of an app.

Two pure functions from structs to text, `wire_types` and `schema_types`; nothing here reads or writes a file.
Same input, same bytes, so that a generated file can be committed and compared.
"""

from keepdb.typegen.schema import schema_types
from keepdb.typegen.wire import wire_types

__all__ = ["schema_types", "wire_types"]
