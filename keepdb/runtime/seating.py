"""Who sits where: endpoints, keys, and the seat each child is given when it starts."""

from collections.abc import Iterable

from keepdb.crypto import kdf
from keepdb.fabric.keys import KeyPair
from keepdb.fabric.seat import Seat, Secrets
from keepdb.runtime.child import Child, ChildSpec
from keepdb.runtime.start import Start
from messages.base import Role
from messages.control import Service


class Seating:
    """The supervisor's service directory and what its children's seats are made of. own: the supervisor's seat."""

    def __init__(self, own: Seat, plan: Start, children: Iterable[Child]) -> None:
        self._own = own
        self._plan = plan
        self._children = {child.spec.name: child for child in children}
        self._keys = {name: KeyPair.generate() for name in self._children}

    def public_keys(self) -> dict[bytes, tuple[Role, str]]:
        """The children's keys, as a Doorkeeper takes them."""
        return {pair.public: ("internal", name) for name, pair in self._keys.items()}

    def services(self) -> dict[str, Service]:
        """Where the children are, as far as that is known."""
        return {name: child.service for name, child in self._children.items() if child.service is not None}

    def predict_services(self) -> None:
        """ipc endpoints are names in the run directory, known before anything is bound."""
        for child in self._children.values():
            endpoint, feed = self._endpoints(child.spec)
            if endpoint.startswith("ipc://"):
                child.service = self.service_at(child, endpoint, feed)

    def service_at(self, child: Child, endpoint: str, feed: str) -> Service:
        """The child's service, bound there."""
        name = child.spec.name
        return Service(name=name, endpoint=endpoint, key=self._keys[name].public.decode(), feed=feed)

    def seat_for(self, child: Child, supervisor: Service) -> Seat:
        """What the child's next process is given."""
        spec, own = child.spec, self._own
        endpoint, feed = self._endpoints(spec)
        allowed = self.public_keys()
        allowed[own.own.public] = ("internal", "supervisor")
        if spec.clients:
            allowed.update(self._plan.clients)
        return Seat(
            name=spec.name,
            incarnation=child.incarnation,
            endpoint=endpoint,
            feed=feed,
            own=self._keys[spec.name],
            supervisor=supervisor,
            directory=self.services(),
            allowed=allowed,
            data=own.data,
            run=own.run,
            config=own.config,
            schema=own.schema,
            schema_ddl=own.schema_ddl,
            db_id=own.db_id,
            secrets=Secrets({label: self._key(label) for label in spec.secrets}),
        )

    def _endpoints(self, spec: ChildSpec) -> tuple[str, str]:
        """What to bind. A restarted actor binds what it had before, so that peers reconnect by themselves."""
        known = self._children[spec.name].service
        if known is not None:
            return known.endpoint, known.feed
        if self._own.config.transport_kind == "tcp":
            return "tcp://127.0.0.1:*", "tcp://127.0.0.1:*" if spec.feed else ""
        base = f"ipc://{self._own.run}/{spec.name}"
        return f"{base}.sock", f"{base}.feed" if spec.feed else ""

    def _key(self, label: str) -> bytes:
        """A derived key. The cache's belongs to this run: what an earlier run left cannot be read."""
        session = self._plan.session if label == kdf.CACHE else b""
        return kdf.derive(bytes(self._plan.root), label, session)
