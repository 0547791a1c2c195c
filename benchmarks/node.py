"""Reads from Node, and the bare transport beside them."""

import json
from pathlib import Path

from benchmarks import scripts, transport
from benchmarks.figures import Figures
from benchmarks.live import MEMORIES
from benchmarks.world import filled
from keepdb.client.sidecar import program
from keepdb.fabric.keys import KeyPair

TARGETS = {"node_point_read_p50_us": "<= 250", "node_point_read_per_s": ">= 10000"}


def measure(figures: Figures, folder: Path) -> None:
    own = KeyPair.generate()
    with transport.echoing(folder, own) as (endpoint, server):
        keys = {"serverKey": server, "publicKey": own.public, "secretKey": own.secret}
        given = {"endpoint": endpoint} | {name: key.decode() for name, key in keys.items()}
        scripts.run(figures, "roundtrip.mjs", [], {}, json.dumps(given))
    scripts.run(figures, "reads.mjs", [str(filled(folder, MEMORIES)), *program()], TARGETS)
