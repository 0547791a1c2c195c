"""What all messages share: the tag, the roles that may send them, refusals, and the codec."""

from typing import Any, ClassVar, Literal

import msgspec

Role = Literal["internal", "app", "cli", "viewer"]

INTERNAL: frozenset[Role] = frozenset({"internal"})
WRITERS: frozenset[Role] = frozenset({"internal", "app", "cli"})
READERS: frozenset[Role] = frozenset({"internal", "app", "cli", "viewer"})
OPERATORS: frozenset[Role] = frozenset({"internal", "cli"})

#: Frames larger than this are dropped by the socket together with the peer that sent them.
FRAME_BYTES_MAX = 8 * 1024 * 1024

#: Version of the client protocol, announced in the ready line.
PROTOCOL = 1


class Message(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", rename="camel", omit_defaults=True
):
    """Base of all messages. On the wire: a msgpack map whose "type" is the struct's tag.

    roles: who may send it; the fabric checks this against the role of the sender's key.
    """

    roles: ClassVar[frozenset[Role]] = INTERNAL


class Request(Message, frozen=True, kw_only=True):
    """A message that is answered. budget_ms: how long the sender still waits; each hop passes on less."""

    budget_ms: int = 5_000


class Refused(Message, frozen=True, tag="refused"):
    """Anyone -> the sender of a request, in place of its answer.

    code: stable name, see docs/errors.md. message: what and why. fix: what to do.
    retryable: the same request may succeed later.
    """

    roles: ClassVar[frozenset[Role]] = READERS
    code: str
    message: str
    fix: str
    retryable: bool = False


class Done(Message, frozen=True, tag="done"):
    """Answer of a request that has nothing to tell but that it was carried out."""


_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """One message as a msgpack map."""
    return _encoder.encode(message)


def decoder(*types: type[Message]) -> msgspec.msgpack.Decoder[Any]:
    """A typed decoder for the messages one socket accepts. Tags must differ.

    Raises msgspec.DecodeError on `decode` for anything else; nested input may also raise RecursionError
    and text that is not UTF-8 UnicodeDecodeError (both escape msgspec's own class): catch all three.
    """
    union: Any = types[0]
    for extra in types[1:]:
        union |= extra
    return msgspec.msgpack.Decoder(union)
