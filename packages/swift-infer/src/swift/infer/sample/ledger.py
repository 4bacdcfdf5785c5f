"""Rows on their way to a file, so that a run that was killed goes on where it was, without a row twice.

OUT.part holds the rows of all prompts that are done; OUT.progress says how many prompts and bytes those are.
Rows are written and flushed before the progress is replaced; what lies beyond it is cut off at the next
start.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.core.errors import CheckpointError, DataError


@dataclass
class Ledger:
    """Rows of one output.

    Attributes:
        output: where they go when all are there.
        fingerprint: of prompts and settings; another one does not continue these rows.
        done: prompts that are dealt with.
        counts: what became of prompts and answers.
    """

    output: Path
    fingerprint: str
    done: int = 0
    size: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def staged(self) -> Path:
        """Rows so far."""
        return self.output.with_name(self.output.name + ".part")

    @property
    def progress(self) -> Path:
        """How far they go."""
        return self.output.with_name(self.output.name + ".progress")

    def open(self) -> None:
        """Go on with what is there, or begin.

        Raises:
            CheckpointError: what is there was made of other prompts or settings.
            DataError: the output cannot be written.
        """
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            if self.output.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            if self.progress.is_file():
                self._restore(json.loads(self.progress.read_text(encoding="utf-8")))
            with self.staged.open("ab") as file:
                file.truncate(self.size)
        except OSError as error:
            raise DataError(f"output {str(self.output)!r} cannot be written: {error.strerror}") from error

    def add(self, prompts: int, rows: Iterable[Mapping[str, Any]], counts: Mapping[str, int]) -> None:
        """The rows of the next prompts; when this returns, a kill loses none of them."""
        lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode()
        with self.staged.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self.done += prompts
        self.size += len(lines)
        self.counts.update(counts)
        record = {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "size": self.size,
            "counts": self.counts,
        }
        fresh = self.progress.with_name(self.progress.name + ".tmp")
        fresh.write_text(json.dumps(record) + "\n", encoding="utf-8")
        fresh.replace(self.progress)

    def close(self) -> None:
        """Put the rows in their place."""
        self.staged.replace(self.output)
        self.progress.unlink(missing_ok=True)

    def _restore(self, record: Mapping[str, Any]) -> None:
        if record["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{self.staged} holds rows made of other prompts, models or settings",
                f"go on with those, choose another output, or delete {self.progress}",
            )
        self.done, self.size = int(record["done"]), int(record["size"])
        self.counts = Counter(record["counts"])
