"""The grid and the rounding methods against their formulas."""

from __future__ import annotations

import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from torch import Tensor

from swift.infer.quantize.awq.search import best_bounds, best_factor
from swift.infer.quantize.fp8.quantizer import to_float8
from swift.infer.quantize.gptq.solve import solve
from swift.infer.quantize.grid import Grid, nearest
from swift.infer.quantize.int8.smooth import smoothing_factor
from swift.infer.quantize.statistics import InputStatistics

GRIDS = [Grid(4, 32), Grid(4, 32, symmetric=False), Grid(8, None), Grid(3, 16, symmetric=False), Grid(2, 64)]


def inputs_and_weight(tokens: int = 400, rows: int = 24, columns: int = 64) -> tuple[Tensor, Tensor]:
    """Correlated inputs with two loud channels [tokens, columns], and a weight [rows, columns]."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    inputs = torch.randn(tokens, columns, generator=generator) @ (mixing + torch.eye(columns))
    inputs[:, [3, 40]] *= 12
    return inputs, torch.randn(rows, columns, generator=generator)


def seen(inputs: Tensor) -> InputStatistics:
    statistics = InputStatistics.empty(inputs.shape[1], inputs.device)
    statistics.add(inputs)
    return statistics


def error(weight: Tensor, rounded: Tensor, inputs: Tensor) -> float:
    return float(((weight - rounded) @ inputs.T).square().sum())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rounds_as_compressed_tensors_reads(grid: Grid) -> None:
    _, weight = inputs_and_weight()
    rounded = nearest(weight, grid, torch.float32)
    args = QuantizationArgs(
        num_bits=grid.bits,
        symmetric=grid.symmetric,
        strategy="group" if grid.group_size else "channel",
        group_size=grid.group_size,
    )
    read = fake_quantize(rounded.weight, rounded.scale, rounded.zero, args)
    torch.testing.assert_close(read, rounded.weight)  # what is packed is what was chosen
    theirs = fake_quantize(weight, rounded.scale, rounded.zero, args)
    assert (theirs - rounded.weight).abs().gt(1e-5).float().mean() < 0.02  # ties alone
    levels = [len(row.unique()) for row in rounded.weight.reshape(-1, grid.width(weight.shape[1]))]
    assert max(levels) <= 2**grid.bits


def test_zero_groups_stay_zero() -> None:
    for symmetric in (True, False):
        rounded = nearest(torch.zeros(2, 64), Grid(4, 32, symmetric), torch.bfloat16)
        assert not rounded.weight.any() and rounded.scale.isfinite().all()


def gptq_by_hand(weight: Tensor, gram: Tensor, grid: Grid, damping: float) -> Tensor:
    """The paper's rule, one column at a time, with the inverse Hessian of the columns that are left."""
    gram = gram.double() + damping * gram.double().diagonal().mean() * torch.eye(
        len(gram), dtype=torch.double
    )
    rest, result = weight.double().clone(), torch.zeros_like(weight).double()
    scale = zero = torch.zeros(0)
    for column in range(weight.shape[1]):
        if column % grid.width(weight.shape[1]) == 0:
            group = rest[:, column : column + grid.width(weight.shape[1])].float()
            first = nearest(group, Grid(grid.bits, None, grid.symmetric), torch.float32)
            scale, zero = first.scale[:, 0].double(), first.zero[:, 0].double()
        steps = (torch.round(rest[:, column] / scale) + zero).clamp(grid.lowest, grid.highest)
        result[:, column] = (steps - zero) * scale
        inverse = torch.linalg.inv(gram[column:, column:])
        change = (rest[:, column] - result[:, column]) / inverse[0, 0]
        rest[:, column:] -= torch.outer(change, inverse[0])
    return result.float()


@pytest.mark.parametrize("symmetric", [True, False])
def test_gptq_is_the_papers_rule(symmetric: bool) -> None:
    inputs, weight = inputs_and_weight()
    grid = Grid(4, 16, symmetric)
    ours = solve(weight, seen(inputs).gram, grid, torch.float32, act_order=False).weight
    expected = gptq_by_hand(weight, seen(inputs).gram, grid, 0.01)
    same = (ours - expected).abs() < 1e-4
    assert same.float().mean() > 0.97  # a tie rounded the other way moves the columns after it
    assert abs(error(weight, ours, inputs) / error(weight, expected, inputs) - 1) < 0.05


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(3, 16, symmetric=False), Grid(4, None)], ids=str)
def test_gptq_beats_plain_rounding(grid: Grid, act_order: bool) -> None:
    inputs, weight = inputs_and_weight()
    rounded = solve(weight, seen(inputs).gram, grid, torch.float32, act_order=act_order)
    plain = nearest(weight, grid, torch.float32).weight
    assert error(weight, rounded.weight, inputs) < 0.7 * error(weight, plain, inputs)
    again = nearest_on(rounded.weight, rounded.scale, rounded.zero, grid)
    torch.testing.assert_close(again, rounded.weight)  # what is written is on the grid


def nearest_on(weight: Tensor, scale: Tensor, zero: Tensor, grid: Grid) -> Tensor:
    width = grid.width(weight.shape[1])
    scale, zero = scale.repeat_interleave(width, 1), zero.repeat_interleave(width, 1)
    return ((torch.round(weight / scale) + zero).clamp(grid.lowest, grid.highest) - zero) * scale


def test_gptq_takes_channels_that_were_never_used() -> None:
    inputs, weight = inputs_and_weight()
    inputs[:, 7] = 0
    rounded = solve(weight, seen(inputs).gram, Grid(4, 32), torch.float32).weight
    assert rounded.isfinite().all()


def test_awq_finds_the_best_exponent_and_range() -> None:
    inputs, weight = inputs_and_weight()
    grid, statistics = Grid(3, 32, symmetric=False), seen(inputs)
    factor = best_factor([weight], statistics, grid, 20)
    mean = inputs.abs().mean(0)
    tried = []
    for step in range(21):
        one = mean ** (step / 20)
        one = one / (one.max() * one.min()).sqrt()
        tried.append(error(weight, nearest(weight * one, grid, torch.float32).weight / one, inputs))
    found = error(weight, nearest(weight * factor, grid, torch.float32).weight / factor, inputs)
    assert found == pytest.approx(min(tried), rel=1e-3) and found < 0.8 * tried[0]
    bounds = best_bounds(weight, statistics.gram, grid, 10, torch.float32)
    for group in range(2):
        columns = slice(group * 32, group * 32 + 32)
        own, part = inputs[:, columns], weight[:, columns]
        whole = Grid(3, None, symmetric=False)
        clipped = nearest(part, whole, torch.float32, tuple(edge[:, group : group + 1] for edge in bounds))  # type: ignore[arg-type]
        assert error(part, clipped.weight, own) < error(part, nearest(part, whole, torch.float32).weight, own)


def test_smoothing_meets_in_the_middle() -> None:
    inputs, weight = inputs_and_weight()
    factor = smoothing_factor([weight], inputs.abs().amax(0), 0.5)
    torch.testing.assert_close((inputs / factor).abs().amax(0), (weight * factor).abs().amax(0))


def test_float8_covers_the_largest_weight() -> None:
    _, weight = inputs_and_weight()
    rounded = to_float8(weight, torch.float32)
    torch.testing.assert_close(rounded.weight.abs().amax(1), weight.abs().amax(1))
    assert ((rounded.weight - weight).abs() <= weight.abs() / 16 + rounded.scale * 2**-9).all()


def test_layers_that_share_inputs_share_statistics() -> None:
    from swift.infer.quantize.statistics import Observer

    observer, inputs = Observer(), inputs_and_weight()[0]
    layers = {name: torch.nn.Linear(64, 8) for name in ("q", "k", "other")}
    with observer.watching(layers):
        for _ in range(2):
            layers["q"](inputs)
            layers["k"](inputs)
            layers["other"](inputs * 2)
    assert observer.statistics["q"] is observer.statistics["k"]
    assert observer.statistics["q"].count == 800
    torch.testing.assert_close(observer.statistics["q"].gram, 2 * inputs.T @ inputs, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(observer.statistics["other"].total, 4 * inputs.abs().sum(0))
