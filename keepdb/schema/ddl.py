"""The state tables as SQL, made by sqlite-utils on a database in memory.

sqlite-utils costs 154 ms and brings the standard sqlite3 library with it, which must never meet a live
file: call this in a short-lived process and hand the strings over.
"""

from .model import Schema

_PYTHON_TYPES: dict[str, type] = {"TEXT": str, "INTEGER": int, "REAL": float, "BLOB": bytes}


def compile_ddl(schema: Schema) -> tuple[str, ...]:
    """CREATE TABLE and CREATE INDEX statements, in the order to run them; the same for the same schema.

    Declared columns are all nullable: an event older than a field, or one whose key was destroyed, has no
    value for it and must still materialize. Checks are made before an event is committed, not by the tables.
    """
    from sqlite_utils import Database

    database = Database(memory=True)
    for name in schema.table_names:
        columns = {column.name: _PYTHON_TYPES[column.sql_type] for column in schema.columns(name)}
        never_null = {"id", "_subject"} | (set() if name in schema.collections else {"parent", "position"})
        table = database.table(name)
        table.create(columns, pk="id", not_null=never_null, strict=True)
        for index in index_columns(schema, name):
            table.create_index(list(index), index_name="__".join((name, *index)))
    statements = database.query(
        "select sql from sqlite_master where sql is not null order by type = 'index', rowid"
    )
    made = tuple(str(row["sql"]) for row in statements)
    database.close()
    return made


def index_columns(schema: Schema, table: str) -> tuple[tuple[str, ...], ...]:
    """Columns of each index of a table. All end in something unique, so keyset pages need no sort."""
    collection = schema.collections.get(table)
    if collection is None:
        return (("parent", "position"),)
    return tuple((*index, "id") for index in collection.indexes)
