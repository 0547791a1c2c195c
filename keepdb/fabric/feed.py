"""Published hints: topics, and the choice of which ones a subscriber hears."""

from keepdb.fabric.inbox import Socket
from messages.base import Message


class Subscription:
    """Which topics of a feed are heard. The publisher does no work for topics that nobody hears."""

    def __init__(self, socket: Socket, endpoint: str) -> None:
        self._socket = socket
        self._endpoint = endpoint
        socket.connect(endpoint)
        self._heard: set[type[Message]] = set()

    def hear(self, message: type[Message], wanted: bool = True) -> None:
        """Hear, or no longer hear, messages of this type. Cheap to repeat."""
        if wanted == (message in self._heard):
            return
        if wanted:
            self._heard.add(message)
            self._socket.subscribe(topic_of(message))
        else:
            self._heard.remove(message)
            self._socket.unsubscribe(topic_of(message))

    def follow(self, endpoint: str) -> None:
        """Hear the feed at its new endpoint. At the old one nobody would ever answer again."""
        if endpoint != self._endpoint:
            self._socket.disconnect(self._endpoint)
            self._socket.connect(endpoint)
            self._endpoint = endpoint


def topic_of(message: type[Message]) -> bytes:
    """First frame of a published message: its tag, ended so that no tag is the beginning of another."""
    return f"{message.__struct_config__.tag}.".encode()
