"""The frame that hands over secrets, as the host writes it. Whoever starts a database needs this and no key code."""

from typing import Literal

import msgspec


class HostFrame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """v: 1. passphrase, keychain (base64 in JSON), recovery: secrets to open the keyring with, or to make it.

    clients: CURVE public keys (Z85) that may connect -> their role. lifeline: end when the stream ends.
    keychain_note: which store keeps the keychain secret (Electron: safeStorage.getSelectedStorageBackend()).
    """

    v: Literal[1] = 1
    passphrase: str | None = None
    keychain: bytes | None = None
    recovery: str | None = None
    keychain_note: str = ""
    clients: dict[str, Literal["app", "cli", "viewer"]] = {}
    lifeline: bool = True

    def __repr__(self) -> str:
        return f"HostFrame(clients={len(self.clients)}, lifeline={self.lifeline})"


def encode_frame(frame: HostFrame) -> bytes:
    """The bytes a host writes: length, then JSON."""
    body = msgspec.json.encode(frame)
    return len(body).to_bytes(4, "big") + body
