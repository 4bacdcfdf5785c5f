"""Reading off an attention mask which tokens of a row belong to one sequence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from swift.core.errors import ModelError


@dataclass(frozen=True)
class Row:
    """Sequences of one row.

    Attributes:
        start: the first token that is no padding.
        bounds: 0 = s_0 < ... < s_N of the sequences, counted from start.
    """

    start: int
    bounds: tuple[int, ...]

    @property
    def end(self) -> int:
        """One behind the last token."""
        return self.start + self.bounds[-1]


def rows_of_mask(mask: Tensor) -> list[Row]:
    """The rows of a dense causal mask, from its diagonal and those beside it: 3T values of T^2.

    A token that does not see itself is padding; one that does not see its predecessor begins a sequence.

    Args:
        mask: [B, 1 or H, T, T], true where a query sees a key.

    Raises:
        ModelError: a token sees its successor, or padding lies between tokens.
    """
    seen = mask[:, 0]
    if bool(seen.diagonal(1, -2, -1).any()):
        raise ModelError(
            "longlora attends within causal groups, and this model's attention sees later tokens",
            "use lora, or give it no images or prefixes whose tokens see each other",
        )
    real = seen.diagonal(0, -2, -1)
    begins = real.clone()
    begins[:, 1:] &= ~(seen.diagonal(-1, -2, -1) & real[:, :-1])
    return [_row(one, starts) for one, starts in zip(real.cpu(), begins.cpu(), strict=True)]


def _row(real: Tensor, begins: Tensor) -> Row:
    places = real.nonzero().flatten().tolist()
    if not places:
        return Row(0, (0,))
    start, end = places[0], places[-1] + 1
    if len(places) != end - start:
        raise ModelError("padding lies between the tokens of a row", "pad rows at their ends only")
    starts = begins.nonzero().flatten().tolist()
    return Row(start, tuple([place - start for place in starts] + [end - start]))
