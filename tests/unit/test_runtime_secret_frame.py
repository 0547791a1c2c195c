"""The secret frame: whatever comes over the stream is a frame or one typed error, and never quoted."""

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepdb.errors import ConfigError
from keepdb.fabric.keys import KeyPair
from keepdb.runtime.host_frame import HostFrame, encode_frame
from keepdb.runtime.secret_frame import HostStream, decode_frame

text = st.text(max_size=40)
frames = st.builds(
    HostFrame,
    passphrase=st.none() | text,
    keychain=st.none() | st.binary(max_size=64),
    recovery=st.none() | text,
    keychain_note=text,
    lifeline=st.booleans(),
)


def over_a_pipe(data: bytes) -> HostFrame:
    """What a HostStream makes of these bytes and the end of the stream after them."""
    ours, theirs = os.pipe()
    feeding = threading.Thread(target=feed, args=(theirs, data))
    feeding.start()
    try:
        stream = HostStream(ours)
        ended = threading.Event()
        stream.when_ended(ended.set)
        frame = stream.frame()
        assert ended.wait(5)
        return frame
    finally:
        feeding.join()
        os.close(ours)


def feed(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)
    os.close(descriptor)


def outcome(read: Callable[[], HostFrame]) -> str:
    """Either "frame", or the code of the refusal."""
    try:
        read()
    except ConfigError as error:
        return error.code
    return "frame"


@settings(max_examples=200, deadline=None)
@given(frames)
def test_a_frame_comes_back_as_it_was_sent(frame: HostFrame) -> None:
    assert decode_frame(encode_frame(frame)[4:]) == frame
    assert over_a_pipe(encode_frame(frame)) == frame


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_typed_error(body: bytes) -> None:
    assert outcome(lambda: decode_frame(body)) in ("frame", "secret_frame_invalid")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_stream_is_a_frame_or_a_typed_error(data: bytes) -> None:
    assert outcome(lambda: over_a_pipe(data)) in ("frame", "secret_frame_invalid")


@pytest.mark.parametrize(
    "body",
    [
        b'{"passphrase":["canary"]}', b'{"canary":1}', b'{"passphrase":"canary"', b'{"v":"canary"}',
        b'{"clients":{"canary":"app"}}', b'{"keychain":"canary!"}', b'"canary"',
    ],
)  # fmt: skip
def test_an_error_never_quotes_the_frame(body: bytes) -> None:
    """Verifies: L4."""
    with pytest.raises(ConfigError) as refused:
        decode_frame(body)

    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_frame_has_no_readable_form() -> None:
    """Verifies: L4."""
    frame = HostFrame(passphrase="canary", keychain=b"canary", recovery="canary")

    assert "canary" not in repr(frame) + str(frame)


def test_client_keys_and_roles_are_checked() -> None:
    key = KeyPair.generate().public.decode()

    assert decode_frame(b'{"clients":{"%s":"viewer"}}' % key.encode()).clients == {key: "viewer"}
    with pytest.raises(ConfigError):
        decode_frame(b'{"clients":{"%s":"internal"}}' % key.encode())


def test_the_end_of_a_stream_that_ended_before_is_told_at_once() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, encode_frame(HostFrame(passphrase="x")))
    os.close(theirs)
    stream = HostStream(ours)
    stream.frame()
    told = threading.Event()
    stream.when_ended(told.set)

    assert told.wait(5)
    os.close(ours)
