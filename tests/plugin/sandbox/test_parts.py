"""Sandboxed losses, metrics, rewards and filters do what the same code does in process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from swift.core.errors import SandboxError
from swift.plugin.sandbox import SandboxLimits, load_sandboxed
from swift.plugin.sandbox.offers import Offer

FOCAL = """# custom_loss.py
import torch
import torch.nn as nn
from swift.plugin import register_loss

@register_loss("focal_loss")
class FocalLoss(nn.Module):
    def __init__(self, alpha=1.0, gamma=2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        BCE_loss = nn.functional.binary_cross_entropy_with_logits(inputs, targets, reduction='none')
        pt = torch.exp(-BCE_loss)
        focal_loss = self.alpha * (1 - pt) ** self.gamma * BCE_loss
        return focal_loss.mean()
"""

OTHERS = '''
import torch.nn.functional as F
from swift.plugin import register_filter, register_metric, register_reward

@register_loss("by_item")
def by_item(inputs, targets):
    """One value an item."""
    return F.cross_entropy(inputs, targets, reduction="none")

@register_loss("with_extras")
def with_extras(inputs, targets, weights, attention_mask, num_items_in_batch, batch):
    assert batch["input_ids"].dtype == torch.int64 and set(batch) == {"input_ids"}
    each = F.cross_entropy(inputs, targets, reduction="none") * weights * attention_mask
    return each.sum() / num_items_in_batch

@register_loss("detached")
def detached(inputs, targets):
    return F.cross_entropy(inputs.detach(), targets)

@register_loss("constant")
def constant(inputs, targets):
    return torch.zeros((), requires_grad=True)

@register_loss("wrong_shape")
def wrong_shape(inputs, targets):
    return F.cross_entropy(inputs, targets, reduction="none")[:-1]

@register_loss("numbers")
def numbers(inputs, targets):
    return 1.0

@register_loss("greedy")
def greedy(inputs, targets, model_outputs):
    return model_outputs

@register_loss("counting")
class Counting:
    """Keeps a state between its calls."""
    accepts = ("weights",)
    def __init__(self):
        self.calls = 0
    def __call__(self, inputs, targets, **extras):
        self.calls += 1
        return inputs.sum() * self.calls

@register_loss("precision")
def precision(inputs, targets):
    return (inputs @ inputs.T).float().pow(2).mean()

@register_metric("distance", reads="scores")
def distance(predictions, references, power=1):
    """Mean distance."""
    gap = (predictions - references).abs() ** power
    return {"mean": gap.mean(), "largest": gap.max()}

@register_metric("same", reads="texts")
def same(predictions, references):
    return sum(a == b for a, b in zip(predictions, references)) / len(predictions)

@register_reward("length")
class Length:
    def __init__(self, scale=1.0):
        self.scale = scale
    def __call__(self, prompts, completions, answer, **columns):
        rows = zip(prompts, completions, answer)
        return [self.scale * len(c) + len(p[0]["content"]) + a for p, c, a in rows]

@register_reward("too_few")
def too_few(prompts, completions, **columns):
    return [1.0]

@register_filter("tidy")
def tidy(row, shortest=1):
    """Strips texts, drops short ones."""
    text = row["text"].strip()
    return {**row, "text": text} if len(text) >= shortest else None
'''

OTHERS += """
@register_filter("sets")
def sets(row):
    return {"words": {1, 2}}
"""

Offers = dict[str, Offer]


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offers]:
    file = tmp_path_factory.mktemp("parts") / "parts.py"
    file.write_text(FOCAL + OTHERS)
    found = load_sandboxed(file, SandboxLimits(timeout=30))
    yield {offer.name: offer for offer in found}
    found[0].target.process.close()  # type: ignore[attr-defined]


def both(local: Callable[..., Any], sandboxed: Callable[..., Any], inputs: torch.Tensor, *rest: Any) -> float:
    """The largest difference of loss and gradient."""
    results = []
    for loss in (local, sandboxed):
        leaf = inputs.clone().requires_grad_()
        value = loss(leaf * 2, *rest)
        (value.sum() * 0.7).backward()
        assert leaf.grad is not None
        results.append((value.detach(), leaf.grad))
    (value, gradient), (other_value, other_gradient) = results
    assert other_value.dtype == value.dtype
    assert other_value.shape == value.shape
    return max(float((value - other_value).abs().max()), float((gradient - other_gradient).abs().max()))


def test_focal_loss_word_for_word(offers: Offers, tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(FOCAL.replace('@register_loss("focal_loss")', ""), scope)
    local = scope["FocalLoss"](alpha=0.8, gamma=2.0)
    sandboxed = offers["focal_loss"].target(alpha=0.8, gamma=2.0)
    assert isinstance(sandboxed, nn.Module)
    for shape in ((8, 4), (3, 5), (128, 1000)):
        assert both(local, sandboxed, torch.randn(shape), torch.randint(0, 2, shape).float()) <= 1e-6


def test_a_loss_by_item(offers: Offers) -> None:
    def local(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(inputs, targets, reduction="none")

    sandboxed = offers["by_item"].target()
    targets = torch.randint(0, 50, (64,))
    assert both(local, sandboxed, torch.randn(64, 50), targets) <= 1e-6
    weights = torch.rand(64)
    weighted = [lambda x, t, f=f: f(x, t) * weights for f in (local, sandboxed)]
    assert both(weighted[0], weighted[1], torch.randn(64, 50), targets) <= 1e-6


def test_gradients_wait_while_other_calls_are_made(offers: Offers) -> None:
    """Several losses of one step are called before backward() of their sum."""
    focal, by_item = offers["focal_loss"].target(), offers["by_item"].target()
    inputs = [torch.randn(16, 10, requires_grad=True) for _ in range(7)]
    soft, classes = torch.rand(16, 10), torch.randint(0, 10, (16,))
    values = [focal(each, soft) for each in inputs] + [by_item(each, classes).sum() for each in inputs]
    sum(values).backward()  # type: ignore[union-attr]
    for each in inputs:
        leaf = each.detach().clone().requires_grad_()
        loss = F.binary_cross_entropy_with_logits(leaf, soft, reduction="none")
        (
            ((1 - torch.exp(-loss)) ** 2 * loss).mean() + F.cross_entropy(leaf, classes, reduction="sum")
        ).backward()
        assert each.grad is not None
        assert leaf.grad is not None
        assert torch.allclose(each.grad, leaf.grad, rtol=0, atol=1e-6)


def test_gradients_are_not_overwritten_by_the_next_step(offers: Offers) -> None:
    focal = offers["focal_loss"].target()
    first = torch.randn(16, 10, requires_grad=True)
    focal(first, torch.rand(16, 10)).backward()
    assert first.grad is not None
    kept = first.grad.clone()
    for _ in range(6):
        other = torch.randn(16, 10, requires_grad=True)
        focal(other, torch.rand(16, 10)).backward()
    assert torch.equal(first.grad, kept)


def test_extras_cross(offers: Offers) -> None:
    loss = offers["with_extras"].target()
    assert loss.accepts == ("weights", "attention_mask", "num_items_in_batch", "batch")
    inputs, targets = torch.randn(6, 9, requires_grad=True), torch.randint(0, 9, (6,))
    weights, mask = torch.rand(6), torch.tensor([True, True, False, True, False, True])
    value = loss(
        inputs, targets, weights=weights, attention_mask=mask, num_items_in_batch=torch.tensor(4),
        batch={"input_ids": torch.arange(6), "columns": [{}]},
    )  # fmt: skip
    expected = (F.cross_entropy(inputs, targets, reduction="none") * weights * mask).sum() / 4
    assert torch.allclose(value, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(offers: Offers, dtype: torch.dtype) -> None:
    inputs = torch.randn(4, 6, dtype=dtype, requires_grad=True)
    value = offers["precision"].target()(inputs, torch.zeros(4, dtype=torch.int64))
    value.backward()
    local = inputs.detach().clone().requires_grad_()
    expected = (local @ local.T).float().pow(2).mean()
    expected.backward()
    assert torch.equal(value, expected)
    assert inputs.grad is not None
    assert inputs.grad.dtype == dtype
    assert local.grad is not None
    assert torch.allclose(inputs.grad, local.grad)


def test_autocast_of_the_run_holds_inside(offers: Offers) -> None:
    inputs, targets = torch.randn(8, 8), torch.zeros(8, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        value = offers["precision"].target()(inputs, targets)
        expected = (inputs @ inputs.T).float().pow(2).mean()
    assert torch.equal(value, expected)


def test_without_gradient_and_with_state(offers: Offers) -> None:
    loss = offers["counting"].target()
    assert loss.accepts == ("weights",)
    with torch.no_grad():
        values = [float(loss(torch.ones(3, 2), torch.zeros(3))) for _ in range(3)]
    assert values == [6.0, 12.0, 18.0]
    assert not loss(torch.ones(3, 2), torch.zeros(3)).requires_grad


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("detached", "a tensor without gradient"),
        ("constant", "does not depend on its inputs"),
        ("wrong_shape", r"shape \[4\] for inputs \[5, 3\]"),
        ("numbers", "returned a float"),
    ],
)
def test_broken_contracts_are_named(offers: Offers, name: str, message: str) -> None:
    loss = offers[name].target()
    with pytest.raises(SandboxError, match=message) as caught:
        loss(torch.randn(5, 3, requires_grad=True), torch.zeros(5, dtype=torch.int64))
    assert caught.value.remedy
    assert name in caught.value.problem


def test_what_a_sandboxed_loss_cannot_do(offers: Offers) -> None:
    with pytest.raises(SandboxError, match="model_outputs"):
        offers["greedy"].target()
    with pytest.raises(SandboxError, match="unexpected keyword argument 'beta'"):
        offers["focal_loss"].target(beta=1.0)
    inputs = torch.randn(2, 2, requires_grad=True)
    value = offers["focal_loss"].target()(inputs, torch.zeros(2, 2))
    value.backward(retain_graph=True)
    with pytest.raises(SandboxError, match="differentiated twice"):
        value.backward()
    with pytest.raises(SandboxError, match="complex64"):
        offers["focal_loss"].target()(torch.zeros(2, dtype=torch.complex64), torch.zeros(2))


def test_metrics_of_tensors_and_texts(offers: Offers) -> None:
    one, other = torch.randn(300_000), torch.randn(300_000)
    result = offers["distance"].target(power=2)(one, other)
    assert result == {
        "mean": pytest.approx(float((one - other).pow(2).mean())),
        "largest": pytest.approx(float((one - other).pow(2).max())),
    }
    assert offers["same"].target()(["a", "b\u00e9"], ["a", "b"]) == 0.5
    texts = ["word " * 20_000] * 10
    assert offers["same"].target()(texts, texts) == 1.0


def test_rewards(offers: Offers) -> None:
    reward = offers["length"].target(scale=2.0)
    prompts = [[{"role": "user", "content": "abc"}], [{"role": "user", "content": "a"}]]
    assert reward(prompts, ["xx", "x"], answer=[10, 20], other=[None, "y"]) == [17.0, 23.0]
    with pytest.raises(SandboxError, match="1 numbers for 2 completions"):
        offers["too_few"].target()(prompts, ["xx", "x"])
    with pytest.raises(SandboxError, match="cannot be given to it"):
        reward(prompts, ["xx", "x"], answer=[object(), 2])


def test_filters_row_by_row_and_in_batches(offers: Offers) -> None:
    tidy = offers["tidy"].target(shortest=2)
    assert tidy({"text": "  ab ", "n": 1}) == {"text": "ab", "n": 1}
    assert tidy({"text": " a "}) is None
    assert offers["tidy"].target()({"text": " a "}) == {"text": "a"}
    assert offers["tidy"].target()({"text": "a"}, shortest=5) is None
    rows = [{"text": f" {'x' * (index % 3)} ", "index": index} for index in range(5000)]
    with pytest.raises(SandboxError, match="set is not JSON serializable"):
        offers["sets"].target()({})
    kept = tidy.batch(rows)
    assert [row["index"] for row in kept if row] == [index for index in range(5000) if index % 3 == 2]


def test_offers_tell_what_was_registered(offers: Offers) -> None:
    focal, distance = offers["focal_loss"], offers["distance"]
    assert (focal.kind, focal.line, focal.is_factory, focal.accepts) == ("loss", 6, True, ())
    assert focal.signature == "(alpha=1.0, gamma=2.0)"
    assert (distance.kind, distance.summary, distance.is_factory) == ("metric", "Mean distance.", False)
    assert distance.attributes == {"reads": "scores"}
    assert offers["length"].accepts is None


def test_large_tensors_make_the_shared_memory_grow(offers: Offers) -> None:
    loss = offers["by_item"].target()
    for rows in (4, 4000, 40, 9000):
        inputs = torch.randn(rows, 300, requires_grad=True)
        targets = torch.randint(0, 300, (rows,))
        loss(inputs, targets).mean().backward()
        local = inputs.detach().clone().requires_grad_()
        F.cross_entropy(local, targets).backward()
        assert inputs.grad is not None
        assert local.grad is not None
        assert torch.allclose(inputs.grad, local.grad, rtol=0, atol=1e-6)
