"""Who may connect: the process's ZAP handler (rfc.zeromq.org/spec/27), answered from the actor's own loop.

CURVE alone lets in whoever knows the server's public key; the allow-list makes it known keys only, and
gives each a role. The role reaches handlers as the frame's User-Id, never out of a message.
"""

import zmq
from zmq.utils import z85

from messages.base import Role


class Doorkeeper:
    """Answers ZAP requests. allowed: public key (Z85) -> (role, name of the key's holder)."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], allowed: dict[bytes, tuple[Role, str]]
    ) -> None:
        self.allowed = dict(allowed)
        self.turned_away = 0
        # Bound before any server socket exists: without a handler libzmq would refuse (our domain is set).
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer every request that is waiting; never blocks."""
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            self.socket.send_multipart(self._verdict(frames))

    def _verdict(self, frames: list[bytes]) -> list[bytes]:
        version, request_id = frames[0], frames[1]
        mechanism, credentials = (frames[5] if len(frames) > 5 else b""), frames[6:]
        known = None
        if version == b"1.0" and mechanism == b"CURVE" and len(credentials) == 1:
            known = self.allowed.get(z85.encode(credentials[0]))
        if known is None:
            self.turned_away += 1
            return [version, request_id, b"400", b"unknown key", b"", b""]
        role, name = known
        return [version, request_id, b"200", b"OK", f"{role}:{name}".encode(), b""]

    def close(self) -> None:
        self.socket.close(linger=0)
