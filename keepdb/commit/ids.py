"""Ids for entities whose creator gave none: UUID version 7 (RFC 9562, section 5.7).

Their order is that of creation, which keeps B-trees dense and makes the id a usable tie-break.
"""

from collections.abc import Callable


def uuid7(now_ms: int, random: Callable[[int], bytes]) -> str:
    """36 characters. now_ms: ms since the epoch (48 bits are used). random: gives that many random bytes."""
    value = int.from_bytes(now_ms.to_bytes(6, "big") + random(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
