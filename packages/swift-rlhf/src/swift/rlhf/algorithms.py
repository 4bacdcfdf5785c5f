"""The online algorithms as settings of one formula; a row is what distinguishes one from GRPO."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Algorithm:
    """One name for a combination.

    Attributes:
        aggregation: key of aggregate.AGGREGATIONS.
        paper: where it comes from.
    """

    aggregation: str
    paper: str


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm("seq-mean-token-mean", "arXiv 2402.03300"),
    "bnpo": Algorithm("local_token_mean", "TRL's variant of GRPO"),
    "dapo": Algorithm("token_mean", "arXiv 2503.14476"),
    "dr_grpo": Algorithm("constant", "arXiv 2503.20783"),
}
