"""The loss of a head without its logits equals that of its logits, in value and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from swift.kernels import (
    Implementation,
    linear_cross_entropy,
    linear_cross_entropy_and_entropy,
    native_available,
)

needs_native = pytest.mark.skipif(not native_available(), reason="swift.kernels._native is not built here")
SCALINGS: list[dict[str, Any]] = [
    {},
    {"softcap": 5.0},
    {"logit_scale": 0.5, "temperature": 0.7},
    {"softcap": 3.0, "logit_scale": 2.0, "temperature": 1.3},
]
CHUNK = (32, 100)  # neither divides the sizes below


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "reference"])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def problem(
    rows: int, columns: int, *, bias: bool, trains: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """hidden, weight, targets, bias."""
    draw = torch.Generator().manual_seed(rows + columns)
    hidden = torch.randn(rows, 24, generator=draw).requires_grad_()
    weight = (torch.randn(columns, 24, generator=draw) * 0.3).requires_grad_(trains)
    offset = torch.randn(columns, generator=draw).requires_grad_(trains) if bias else None
    return hidden, weight, torch.randint(columns, (rows,), generator=draw), offset


def defined(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Losses and entropies from all logits, in float64."""
    logits = functional.linear(hidden.double(), weight.double(), None if bias is None else bias.double())
    logits = logits * logit_scale
    logits = softcap * torch.tanh(logits / softcap) if softcap else logits
    logs = (logits / temperature).log_softmax(-1)
    return functional.nll_loss(logs, targets, reduction="none"), -(logs.exp() * logs).sum(-1)


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(70, 333), (1, 7), (33, 100)])
def test_values_and_gradients_equal_those_of_the_logits(
    rows: int, columns: int, trains: bool, bias: bool, scaling: dict[str, Any], implementation: Implementation
) -> None:
    hidden, weight, targets, offset = problem(rows, columns, bias=bias, trains=trains)
    inputs = [tensor for tensor in (hidden, weight, offset) if tensor is not None and tensor.requires_grad]
    row_gradient = torch.linspace(-1, 2, rows)
    nll, entropy = linear_cross_entropy_and_entropy(
        hidden, weight, targets, offset, chunk=CHUNK, implementation=implementation, **scaling
    )
    expected, expected_entropy = defined(hidden, weight, targets, offset, **scaling)
    assert nll.dtype == entropy.dtype == torch.float32
    assert not entropy.requires_grad
    torch.testing.assert_close(nll, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, expected_entropy.float(), rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad((nll * row_gradient).sum(), inputs)
    for ours, theirs in zip(found, torch.autograd.grad((expected * row_gradient).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trains", [False, True])
def test_a_large_vocabulary_in_the_usual_tiles(
    trains: bool, threads: int, implementation: Implementation
) -> None:
    hidden, weight, targets, _ = problem(300, 6_011, bias=False, trains=trains)
    inputs = [hidden, weight] if trains else [hidden]
    nll = linear_cross_entropy(hidden, weight, targets, implementation=implementation)
    expected, _ = defined(hidden, weight, targets, None)
    torch.testing.assert_close(nll, expected.float(), rtol=1e-5, atol=1e-5)
    found, theirs = (torch.autograd.grad(value.mean(), inputs) for value in (nll, expected))
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trains", [False, True])
def test_bfloat16_is_as_near_as_its_logits_are(trains: bool, implementation: Implementation) -> None:
    hidden, weight, targets, offset = problem(200, 500, bias=True, trains=trains)
    exact = [tensor.detach().bfloat16() for tensor in (hidden, weight, offset) if tensor is not None]
    low = [tensor.requires_grad_(trains or index == 0) for index, tensor in enumerate(exact)]
    inputs = low if trains else low[:1]
    nll = linear_cross_entropy(low[0], low[1], targets, low[2], chunk=CHUNK, implementation=implementation)
    expected, _ = defined(low[0], low[1], targets, low[2])
    plain = functional.cross_entropy(functional.linear(*low).float(), targets, reduction="none")
    error = (nll - expected).abs()
    assert error.max() <= 2 * (plain - expected).abs().max()
    wanted = torch.autograd.grad(expected.sum(), inputs, retain_graph=True)
    for ours, theirs, truth in zip(
        torch.autograd.grad(nll.sum(), inputs), torch.autograd.grad(plain.sum(), inputs), wanted, strict=True
    ):
        assert ours.dtype == torch.bfloat16
        assert (ours - truth).norm() <= 1.5 * (theirs - truth).norm() + 1e-3 * truth.norm()


def test_autocast_chooses_the_precision_of_the_products(implementation: Implementation) -> None:
    hidden, weight, targets, _ = problem(64, 300, bias=False, trains=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll = linear_cross_entropy(hidden, weight, targets, implementation=implementation)
    rounded = linear_cross_entropy(
        hidden.bfloat16(), weight.bfloat16(), targets, implementation=implementation
    )
    torch.testing.assert_close(nll, rounded)
    found = torch.autograd.grad(nll.sum(), [hidden, weight])
    assert [gradient.dtype for gradient in found] == [torch.float32, torch.float32]


def test_a_later_tile_may_hold_the_largest_logit(implementation: Implementation) -> None:
    hidden = torch.full((3, 2), 1.0, requires_grad=True)
    weight = torch.linspace(-40, 40, 500).repeat(2, 1).t().contiguous()  # logits from -80 to 80, rising
    targets = torch.tensor([0, 250, 499])
    nll = linear_cross_entropy(hidden, weight, targets, chunk=(2, 16), implementation=implementation)
    expected, _ = defined(hidden, weight, targets, None)
    torch.testing.assert_close(nll, expected.float(), rtol=1e-5, atol=1e-5)
    found, theirs = (torch.autograd.grad(value.sum(), hidden)[0] for value in (nll, expected))
    atol = (
        1e-5 if implementation == "native" else 2e-4
    )  # the reference subtracts 1 from p, times a weight of 40
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=atol)


@needs_native  # the reference subtracts 1 from p
def test_what_a_nearly_certain_token_teaches_is_not_lost() -> None:
    hidden = torch.tensor([[1.0, 0.5]], requires_grad=True)
    weight = torch.tensor([[30.0, 0.0], [14.0, 3.0], [12.0, 7.0]])  # p of the first is 1 - 1e-6
    targets = torch.tensor([0])
    nll = linear_cross_entropy(hidden, weight, targets, chunk=(1, 2), implementation="native")
    expected, _ = defined(hidden, weight, targets, None)
    assert 0 < expected.item() < 2e-6
    found, theirs = (torch.autograd.grad(value.sum(), hidden)[0] for value in (nll, expected))
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=0)


def test_what_is_not_finite_is_seen(implementation: Implementation) -> None:
    hidden, weight, targets, _ = problem(4, 40, bias=False, trains=False)
    with torch.no_grad():
        hidden[1, 0] = float("nan")
        hidden[2, 0] = float("inf")
        nll = linear_cross_entropy(hidden, weight, targets, implementation=implementation)
    assert nll.isfinite().tolist() == [True, False, False, True]


def test_a_bias_of_minus_infinity_excludes_a_token(implementation: Implementation) -> None:
    hidden, weight, _, _ = problem(5, 40, bias=False, trains=False)
    bias = torch.zeros(40)
    bias[:20] = float("-inf")
    targets = torch.arange(20, 25)
    nll, entropy = linear_cross_entropy_and_entropy(
        hidden, weight, targets, bias, chunk=(2, 8), implementation=implementation
    )
    expected, _ = linear_cross_entropy_and_entropy(hidden, weight[20:], targets - 20)
    torch.testing.assert_close(nll, expected)
    assert entropy.isfinite().all()
    (gradient,) = torch.autograd.grad(nll.sum(), hidden)
    assert gradient.isfinite().all()


def test_no_rows(implementation: Implementation) -> None:
    hidden, weight, targets, _ = problem(0, 40, bias=False, trains=True)
    nll = linear_cross_entropy(hidden, weight, targets, implementation=implementation)
    assert nll.shape == (0,)
    gradients = torch.autograd.grad(nll.sum(), [hidden, weight])
    assert [tuple(gradient.shape) for gradient in gradients] == [(0, 24), (40, 24)]
    assert gradients[1].abs().max() == 0


@needs_native
def test_a_frozen_head_costs_no_second_pass_and_keeps_no_weight() -> None:
    hidden, weight, targets, _ = problem(50, 300, bias=False, trains=False)
    nll = linear_cross_entropy(hidden, weight, targets, implementation="native")
    saved = nll.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert [tuple(tensor.shape) for tensor in saved] == [(50, 24)]  # the gradient itself


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(2, 3, 4)}, r"must be \[N, H\]"),
        ({"hidden": torch.zeros(2, 5)}, r"must be \[N, H\]"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"must be \[2\]"),
        ({"bias": torch.zeros(3)}, "a bias"),
        ({"targets": torch.tensor([0, 6])}, r"targets hold 6, they must be in \[0, 6\)"),
        ({"targets": torch.tensor([0, -100])}, "targets hold -100"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"implementation": "fast"}, "must be one of"),
        ({"hidden": torch.zeros(2, 4).double(), "implementation": "native"}, "float32 or bfloat16"),
    ],
)
def test_input_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"hidden": torch.zeros(2, 4), "weight": torch.zeros(6, 4), "targets": torch.zeros(2).long()}
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**{**arguments, **change})
