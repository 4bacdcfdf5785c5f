"""New weights on their way to another process: safetensors files, because calls carry no tensors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from swift.core.errors import EngineError, did_you_mean

SHARD_BYTES = 2**31
IN_MEMORY = Path("/dev/shm")
Shapes = dict[str, tuple[int, ...]]


def stored_shapes(folder: Path) -> Shapes:
    """Name -> shape of every weight in a model folder, from the headers of its files."""
    shapes: Shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                shapes[name] = tuple(file.get_slice(name).get_shape())
    return shapes


@contextmanager
def written(weights: Iterable[tuple[str, torch.Tensor]], expected: Shapes) -> Iterator[list[str]]:
    """Paths of files that hold the weights; they vanish when the block ends.

    Raises:
        EngineError: as write_weights().
    """
    with tempfile.TemporaryDirectory(prefix="swift-weights-", dir=_place(expected)) as folder:
        yield [str(path) for path in write_weights(Path(folder), weights, expected)]


def write_weights(folder: Path, weights: Iterable[tuple[str, torch.Tensor]], expected: Shapes) -> list[Path]:
    """Files in a folder that hold the weights, in portions, so that no second copy of the model is held.

    Raises:
        EngineError: a name or a shape that the model does not have, or a weight that is not sent: engines
            join layers (query, key and value), and would fill what is absent with nothing.
    """
    paths: list[Path] = []
    left = dict(expected)
    for shard in shards(checked(weights, expected, left)):
        paths.append(folder / f"model-{len(paths) + 1:05}.safetensors")
        save_file(shard, paths[-1], metadata={"format": "pt"})
    if left:
        names = ", ".join(sorted(left)[:3])
        raise EngineError(
            f"{len(left)} of the model's {len(expected)} weights were not sent, among them {names}",
            "send all weights of the model",
        )
    return paths


def checked(
    weights: Iterable[tuple[str, torch.Tensor]], expected: Shapes, left: Shapes
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights as plain tensors; names that came are taken out of `left`."""
    for name, tensor in weights:
        if name not in expected:
            raise EngineError(f"the model has no weight {name!r}", did_you_mean(name, expected))
        if tuple(tensor.shape) != expected[name]:
            raise EngineError(
                f"weight {name!r} has shape {list(tensor.shape)}, the model's {list(expected[name])}",
                "send weights of the model that the engine holds",
            )
        left.pop(name, None)
        yield name, tensor.detach().cpu().contiguous()


def shards(weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    """The weights in portions of SHARD_BYTES."""
    portion: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in weights:
        portion[name] = tensor
        size += tensor.nbytes
        if size >= SHARD_BYTES:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion


def _place(expected: Shapes) -> str | None:
    """Shared memory where that has twice the room they may take; None: where temporary files go."""
    if not IN_MEMORY.is_dir():
        return None
    needed = sum(4 * torch.Size(shape).numel() for shape in expected.values())
    return str(IN_MEMORY) if shutil.disk_usage(IN_MEMORY).free > 2 * needed else None
