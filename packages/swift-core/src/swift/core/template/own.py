"""A user's template held to its contract, so that a mistake shows at the first rows and not as a bad loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.core.protocols import Template
from swift.core.registry import Component, templates
from swift.core.template.truncate import EncodeStatistics, Truncation, fit
from swift.core.types import IGNORE_INDEX, Conversation, Encoded, Task
from swift.plugin.parts import build_component, parameters_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OwnTemplate(Template):
    """Checks what a registered template encodes, and applies data.max_length and data.truncation to it.

    Args:
        component: as it was registered.
        config: data.template_config. The factory is called as (tokenizer, **config).
        settings: what it also gets, each by name if it names it: max_length, truncation, loss_turns, task,
            media.

    Raises:
        PluginError: it cannot be built, or has no encode().
    """

    def __init__(
        self,
        component: Component,
        config: Mapping[str, Any],
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: Truncation,
        task: Task,
        **settings: Any,
    ) -> None:
        given = {"max_length": max_length, "truncation": truncation, "task": task, **settings}
        named = parameters_of(component.load()) or {}
        asked = {key: value for key, value in given.items() if key in named}
        self.described = component.described(templates.kind)
        self.inner: Template = build_component(templates.kind, component, {**asked, **config}, tokenizer)
        if not callable(getattr(self.inner, "encode", None)):
            raise PluginError(
                f"{self.described} makes a {type(self.inner).__name__} without encode()",
                "give it a method encode(conversations) that returns a list of swift.core.types.Encoded",
            )
        self.vocabulary = len(tokenizer)
        self.max_length = max_length
        self.truncation: Truncation = truncation
        self.task = task
        self.statistics = EncodeStatistics()
        if callable(getattr(self.inner, "fingerprint", None)):  # without it, samples are not cached
            self.fingerprint = self.inner.fingerprint  # type: ignore[attr-defined]

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoded]:
        """Samples of these rows, checked and cut.

        Raises:
            PluginError: the template fails, or returns what is not a sample.
            DataError: what it raises about a row.
        """
        first = conversations[0].origin if conversations else "no rows"
        try:
            samples = list(self.inner.encode(conversations))
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{self.described}: encode() fails on rows from {first}: {in_one_line(error)}",
                "correct it, or raise swift.core.errors.DataError for a row that cannot be encoded",
            ) from error
        self.statistics.rows += len(conversations)
        checked = [self._checked(sample, first) for sample in samples]
        if self.task == "preference" and any(sample.rejected is None for sample in checked):
            raise self._broken("gives a pair without rejected", first, "set Encoded.rejected")
        return [kept for sample in checked for kept in self._cut(sample)]

    def _checked(self, sample: Any, first: str) -> Encoded:
        if not isinstance(sample, Encoded):
            raise self._broken(f"returns a {type(sample).__name__}", first, "return swift.core.types.Encoded")
        origin = sample.origin or first
        ids = self._tokens(sample.input_ids, "input_ids", origin)
        labels = self._tokens(sample.labels, "labels", origin, ignored=True)
        if not len(ids) or len(ids) != len(labels):
            raise self._broken(
                f"gives {len(ids)} input_ids and {len(labels)} labels",
                origin,
                f"write one label a token: the token itself where it is learned, {IGNORE_INDEX} elsewhere",
            )
        return replace(
            sample,
            input_ids=ids,
            labels=labels,
            loss_weights=self._weights(sample.loss_weights, len(ids), origin),
            rejected=None if sample.rejected is None else self._checked(sample.rejected, origin),
            others=tuple(self._checked(other, origin) for other in sample.others),
            origin=origin,
        )

    def _tokens(self, value: Any, name: str, origin: str, ignored: bool = False) -> npt.NDArray[np.int32]:
        array = np.asarray(value)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise self._broken(
                f"gives {name} of shape {array.shape} and type {array.dtype}",
                origin,
                "give whole numbers [T]",
            )
        wrong = (array < 0) | (array >= self.vocabulary)
        if ignored:
            wrong &= array != IGNORE_INDEX
        if wrong.any():
            raise self._broken(
                f"gives the token {int(array[wrong][0])} in {name}",
                origin,
                f"token ids are 0 to {self.vocabulary - 1} with this tokenizer",
            )
        return array.astype(np.int32)

    def _weights(self, value: Any, length: int, origin: str) -> npt.NDArray[np.float32] | None:
        if value is None:
            return None
        weights = np.asarray(value, dtype=np.float32)
        if weights.shape != (length,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise self._broken(
                f"gives loss_weights of shape {weights.shape}, or negative or non-finite ones",
                origin,
                f"give {length} finite numbers of at least 0, one a token",
            )
        return weights

    def _broken(self, what: str, origin: str, remedy: str) -> PluginError:
        return PluginError(f"{self.described}: encode() {what} for {origin}", remedy)

    def _cut(self, sample: Encoded) -> list[Encoded]:
        """Pieces of at most max_length tokens; samples of several parts are dropped when one is longer."""
        parts = [sample, *([sample.rejected] if sample.rejected else []), *sample.others]
        longest = max(len(part.input_ids) for part in parts)
        self.statistics.longest = max(self.statistics.longest, longest)
        if longest <= self.max_length:
            return [sample]
        how: Truncation = "delete" if len(parts) > 1 or sample.media else self.truncation
        pieces = fit((sample.input_ids, sample.labels, sample.loss_weights), self.max_length, how)
        if not pieces:
            self.statistics.drop(longest)
        else:
            self.statistics.truncated += 1
        return [
            replace(sample, input_ids=ids, labels=labels, loss_weights=weights)
            for ids, labels, weights in pieces
        ]
