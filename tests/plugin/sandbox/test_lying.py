"""Tensors made in a process's shared memory: not copied on their way, and safe while somebody has them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from swift.core.errors import SandboxError
from swift.plugin.sandbox import SandboxLimits, load_sandboxed

PLUGIN = """
import os
import torch
import torch.nn.functional as F
from swift.plugin import register_loss, register_metric

@register_loss("mean")
def mean(inputs, targets):
    return F.cross_entropy(inputs, targets)

@register_loss("by_item")
def by_item(inputs, targets, weights=None):
    values = F.cross_entropy(inputs, targets, reduction="none")
    return values if weights is None else values * weights

@register_loss("scribble")
def scribble(inputs, targets):
    inputs.fill_(7.0)
    targets.unsqueeze_(0).fill_(3)
    return inputs.sum()

@register_metric("write")
def write(predictions, references):
    predictions.add_(1.0)
    return predictions.sum()

@register_metric("die")
def die(predictions, references):
    os._exit(1)
"""


def parts_of(folder: Path) -> dict[str, Any]:
    file = folder / "lying.py"
    file.write_text(PLUGIN)
    return {offer.name: offer.target() for offer in load_sandboxed(file, SandboxLimits(timeout=30))}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    parts = parts_of(tmp_path_factory.mktemp("lying"))
    yield parts
    parts["mean"].process.close()


def made(loss: Any, *shape: int) -> Tensor:
    """Random numbers in the memory of a loss."""
    inputs: Tensor = loss.empty_inputs(torch.float32, shape)
    return inputs.normal_()


def number_of_copies(monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]) -> list[int]:
    """How many tensors each further call copied."""
    placement = parts["mean"].process._running.placement
    counts: list[int] = []
    put = placement.put

    def counted(*args: Any) -> Any:
        plan = put(*args)
        counts.append(sum(each is not None for each in plan.copies))
        return plan

    monkeypatch.setattr(placement, "put", counted)
    return counts


def test_the_process_works_on_the_tensor_itself(parts: dict[str, Any]) -> None:
    lying = made(parts["mean"], 3, 4)
    copied, before = lying.clone(), lying.clone()
    references = torch.zeros(1)
    assert parts["write"](copied, references) == pytest.approx(float((before + 1).sum()), rel=1e-5)
    assert torch.equal(copied, before)
    assert parts["write"](lying, references) == pytest.approx(float((before + 1).sum()), rel=1e-5)
    assert torch.equal(lying, before + 1)
    assert parts["write"](lying.T, references) == pytest.approx(float((before + 2).sum()), rel=1e-5)
    assert torch.equal(lying, before + 1), "a view in another order is copied"
    assert parts["write"](lying[1:], references) == pytest.approx(float((before[1:] + 2).sum()), rel=1e-5)
    assert torch.equal(lying, before + 1), "and so is a part"


@pytest.mark.parametrize("name", ["mean", "by_item"])
def test_value_and_gradient_are_those_of_a_copy(
    parts: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, targets = parts[name], torch.randint(0, 9, (5,))
    loss(torch.randn(5, 9, requires_grad=True), targets).sum().backward()
    copies = number_of_copies(monkeypatch, parts)
    for _ in range(3):
        inputs = made(loss, 5, 9).requires_grad_()
        plain = inputs.detach().clone().requires_grad_()
        value = loss(inputs, targets)
        (value.sum() * 0.7).backward()
        expected = functional.cross_entropy(plain, targets, reduction="none" if value.dim() else "mean")
        (expected.sum() * 0.7).backward()
        assert torch.allclose(value, expected, rtol=0, atol=1e-6)
        assert inputs.grad is not None
        assert plain.grad is not None
        assert torch.allclose(inputs.grad, plain.grad, rtol=0, atol=1e-6)
    assert set(copies) == {1}, "targets, and weights in backward"


def test_graphs_that_wait_keep_their_own_targets_and_weights(parts: dict[str, Any]) -> None:
    """Forward of several micro-batches, of two losses in one process, before the first backward."""
    other = parts["by_item"].process
    assert other is parts["mean"].process
    loss = parts["by_item"]
    calls = [(made(loss, 6, 8).requires_grad_(), torch.randint(0, 8, (6,)), torch.rand(6)) for _ in range(3)]
    calls += [(torch.randn(6, 8, requires_grad=True), torch.randint(0, 8, (6,)), torch.rand(6)) for _ in "ab"]
    values = [loss(inputs, targets, weights=weights).sum() for inputs, targets, weights in calls]
    torch.stack(values).sum().backward()  # type: ignore[no-untyped-call]
    for inputs, targets, weights in calls:
        plain = inputs.detach().clone().requires_grad_()
        (functional.cross_entropy(plain, targets, reduction="none") * weights).sum().backward()
        assert inputs.grad is not None
        assert plain.grad is not None
        assert torch.allclose(inputs.grad, plain.grad, rtol=0, atol=1e-6)


def test_memory_is_not_used_again_while_its_tensor_lives(parts: dict[str, Any]) -> None:
    loss, targets = parts["mean"], torch.zeros(4, dtype=torch.int64)
    kept = [made(loss, 4, 3) for _ in range(12)]  # more than the process is told to remember
    before = [each.clone() for each in kept]
    assert len({each.data_ptr() for each in kept}) == 12
    for inputs in (*kept, *kept):
        leaf = inputs.detach().requires_grad_()
        value = loss(leaf, targets)
        value.backward()
        assert value.item() == pytest.approx(functional.cross_entropy(inputs, targets).item(), rel=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))
    kept.clear()
    del inputs, leaf, value, before
    gc.collect()
    addresses = {made(loss, 4, 3).data_ptr() for _ in range(8)}
    assert len(addresses) == 1, "and is used again afterwards"


def test_a_view_keeps_the_memory(parts: dict[str, Any]) -> None:
    part = made(parts["mean"], 4, 3)[2:]
    before = part.clone()
    others = [made(parts["mean"], 4, 3) for _ in range(3)]
    assert torch.equal(part, before)
    assert len(others) == 3


def test_in_place_changes_are_seen_or_refused(parts: dict[str, Any]) -> None:
    mean, by_item, targets = parts["mean"], parts["by_item"], torch.zeros(4, dtype=torch.int64)
    inputs = made(mean, 4, 3)
    first = mean(inputs, targets)
    inputs[:, 0] += 2.0
    assert mean(inputs, targets) < first
    value = by_item(inputs.requires_grad_(), targets)
    with torch.no_grad():
        inputs.zero_()
    with pytest.raises(SandboxError, match="changed in place") as caught:
        value.sum().backward()
    assert caught.value.remedy


def test_a_plugin_that_changes_its_arguments_changes_no_later_call(parts: dict[str, Any]) -> None:
    targets = torch.zeros(4, dtype=torch.int64)
    for _ in range(3):
        assert parts["scribble"](torch.randn(4, 3), targets).item() == 7.0 * 12
    assert targets.tolist() == [0] * 4
    expected = functional.cross_entropy(torch.eye(4, 3), targets)
    assert torch.allclose(parts["mean"](torch.eye(4, 3), targets), expected)


def test_equal_shapes_with_other_values_are_not_the_same_call(parts: dict[str, Any]) -> None:
    by_item, inputs = parts["by_item"], made(parts["by_item"], 4, 3)
    targets, weights = torch.tensor([0, 1, 2, 0]), torch.rand(4)
    plain = functional.cross_entropy(inputs, targets, reduction="none")
    for extras, factor in (({}, 1.0), ({"weights": weights}, weights), ({"weights": 2.0}, 2.0)):
        assert torch.allclose(by_item(inputs, targets, **extras), plain * factor)
    assert torch.allclose(by_item(inputs, targets, weights=True), plain)
    assert torch.allclose(by_item(inputs, targets, weights=0.5), plain * 0.5)
    with torch.no_grad():
        assert torch.allclose(by_item(inputs.clone(), targets + 0, weights=0.5), plain * 0.5)


def test_a_tensor_of_another_or_an_earlier_process_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = parts_of(tmp_path / "a"), parts_of(tmp_path / "b")
    targets = torch.tensor([0, 1, 2, 0])
    inputs = made(one["mean"], 4, 3)
    before, references = inputs.clone(), torch.zeros(1)
    assert other["mean"](inputs, targets) == one["mean"](inputs, targets)
    other["write"](inputs, references)
    assert torch.equal(inputs, before)
    waiting = one["by_item"](inputs.clone().requires_grad_(), targets).sum()
    with pytest.raises(SandboxError, match="status 1"):
        one["die"](inputs, references)
    with pytest.raises(SandboxError, match="status 1"):
        one["mean"].empty_inputs(torch.float32, (2, 2))
    one["mean"].process.restart()
    assert one["mean"](inputs, targets) == other["mean"](inputs, targets)
    one["write"](inputs, references)
    assert torch.equal(inputs, before)
    one["by_item"](inputs.clone().requires_grad_(), targets)
    with pytest.raises(SandboxError, match="KeyError"):  # never another call's graph
        waiting.backward()
    again = made(one["mean"], 4, 3)
    one["write"](again, references)
    for each in (one, other):
        each["mean"].process.close()


def test_memory_of_a_dtype_that_cannot_cross_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(SandboxError, match="complex64"):
        parts["mean"].empty_inputs(torch.complex64, (2, 2))
