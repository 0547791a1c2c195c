"""`keepdb commit`: one event from the command line or standard input."""

from typing import Any, Literal

import click

from keepdb.cli.terminal.connecting import connect
from keepdb.cli.terminal.figures import rfc3339
from keepdb.cli.terminal.options import Command, Session, with_session
from keepdb.cli.terminal.status import OK, usage
from keepdb.cli.terminal.values import read_object, read_pairs, read_stdin_object

EXAMPLES = (
    "keepdb commit personas.created name=Ada",
    "keepdb commit memoryEntities.created name=Bees type=concept importance=80 'tags=[\"garden\"]'",
    "keepdb commit personaActivated --id 0198c1e2-…",
    'keepdb commit personas.created --data-json \'{"name": "Ada", "isActive": true}\'',
    "jq -c . persona.json | keepdb commit personas.created -",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("event_type", metavar="TYPE")
@click.argument("fields", nargs=-1, metavar="[KEY=VALUE]... | -")
@click.option("--id", "entity", metavar="ID", help="The row it is about; made up on creation when left out.")
@click.option(
    "--data-json", metavar="JSON", help="The event's fields as one JSON object; - reads standard input."
)
@click.option("--durability", type=click.Choice(["disk", "os"]), default="disk", show_default=True,
              help="disk: synced when acknowledged. os: survives killed processes, not a power cut.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY", help="The same key commits once, however often it is sent.")
@with_session
def commit(
    session: Session,
    event_type: str,
    fields: tuple[str, ...],
    entity: str | None,
    data_json: str | None,
    durability: Literal["disk", "os"],
    idempotency_key: str | None,
) -> int:
    """Commit one event and wait until it is as durable as asked.

    TYPE is COLLECTION.created, .updated or .deleted, or a domain event of the schema. A VALUE that is JSON
    (12, true, null, "12", [1,2]) is taken as JSON, everything else as text.
    """
    data = read_data(fields, data_json)
    with connect(session) as db:
        receipt = db.commit(
            event_type, data, id=entity, durability=durability, idempotency_key=idempotency_key
        )
    if session.console.json:
        session.console.data(
            {
                "schema": 1, "seqFirst": receipt.seq_first, "seqLast": receipt.seq_last, "ids": list(receipt.ids),
                "at": rfc3339(receipt.at), "stage": receipt.stage, "durability": durability,
                "duplicate": receipt.duplicate,
            }
        )  # fmt: skip
    else:
        again = "  (it had been committed before)" if receipt.duplicate else ""
        session.console.line(f"seq {receipt.seq_last}  {' '.join(receipt.ids)}{again}")
    return OK


def read_data(fields: tuple[str, ...], data_json: str | None) -> dict[str, Any]:
    """The event's fields, from exactly one place."""
    if data_json is not None and fields:
        raise usage("Fields are given both as KEY=VALUE and by --data-json.", "Use one of the two.")
    if data_json == "-" or fields == ("-",):
        return read_stdin_object()
    if data_json is not None:
        return read_object(data_json, "--data-json")
    return read_pairs(fields)
