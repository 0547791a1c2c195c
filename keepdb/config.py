"""The configuration: shipped config.yaml, overlaid by the user's files, parsed once into frozen structs.

Nothing reads configuration or environment later; the structs are handed down. Defaults live in config.yaml
only, so that there is one place to read them.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from keepdb.errors import ConfigError

#: A configuration file is a page of text; anything larger is a mistake or an attack.
CONFIG_BYTES_MAX = 64 * 1024


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: an unknown key is refused."""


class SupervisorConfig(_Section, frozen=True):
    heartbeat_ms: Annotated[int, Meta(ge=50, le=10_000)]
    heartbeats_missed_max: Annotated[int, Meta(ge=2, le=100)]
    ready_timeout_ms: Annotated[int, Meta(ge=500, le=600_000)]
    restarts_max: Annotated[int, Meta(ge=0, le=1_000_000)]
    restarts_period_s: Annotated[int, Meta(ge=1, le=86_400)]
    backoff_ms: Annotated[int, Meta(ge=0, le=60_000)]
    backoff_ms_max: Annotated[int, Meta(ge=0, le=600_000)]
    stable_after_ms: Annotated[int, Meta(ge=100, le=3_600_000)]
    stop_timeout_ms: Annotated[int, Meta(ge=100, le=60_000)]


class TransportConfig(_Section, frozen=True):
    kind: Literal["auto", "ipc", "tcp"]
    start_method: Literal["auto", "forkserver", "spawn"]
    run_dir: str


class WriterConfig(_Section, frozen=True):
    batch_requests_max: Annotated[int, Meta(ge=1, le=64)]
    request_events_max: Annotated[int, Meta(ge=1, le=10_000)]
    wal_mib_max: Annotated[int, Meta(ge=1, le=1_024)]
    checkpoint_kib: Annotated[int, Meta(ge=64, le=1_048_576)]
    changes_seqs_max: Annotated[int, Meta(ge=100, le=10_000_000)]
    changes_mib_max: Annotated[int, Meta(ge=1, le=4_096)]
    anchor_events: Annotated[int, Meta(ge=1, le=1_000_000)]
    anchor_s: Annotated[int, Meta(ge=1, le=3_600)]


class QueryConfig(_Section, frozen=True):
    workers: Annotated[int, Meta(ge=1, le=16)]
    time_ms_max: Annotated[int, Meta(ge=10, le=60_000)]
    rows_max: Annotated[int, Meta(ge=1, le=1_000_000)]
    rows_default: Annotated[int, Meta(ge=1, le=1_000_000)]
    subscriptions_max: Annotated[int, Meta(ge=1, le=1_000_000)]
    subscriptions_per_client_max: Annotated[int, Meta(ge=1, le=1_000_000)]
    live_mib_max: Annotated[int, Meta(ge=1, le=65_536)]
    cache_above_us: Annotated[int, Meta(ge=0, le=60_000_000)]


class CacheConfig(_Section, frozen=True):
    size_mib: Annotated[int, Meta(ge=1, le=65_536)]
    entry_kib_max: Annotated[int, Meta(ge=1, le=65_536)]


class BackupConfig(_Section, frozen=True):
    directory: str
    chunk_kib: Annotated[int, Meta(ge=64, le=65_536)]


class HealthConfig(_Section, frozen=True):
    sample_s: Annotated[int, Meta(ge=1, le=3_600)]
    disk_free_mib_min: Annotated[int, Meta(ge=0, le=1_048_576)]


class LogsConfig(_Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"]
    file_kib: Annotated[int, Meta(ge=64, le=1_048_576)]
    files_kept: Annotated[int, Meta(ge=0, le=100)]


class Config(_Section, frozen=True):
    """Everything that can be set. config.yaml explains each key."""

    supervisor: SupervisorConfig
    transport: TransportConfig
    writer: WriterConfig
    query: QueryConfig
    cache: CacheConfig
    backup: BackupConfig
    health: HealthConfig
    logs: LogsConfig

    @property
    def transport_kind(self) -> Literal["ipc", "tcp"]:
        if self.transport.kind == "auto":
            return "tcp" if sys.platform == "win32" else "ipc"
        return self.transport.kind

    @property
    def start_method(self) -> Literal["forkserver", "spawn"]:
        if self.transport.start_method == "auto":
            return "spawn" if sys.platform == "win32" else "forkserver"
        return self.transport.start_method


def shipped_file() -> Path:
    """config.yaml: beside the package in a wheel, at the top of the tree in a checkout."""
    here = Path(__file__).parent
    packaged = here / "config.yaml"
    return packaged if packaged.exists() else here.parent / "config.yaml"


def load_config(files: tuple[Path, ...] = (), settings: dict[str, str] | None = None) -> Config:
    """The shipped defaults, overlaid by `files` in order, then by `settings` ("section.key" -> YAML text).

    Raises ConfigError (`config_unreadable`, `config_invalid`) naming file and key.
    """
    merged: dict[str, Any] = {}
    source = "the shipped configuration"
    for file in (shipped_file(), *files):
        source = str(file)
        _overlay(merged, _read(file), source)
    for name, text in (settings or {}).items():
        source = f"--set {name}"
        section, _, key = name.partition(".")
        _overlay(merged, {section: {key: _parse(text, source)}}, source)
    return _convert(merged, source)


def _read(file: Path) -> Any:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            "config_unreadable",
            f"{file} cannot be read: {error.strerror}.",
            fix="Check the path and its permissions.",
        ) from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(
            "config_invalid",
            f"{file} has {len(data)} bytes; at most {CONFIG_BYTES_MAX} are read.",
            fix="Keep only the keys that differ from the defaults.",
        )
    return _parse(data, str(file))


def _parse(text: str | bytes, source: str) -> Any:
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            "config_invalid",
            f"{source} is not YAML: {error}.",
            fix="Compare it with the shipped config.yaml.",
        ) from error


def _overlay(merged: dict[str, Any], more: Any, source: str) -> None:
    """Put `more` over `merged`, key by key, refusing sections that are not maps."""
    if more is None:
        return
    if not isinstance(more, dict) or not all(isinstance(section, dict) for section in more.values()):
        raise ConfigError(
            "config_invalid",
            f"{source} must hold sections with keys, as in `writer: {{checkpoint_kib: 4096}}`.",
            fix="Compare it with the shipped config.yaml.",
        )
    # Converted after every file, so that a mistake is reported with the file it stands in.
    for section, keys in more.items():
        merged[section] = {**merged.get(section, {}), **keys}
    _convert(merged, source)


def _convert(merged: dict[str, Any], source: str) -> Config:
    try:
        return msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(
            "config_invalid",
            f"{source}: {error}.",
            fix="See the shipped config.yaml for every key, its unit and its bounds.",
        ) from error
