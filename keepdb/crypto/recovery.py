"""The recovery code as people write it down: 160 bits as text that survives handwriting, and that tells a
typo from a wrong code, because the two need different advice.
"""

from typing import Final

from keepdb.errors import KeyringError

CODE_BYTES: Final = 20
_CODE_LETTERS: Final = 32
_CHECK_LETTERS: Final = 2
_GROUP_LETTERS: Final = 4

# Crockford's base32: no I, L, O (read as 1, 1, 0) and no U.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE_OF: Final = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}

# The largest prime that two letters can hold. A prime above 31 that does not divide 32 catches every single
# wrong letter and every swap of two neighbours for certain, anything else in 1020 of 1021 cases.
_CHECK_PRIME: Final = 1021
# A pasted page instead of a code must not be worked on at length.
_TEXT_MAX: Final = 200


def format_code(secret: bytes) -> str:
    """20 bytes -> 'XXXX-XXXX-…-XXXX-CC': eight groups of four letters and the two check letters."""
    number = int.from_bytes(secret, "big")
    code = _letters(number, _CODE_LETTERS)
    groups = [code[at : at + _GROUP_LETTERS] for at in range(0, _CODE_LETTERS, _GROUP_LETTERS)]
    return "-".join([*groups, _letters(number % _CHECK_PRIME, _CHECK_LETTERS)])


def parse_code(text: str) -> bytes:
    """The 20 bytes of a code; case, blanks, hyphens do not matter. KeyringError `recovery_code_mistyped`."""
    if len(text) > _TEXT_MAX:
        raise _mistyped(f"it has {len(text)} characters")
    letters = "".join(text.split()).replace("-", "").upper()
    if len(letters) != _CODE_LETTERS + _CHECK_LETTERS:
        raise _mistyped(f"it has {len(letters)} letters and digits")
    if not all(letter in _VALUE_OF for letter in letters):
        raise _mistyped("it has a character that no code contains")
    number = _number(letters[:_CODE_LETTERS])
    if number % _CHECK_PRIME != _number(letters[_CODE_LETTERS:]):
        raise _mistyped("its last two letters do not fit the rest")
    return number.to_bytes(CODE_BYTES, "big")


def _letters(number: int, count: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number << 5 | _VALUE_OF[letter]
    return number


def _mistyped(why: str) -> KeyringError:
    return KeyringError(
        "recovery_code_mistyped",
        f"The recovery code was not typed as it was shown: {why}; "
        f"a code has {_CODE_LETTERS + _CHECK_LETTERS} letters and digits in groups.",
        fix="Compare it letter by letter with what was written down and enter it again.",
    )
