"""The product of few rows against torch's."""

from __future__ import annotations

import pytest
import torch

from swift.kernels import native_available, skinny_linear

pytestmark = pytest.mark.skipif(not native_available(), reason="swift.kernels._native is not built here")


@pytest.mark.parametrize("rows", [1, 7, 16, 17, 33, 48, 63, 64, 65, 100, 200])
@pytest.mark.parametrize(("width", "features"), [(1, 1), (5, 3), (64, 48), (96, 53), (600, 101), (1030, 13)])
def test_equals_torch(rows: int, width: int, features: int) -> None:
    torch.manual_seed(rows)
    input, weight, bias = torch.randn(rows, width), torch.randn(features, width), torch.randn(features)
    exact = torch.nn.functional.linear(input.double(), weight.double(), bias.double()).float()
    made = skinny_linear(input, weight, bias, implementation="native")
    torch.testing.assert_close(made, exact, rtol=1e-5, atol=1e-5 * width**0.5)
    without = skinny_linear(input, weight, implementation="native")
    torch.testing.assert_close(without, exact - bias, rtol=1e-5, atol=2e-5 * width**0.5)


def test_shapes_strides_and_threads() -> None:
    torch.manual_seed(0)
    input, weight = torch.randn(5, 8, 64), torch.randn(130, 64)
    swapped = input.transpose(0, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = skinny_linear(swapped, weight, implementation="native")
    finally:
        torch.set_num_threads(before)
    assert made.shape == (8, 5, 130)
    torch.testing.assert_close(made, swapped @ weight.T, rtol=1e-5, atol=1e-4)


def test_one_row_is_the_same_in_any_company() -> None:
    torch.manual_seed(0)
    input, weight = torch.randn(64, 256), torch.randn(96, 256)
    whole = skinny_linear(input, weight, implementation="native")
    for rows in (1, 20, 40):
        assert torch.equal(skinny_linear(input[:rows], weight, implementation="native"), whole[:rows])


def test_reads_the_weight_as_it_is_now() -> None:
    input, weight = torch.ones(32, 8), torch.ones(4, 8)
    assert skinny_linear(input, weight).unique().tolist() == [8]
    weight.data.zero_()
    assert skinny_linear(input, weight).unique().tolist() == [0]


def test_numbers_that_are_none_spread() -> None:
    input, weight = torch.ones(32, 8), torch.ones(50, 8)
    weight[3, 2] = float("nan")
    made = skinny_linear(input, weight, implementation="native")
    assert made[:, 3].isnan().all() and made.isnan().sum() == 32


def test_what_native_code_does_not_take() -> None:
    input, weight = torch.randn(32, 8), torch.randn(4, 8)
    half = skinny_linear(input.bfloat16(), weight.bfloat16())
    assert half.dtype == torch.bfloat16
    gaps = torch.randn(8, 4).T
    torch.testing.assert_close(skinny_linear(input, gaps), input @ gaps.T)
    with pytest.raises(ValueError, match="float32"):
        skinny_linear(input.bfloat16(), weight.bfloat16(), implementation="native")
    with pytest.raises(ValueError, match="gaps"):
        skinny_linear(input, gaps, implementation="native")
