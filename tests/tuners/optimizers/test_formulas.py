"""Each optimiser against its paper's formulas, written out with full matrices and all sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swift.core.errors import ConfigError
from swift.tuners.optimizers import four_bits
from swift.tuners.optimizers.adam_mini import AdamMini
from swift.tuners.optimizers.apollo import Apollo
from swift.tuners.optimizers.galore import Galore
from swift.tuners.optimizers.muon import Muon, orthogonal
from swift.tuners.optimizers.q_galore import QGalore, overlap
from swift.tuners.optimizers.schedule_free import ScheduleFree

LR, DECAY, BETA1, BETA2, EPS = 0.01, 0.1, 0.9, 0.999, 1e-8
STEPS = 7


def gradients(*shape: int) -> list[Tensor]:
    torch.manual_seed(3)
    return [torch.randn(*shape) for _ in range(STEPS)]


def moved(optimizer: Callable[[list[Tensor]], Any], start: Tensor, along: list[Tensor]) -> Tensor:
    weight = nn.Parameter(start.clone())
    built = optimizer([weight])
    for gradient in along:
        weight.grad = gradient.clone().to(weight.dtype)
        built.step()
    return weight.detach()


class Adam:
    """m, v and their direction."""

    def __init__(self) -> None:
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def __call__(self, gradient: Tensor) -> Tensor:
        self.t += 1
        self.m = BETA1 * self.m + (1 - BETA1) * gradient
        self.v = BETA2 * self.v + (1 - BETA2) * gradient**2
        direction: Tensor = (self.m / (1 - BETA1**self.t)) / ((self.v / (1 - BETA2**self.t)) ** 0.5 + EPS)
        return direction


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
@pytest.mark.parametrize("proj_type", ["std", "reverse_std", "left", "right"])
def test_galore(shape: tuple[int, int], proj_type: str) -> None:
    rank, gap, scale = 3, 4, 0.5
    wide = shape[0] < shape[1]
    left = {"std": wide, "reverse_std": not wide, "left": True, "right": False}[proj_type]
    start, along, adam = torch.ones(shape), gradients(*shape), Adam()
    expected = start.clone()
    for step, gradient in enumerate(along):
        if step % gap == 0:
            u, _, vh = torch.linalg.svd(gradient, full_matrices=False)
        p, q = u[:, :rank], vh[:rank]
        full = p @ adam(p.T @ gradient) if left else adam(gradient @ q.T) @ q
        expected = expected * (1 - LR * DECAY) - LR * scale * full
    settings: dict[str, Any] = {"update_proj_gap": gap, "scale": scale, "proj_type": proj_type}
    for chosen in ("fused", "reference"):
        settings["implementation"] = chosen
        result = moved(lambda params: Galore(params, LR, DECAY, rank=rank, **settings), start, along)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_galore_frees_a_gradient_that_it_has_projected() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.randn(4, 6)
    Galore([weight], rank=2).step()
    assert weight.grad is None


def test_galore_takes_a_stack_as_matrices_for_themselves() -> None:
    along = gradients(3, 6, 10)
    start = torch.ones(3, 6, 10)

    def make(params: list[Tensor]) -> Galore:
        return Galore(params, LR, rank=2, update_proj_gap=4)

    stack = moved(make, start, along)
    single = torch.stack([moved(make, start[i], [g[i] for g in along]) for i in range(3)])
    torch.testing.assert_close(stack, single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
@pytest.mark.parametrize("scale_type", ["channel", "tensor"])
def test_apollo(shape: tuple[int, int], scale_type: str) -> None:
    rank, scale = (3, 1.0) if scale_type == "channel" else (1, 128.0)
    left = shape[0] < shape[1]
    start = torch.ones(shape)
    along = [gradient * (5 if step == 4 else 1) for step, gradient in enumerate(gradients(*shape))]
    expected, m, v, last = start.clone(), 0.0 * start[:1, :1], 0.0 * start[:1, :1], None
    limited = 0
    for step, gradient in enumerate(along, start=1):
        if step == 1:
            u, _, vh = torch.linalg.svd(gradient, full_matrices=False)
        low = u[:, :rank].T @ gradient if left else gradient @ vh[:rank].T
        m, v = BETA1 * m + (1 - BETA1) * low, BETA2 * v + (1 - BETA2) * low**2
        normal = m / (v**0.5 + EPS)
        dims = (0 if left else 1,) if scale_type == "channel" else (0, 1)
        factor = normal.norm(dim=dims, keepdim=True) / low.norm(dim=dims, keepdim=True)
        update = factor * gradient
        if last is not None and update.norm() > 1.01 * last:
            update, limited = update * (1.01 * last / update.norm()), limited + 1
        last = update.norm()
        rate = LR * math.sqrt(1 - BETA2**step) / (1 - BETA1**step)
        expected = expected * (1 - LR * DECAY) - rate * math.sqrt(scale) * update
    assert limited
    result = moved(
        lambda params: Apollo(params, LR, DECAY, scale_type=scale_type, rank=rank, projection="svd"),
        start,
        along,
    )
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


def test_apollo_keeps_no_random_basis_and_draws_it_anew_after_each_gap() -> None:
    weight = nn.Parameter(torch.ones(6, 10))
    optimizer = Apollo([weight], rank=2, update_proj_gap=3)
    drawn = []
    for gradient in gradients(6, 10)[:6]:
        weight.grad = gradient
        optimizer.step()
        state, group = optimizer.state[weight], optimizer.param_groups[0]
        assert state.keys() == {"step", "exp_avg", "exp_avg_sq", "norm"}
        drawn.append(optimizer._basis(weight, gradient, "left", state, group))
    assert all(torch.equal(drawn[0], each) for each in drawn[:3])
    assert all(torch.equal(drawn[3], each) for each in drawn[3:])
    assert not torch.equal(drawn[0], drawn[3])


def test_muon_is_torchs_for_matrices_and_adamw_for_the_rest() -> None:
    shapes = [(6, 10), (10, 6), (8,)]
    along = [gradients(*shape) for shape in shapes]
    ours = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    theirs = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = Muon(ours, LR, DECAY, adamw_lr=0.003)
    muon = torch.optim.Muon(theirs[:2], LR, DECAY, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(theirs[2:], 0.003, weight_decay=0.0)
    for step in range(STEPS):
        for weights in (ours, theirs):
            for weight, each in zip(weights, along, strict=True):
                weight.grad = each[step].clone()
        for part in (optimizer, muon, adamw):
            part.step()
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_muon_follows_the_learning_rate_of_its_groups() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    optimizer = Muon([weight], LR)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    weight.grad = torch.randn(4, 6)
    optimizer.step()
    assert torch.equal(weight, torch.ones(4, 6))


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original"])
def test_muon_takes_a_stack_as_matrices_for_themselves(adjust: str) -> None:
    along, start = gradients(3, 10, 6), torch.ones(3, 10, 6)

    def make(params: list[Tensor]) -> Muon:
        return Muon(params, LR, DECAY, adjust_lr_fn=adjust)

    stack = moved(make, start, along)
    single = torch.stack([moved(make, start[i], [g[i] for g in along]) for i in range(3)])
    torch.testing.assert_close(stack, single, atol=5e-3, rtol=0)  # bfloat16 inside, over seven steps


def test_orthogonal_moves_singular_values_close_to_one() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(2, 24, 16), 5).float())
    assert values.min() > 0.5 and values.max() < 1.3


class Attention(nn.Module):
    """Two heads of two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(3, 4, bias=True)
        self.o_proj = nn.Linear(4, 3, bias=False)
        self.config = type("Config", (), {"head_dim": 2})()


def test_adam_mini() -> None:
    model = Attention()
    params = list(model.parameters())
    expected = [parameter.detach().clone() for parameter in params]
    blocks = {(4, 3): (2, 6), (4,): (4, 1), (3, 4): (3, 4)}  # heads, elements, rows
    decays = [DECAY, 0.0, DECAY]
    along = [gradients(*parameter.shape) for parameter in params]
    optimizer = AdamMini(params, LR, DECAY, model)
    moments: list[list[Any]] = [[0.0, 0.0] for _ in params]
    for step in range(STEPS):
        for index, parameter in enumerate(params):
            parameter.grad = along[index][step].clone()
            g = parameter.grad.view(blocks[tuple(parameter.shape)])
            m = moments[index][0] = BETA1 * moments[index][0] + (1 - BETA1) * g
            mean = g.square().mean(1, keepdim=True)
            v = moments[index][1] = BETA2 * moments[index][1] + (1 - BETA2) * mean
            t = step + 1
            move = (m / (1 - BETA1**t)) / ((v / (1 - BETA2**t)) ** 0.5 + EPS)
            expected[index] = expected[index] * (1 - LR * decays[index]) - LR * move.view(parameter.shape)
        optimizer.step()
    for parameter, value in zip(params, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, atol=1e-6, rtol=0)
    assert [optimizer.state[each]["exp_avg_sq"].numel() for each in params] == [2, 4, 3]


def test_adam_mini_needs_heads_that_fit() -> None:
    model = Attention()
    with pytest.raises(ConfigError, match="needs the model"):
        AdamMini(list(model.parameters()))
    model.config = type("Config", (), {"head_dim": 3})()
    with pytest.raises(ConfigError, match=r"'q_proj.weight' has 4 rows, and heads are 3 wide"):
        AdamMini(list(model.parameters()), model=model)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_schedule_free(power: float) -> None:
    """With all three sequences written out."""
    warmup, along, start = 3, gradients(4, 5), torch.ones(4, 5)
    x, y, z = start.clone(), start.clone(), start.clone()
    v: Any = 0.0
    total = highest = 0.0
    for step, gradient in enumerate(along, start=1):
        v = BETA2 * v + (1 - BETA2) * gradient**2
        rate = LR * min(1, step / warmup)
        highest = max(highest, rate)
        weight = step**power * highest**2
        total += weight
        z = z - rate * (gradient / ((v / (1 - BETA2**step)) ** 0.5 + EPS) + DECAY * y)
        x = x + weight / total * (z - x)
        y = (1 - BETA1) * z + BETA1 * x
    parameter = nn.Parameter(start.clone())
    optimizer = ScheduleFree([parameter], LR, DECAY, warmup_steps=warmup, r=power)
    for gradient in along:
        parameter.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), y, atol=1e-6, rtol=0)
    before = parameter.detach().clone()
    optimizer.eval()
    torch.testing.assert_close(parameter.detach(), x, atol=1e-6, rtol=0)
    with pytest.raises(RuntimeError, match=r"call train\(\)"):
        optimizer.step()
    optimizer.train()
    assert torch.equal(parameter, before)


def test_four_bits_are_half_a_step_off_at_most() -> None:
    values = torch.randn(7, 50)
    packed = four_bits.pack(values)
    assert packed["codes"].numel() == 256  # two blocks of 256 hold the 350 values, two in a byte
    back = four_bits.unpack(packed)
    assert back.shape == values.shape
    steps = packed["scale"].flatten().repeat_interleave(256)[:350].view(7, 50)
    assert torch.all((back - values).abs() <= steps / 2 + 1e-6)
    constant = torch.full((3, 3), 0.25)
    assert torch.equal(four_bits.unpack(four_bits.pack(constant)), constant)


def test_overlap_is_one_for_one_space_and_zero_by_chance() -> None:
    torch.manual_seed(0)
    one, other = (torch.linalg.qr(torch.randn(200, 20)).Q for _ in range(2))
    turned = one @ torch.linalg.qr(torch.randn(20, 20)).Q
    assert overlap(one, turned) == pytest.approx(1, abs=1e-5)
    assert abs(overlap(one, other)) < 0.05


@pytest.mark.parametrize(
    ("settled", "renewed"), [(True, [1, 3, 5, 9, 13, 21]), (False, list(range(1, 25, 2)))]
)
def test_q_galore_renews_where_the_space_still_moves(settled: bool, renewed: list[int]) -> None:
    torch.manual_seed(0)
    weight, fixed = nn.Parameter(torch.ones(40, 60)), torch.randn(40, 2) @ torch.randn(2, 60)
    optimizer = QGalore([weight], rank=2, update_proj_gap=2, queue_size=2, base="adamw")
    seen = []
    for step in range(1, 25):
        last = optimizer.state[weight].get("next_basis", 1)
        weight.grad = fixed.clone() if settled else torch.randn(40, 60)
        optimizer.step()
        if optimizer.state[weight]["next_basis"] != last:
            seen.append(step)
    assert seen == renewed


def test_missing_bitsandbytes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes.*\n.*swift-tuners\[bitsandbytes\]"):
        QGalore([nn.Parameter(torch.ones(8, 8))], rank=2)
