"""Which request of which client comes next, and which have been carried out: W4.

Requests are told apart one by one, never by a high-water mark. A retry finds the first receipt in the log; the
numbers in memory only keep a client's requests in order.
"""

from collections import OrderedDict
from hashlib import sha256

import msgspec

from keepdb.errors import InvalidRequest
from keepdb.storage.entries import Recorded
from keepdb.storage.log import EventLog
from messages.commits import Commit, Receipt

#: Clients whose last number is kept in memory; others are looked up in the log.
CLIENTS_MAX = 10_000
#: Idempotency keys are kept as long as receipts, so they are names and not documents.
KEY_CHARS_MAX = 200

# A retry may name the members of its maps in another order.
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(commit: Commit) -> bytes:
    """SHA-256 over what the request asks for: the same request sent again has the same digest."""
    return sha256(_encode((commit.events, commit.idempotency_key))).digest()


def check_identity(commit: Commit) -> None:
    """Raises InvalidRequest (`request_id_invalid`) where client, number or key cannot name a request."""
    if len(commit.client) != 16 or not 0 < commit.first_unanswered <= commit.number < 2**63:
        raise InvalidRequest(
            "request_id_invalid",
            "A commit needs a client of 16 bytes and 0 < firstUnanswered <= number < 2^63.",
            fix="Make one random client id per session and count requests 1, 2, 3 …",
        )
    key = commit.idempotency_key
    if key is not None and not 0 < len(key) <= KEY_CHARS_MAX:
        raise InvalidRequest(
            "request_id_invalid",
            f"The idempotency key has {len(key)} characters; allowed are 1 to {KEY_CHARS_MAX}.",
            fix="Use a short name for what the app does, such as a UUID.",
        )


class Ledger:
    """Order and identity of requests. One per writer."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def check(self, commit: Commit, digest: bytes) -> Receipt | None:
        """The receipt of an earlier, equal request; None for one that is to be carried out now.

        Raises InvalidRequest: `out_of_order` (retryable), `request_id_reused`, `idempotency_key_reused`,
        `request_settled`.
        """
        expected = max(self._last_number(commit.client), commit.first_unanswered - 1) + 1
        if commit.number > expected:
            raise InvalidRequest(
                "out_of_order",
                f"Request {commit.number} came before request {expected} of the same client.",
                fix=f"Send again from request {expected} on, in order.",
                retryable=True,
            )
        if commit.number < expected:
            found = self.log.find_request(commit.client, commit.number)
            if found is not None:
                return _receipt(found, digest, "request_id_reused", "this client and number")
        if commit.idempotency_key is not None:
            found = self.log.find_idempotency(commit.idempotency_key)
            if found is not None:
                return _receipt(found, digest, "idempotency_key_reused", "this idempotency key")
        if commit.number < expected:
            # Order is enforced, so later requests passed only after this one had its answer, and it is not in
            # the log. Carrying it out now would contradict the refusal its sender was given.
            raise InvalidRequest(
                "request_settled",
                f"Request {commit.number} of this client was refused or given up before request {expected - 1}.",
                fix="If it is still wanted, send it as a new request with a new number.",
            )
        return None

    def note(self, commit: Commit) -> None:
        """The request has been taken up; the client's next one may come."""
        self._last[commit.client] = max(commit.number, self._last_number(commit.client))
        self._last.move_to_end(commit.client)
        if len(self._last) > CLIENTS_MAX:
            self._last.popitem(last=False)

    def forget(self) -> None:
        """Drop what is in memory: after a failed commit the log alone knows."""
        self._last.clear()

    def _last_number(self, client: bytes) -> int:
        known = self._last.get(client)
        if known is None:
            known = self._last[client] = self.log.last_number(client)
        return known


def _receipt(found: Recorded, digest: bytes, code: str, what: str) -> Receipt:
    if found.digest != digest:
        raise InvalidRequest(
            code,
            f"Another request with {what} was carried out at seq {found.seq_first}; its payload was different.",
            fix="Use a new number (or key) for a new request; repeat the payload exactly for a retry.",
        )
    return Receipt(
        seq_first=found.seq_first, seq_last=found.seq_last, ids=found.ids, at=found.at, duplicate=True
    )
