"""Logging: one JSON line per record, a file per process, nothing secret.

Fields are an allow-list: time, level, process, logger, message and, for errors, the exception's class and
traceback. Messages are written by us and never hold content; values of requests do not reach a logger.
"""

import logging
import logging.handlers
import traceback
from pathlib import Path
from time import gmtime

import msgspec

from keepdb.config import LogsConfig


class JsonLines(logging.Formatter):
    """A record as one line: {"at", "level", "process", "logger", "message", "error"?}; at is RFC 3339 UTC."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process
        self._encode = msgspec.json.Encoder().encode

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # Frames only, never the exception's text: it may quote what a user wrote.
            frames = "".join(traceback.format_tb(record.exc_info[2]))
            name = getattr(record.exc_info[1], "code", record.exc_info[0].__name__)
            line["error"] = f"{name}\n{frames}"
        return self._encode(line).decode()

    converter = staticmethod(gmtime)


def set_up_logging(directory: Path, process: str, config: LogsConfig) -> None:
    """Send this process's records to <directory>/<process>.jsonl, rotated by size."""
    directory.mkdir(mode=0o700, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        directory / f"{process}.jsonl",
        maxBytes=config.file_kib * 1024,
        backupCount=config.files_kept,
        encoding="utf-8",
        delay=True,
    )
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    # pykka reports every exception that an asker gets anyway.
    logging.getLogger("pykka").setLevel(logging.ERROR)
