"""The other end of a scripted conversation: a program that plays the server, for clients in any language.

    python -m tests.conformance.peer SCRIPT [--verdict FILE] [host …]

It prints the ready line of docs/protocol.md, waits for what the script says the client sends, sends what the script
says, and then prints one line with its verdict, also to FILE. It ends when its standard input does. README.md says how
a runner uses it.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from keepdb.fabric.keys import KeyPair
from messages.base import PROTOCOL

from .script import Broken, Map, Names, Script
from .stage import Heard, Service, Stage

#: Requests that a script must foresee; others, such as a look at the status, are a client's own business.
_ACCOUNTED = ("commit", "read", "subscribe", "subscribe_changes")


class Player:
    """Goes through the peer's steps of a script, one after the other."""

    def __init__(self, script: Script, stage: Stage) -> None:
        self._script = script
        self._stage = stage
        self._names = Names(script.services)
        self._named: dict[str, Heard] = {}
        self._taken: list[Heard] = []

    def play(self) -> Map:
        """The verdict."""
        for number, step in enumerate(self._script.steps, start=1):
            if "client" in step:
                continue
            try:
                self._step(step)
            except Broken as broken:
                return {"event": "verdict", "passed": False, "step": number, "why": str(broken)}
        return self._leftovers()

    def _leftovers(self) -> Map:
        """Passed, unless the client sent something that the script knows nothing of."""
        for service in self._stage.services.values():
            for heard in service.requests:
                if heard.message["type"] in _ACCOUNTED and not self._is_repetition(heard):
                    why = f"{service.name} also heard {heard.message}"
                    return {"event": "verdict", "passed": False, "step": len(self._script.steps), "why": why}
        return {"event": "verdict", "passed": True}

    def _step(self, step: Map) -> None:
        stage, fill = self._stage, self._names.fill
        match step:
            case {"expect": pattern}:
                self._expect(step, pattern)
            case {"again": name}:
                self._again(step, name)
            case {"answer": name, "with": message}:
                self._answer(self._named[name], fill(message))
            case {"push": message}:
                stage.push(self._service(step), fill(message))
            case {"unsubscribed": sub}:
                stage.wait(lambda: fill(sub) in stage.unsubscribed, f"unsubscribe {fill(sub)}")
            case {"pong": answer}:
                self._service(step).pong = answer
            case {"restart": epoch}:
                self._service(step).restart(epoch)
            case _:
                raise ValueError(f"no such step: {step}")

    def _service(self, step: Map) -> Service:
        return self._stage.services[self._names.fill(step["at"])]

    def _expect(self, step: Map, pattern: Map) -> None:
        """The next request of this type that is not an earlier one sent again."""
        heard = self._next(step, pattern["type"], lambda one: not self._is_repetition(one))
        self._names.compare(pattern, heard.message)
        if "$var" in step["at"]:
            self._names.compare(step["at"], heard.service)
        self._take(heard, step.get("as", ""))

    def _again(self, step: Map, name: str) -> None:
        """A request of before once more, with the same content. With `next`, no other of its type comes before it."""
        known = self._named[name]
        any_other = step.get("next", False)
        heard = self._next(step, known.message["type"], lambda one: any_other or one.repeats(known))
        self._names.compare(known.content, heard.content)
        self._take(heard, name)

    def _take(self, heard: Heard, name: str) -> None:
        self._taken.append(heard)
        self._named[name] = heard

    def _next(self, step: Map, kind: str, wanted: Callable[[Heard], bool]) -> Heard:
        """The next request of a type that is wanted; repetitions that are not are passed over. Requests of other types
        keep their place: a client may have several things under way."""
        services = self._candidates(step)
        found: list[Heard] = []

        def look() -> bool:
            for service in services:
                for heard in [one for one in service.requests if one.message["type"] == kind]:
                    service.requests.remove(heard)
                    if wanted(heard):
                        found.append(heard)
                        return True
                    if not self._is_repetition(heard):
                        raise Broken(f"instead of {step}, {service.name} heard {heard.message}")
            return False

        self._stage.wait(look, json.dumps(step))
        return found[0]

    def _candidates(self, step: Map) -> list[Service]:
        """The service a step is at; every query actor where its name is still free."""
        match step["at"]:
            case {"$var": str(free)} if free not in self._names.bound:
                return [one for name, one in self._stage.services.items() if name.startswith("query-")]
        return [self._service(step)]

    def _is_repetition(self, heard: Heard) -> bool:
        return any(heard.repeats(known) for known in self._taken)

    def _answer(self, heard: Heard, message: Map) -> None:
        service = self._stage.services[heard.service]
        if message["type"] == "subscribed":
            service.epoch, service.pong = message["epoch"], {}
            service.subscribers[message["sub"]] = heard.identity
        service.send(heard.identity, heard.request_id, message)


def main(arguments: list[str]) -> int:
    """Play one script. 0: the client did as the script says."""
    options, host = _options(arguments)
    over = threading.Event()
    own = KeyPair.generate()
    clients = _announced() if host else [own.public]
    threading.Thread(target=_watch_stdin, args=(over,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        script = Script.read(options.script)
        stage = Stage(script.services, Path(directory), clients, over)
        try:
            _say(_ready(stage, None if host else own))
            verdict = Player(script, stage).play()
            if options.verdict:
                options.verdict.write_text(json.dumps(verdict), encoding="utf-8")
            _say(verdict)
            while not over.is_set():
                # What comes now is not the script's business.
                with suppress(Broken):
                    stage.hear()
        finally:
            stage.close()
    return 0 if verdict["passed"] else 1


def _options(arguments: list[str]) -> tuple[argparse.Namespace, bool]:
    """The options, and whether we stand in for `keepdb host`, whose own arguments do not matter here."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.peer", description="Play the server.")
    parser.add_argument("script", type=Path)
    parser.add_argument("--verdict", type=Path, help="write the verdict to this file too")
    ours = arguments[: arguments.index("host")] if "host" in arguments else arguments
    return parser.parse_args(ours), ours != arguments


def _announced() -> list[bytes]:
    """Public keys of clients, from the secret frame."""
    length = int.from_bytes(os.read(0, 4), "big")
    body = b""
    while len(body) < length:
        body += os.read(0, length - len(body))
    return [key.encode() for key in msgspec.json.decode(body)["clients"]]


def _ready(stage: Stage, own: KeyPair | None) -> Map:
    line: Map = {
        "event": "ready",
        "protocol": PROTOCOL,
        "version": "conformance",
        "pid": os.getpid(),
        "endpoints": {name: service.endpoint for name, service in stage.services.items()},
        "server_keys": {name: service.own.public.decode() for name, service in stage.services.items()},
    }
    if own is not None:
        line |= {"public": own.public.decode(), "secret": own.secret.decode()}
    return line


def _watch_stdin(over: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


def _say(line: Map) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
