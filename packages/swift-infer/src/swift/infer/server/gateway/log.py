"""The request log: one JSON object a line, written by a thread of its own."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from swift.core.errors import ConfigError

logger = logging.getLogger(__name__)


class RequestLog:
    """Appends records to a file; write() never waits for the disk, close() returns when all are written.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"infer.request_log {str(path)!r} cannot be written: {error.strerror}"
            ) from error
        self._lost = 0
        self._records: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="swift-request-log", daemon=True)
        self._thread.start()

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, with the time of now (UTC) before it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._records.put({"time": now, **record})

    def close(self) -> None:
        """Write what is left; safe to call twice."""
        if self._thread.is_alive():
            self._records.put(None)
            self._thread.join()

    def _work(self) -> None:
        ending = False
        while not ending:
            batch = [self._records.get()]
            while not self._records.empty():
                batch.append(self._records.get())
            ending = None in batch
            self._append([record for record in batch if record is not None])
        self._file.close()

    def _append(self, records: list[dict[str, Any]]) -> None:
        try:
            self._file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            self._file.flush()
        except OSError as error:  # a full disk must not end the service; that lines are lost is said
            self._lost += len(records)
            logger.error("%d lines of the request log are lost: %s", self._lost, error)
