"""Rows of logits gathered where a loss wants them are those that indexing gives, in value and gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from swift.core.config.named import Weighted
from swift.core.objectives.logits import forward_at, logits_at
from swift.core.objectives.losses import Losses
from swift.core.objectives.rows import Rows
from swift.core.registry import REGISTRIES, Component, losses
from swift.plugin import register_loss
from swift.plugin.live import LiveParts
from swift.plugin.sandbox import SandboxLimits, load_sandboxed

B, T, V = 3, 7, 11


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    before = {kind: known.registered() for kind, known in REGISTRIES.items()}
    yield
    for kind, known in REGISTRIES.items():
        known.restore(before[kind])


class Roomy:
    """A loss with memory of its own."""

    def __init__(self) -> None:
        self.given: list[Tensor] = []
        self.got: list[Tensor] = []

    def empty_inputs(self, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        self.given.append(torch.full(tuple(shape), torch.nan, dtype=dtype))
        return self.given[-1]

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.got.append(inputs)
        return functional.cross_entropy(inputs, targets)


class Model(nn.Module):
    """Has its logits already."""

    def __init__(self, logits_BTV: Tensor) -> None:
        super().__init__()
        self.logits_BTV = logits_BTV


class All(Model):
    """Gives those of all columns."""

    def forward(self, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_BTV)


class Kept(Model):
    """Gives those of the columns that are asked for."""

    def forward(self, use_cache: bool, logits_to_keep: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_BTV[:, logits_to_keep])


@pytest.mark.parametrize("model", [All, Kept])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("wanted", [0.0, 0.4, 1.0])
def test_gathered_rows_are_the_indexed_ones(model: type[Model], dtype: torch.dtype, wanted: float) -> None:
    generator = torch.Generator().manual_seed(2)
    wanted_BT = torch.rand(B, T - 1, generator=generator) < wanted
    roomy, results = Roomy(), []
    for how in ("indexed", "gathered", "gathered for it"):
        leaf = torch.randn(B, T, V, generator=generator.manual_seed(1)).to(dtype).requires_grad_()
        if how == "indexed":
            rows = (leaf * 2)[:, :-1][wanted_BT]
        elif how == "gathered":
            rows = logits_at(model(leaf * 2), {}, wanted_BT)
        else:
            rows = forward_at(model(leaf * 2), {}, wanted_BT)[0].gathered_for(roomy)
            assert rows.data_ptr() == roomy.given[0].data_ptr()
        (rows * torch.arange(rows.numel()).view_as(rows)).sum().backward()
        assert leaf.grad is not None
        results.append((rows.detach(), leaf.grad))
    for rows, gradient in results[1:]:
        assert rows.dtype == dtype
        assert torch.equal(rows, results[0][0])
        assert torch.equal(gradient, results[0][1])


def rows_of(leaf: Tensor) -> Rows:
    return Rows(leaf, torch.tensor([4, 0, 7]))


def total(names: Sequence[str], leaf: Tensor, *, rows: bool) -> tuple[Tensor, Tensor]:
    terms = [Weighted(name=name) for name in names]
    inputs = rows_of(leaf) if rows else rows_of(leaf).gathered()
    value, _ = Losses(terms, LiveParts(), "tokens")(inputs, torch.tensor([1, 2, 0]))
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def test_only_a_single_loss_is_asked_for_memory() -> None:
    made: list[Roomy] = []

    @register_loss("roomy")
    class Made(Roomy):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    leaf = torch.randn(9, V, requires_grad=True)
    for names, asked in ((["roomy"], 1), (["roomy", "cross_entropy"], 0)):
        made.clear()
        alone, gathered = (total(names, leaf, rows=rows) for rows in (False, True))
        assert torch.equal(alone[0], gathered[0])
        assert torch.equal(alone[1], gathered[1])
        assert sum(len(each.given) for each in made) == asked
        got = [each.got[-1].data_ptr() for each in made if each.given]
        assert got == [each.given[-1].data_ptr() for each in made if each.given]


SANDBOXED = """
import ctypes
import torch
from swift.plugin import register_loss

@register_loss("mine")
class Mine:
    calls = 0
    def __call__(self, inputs, targets):
        self.calls += 1
        if self.calls == {death}:
            inputs.detach().fill_(1e9)
            ctypes.string_at(0)
        return torch.nn.functional.cross_entropy(inputs, targets)
"""


@pytest.mark.parametrize("death", [0, 1])
def test_a_sandboxed_loss_and_what_takes_its_place(tmp_path: Path, death: int) -> None:
    """The plugin writes to its inputs before it dies: the fallback reads others."""
    file = tmp_path / "mine.py"
    file.write_text(SANDBOXED.format(death=death))
    (offer,) = load_sandboxed(file, SandboxLimits())
    loss = offer.target()
    parts = LiveParts()
    objective = Losses([Weighted(name="cross_entropy")], parts, "tokens")
    slot = objective.terms[0].slot
    trusted = slot.component
    slot.swap(Component("mine", offer.target, place=f"{file}:6", trust="sandboxed"), loss)
    leaf, targets = torch.randn(9, V, requires_grad=True), torch.tensor([1, 2, 0])
    value, _ = objective(rows_of(leaf), targets)
    (gradient,) = torch.autograd.grad(value, leaf)
    expected, expected_gradient = total(["cross_entropy"], leaf, rows=False)
    assert torch.allclose(value, expected, rtol=1e-6)
    assert torch.allclose(gradient, expected_gradient, rtol=0, atol=1e-6)
    assert (slot.component is trusted) == bool(death)
    assert losses.get("cross_entropy") is trusted
    loss.process.close()
