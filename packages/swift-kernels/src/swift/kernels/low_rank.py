r"""Gradients in a low-rank space: the basis of the space, into it, and back onto the weights.

For a gradient $G$ of shape `[m, n]` and a basis $P$ with $r$ orthonormal columns:

* left: $P$ is `[m, r]`, $R = P^\top G$ is `[r, n]`, and back is $P N$;
* right: $P$ is `[n, r]`, $R = G P$ is `[m, r]`, and back is $N P^\top$.

Every function also takes stacks of matrices, `[..., m, n]`, such as the weights of all experts of a layer.
Torch is imported when a function is called.

References:
    Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", arXiv:2403.03507;
    Halko, Martinsson, Tropp, "Finding structure with randomness", arXiv:0909.4061.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Side = Literal["left", "right"]
Projection = Literal["svd", "randomized"]
LowRankImplementation = Literal["fused", "reference"]
"""`fused`: never a second full-size matrix in float32; `reference`: the formulas as they stand."""

CHUNK = 1 << 20
"""Elements of a full-size matrix that are held in float32 at a time."""


def subspace(
    gradient: Tensor,
    rank: int,
    side: Side,
    *,
    projection: Projection = "svd",
    oversampling: int = 8,
    power_iterations: int = 1,
    seed: int = 0,
) -> Tensor:
    r"""Orthonormal basis of the space that holds most of a gradient: its first `rank` singular vectors.

    `svd` takes them from the full decomposition, $O(m n \min(m, n))$. `randomized` takes those of
    $Q Q^\top G$, where $Q$ spans $(G G^\top)^q G \Omega$ for a Gaussian $\Omega$ with `rank + oversampling`
    columns: $O(m n r)$, and nearly the same space where the singular values fall off.

    Args:
        gradient: `[..., m, n]`, any floating type.
        rank: number of basis vectors, in `[1, min(m, n)]`.
        side: which singular vectors.
        projection: which algorithm.
        oversampling: columns of Omega beyond `rank`.
        power_iterations: $q$; each one sharpens the space and costs two more products with the gradient.
        seed: of Omega, which is drawn on the CPU, so that every device draws the same.

    Returns:
        `[..., m, rank]` (left) or `[..., n, rank]` (right) in float32.

    Raises:
        ValueError: `rank` or a choice is out of range.
        RuntimeError: the decomposition does not converge, as with a gradient that is not finite.
    """
    _check(gradient, rank, side)
    if projection not in get_args(Projection):
        raise ValueError(f"projection is {projection!r}, it must be 'svd' or 'randomized'")
    matrix = gradient.detach().float()
    if projection == "svd":
        return _singular_vectors(matrix, rank, side)
    oriented = matrix if side == "left" else matrix.mT
    return _randomized(oriented, rank, oversampling, power_iterations, seed)


def project(
    gradient: Tensor, basis: Tensor, side: Side, *, implementation: LowRankImplementation = "fused"
) -> Tensor:
    """The gradient in the space: `basis.T @ gradient` or `gradient @ basis`, in float32.

    Args:
        gradient: `[..., m, n]`, any floating type.
        basis: as subspace() returns it.
        side: on which side the basis stands.
        implementation: `fused` converts a gradient of another type piece by piece.

    Returns:
        `[..., rank, n]` (left) or `[..., m, rank]` (right).

    Raises:
        ValueError: an unknown choice.
    """
    import torch

    _check_choices(side, implementation)
    if implementation == "reference" or gradient.dtype == torch.float32:
        full = gradient.float()
        return basis.mT @ full if side == "left" else full @ basis
    rows = list(_row_chunks(gradient))
    if side == "right":
        return torch.cat([gradient[..., chunk, :].float() @ basis for chunk in rows], dim=-2)
    low = gradient.new_zeros(*gradient.shape[:-2], basis.shape[-1], gradient.shape[-1], dtype=torch.float32)
    for chunk in rows:
        low += basis[..., chunk, :].mT @ gradient[..., chunk, :].float()
    return low


def add_back_(
    weight: Tensor,
    low: Tensor,
    basis: Tensor,
    side: Side,
    *,
    alpha: float,
    implementation: LowRankImplementation = "fused",
) -> None:
    """`weight += alpha * back(low)`, in place; the sum is rounded to the weight's type once.

    Args:
        weight: `[..., m, n]`, any floating type.
        low: `[..., rank, n]` (left) or `[..., m, rank]` (right), float32.
        basis: as subspace() returns it.
        side: on which side the basis stands.
        alpha: factor.
        implementation: `fused` adds product by product into the weight.

    Raises:
        ValueError: an unknown choice.
    """
    import torch

    _check_choices(side, implementation)
    first, second = (basis, low) if side == "left" else (low, basis.mT)
    if implementation == "reference":
        weight.copy_(weight.float() + alpha * (first @ second))
    elif weight.dtype == torch.float32 and weight.ndim == 2:
        weight.addmm_(first, second, alpha=alpha)
    elif weight.dtype == torch.float32 and weight.ndim == 3:
        weight.baddbmm_(first, second, alpha=alpha)
    else:
        for chunk in _row_chunks(weight):
            part = weight[..., chunk, :]
            part.copy_(part.float() + alpha * (first[..., chunk, :] @ second))


def _singular_vectors(matrix: Tensor, rank: int, side: Side) -> Tensor:
    """The first ones of a side; a copy, because a view would keep the whole decomposition in memory."""
    import torch

    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    chosen: Tensor = left[..., :rank] if side == "left" else right[..., :rank, :].mT
    return chosen.contiguous()


def _randomized(matrix: Tensor, rank: int, oversampling: int, power_iterations: int, seed: int) -> Tensor:
    import torch

    *stack, rows, columns = matrix.shape
    width = min(rank + oversampling, rows, columns)
    generator = torch.Generator().manual_seed(seed)
    omega = torch.randn(*stack, columns, width, generator=generator).to(matrix.device)
    span = torch.linalg.qr(matrix @ omega).Q
    for _ in range(power_iterations):
        span = torch.linalg.qr(matrix.mT @ span).Q
        span = torch.linalg.qr(matrix @ span).Q
    small = span.mT @ matrix
    vectors = torch.linalg.eigh(small @ small.mT).eigenvectors  # of ascending eigenvalues
    basis: Tensor = span @ vectors[..., -rank:].flip(-1)
    return basis


def _row_chunks(matrix: Tensor) -> Iterator[slice]:
    """Slices of rows of at most CHUNK elements, at least one row."""
    rows = matrix.shape[-2]
    step = max(1, CHUNK * rows // max(1, matrix.numel()))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _check(gradient: Tensor, rank: int, side: str) -> None:
    _check_choices(side, "fused")
    if gradient.ndim < 2:
        raise ValueError(
            f"gradient has shape {tuple(gradient.shape)}, it must be a matrix or a stack of them"
        )
    smaller = min(gradient.shape[-2:])
    if not 1 <= rank <= smaller:
        raise ValueError(
            f"rank is {rank}, it must be in [1, {smaller}], the smaller dimension of {tuple(gradient.shape)}"
        )


def _check_choices(side: str, implementation: str) -> None:
    if side not in get_args(Side):
        raise ValueError(f"side is {side!r}, it must be 'left' or 'right'")
    if implementation not in get_args(LowRankImplementation):
        raise ValueError(f"implementation is {implementation!r}, it must be 'fused' or 'reference'")
