"""What every part of an answer says of itself."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Envelope:
    """Of one answer, or of all the events of one stream.

    Attributes:
        model: the name by which the client asked for it.
        created: seconds since 1970.
    """

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def new(cls, prefix: str, model: str) -> Envelope:
        """With an id that begins with what kind of answer it is."""
        return cls(f"{prefix}-{uuid.uuid4().hex}", model)

    def event(self, kind: str) -> dict[str, Any]:
        """An event of a stream, its choices not yet in it."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": []}
