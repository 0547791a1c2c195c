"""Messages in several forms each, for the vectors: what a client sends, what it receives, and what others may write."""

from collections.abc import Iterator
from typing import Any

import msgspec

from messages import backups, base, commits, control, queries
from messages.base import Message, encode

from .tagged import line

Map = dict[str, Any]

CLIENT = bytes(range(16))
#: Text that counts differently in bytes, in UTF-16 and in characters; and lengths at which msgpack changes its form.
UNICODE = ["", "Straße", "日本語", "👩\u200d👧 𝄞", "e\u0301 é", "\u0000\u2028\u2029\ufeff",
           'quote " back \\ tab \t', "x" * 31, "y" * 32, "ä" * 130]  # fmt: skip
INTEGERS = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 1_700_000_000_000,
            2**53 - 1, 2**53 + 1, 2**63 - 1, -1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1,
            -(2**53) + 1, -(2**53) - 1, -(2**63)]  # fmt: skip
FLOATS = [0.5, -0.25, 0.1, 1e300, 5e-324, 1.7976931348623157e308, 123456789.125]


def sent() -> Iterator[tuple[str, Message]]:
    """What a client sends, each in several forms."""
    event = commits.NewEvent
    one = (event(type="personas.created", data={"name": "Ada"}),)
    settled: Map = {"client": CLIENT, "number": 1, "first_unanswered": 1}
    yield "a commit, as on the protocol page", commits.Commit(**settled, events=one)
    deep: Any = {"end": [None, True, False]}
    for level in range(28):
        deep = [deep] if level % 2 else {"in": deep}
    data: Map = {"text": UNICODE, "whole": INTEGERS, "parts": FLOATS, "none": None, "yes": True, "no": False,
                 "deep": deep,
                 "empty": [{}, [], ""],
                 "many": {f"k{at}": at for at in range(20)}, "list": list(range(40))}  # fmt: skip
    events = (
        event(type="personas.updated", id="p-1", data=data),
        event(type="personas.deleted", id="Straße ☕"),
    )
    more: Map = {"durability": "os", "idempotency_key": "ключ 1", "budget_ms": 600_000}
    yield (
        "a commit with every kind of value",
        commits.Commit(
            client=bytes(range(240, 256)), number=2**32 + 1, first_unanswered=2**31, events=events, **more
        ),
    )
    many = tuple(event(type="personaUsed", id=f"p{at}") for at in range(17))
    yield (
        "a commit of many events",
        commits.Commit(client=CLIENT, number=65_536, first_unanswered=256, events=many),
    )
    yield "what became of a commit", commits.RequestOutcome(client=CLIENT, number=7)
    yield "the writer's status", commits.WriterStatus()
    yield "a rebuild", commits.Rebuild()
    yield from _sent_reads()
    yield from (
        ("a backup", backups.MakeBackup()), ("a backup with a label", backups.MakeBackup(label="before the update ✔")),
        ("verify the newest backup", backups.VerifyBackup()), ("verify a backup", backups.VerifyBackup(backup="b-1")),
        ("a job", backups.GetJob(job="j-1")), ("all backups", backups.ListBackups()),
        ("status", control.GetStatus()), ("health", control.GetHealth()), ("shutdown", control.Shutdown()),
    )  # fmt: skip


def _sent_reads() -> Iterator[tuple[str, Message]]:
    plain = queries.Query(source="personas")
    full = queries.Query(
        source="memoryEntities",
        where={
            "importance": {">=": 2**33},
            "or": [{"type": "task"}, {"not": {"summary": None}}],
            "embedding": [0.5, -1.25],
        },
        order_by=("-importance", "name"),
        limit=100,
        after="a cursor",
        until="another",
        select=("name", "importance"),
        include={
            "persona": queries.Include(via="personaId", select=("name",)),
            "links": queries.Include(
                via="toId", source="memoryEntities.connections", order_by=("-strength",), limit=3
            ),
        },
        with_deleted=True,
    )
    grouped = queries.Query(
        source="memoryEntities",
        group_by=("type",),
        aggregates={"n": {"count": "*"}, "mean": {"avg": "importance"}},
        having={"n": {">": 1}},
    )
    yield "a read of everything", queries.Read(query=plain)
    yield "a read with every part of a query", queries.Read(query=full, at_least=2**32 + 5)
    yield "a read of groups", queries.Read(query=grouped)
    yield (
        "a read of distinct values",
        queries.Read(query=queries.Query(source="personas", select=("name",), distinct=True)),
    )
    yield "a read of SQL", queries.Read(sql=queries.Sql(sql="SELECT 1"))
    yield (
        "a read of SQL with a list",
        queries.Read(sql=queries.Sql(sql="SELECT ?, ?", params=[2**53 + 1, None])),
    )
    yield (
        "a read of SQL with names",
        queries.Read(sql=queries.Sql(sql="SELECT :a", params={"a": "ä"}), budget_ms=1),
    )
    yield "describe", queries.Describe()
    yield "explain a query", queries.Explain(query=plain)
    yield "explain SQL", queries.Explain(sql=queries.Sql(sql="SELECT 1"))
    yield "a query actor's status", queries.QueryStatus()
    yield "subscribe", queries.Subscribe(sub="s1", query=plain)
    yield (
        "subscribe with everything",
        queries.Subscribe(sub="1.s17", query=full, at_least=9, credit=1_024, budget_ms=10_000),
    )
    yield "subscribe to SQL", queries.Subscribe(sub="é", sql=queries.Sql(sql="SELECT 1"), credit=1)
    yield "changes from now on", queries.SubscribeChanges(sub="c1")
    yield (
        "changes since",
        queries.SubscribeChanges(
            sub="c2", after=2**40, generation=3, collections=("personas", "conversations.messages"), credit=2
        ),
    )
    yield "unsubscribe", queries.Unsubscribe(sub="s1")
    yield "an ack", queries.Ack(sub="s1")
    yield "an ack of several", queries.Ack(sub="s1", count=300)
    yield "a ping", queries.Ping()
    yield "a ping with a budget", queries.Ping(budget_ms=2_000)


def received() -> Iterator[tuple[str, Message]]:
    """What a client receives, each in several forms; those at their defaults leave them out."""
    row: list[Any] = [UNICODE, INTEGERS, FLOATS, None, True, False, {"deep": {"er": [{}, [[]]]}}, -0.0, 1.0]
    yield "a refusal", base.Refused(code="busy", message="Too much — später.", fix="Wait.", retryable=True)
    yield "a refusal for good", base.Refused(code="validation_failed", message="", fix="")
    yield "done", base.Done()
    yield (
        "a receipt, as on the protocol page",
        commits.Receipt(
            seq_first=1, seq_last=1, ids=("018bcfe5-6800-7000-8000-000000000000",), at=1_700_000_000_000
        ),
    )
    yield (
        "a receipt with everything",
        commits.Receipt(
            seq_first=2**32,
            seq_last=2**53 - 1,
            ids=tuple(f"p{at}" for at in range(20)),
            at=2**41,
            stage="logged",
            duplicate=True,
        ),
    )
    figures: Map = {"seq": 9, "state_seq": 8, "generation": 1, "state_generation": 2, "schema_hash": "ab" * 32,
                    "log_bytes": 2**33, "wal_bytes": 0, "state_bytes": 2**34}  # fmt: skip
    yield "the writer's figures", commits.WriterFigures(**figures, mode="serving")
    yield (
        "a degraded writer's figures",
        commits.WriterFigures(
            **figures,
            mode="degraded",
            reason="disk full",
            quarantined=1,
            rebuild_done=2**20,
            rebuild_total=2**21,
        ),
    )
    yield (
        "rows of every kind of value",
        queries.Rows(columns=tuple("abcdefghi"), rows=[row, row], seq=2**32 + 1),
    )
    yield "no rows", queries.Rows(columns=("id",), rows=[], seq=0)
    yield (
        "many rows with a cursor",
        queries.Rows(
            columns=("id", "n"),
            rows=[[f"p{at}", at * 2**31] for at in range(40)],
            seq=5,
            cursor="x" * 300,
            cached=True,
        ),
    )
    yield (
        "a description",
        queries.Description(schema_hash="cd" * 32, schema={"version": 1, "collections": {"a": {}}}),
    )
    yield from _received_pushes()
    yield from _received_operations()


def _received_pushes() -> Iterator[tuple[str, Message]]:
    yield "subscribed", queries.Subscribed(sub="s1", seq=2**33, generation=2, epoch="e-1")
    yield "moved", queries.Moved(sub="s1", service="query-2")
    yield "a pong", queries.Pong(epoch="e-1", subscriptions=0)
    yield "a snapshot without key", queries.Snapshot(sub="s1", seq=1, columns=("n",), rows=[[0]])
    yield (
        "a snapshot",
        queries.Snapshot(sub="s1", seq=2, columns=("n", "id"), rows=[[2**60, "a"]], key=1, cursor="c"),
    )
    yield "a diff of nothing but a new position", queries.Diff(sub="s1", seq=3)
    yield (
        "a diff",
        queries.Diff(
            sub="s1",
            seq=2**32,
            exit=["a", None],
            update=[["b", 1.5]],
            enter=[(0, ["c", -1])],
            move=[(2, "b")],
            cursor="c",
        ),
    )
    yield (
        "a failed live query",
        queries.LiveFailed(sub="s1", code="query_timeout", message="2 s", fix="Less."),
    )
    yield (
        "a live query that may be tried again",
        queries.LiveFailed(sub="s1", code="peer_silent", message="", fix="", retryable=True),
    )
    yield (
        "changes",
        queries.Changes(
            sub="c1",
            seq_first=4,
            seq_last=2**32,
            rows=[(4, "personas", "insert", "p"), (2**32, "a.b", "delete", "ü")],
        ),
    )
    yield "no changes", queries.Changes(sub="c1", seq_first=4, seq_last=4, rows=[])
    yield "rehydrate", queries.Rehydrate(sub="c1", seq=7, generation=2, reason="The log was replaced.")


def _received_operations() -> Iterator[tuple[str, Message]]:
    yield (
        "an explanation",
        queries.Explanation(sql="SELECT 1", plan=["SCAN a"], strategy="rerun", reason="SQL.", reads=[]),
    )
    yield "an explanation of a live query", queries.Explanation(
        sql="SELECT 1", plan=[], strategy="window", reason="One table.", reads=["a.b"], guards=["a.b = 1"],
        live={"rows": 100}, decisions=[(9, "silent", "No row changed.")],
    )  # fmt: skip
    yield (
        "a query actor's figures",
        queries.QueryFigures(
            seq=1, reads=2**32, live_queries=3, subscribers=4, cache_hits=5, cache_misses=6, slowest_us=7
        ),
    )
    yield "a job that was started", backups.JobStarted(job="j-1")
    yield "a running job", backups.Job(job="j-1", state="running", done=1, total=2)
    yield "a finished job", backups.Job(job="j-1", state="finished", result={"backup": "b", "bytes": 2**33})
    yield (
        "a failed job",
        backups.Job(job="j-1", state="failed", code="disk_full", message="No space.", fix="Free some."),
    )
    yield "backups", backups.Backups(backups=({"id": "b", "at": 2**41, "verifiedAt": None},))
    yield "status", control.Status(
        state="ready", pid=4_194_304, uptime_ms=2**33, version="0.1.0", protocol=1, data="/home/ä/data",
        actors=(control.ActorStatus(name="writer", pid=1, state="stable", restarts=0, uptime_ms=2),),
        services=(control.Service(name="writer", endpoint="ipc:///x", key="k" * 40, feed="ipc:///y"),),
    )  # fmt: skip
    yield (
        "health",
        control.Health(actors={"writer": {"rss": 1.5}}, storage={"log": 2**33}, alerts=({"code": "a"},)),
    )
    yield "health without alerts", control.Health(actors={}, storage={})


#: What our own encoder never writes and every decoder must read: (what, hex, message).
FOREIGN: tuple[tuple[str, str, Map], ...] = (
    ("longer forms than needed",
     "df00000003d90474797065da0004706f6e67a565706f6368db0000000165ad7375627363726970"
     "74696f6e73cf0000000000000001", {"type": "pong", "epoch": "e", "subscriptions": 1}),
    ("unknown members, also of unknown types",
     "85a474797065a4706f6e67a36e6577c403010203a565706f6368a165a56e65776572"
     "de000101c0ad737562736372697074696f6e7302", {"type": "pong", "epoch": "e", "subscriptions": 2}),
    ("a float of 32 bits", "84a474797065a4726f7773a7636f6c756d6e7391a16ea4726f77739191ca3f000000a373657101",
     {"type": "rows", "columns": ["n"], "rows": [[0.5]], "seq": 1, "cursor": None, "cached": False}),
    ("type is not the first member", "83a565706f6368a165ad737562736372697074696f6e7303a474797065a4706f6e67",
     {"type": "pong", "epoch": "e", "subscriptions": 3}),
)  # fmt: skip


def complete(message: Message) -> Map:
    """A message under its names on the wire, defaults put back, as any client sees it."""
    found: Map = {"type": message.__struct_config__.tag}
    for one in msgspec.structs.fields(message):
        found[one.encode_name] = msgspec.to_builtins(getattr(message, one.name), builtin_types=(bytes,))
    return found


def message_lines() -> Iterator[str]:
    """`messages.json`: sent messages without defaults, received ones with them, in the order of their bytes."""
    for name, message in sent():
        frame = encode(message)
        yield line({"name": name, "sent": msgspec.msgpack.decode(frame), "bytes": frame.hex()})
    for name, message in received():
        yield line({"name": name, "bytes": encode(message).hex(), "received": complete(message)})
    for name, frame_hex, shown in FOREIGN:
        yield line({"name": name, "bytes": frame_hex, "received": shown})
