"""Callables of the ordinary contracts that compute in a plugin's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.contents import Place, pack, signature
from swift.plugin.sandbox.frames import Message, body_of
from swift.plugin.sandbox.process import SandboxProcess
from swift.plugin.sandbox.running import Running

Row = dict[str, Any]


class Proxy:
    """A part on the other side, by number.

    Attributes:
        accepts: names of the arguments that a call takes beyond the first two; None: any.
        process: that holds it; restart() and close() are there.
    """

    def __init__(
        self, process: SandboxProcess, part: int, name: str, accepts: tuple[str, ...] | None
    ) -> None:
        self.process = process
        self.accepts = accepts
        self._part = part
        self._name = name


class SandboxedMetric(Proxy):
    """`(predictions, references, **extras) -> number or numbers by name`, of tensors or JSON."""

    def __call__(self, predictions: Any, references: Any, **extras: Any) -> float | dict[str, float]:
        given = {"given": [predictions, references], "extras": extras}

        def act(running: Running) -> Message:
            tensors: list[torch.Tensor] = []
            told = signature(given, tensors)

            def write(places: list[Place], _: Place) -> Message:
                return {"op": "metric", "id": self._part, "arguments": pack(given, iter(places))}

            if tensors:
                body = running.placement.put((self._part, told), tensors, write).body
            else:
                body = body_of(write([], []))
            return running.request(body, self.process.limits.timeout)

        result = self.process.run(act, self._name).get("value")
        if isinstance(result, dict):
            return {name: self._number(value) for name, value in result.items()}
        return self._number(result)

    def _number(self, value: Any) -> float:
        return number(self.process, self._name, value)


class SandboxedReward(Proxy):
    """`(prompts, completions, **columns) -> one number a completion`; everything is JSON."""

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        given = {"given": [list(prompts), list(completions)], "extras": columns}
        message = {"op": "reward", "id": self._part, "arguments": given}
        result = self.process.call(message, self._name).get("result")
        if not isinstance(result, list):
            raise self.process.broken(self._name, "no list of numbers")
        if len(result) != len(completions):
            raise SandboxError(
                f"sandboxed {self._name} returned {len(result)} numbers for {len(completions)} completions",
                "return one number a completion",
            )
        return [number(self.process, self._name, value) for value in result]


class SandboxedFilter(Proxy):
    """`(row) -> True to keep it, False or None to drop it, or the row that replaces it`."""

    def __call__(self, row: Row, **config: Any) -> bool | Row | None:
        return self.batch([row], **config)[0]

    def batch(self, rows: Sequence[Row], **config: Any) -> list[bool | Row | None]:
        """Many rows in one round trip, in order."""
        message = {"op": "filter", "id": self._part, "rows": list(rows), "config": config}
        result = self.process.call(message, self._name).get("result")
        if not isinstance(result, list) or len(result) != len(rows):
            raise self.process.broken(self._name, f"no list of {len(rows)} rows")
        if any(not (each is None or isinstance(each, bool | dict)) for each in result):
            raise self.process.broken(self._name, "something that is neither a row nor true, false or null")
        return result


def number(process: SandboxProcess, name: str, value: Any) -> float:
    """A number of an answer.

    Raises:
        SandboxError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise process.broken(name, f"a {type(value).__name__} where a number is due")
    return float(value)
