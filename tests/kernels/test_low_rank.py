"""The low-rank space of gradients: fused against the formulas, and randomised against the exact space."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.kernels import low_rank
from swift.kernels.low_rank import Side, add_back_, project, subspace

SIDES: tuple[Side, ...] = ("left", "right")
SHAPES = [(48, 96), (96, 48), (3, 40, 24)]


def gradient(*shape: int, decay: float = 0.7) -> Tensor:
    """Singular values that fall off, as those of gradients do."""
    torch.manual_seed(sum(shape))
    left, _, right = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    values = decay ** torch.arange(min(shape[-2:]))
    matrix: Tensor = (left * values) @ right
    return matrix


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank, "CHUNK", 500)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_equals_the_reference(shape: tuple[int, ...], side: Side, dtype: torch.dtype) -> None:
    full = gradient(*shape).to(dtype)
    basis = subspace(full, 6, side)
    low = project(full, basis, side)
    torch.testing.assert_close(low, project(full, basis, side, implementation="reference"), atol=1e-5, rtol=0)
    updated, expected = torch.ones(shape, dtype=dtype), torch.ones(shape, dtype=dtype)
    add_back_(updated, low, basis, side, alpha=-0.3)
    add_back_(expected, low, basis, side, alpha=-0.3, implementation="reference")
    rounding = 1e-5 if dtype == torch.float32 else 2**-8  # bfloat16: one unit in the last place
    torch.testing.assert_close(updated, expected, atol=rounding, rtol=0)
    assert not torch.equal(updated, torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("projection", ["svd", "randomized"])
def test_the_space_is_orthonormal_and_holds_what_it_can(
    shape: tuple[int, ...], side: Side, projection: Any
) -> None:
    full, rank = gradient(*shape), 6
    basis = subspace(full, rank, side, projection=projection)
    eye = torch.eye(rank).expand(*shape[:-2], rank, rank)
    torch.testing.assert_close(basis.mT @ basis, eye, atol=1e-5, rtol=0)
    best = torch.linalg.svdvals(full)[..., :rank].square().sum(-1)
    held = project(full, basis, side).square().sum((-2, -1))
    assert torch.all(held / best > 0.9999) and torch.all(held / best < 1.0001)


def test_full_rank_is_a_round_trip() -> None:
    full = gradient(20, 32)
    weight = torch.zeros(20, 32)
    basis = subspace(full, 20, "left")
    add_back_(weight, project(full, basis, "left"), basis, "left", alpha=1.0)
    torch.testing.assert_close(weight, full, atol=1e-5, rtol=0)


def test_the_random_space_depends_on_its_seed_alone() -> None:
    full = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    first, again, other = (
        subspace(full, 4, "left", projection="randomized", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_basis_does_not_keep_the_decomposition_in_memory() -> None:
    basis = subspace(torch.randn(64, 64), 4, "right")
    assert basis.untyped_storage().nbytes() == 64 * 4 * 4


@pytest.mark.parametrize("rank", [0, 9])
def test_an_impossible_rank_names_the_range(rank: int) -> None:
    with pytest.raises(ValueError, match=rf"rank is {rank}, it must be in \[1, 8\]"):
        subspace(torch.randn(8, 16), rank, "left")


def test_unknown_choices() -> None:
    wrong: Any = "up"
    full = torch.randn(4, 4)
    with pytest.raises(ValueError, match="side is 'up'"):
        subspace(full, 1, wrong)
    with pytest.raises(ValueError, match="projection is 'up'"):
        subspace(full, 1, "left", projection=wrong)
    with pytest.raises(ValueError, match="implementation is 'up'"):
        project(full, full, "left", implementation=wrong)
    with pytest.raises(ValueError, match="must be a matrix"):
        subspace(torch.randn(4), 1, "left")


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, swift.kernels.low_rank; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
