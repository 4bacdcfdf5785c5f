"""What an export prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swift.infer.quantize.export import Exported


def lines(exported: Exported) -> Iterator[str]:
    """Perplexity and size before and after, an answer, and where the model is."""
    if exported.perplexity is None:
        yield "perplexity  not measured: no held-out rows"
    else:
        at_first, now = exported.perplexity
        count = sum(len(row) - 1 for row in exported.tokens.held_out)
        yield (
            f"perplexity  {at_first:.3f} -> {now:.3f} ({now / at_first - 1:+.2%}), "
            f"{count:,} tokens of {exported.tokens.described}"
        )
    before, after = exported.size
    yield f"size        {before / 1e6:,.2f} MB -> {after / 1e6:,.2f} MB ({change(before, after)})"
    yield f"answers     {exported.answer[:60]!r}"
    yield f"exported    {exported.folder}"


def change(before: int, after: int) -> str:
    """How two sizes compare, to a hundredth."""
    smaller, larger = f"{before / max(after, 1):.2f}", f"{after / max(before, 1):.2f}"
    if smaller == "1.00" or larger == "1.00":
        return "the same size"
    return f"{smaller} times smaller" if after < before else f"{larger} times larger"
