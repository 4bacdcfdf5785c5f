"""Shifted groups against an attention that is written out token by token."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from swift.core.errors import ModelError
from swift.tuners.longlora.groups import Groups, shifted_attention
from swift.tuners.longlora.masks import Row, rows_of_mask


def group_of(token: int, start: int, end: int, groups: Groups, shifted: bool) -> int:
    """Number of the group that a token is in, counted in its sequence."""
    length = groups.length(end - start)
    offset = length - length // 2 if shifted else 0  # as if so many tokens stood before the sequence
    return (token - start + offset) // length


def naive(
    query: Tensor, key: Tensor, value: Tensor, sequences: list[int], groups: Groups, window: int | None = None
) -> Tensor:
    """[B, T, H, E], one query of one head at a time."""
    rows, heads, tokens, width = query.shape
    share = heads // key.shape[1]
    output = torch.zeros(rows, tokens, heads, value.shape[-1])
    for row in range(rows):
        for head in range(heads):
            shifted = head >= heads // 2
            for start, end in itertools.pairwise(sequences):
                for token in range(start, end):
                    mine = group_of(token, start, end, groups, shifted)
                    seen = [
                        other
                        for other in range(start, token + 1)
                        if group_of(other, start, end, groups, shifted) == mine
                        and (window is None or token - other < window)
                    ]
                    scores = key[row, head // share, seen] @ query[row, head, token] / math.sqrt(width)
                    output[row, token, head] = scores.softmax(0) @ value[row, head // share, seen]
    return output


def drawn(rows: int, heads: int, shared: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(heads * 100 + tokens)
    return tuple(  # type: ignore[return-value]
        torch.randn(rows, count, tokens, width, generator=generator).requires_grad_()
        for count, width in ((heads, 8), (shared, 8), (shared, 6))
    )


@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (4, 1), (6, 3), (3, 3), (1, 1)])
@pytest.mark.parametrize(
    ("sequences", "groups"),
    [
        ([0, 16], Groups(4)),
        ([0, 13], Groups(4)),  # no multiple of the group
        ([0, 13], Groups(5)),  # an odd group
        ([0, 13], Groups(ratio=0.25)),
        ([0, 3, 4, 13], Groups(4)),  # a pack
        ([0, 9, 13], Groups(ratio=0.5)),
        ([0, 5], Groups(64)),  # plain attention for the heads that are not shifted
    ],
)
def test_equal_to_the_naive_one(heads: int, shared: int, sequences: list[int], groups: Groups) -> None:
    query, key, value = drawn(2, heads, shared, sequences[-1])
    expected = naive(query, key, value, sequences, groups)
    found = shifted_attention(query, key, value, sequences, groups)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    ours = torch.autograd.grad((found * weights).sum(), (query, key, value))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_sliding_window_stays_within_the_group() -> None:
    query, key, value = drawn(1, 4, 2, 12)
    groups = Groups(6)
    expected = naive(query, key, value, [0, 12], groups, window=3)
    found = shifted_attention(query, key, value, [0, 12], groups, sliding_window=3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_no_token_sees_a_later_one() -> None:
    """The first half group of the shifted heads is not joined to the last one."""
    query, key, value = drawn(1, 4, 4, 16)
    found = shifted_attention(query, key, value, [0, 16], Groups(4))
    for token in range(16):
        (moved,) = torch.autograd.grad(found[:, token].sum(), key, retain_graph=True)
        assert not moved[:, :, token + 1 :].any()
        assert moved[:, :, token].any() or token in (0, 2, 4, 6, 8, 10, 12, 14)


def test_lengths_of_groups() -> None:
    assert [Groups(ratio=0.25).length(tokens) for tokens in (1, 8, 9, 8192)] == [2, 2, 3, 2048]
    assert Groups(512).length(9) == 512
    assert Groups(4).bounds([0, 10], shifted=False) == [0, 4, 8, 10]
    assert Groups(4).bounds([0, 10], shifted=True) == [0, 2, 6, 10]
    assert Groups(4).bounds([0, 2, 7], shifted=True) == [0, 2, 4, 7]


def causal(tokens: int) -> Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool).tril()


def test_rows_of_masks() -> None:
    right, left, packed, empty = causal(6), causal(6), causal(6), causal(6)
    right[:, 4:] = False
    left[:, :2] = False
    packed[2:, :2] = False
    empty[:] = False
    found = rows_of_mask(torch.stack([causal(6), right, left, packed, empty])[:, None])
    assert found == [Row(0, (0, 6)), Row(0, (0, 4)), Row(2, (0, 4)), Row(0, (0, 2, 6)), Row(0, (0,))]
    gap = causal(6)
    gap[:, 2] = False
    with pytest.raises(ModelError, match="padding lies between"):
        rows_of_mask(gap[None, None])
    with pytest.raises(ModelError, match="sees later tokens"):
        rows_of_mask(torch.ones(1, 1, 3, 3, dtype=torch.bool))
