"""Attention over pages against torch's attention over one row at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swift.kernels import native_available, paged_attention

IMPLEMENTATIONS = [
    "reference",
    pytest.param("native", marks=pytest.mark.skipif(not native_available(), reason="not built here")),
]


def case(lengths: list[int], page: int, sizes: tuple[int, int], heads: tuple[int, int]) -> dict[str, Any]:
    """Random rows whose pages lie in no order; unwritten slots hold NaN."""
    torch.manual_seed(1)
    (size, value_size), (query_heads, key_heads), rows = sizes, heads, len(lengths)
    wide = max(lengths) // page + 1
    pages = rows * wide + 3
    table = torch.randperm(pages)[: rows * wide].reshape(rows, wide).int()
    keys = torch.full((pages, key_heads, page, size), float("nan"))
    values = torch.full((pages, key_heads, page, value_size), float("nan"))
    for row, length in enumerate(lengths):
        for t in range(length):
            keys[table[row, t // page], :, t % page] = torch.randn(key_heads, size)
            values[table[row, t // page], :, t % page] = torch.randn(key_heads, value_size)
    return {
        "query": torch.randn(rows, query_heads, size),
        "new_key": torch.randn(rows, key_heads, size),
        "new_value": torch.randn(rows, key_heads, value_size),
        "keys": keys,
        "values": values,
        "table": table,
        "lengths": torch.tensor(lengths),
    }


def expected(given: dict[str, Any], scale: float, window: int) -> torch.Tensor:
    page = given["keys"].shape[2]
    out = []
    for row, length in enumerate(given["lengths"].tolist()):

        def whole(
            pool: torch.Tensor, new: torch.Tensor, row: int = row, length: int = length
        ) -> torch.Tensor:
            old = [pool[given["table"][row, t // page], :, t % page] for t in range(length)]
            return torch.stack([*old, new[row]], 1).double()  # [K, length + 1, size]

        first = max(0, length + 1 - window) if window else 0
        keys = whole(given["keys"], given["new_key"])[:, first:]
        values = whole(given["values"], given["new_value"])[:, first:]
        group = given["query"].shape[1] // keys.shape[0]
        keys, values = (one.repeat_interleave(group, 0) for one in (keys, values))
        scores = (keys @ given["query"][row].double()[:, :, None])[:, :, 0] * scale
        out.append((scores.softmax(-1)[:, None] @ values)[:, 0].float())
    return torch.stack(out)


@pytest.mark.parametrize("implementation", ["native"] if native_available() else [])
@pytest.mark.parametrize("heads", [(4, 2), (3, 3), (8, 1)])
@pytest.mark.parametrize("sizes", [(64, 64), (16, 16), (24, 12), (5, 3), (96, 128)])
@pytest.mark.parametrize("window", [0, 1, 6])
def test_equals_attention_by_row(
    implementation: Any, heads: tuple[int, int], sizes: tuple[int, int], window: int
) -> None:
    given = case([0, 1, 7, 8, 9, 31, 40], 8, sizes, heads)
    want = expected(given, 0.3, window)
    made = paged_attention(**given, scale=0.3, window=window, implementation=implementation)
    torch.testing.assert_close(made, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_new_token_is_kept(implementation: Any) -> None:
    given = case([3, 8], 4, (16, 16), (2, 1))
    for pool in ("keys", "values"):
        given[pool].nan_to_num_()  # the reference multiplies what it masks
    want = expected(given, 0.25, 0)
    made = paged_attention(**given, scale=0.25, implementation=implementation)
    torch.testing.assert_close(made, want, rtol=1e-5, atol=1e-5)
    for row, length in enumerate([3, 8]):
        own = given["table"][row, length // 4]
        assert torch.equal(given["keys"][own, :, length % 4], given["new_key"][row])
        assert torch.equal(given["values"][own, :, length % 4], given["new_value"][row])


@pytest.mark.skipif(not native_available(), reason="not built here")
def test_scores_beyond_the_range_of_exp() -> None:
    given = case([5, 20], 8, (16, 16), (2, 2))
    given["query"] *= 1000
    want = expected(given, 1.0, 0)
    torch.testing.assert_close(
        paged_attention(**given, scale=1.0, implementation="native"), want, rtol=1e-4, atol=1e-4
    )


def test_refuses_what_does_not_fit() -> None:
    given = case([3, 8], 4, (16, 16), (2, 1))
    with pytest.raises(ValueError, match="cannot hold a row of 13 tokens"):
        paged_attention(**{**given, "lengths": torch.tensor([3, 12])}, scale=1.0)
    with pytest.raises(ValueError, match="names page 99"):
        paged_attention(**{**given, "table": torch.full_like(given["table"], 99)}, scale=1.0)
    with pytest.raises(ValueError, match="do not fit"):
        paged_attention(**{**given, "query": torch.zeros(2, 3, 8)}, scale=1.0)
