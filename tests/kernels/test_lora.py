"""lora_linear: equal to torch's operators, and what it keeps."""

from __future__ import annotations

import pytest
import torch

from swift.kernels.lora import lora_linear

SCALE = 0.5


def tensors(dtype=torch.float32, adapter_dtype=torch.float32, shape=(2, 5, 12), out=20, rank=3):
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    x = draw(*shape).to(dtype).requires_grad_()
    weight, bias = draw(out, shape[-1]).to(dtype), draw(out).to(dtype)
    a = draw(rank, shape[-1]).to(adapter_dtype).requires_grad_()
    b = draw(out, rank).to(adapter_dtype).requires_grad_()
    return x, weight, bias, a, b


def step(implementation, x, weight, bias, a, b):
    x, a, b = (tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in (x, a, b))
    y = lora_linear(x, weight, bias, a, b, SCALE, implementation=implementation)
    if y.requires_grad:
        y.float().square().sum().backward()
    return y.detach(), x.grad, a.grad, b.grad


def assert_equal(ours, theirs, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12), (0, 12)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients_are_those_of_torch(shape, with_bias):
    x, weight, bias, a, b = tensors(shape=shape)
    given = (x, weight, bias if with_bias else None, a, b)
    assert_equal(step("fused", *given), step("reference", *given), rtol=1e-5, atol=1e-5)


def test_gradients_by_finite_differences():
    x, weight, bias, a, b = (tensor.double() for tensor in tensors())
    x, a, b = (tensor.detach().requires_grad_() for tensor in (x, a, b))
    assert torch.autograd.gradcheck(lambda x, a, b: lora_linear(x, weight, bias, a, b, SCALE), (x, a, b))


@pytest.mark.parametrize("frozen", ["x", "a", "b"])
def test_only_wanted_gradients(frozen):
    given = dict(zip(("x", "weight", "bias", "a", "b"), tensors(), strict=True))
    given[frozen] = given[frozen].detach()
    ours, theirs = step("fused", *given.values()), step("reference", *given.values())
    assert_equal(ours, theirs, rtol=1e-5, atol=1e-5)
    assert ours[{"x": 1, "a": 2, "b": 3}[frozen]] is None


def test_bfloat16_is_as_near_to_the_truth_as_the_reference():
    x, weight, bias, a, b = tensors(torch.bfloat16, shape=(64, 128), out=96, rank=8)
    truth = step("reference", *(tensor.detach().double().requires_grad_(tensor.requires_grad)
                                for tensor in (x, weight, bias, a, b)))  # fmt: skip
    ours, theirs = (step(way, x, weight, bias, a, b) for way in ("fused", "reference"))
    for mine, other, exact in zip(ours, theirs, truth, strict=True):
        assert mine.dtype == other.dtype
        error = (mine.double() - exact).norm() / exact.norm()
        assert error < 2 * (other.double() - exact).norm() / exact.norm() + 2**-8


def test_autocast_has_its_own_precision_and_full_gradients():
    given = tensors()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = step("fused", *given), step("reference", *given)
    assert ours[0].dtype == torch.bfloat16
    assert ours[2].dtype == torch.float32
    assert_equal(ours[2:], theirs[2:], rtol=0.05, atol=1.0)
    assert_equal(ours[:1], theirs[:1], rtol=0.05, atol=0.1)


def test_a_weight_that_is_made_when_needed():
    x, weight, bias, a, b = tensors()
    calls = []

    def make():
        calls.append(1)
        return weight.clone()

    assert_equal(step("fused", x, make, bias, a, b), step("fused", x, weight, bias, a, b), rtol=0, atol=0)
    assert len(calls) == 2  # once a pass: not kept in between


@pytest.mark.parametrize("adapter_dtype", [torch.float32, torch.bfloat16])
def test_keeps_less_than_autograd(adapter_dtype):
    given = tensors(torch.bfloat16, adapter_dtype, shape=(4, 64, 128))
    kept = {}
    for way in ("fused", "reference"):
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = lora_linear(given[0], given[1], given[2], given[3], given[4], SCALE, implementation=way)
        kept[way] = sum(sizes.values())
        del y
    assert kept["fused"] <= kept["reference"]
    if adapter_dtype is torch.float32:  # the reference keeps x in float32
        assert kept["reference"] - kept["fused"] >= given[0].numel() * 2


def test_refuses_what_it_cannot_do():
    x, weight, bias, a, b = tensors()
    with pytest.raises(ValueError, match="weight trains"):
        lora_linear(x, weight.requires_grad_(), bias, a, b, SCALE)
    with pytest.raises(ValueError, match="implementation is 'magic'"):
        lora_linear(x, weight, bias, a, b, SCALE, implementation="magic")  # type: ignore[arg-type]
