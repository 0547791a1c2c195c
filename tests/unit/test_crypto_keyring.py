"""The keyring file on a real disk: what opens it, what is noticed, what is never replaced."""

import hashlib
import os
import random
from pathlib import Path

import msgspec
import pytest

from keepdb.clock import SystemClock
from keepdb.crypto import kdf, keyfile, keyring
from keepdb.crypto.keyring import KeyStore, Unlocked
from keepdb.crypto.slots import Secrets
from keepdb.errors import KeyringError

CHEAP = kdf.Argon2idCost(memory_kib=19 * 1024, iterations=2, lanes=1)
KEYCHAIN = Secrets(keychain=b"k" * 32)


def make(path: Path, secrets: Secrets = KEYCHAIN, *, pool_keys: int = 3) -> tuple[Unlocked, str]:
    return keyring.create(
        path, secrets, SystemClock(), random.Random(5).randbytes, cost=CHEAP, pool_keys=pool_keys
    )


def open_store(path: Path, unlocked: Unlocked) -> KeyStore:
    kek = kdf.derive(unlocked.root, kdf.KEYRING_KEK)
    return keyring.open_keys(path, kek, kdf.derive(unlocked.root, kdf.KEYRING_MAC))


def code_of(path: Path, secrets: Secrets = KEYCHAIN) -> str:
    with pytest.raises(KeyringError) as caught:
        keyring.unlock_root(path, secrets)
    return caught.value.code


def with_new_checksum(raw: bytes) -> bytes:
    """What an attacker without any key can do: alter the file and make the public checksum fit again."""
    head = raw[: -len('","checksum":"') - 64 - 3]
    return head + b'","checksum":"' + hashlib.sha256(head).hexdigest().encode() + b'"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def test_passphrase_keychain_and_recovery_code_all_open_the_same_root(path: Path) -> None:
    secrets = Secrets(passphrase="correct horse", keychain=b"k" * 32)
    unlocked, code = make(path, secrets)

    assert keyring.unlock_root(path, Secrets(passphrase="correct horse")) == unlocked.root
    assert keyring.unlock_root(path, Secrets(keychain=b"k" * 32)) == unlocked.root
    assert keyring.unlock_root(path, Secrets(recovery=code.lower())) == unlocked.root
    kinds = [slot.kind for slot in keyring.read_header(path).slots]
    assert kinds == ["passphrase", "keychain", "recovery"]


def test_a_new_keyring_has_256_keys_designed_costs_and_mode_0600(path: Path) -> None:
    unlocked, _ = keyring.create(path, Secrets(passphrase="p"), SystemClock(), os.urandom)

    header = keyring.read_header(path)

    assert (header.pool_end, header.destroyed, header.format) == (257, 0, 1)
    assert header.db_id == unlocked.db_id
    assert header.slots[0].kdf == kdf.Argon2idCost(memory_kib=65_536, iterations=3, lanes=4)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keyring.unlock_root(path, Secrets(passphrase="p")) == unlocked.root


def test_the_file_holds_no_root_no_data_key_and_no_secret(path: Path) -> None:
    """Verifies: L4"""
    secrets = Secrets(passphrase="canary passphrase", keychain=b"canary keychain secret 32 bytes!")
    unlocked, code = make(path, secrets)
    store = open_store(path, unlocked)
    keys = [store.get(key_id) or b"" for key_id in (1, 2, 3)]

    on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    body = keyfile.decode(path.read_bytes(), path)
    decoded = b"".join(wrapped or b"" for wrapped in body.keys) + b"".join(
        slot.wrapped + slot.commitment + slot.salt for slot in body.slots
    )

    for secret in (unlocked.root, *keys):
        assert secret not in decoded
        assert secret.hex().encode() not in on_disk
    assert b"canary" not in on_disk
    assert code.encode() not in on_disk
    assert unlocked.root.hex() not in repr(unlocked)
    assert repr(unlocked.root) not in f"{unlocked!r} {list(unlocked.__rich_repr__())} {store!r}"


def test_a_wrong_secret_is_told_from_a_damaged_and_from_a_newer_file(path: Path) -> None:
    """Verifies: L10"""
    make(path, Secrets(passphrase="right", keychain=b"k" * 32))
    good = path.read_bytes()

    assert code_of(path, Secrets(passphrase="wrong")) == "wrong_key"
    assert code_of(path, Secrets(keychain=b"x" * 32)) == "wrong_key"
    assert path.read_bytes() == good

    path.write_bytes(good[:-200])
    assert code_of(path, Secrets(passphrase="right")) == "keyring_damaged"

    newer = with_new_checksum(good.replace(b'{"format":1,', b'{"format":2,"new":[],', 1))
    path.write_bytes(newer)
    assert code_of(path, Secrets(passphrase="right")) == "format_too_new"
    assert path.read_bytes() == newer


def test_a_recovery_code_with_a_typo_is_told_from_a_wrong_one(path: Path) -> None:
    _, code = make(path)
    _, other_code = keyring.create(path.with_name("other.json"), KEYCHAIN, SystemClock(), os.urandom)
    typo = ("A" if code[0] != "A" else "B") + code[1:]

    assert code_of(path, Secrets(recovery=typo)) == "recovery_code_mistyped"
    assert code_of(path, Secrets(recovery=other_code)) == "wrong_key"


def test_a_mistyped_code_does_not_stand_in_the_way_of_a_right_keychain_secret(path: Path) -> None:
    unlocked, _ = make(path)

    assert keyring.unlock_root(path, Secrets(keychain=b"k" * 32, recovery="oops")) == unlocked.root


def test_unlocking_without_any_secret_says_so(path: Path) -> None:
    make(path)

    assert code_of(path, Secrets()) == "secret_missing"


def test_every_single_flipped_bit_is_called_damage_without_a_key(path: Path) -> None:
    """Verifies: L10. The checksum covers all bytes before it; the rest of the frame is compared."""
    make(path, pool_keys=2)
    good = path.read_bytes()

    for at in range(len(good)):
        for bit in range(8):
            flipped = bytearray(good)
            flipped[at] ^= 1 << bit
            with pytest.raises(KeyringError) as caught:
                keyfile.decode(bytes(flipped), path)
            assert caught.value.code == "keyring_damaged", (at, bit)

    # The same through the file, once per byte.
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(KeyringError, match="keyring_damaged"):
            keyring.read_header(path)


def test_every_cut_and_every_appended_byte_is_called_damage(path: Path) -> None:
    """Verifies: L10"""
    make(path, pool_keys=1)
    good = path.read_bytes()

    for wrong in [good[:length] for length in range(len(good))] + [good + b"\n", good + good, b"\0" * 4096]:
        with pytest.raises(KeyringError, match="keyring_damaged"):
            keyfile.decode(wrong, path)


def test_every_altered_byte_under_a_matching_checksum_is_noticed_with_the_key(path: Path) -> None:
    """Verifies: L10"""
    unlocked, _ = make(path, pool_keys=2)
    good = path.read_bytes()
    end = good.index(b'","checksum":"')
    seen = set()

    for at in range(end):
        altered = with_new_checksum(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        path.write_bytes(altered)
        with pytest.raises(KeyringError) as caught:
            open_store(path, unlocked)
        seen.add(caught.value.code)
        assert path.read_bytes() == altered

    # The format digit flips to 0, and a changed db id opens no data key.
    assert seen == {"keyring_damaged", "wrong_key"}


def test_an_altered_file_whose_slot_still_opens_is_called_damaged(path: Path) -> None:
    unlocked, _ = make(path)
    body = keyfile.decode(path.read_bytes(), path)
    altered = msgspec.structs.replace(body, keys=(None, *body.keys[1:]))
    path.write_bytes(keyfile.encode(altered, b"not the MAC key, which needs ROOT"))

    assert code_of(path) == "keyring_damaged"
    with pytest.raises(KeyringError, match="keyring_damaged"):
        open_store(path, unlocked)


def test_the_keys_of_another_root_are_called_wrong_and_nothing_is_written(path: Path) -> None:
    make(path)
    good = path.read_bytes()

    with pytest.raises(KeyringError, match="wrong_key"):
        open_store(path, Unlocked(root=bytes(32), db_id=bytes(16)))

    assert path.read_bytes() == good


def test_a_downgraded_slot_in_the_file_is_refused_and_the_next_slot_still_opens(path: Path) -> None:
    unlocked, code = make(path, Secrets(passphrase="right"))
    body = keyfile.decode(path.read_bytes(), path)
    weak = msgspec.structs.replace(body.slots[0], kdf=kdf.Argon2idCost(memory_kib=8, iterations=1))
    downgraded = msgspec.structs.replace(body, slots=(weak, *body.slots[1:]))
    path.write_bytes(keyfile.encode(downgraded, kdf.derive(unlocked.root, kdf.KEYRING_MAC)))

    assert code_of(path, Secrets(passphrase="right")) == "kdf_refused"
    assert keyring.unlock_root(path, Secrets(passphrase="right", recovery=code)) == unlocked.root


def test_a_slot_that_does_not_open_is_kept_and_the_next_of_its_kind_is_tried(path: Path) -> None:
    unlocked, _ = make(path, Secrets(keychain=b"a" * 32))
    keyring.add_slots(
        path, unlocked.root, Secrets(keychain=b"b" * 32), SystemClock(), os.urandom, keychain_note="kwallet6"
    )

    assert keyring.unlock_root(path, Secrets(keychain=b"b" * 32)) == unlocked.root
    assert keyring.unlock_root(path, Secrets(keychain=b"a" * 32)) == unlocked.root
    slots = keyring.read_header(path).slots
    assert [(slot.kind, slot.note) for slot in slots] == [
        ("keychain", ""),
        ("recovery", ""),
        ("keychain", "kwallet6"),
    ]


def test_slots_changed_by_the_holder_of_root_and_keys_added_by_the_encryption_actor_do_not_undo_each_other(
    path: Path,
) -> None:
    unlocked, _ = make(path)
    store = open_store(path, unlocked)

    keyring.add_slots(path, unlocked.root, Secrets(keychain=b"n" * 32), SystemClock(), os.urandom)
    store.extend(100)
    keyring.add_slots(path, unlocked.root, Secrets(keychain=b"m" * 32), SystemClock(), os.urandom)

    assert keyring.unlock_root(path, Secrets(keychain=b"n" * 32)) == unlocked.root
    assert keyring.unlock_root(path, Secrets(keychain=b"m" * 32)) == unlocked.root
    assert open_store(path, unlocked).pool_end == store.pool_end


def test_no_more_slots_are_added_than_a_reader_accepts(path: Path) -> None:
    unlocked, _ = make(path)
    for _ in range(keyfile.SLOTS_MAX - 2):
        keyring.add_slots(path, unlocked.root, KEYCHAIN, SystemClock(), os.urandom)

    with pytest.raises(KeyringError, match="slots_full"):
        keyring.add_slots(path, unlocked.root, KEYCHAIN, SystemClock(), os.urandom)

    assert keyring.unlock_root(path, KEYCHAIN) == unlocked.root


def test_creating_refuses_to_overwrite_even_an_unreadable_file(path: Path) -> None:
    path.write_bytes(b"not a keyring")

    with pytest.raises(KeyringError, match="keyring_exists"):
        make(path)

    assert path.read_bytes() == b"not a keyring"


def test_creating_beside_existing_data_says_that_their_keyring_is_missing(path: Path) -> None:
    path.with_name("events.0001.db").write_bytes(b"sealed")

    with pytest.raises(KeyringError, match="keyring_missing"):
        make(path)

    assert not path.exists()


@pytest.mark.parametrize("secrets", [Secrets(), Secrets(recovery="0000")])
def test_creating_needs_a_passphrase_or_a_keychain_secret(path: Path, secrets: Secrets) -> None:
    with pytest.raises(KeyringError, match="secret_missing"):
        make(path, secrets)

    assert not path.exists()


def test_creating_with_an_unusable_secret_or_cost_writes_nothing(path: Path) -> None:
    with pytest.raises(KeyringError, match="secret_unusable"):
        make(path, Secrets(keychain=b"short"))
    with pytest.raises(KeyringError, match="kdf_refused"):
        keyring.create(
            path, Secrets(passphrase="p"), SystemClock(), os.urandom, cost=kdf.Pbkdf2Cost(iterations=1)
        )

    assert list(path.parent.iterdir()) == []


def test_a_keyring_that_is_not_there_is_called_missing(path: Path) -> None:
    assert code_of(path) == "keyring_missing"
    with pytest.raises(KeyringError, match="keyring_missing"):
        open_store(path, Unlocked(root=bytes(32), db_id=bytes(16)))
    assert list(path.parent.iterdir()) == []


def test_a_directory_in_the_place_of_the_keyring_is_called_unreadable(path: Path) -> None:
    path.mkdir()

    assert code_of(path) == "keyring_unreadable"


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"{}",
        b'{"format":"1"',
        b'{"format":1',
        b'{"format":0',
        b'{"format":1,"format":1',
        b"\xff\xfe",
    ],
)
def test_a_well_framed_file_of_nonsense_is_called_damaged(path: Path, content: bytes) -> None:
    head = content + b',"mac":"' + b"0" * 64
    path.write_bytes(with_new_checksum(head + b'","checksum":"' + b"0" * 64 + b'"}\n'))

    assert code_of(path) == "keyring_damaged"


def test_swapped_data_keys_do_not_open_even_under_a_right_mac(path: Path) -> None:
    unlocked, _ = make(path)
    body = keyfile.decode(path.read_bytes(), path)
    first, second, third = body.keys
    swapped = msgspec.structs.replace(body, keys=(second, first, third))
    path.write_bytes(keyfile.encode(swapped, kdf.derive(unlocked.root, kdf.KEYRING_MAC)))
    store = open_store(path, unlocked)

    with pytest.raises(KeyringError, match="keyring_damaged"):
        store.get(1)
    assert store.get(3) is not None


def test_all_data_keys_differ_and_ids_outside_the_pool_are_unknown(path: Path) -> None:
    unlocked, _ = make(path)
    store = open_store(path, unlocked)

    assert len({store.get(key_id) for key_id in (1, 2, 3)}) == 3
    for key_id in (0, 4, -1, 2**32):
        with pytest.raises(KeyringError, match="key_unknown"):
            store.get(key_id)


def test_the_pool_grows_by_256_or_an_eighth_and_old_keys_stay(path: Path) -> None:
    unlocked, _ = make(path)
    store = open_store(path, unlocked)
    first = store.get(1)

    assert store.extend(4) == 4
    assert store.extend(5) == 4 + 256
    assert store.extend(10_001) == 10_001
    assert store.extend(10_002) == 10_001 + 1_250
    assert store.extend(1) == 11_251

    again = open_store(path, unlocked)
    assert again.pool_end == store.pool_end == 11_251
    assert again.get(1) == first
    assert again.get(11_250) == store.get(11_250) is not None


def test_the_pool_has_an_end_and_a_refused_growth_writes_nothing(path: Path) -> None:
    """Verifies: L8"""
    unlocked, _ = make(path)
    store = open_store(path, unlocked)
    good = path.read_bytes()

    with pytest.raises(KeyringError, match="key_pool_full"):
        store.extend(keyfile.KEYS_MAX + 2)

    assert path.read_bytes() == good
    assert store.pool_end == 4


def test_a_destroyed_key_is_gone_from_memory_and_from_every_file_of_the_directory(path: Path) -> None:
    unlocked, _ = make(path)
    store = open_store(path, unlocked)
    wrapped = msgspec.json.encode(keyfile.decode(path.read_bytes(), path).keys[1])
    # What a crash in the middle of an earlier write leaves behind.
    path.with_name("keyring.json.tmp").write_bytes(path.read_bytes())
    kept = store.get(1), store.get(3)
    version = store.version

    store.destroy(2)
    store.destroy(2)

    assert store.get(2) is None
    assert (store.get(1), store.get(3)) == kept
    assert store.version != version
    assert all(wrapped not in file.read_bytes() for file in path.parent.iterdir())
    assert open_store(path, unlocked).get(2) is None
    assert keyring.read_header(path).destroyed == 1
    assert open_store(path, unlocked).extend(5) > 5
    assert open_store(path, unlocked).get(2) is None


def test_a_keyring_replaced_by_an_older_copy_while_in_use_is_not_extended(path: Path) -> None:
    unlocked, _ = make(path)
    older = path.read_bytes()
    store = open_store(path, unlocked)
    store.extend(5)
    path.write_bytes(older)

    with pytest.raises(KeyringError, match="keyring_damaged"):
        store.extend(store.pool_end + 1)

    assert path.read_bytes() == older


def test_an_older_copy_cannot_bring_back_a_destroyed_key(path: Path) -> None:
    unlocked, _ = make(path)
    older = path.read_bytes()
    store = open_store(path, unlocked)
    store.destroy(2)
    path.write_bytes(older)

    with pytest.raises(KeyringError, match="keyring_damaged"):
        store.extend(5)

    assert store.get(2) is None


def test_a_keyring_damaged_while_in_use_is_left_as_it_is_and_its_keys_still_serve(path: Path) -> None:
    unlocked, _ = make(path)
    store = open_store(path, unlocked)
    path.write_bytes(b"")

    with pytest.raises(KeyringError, match="keyring_damaged"):
        store.extend(5)

    assert path.read_bytes() == b""
    assert store.get(1) is not None
    assert store.pool_end == 4


def test_a_file_that_contradicts_itself_is_called_damaged_even_under_a_right_mac(path: Path) -> None:
    unlocked, _ = make(path)
    body = keyfile.decode(path.read_bytes(), path)
    short = msgspec.structs.replace(body, pool_end=body.pool_end + 1)
    path.write_bytes(keyfile.encode(short, kdf.derive(unlocked.root, kdf.KEYRING_MAC)))

    assert code_of(path) == "keyring_damaged"


def test_of_two_that_create_at_once_the_second_is_refused(path: Path) -> None:
    """The other one creates between our first look and our lock: when we read the clock for the deadline."""

    class OvertakingClock(SystemClock):
        def monotonic(self) -> float:
            if not path.exists():
                winners.append(make(path)[0])
            return super().monotonic()

    winners: list[Unlocked] = []
    with pytest.raises(KeyringError, match="keyring_exists"):
        keyring.create(path, Secrets(keychain=b"z" * 32), OvertakingClock(), os.urandom)

    assert keyring.unlock_root(path, KEYCHAIN) == winners[0].root
