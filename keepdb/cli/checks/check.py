"""What a check of `keepdb doctor` says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Check:
    """id: stable, for scripts. found: what was seen. remedy: what to do; empty when all is well."""

    id: str
    state: State
    found: str
    remedy: str = ""
