"""Tokens from logits, all rows at once. Shapes: B rows, V vocabulary, K kept candidates.

A draw uses one uniform number a token, hashed from (seed, index of the token): what a request draws depends
on nothing that runs beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from swift.core.types import SamplingParams
from swift.infer.engines.transformers.constraint import Matcher, mask
from swift.infer.engines.transformers.penalties import Penalties, penalise

CANDIDATES = 256  # likeliest tokens tried first for top-p; a full sort follows only where they do not suffice
BLOCK = 64
GREEDY = 1e-5  # at lower temperatures all probability lies on one token, and the division overflows


@dataclass(slots=True, frozen=True)
class Draw:
    """One row of a step: how it samples, its seed, the number of its token, what changes its logits."""

    params: SamplingParams
    seed: int
    index: int
    penalties: Penalties | None = None
    matcher: Matcher | None = None

    @property
    def shaped(self) -> bool:
        """Whether it draws from other logits than the model's."""
        return self.penalties is not None or self.matcher is not None


@dataclass(slots=True, frozen=True)
class Drawn:
    """One new token.

    Attributes:
        logprob: its log-probability at temperature 1 without filters, or None when not asked for.
        top: the likeliest tokens' log-probabilities by token id, likeliest first, or None.
        finite: whether the logits were numbers; the token means nothing otherwise.
        possible: whether the constraint left any token; the token means nothing otherwise.
    """

    token: int
    logprob: float | None = None
    top: dict[int, float] | None = None
    finite: bool = True
    possible: bool = True


def sample(logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
    """Draw one token a row.

    Args:
        logits: [B, V], any float type.
        draws: B rows.
    """
    logits = logits.float()
    highest, tokens = _choose(logits, draws, [row for row, draw in enumerate(draws) if not draw.shaped])
    possible = [True] * len(draws)
    shaped = [row for row, draw in enumerate(draws) if draw.shaped]
    if shaped:
        rows = torch.tensor(shaped, device=logits.device)
        left, chosen = _choose_shaped(logits[rows], [draws[row] for row in shaped])
        tokens = tokens.index_copy(0, rows, chosen)
        for row, some in zip(shaped, left.tolist(), strict=True):
            possible[row] = some
    finite = torch.isfinite(highest).tolist()  # a maximum propagates NaN
    logprobs = _logprobs(logits, tokens, draws)
    nothing = (None, None)
    drawn = []
    for row, token in enumerate(tokens.tolist()):
        logprob, top = logprobs.get(row, nothing)
        drawn.append(Drawn(token, logprob, top, finite[row], possible[row]))
    return drawn


def _choose(
    logits: torch.Tensor, draws: Sequence[Draw], rows: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(greatest logit, token) of every row, [B] each; drawn at random in those of `rows` that ask for it."""
    highest, tokens = largest(logits)
    random = [row for row in rows if draws[row].params.temperature > GREEDY]
    if random:
        at = torch.tensor(random, device=logits.device)
        chosen = _draw(_rows(logits, at), [draws[row] for row in random])
        tokens = tokens.index_copy(0, at, chosen)
    return highest, tokens


def _choose_shaped(logits: torch.Tensor, draws: Sequence[Draw]) -> tuple[torch.Tensor, torch.Tensor]:
    """(whether any token is left, token) after penalties and constraints, [B] each; logits are used up."""
    penalise(logits, {row: draw.penalties for row, draw in enumerate(draws) if draw.penalties is not None})
    mask(logits, {row: draw.matcher for row, draw in enumerate(draws) if draw.matcher is not None})
    stuck = logits.amax(-1) == -torch.inf
    logits.masked_fill_(stuck[:, None], 0.0)  # nothing can be drawn from nothing
    _, tokens = _choose(logits, draws, range(len(draws)))
    return ~stuck, tokens


def largest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Greatest value and its first index, [B] each.

    In two stages where the vocabulary divides: torch finds maxima without their index ten times faster
    on CPU.
    """
    rows, vocabulary = logits.shape
    if vocabulary % BLOCK:
        return torch.max(logits, dim=-1)
    blocks = logits.view(rows, -1, BLOCK)
    highest, block = blocks.amax(-1).max(dim=-1)
    inside = blocks[torch.arange(rows, device=logits.device), block].argmax(-1)
    return highest, block * BLOCK + inside


def uniform(seeds: Sequence[int], indices: Sequence[int]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) of 53 bits: SplitMix64 at counter `index` of stream `seed`.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    seed = np.array([value & 0xFFFFFFFFFFFFFFFF for value in seeds], dtype=np.uint64)
    index = np.array(indices, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = _mix(seed) + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _rows(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return logits if rows.shape[0] == logits.shape[0] else logits[rows]


def _draw(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Inverse transform sampling: the first token whose cumulative probability passes a uniform number."""
    params = [draw.params for draw in draws]
    temperature = torch.tensor([p.temperature for p in params], device=logits.device)
    scaled = logits / temperature[:, None]
    numbers = uniform([draw.seed for draw in draws], [draw.index for draw in draws])
    point = torch.from_numpy(numbers).to(logits.device)
    filtered = [row for row, p in enumerate(params) if p.top_k > 0 or p.top_p < 1.0 or p.min_p > 0.0]
    tokens = torch.empty(len(draws), dtype=torch.long, device=logits.device)
    plain = [row for row in range(len(draws)) if row not in set(filtered)]
    if plain:
        rows = torch.tensor(plain, device=logits.device)
        tokens[rows] = _invert(_rows(scaled, rows).softmax(-1), point[rows])
    if filtered:
        rows = torch.tensor(filtered, device=logits.device)
        tokens[rows] = _draw_filtered(_rows(scaled, rows), point[rows], [params[row] for row in filtered])
    return tokens


def _invert(probabilities: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Index [B] drawn from unnormalised probabilities [B, K]; never one of probability zero."""
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    target = (point[:, None] * total.double()).to(cumulative.dtype)
    # rounding may lift the target to the total itself, which no token passes
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def _draw_filtered(
    scaled: torch.Tensor, point: torch.Tensor, params: Sequence[SamplingParams]
) -> torch.Tensor:
    """Top-k and min-p, then top-p on what is left: the fewest likeliest tokens with that probability."""
    vocabulary = scaled.shape[-1]
    top_k = torch.tensor([p.top_k or vocabulary for p in params], device=scaled.device).clamp(max=vocabulary)
    top_p = torch.tensor([p.top_p for p in params], device=scaled.device)
    min_p = torch.tensor([p.min_p for p in params], device=scaled.device)
    log_total = torch.logsumexp(scaled, -1, keepdim=True)
    count = min(vocabulary, max(CANDIDATES, max(p.top_k for p in params)))
    while True:
        values, indices = scaled.topk(count, dim=-1)
        weights = (values - log_total).exp()
        unlikely = weights < min_p[:, None] * weights[:, :1]
        # a row cut by top-k or min-p is complete; another one's mass is 1 by definition
        complete = (top_k <= count) | unlikely[:, -1]
        beyond = torch.arange(count, device=scaled.device) >= top_k[:, None]
        weights = weights.masked_fill(unlikely | beyond, 0.0)
        mass = torch.where(complete, weights.sum(-1), torch.ones_like(top_p))
        before = weights.cumsum(-1) - weights
        enough = (weights.sum(-1) >= top_p * mass) | complete
        if count == vocabulary or bool(enough.all()):
            break
        count = vocabulary
    kept = before < (top_p * mass)[:, None]
    kept[:, 0] = True
    chosen = _invert(weights * kept, point)
    return indices.gather(-1, chosen[:, None])[:, 0]


def _logprobs(
    logits: torch.Tensor, tokens: torch.Tensor, draws: Sequence[Draw]
) -> dict[int, tuple[float, dict[int, float] | None]]:
    """Row -> (log-probability of the token, the likeliest ones) for the rows that asked."""
    asking = {row: draw.params.logprobs for row, draw in enumerate(draws) if draw.params.logprobs is not None}
    if not asking:
        return {}
    rows = torch.tensor(list(asking), device=logits.device)
    own = _rows(logits, rows)
    log_total = torch.logsumexp(own, -1, keepdim=True)
    chosen = (own.gather(-1, tokens[rows, None]) - log_total)[:, 0].tolist()
    most = min(max(asking.values()), logits.shape[-1])
    if most == 0:
        tops: list[dict[int, float] | None] = [None] * len(asking)
    else:
        best = own.topk(most, dim=-1)
        pairs = zip(best.indices.tolist(), (best.values - log_total).tolist(), strict=True)
        tops = [
            dict(list(zip(ids, values, strict=True))[:wanted]) if wanted else None
            for (ids, values), wanted in zip(pairs, asking.values(), strict=True)
        ]
    return {row: (value, top) for row, value, top in zip(asking, chosen, tops, strict=True)}
