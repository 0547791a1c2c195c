"""The secret frame: how the host hands over secrets, and the lifeline that the same stream is afterwards.

The host writes one frame to the supervisor's standard input: 4 bytes length (big-endian), then that many bytes
of JSON. Nothing secret ever stands in argv, the environment or a file. Then it leaves the stream open; when it
ends, the host is gone or wants us to go.
"""

import os
import queue
import threading
from collections.abc import Callable

import msgspec

from keepdb.errors import ConfigError
from keepdb.fabric.keys import is_public_key
from keepdb.runtime.host_frame import HostFrame, encode_frame

FRAME_BYTES_MAX = 64 * 1024
#: The host writes the frame right after it has started us.
FRAME_WAIT_S = 10.0


def decode_frame(body: bytes) -> HostFrame:
    """Raises ConfigError (`secret_frame_invalid`); the message never quotes the frame."""
    try:
        frame = msgspec.json.decode(body, type=HostFrame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        where = str(error).rpartition(" - at ")[2] if " - at " in str(error) else "the JSON text"
        raise _invalid(f"it does not decode: {where} is wrong ({type(error).__name__})") from None
    for key in frame.clients:
        if not is_public_key(key):
            raise _invalid("a client key is not 40 characters of Z85")
    return frame


class HostStream:
    """Standard input, read by a thread of its own: first the frame, then nothing until it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._frame: queue.SimpleQueue[HostFrame | ConfigError] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._on_end: Callable[[], None] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="host-stream", daemon=True).start()

    def frame(self) -> HostFrame:
        """Wait for the frame. Raises ConfigError (`secret_frame_missing`, `secret_frame_invalid`)."""
        try:
            found = self._frame.get(timeout=FRAME_WAIT_S)
        except queue.Empty:
            raise ConfigError(
                "secret_frame_missing",
                f"No secret frame came on standard input within {FRAME_WAIT_S:.0f} s.",
                fix="The host must write it right after the start; in a terminal, use `keepdb start`.",
            ) from None
        if isinstance(found, ConfigError):
            raise found
        return found

    def when_ended(self, on_end: Callable[[], None]) -> None:
        """Call on_end once, from the reading thread, when the stream ends; at once if it has ended."""
        with self._lock:
            self._on_end = on_end
            ended = self._ended.is_set()
        if ended:
            on_end()

    def _run(self) -> None:
        try:
            length = int.from_bytes(self._read(4), "big")
            if not 2 <= length <= FRAME_BYTES_MAX:
                raise _invalid(f"its length is {length}; allowed are 2 to {FRAME_BYTES_MAX} bytes")
            self._frame.put(decode_frame(self._read(length)))
        except ConfigError as error:
            self._frame.put(error)
        # os.read, not sys.stdin: a thread inside BufferedReader crashes the interpreter's shutdown.
        while self._next(4096):
            pass
        with self._lock:
            self._ended.set()
            on_end = self._on_end
        if on_end is not None:
            on_end()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._next(size - len(data))
            if not more:
                raise _invalid(f"the stream ended after {len(data)} of {size} bytes")
            data += more
        return data

    def _next(self, size: int) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError:
            return b""


def _invalid(why: str) -> ConfigError:
    return ConfigError(
        "secret_frame_invalid",
        f"The secret frame on standard input cannot be used: {why}.",
        fix="Send 4 bytes length (big-endian) and that much JSON, see docs/protocol.md.",
    )


__all__ = ["FRAME_BYTES_MAX", "HostFrame", "HostStream", "decode_frame", "encode_frame"]
