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
        before, after = exported.perplexity
        count = sum(len(row) - 1 for row in exported.tokens.held_out)
        yield (
            f"perplexity  {before:.3f} -> {after:.3f} ({after / before - 1:+.2%}), "
            f"{count:,} tokens of {exported.tokens.described}"
        )
    large, small = exported.size
    smaller = large / max(small, 1)
    yield f"size        {large / 1e6:,.2f} MB -> {small / 1e6:,.2f} MB ({smaller:.2f} times smaller)"
    yield f"answers     {exported.answer[:60]!r}"
    yield f"exported    {exported.folder}"
