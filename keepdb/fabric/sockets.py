"""The one function that builds sockets, so that none goes without limits, linger, keys or an allow-list.

ZeroMQ's defaults are unfit for a sidecar: linger -1 hangs on exit, messages have no size limit, and past
1 000 queued messages PUB and ROUTER drop silently.
"""

from typing import Literal

import zmq

from keepdb.fabric.keys import KeyPair
from messages.base import FRAME_BYTES_MAX

Kind = Literal["router", "dealer", "pub", "sub"]

_KINDS = {"router": zmq.ROUTER, "dealer": zmq.DEALER, "pub": zmq.PUB, "sub": zmq.SUB}

#: Messages per peer and direction. A commit batch is 64 requests; 4 096 is some 64 batches of slack.
QUEUE_MESSAGES_MAX = 4_096
#: A peer that has not finished the CURVE handshake by then is dropped.
HANDSHAKE_MS = 5_000
#: How soon a lost connection is tried again; a restarted actor is back after some 100 ms.
RECONNECT_MS, RECONNECT_MS_MAX = 10, 200

#: The ZAP domain; naming one makes libzmq refuse connections while no handler answers.
ZAP_DOMAIN = b"keepdb"


def build_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: Kind, own: KeyPair, server: bytes | None = None
) -> zmq.Socket[bytes]:
    """A socket with every limit set, neither bound nor connected.

    own: our key pair. server: the public key (Z85) of the server to connect to; None makes this socket a
    CURVE server, which admits only keys that the process's Doorkeeper knows.
    """
    socket = context.socket(_KINDS[kind])
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = QUEUE_MESSAGES_MAX
    socket.maxmsgsize = FRAME_BYTES_MAX
    socket.handshake_ivl = HANDSHAKE_MS
    socket.reconnect_ivl, socket.reconnect_ivl_max = RECONNECT_MS, RECONNECT_MS_MAX
    socket.curve_publickey, socket.curve_secretkey = own.public, own.secret
    if server is None:
        socket.curve_server = True
        socket.zap_domain = ZAP_DOMAIN
    else:
        socket.curve_serverkey = server
    if kind == "router":
        # An unroutable or full peer raises instead of losing the message silently.
        socket.router_mandatory = True
    return socket


def bound_to(socket: zmq.Socket[bytes]) -> str:
    """The endpoint a socket was bound to last, with the port that was chosen."""
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()
