"""Tuners in Python, without a configuration file, on any torch model.

model = apply_tuner(model, "lora", lora_rank=16)
...train...
save_tuner(model, "adapter")
model = merge_tuner(load_tuner(base, "adapter"))
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from pydantic import ValidationError

from swift.core.errors import ConfigError, ModelError
from swift.core.registry import tuners
from swift.tuners.adapters import ADAPTER_CONFIG
from swift.tuners.family import carried, check_known, check_new, check_same, families, family_of
from swift.tuners.llamapro.record import is_expanded

if TYPE_CHECKING:
    import torch
    from torch import nn

    from swift.core.protocols import Tuner
    from swift.core.types import Batch

DEFAULT_ADAPTER = "default"


class NamedAdapters(Protocol):
    """A tuner that can put several adapters on one model."""

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT_ADAPTER) -> nn.Module:
        """Add an adapter of this name and use it."""


def build_tuner(tuner: str, **settings: Any) -> Tuner:
    """A tuner by name; settings are the keys it has in YAML.

    Raises:
        RegistryError: no tuner of that name.
        ConfigError: a setting that does not exist or does not fit.
    """
    component = tuners.get(tuner)
    if component.config is None:
        return cast("Tuner", component.load()(**settings))
    try:
        config = component.config.model_validate(settings)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(
            f"tuner {tuner!r} cannot be set so: {'; '.join(lines)}",
            f"its settings: {', '.join(component.config.model_fields)}",
        ) from None
    return cast("Tuner", component.load()(config))


def apply_tuner(
    model: nn.Module,
    tuner: str = "lora",
    *,
    adapter_name: str = DEFAULT_ADAPTER,
    batches: Sequence[Batch] = (),
    loss: Callable[[nn.Module, Batch], torch.Tensor] | None = None,
    **settings: Any,
) -> nn.Module:
    """Make exactly the parameters of a tuner trainable.

    On a model that carries an adapter already, another one of the same family goes beside it and is used
    from then on; see switch_adapter().

    Args:
        model: any torch module; changed in place, and wrapped by some tuners.
        tuner: a registered name (full, lora, ...).
        adapter_name: what the adapter is called on this model.
        batches: what lora-ga and eva start from: keyword arguments of the model, labels included.
        loss: mean loss of a batch; default: the model's own.
        settings: the tuner's keys, such as lora_rank=16.

    Raises:
        RegistryError: no tuner of that name.
        ConfigError: a setting that does not exist or does not fit.
        ModelError: the tuner cannot work on this model, the name is taken, or batches are missing.
    """
    chosen = build_tuner(tuner, **settings)
    wanted = getattr(chosen, "batches_wanted", int)()
    if wanted and not batches:
        raise ModelError(
            f"tuner {tuner!r} starts from training batches, and none are given",
            f"pass batches=[...], such as {wanted} of them",
        )
    adapted = _apply(model, tuner, chosen, adapter_name)
    if wanted:
        chosen.initialize(adapted, batches, loss or _own_loss)
    return adapted


def _own_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    value: torch.Tensor = model(**batch).loss
    return value


def _apply(model: nn.Module, tuner: str, chosen: Tuner, adapter_name: str) -> nn.Module:
    if adapter_name == DEFAULT_ADAPTER and family_of(model) is None:
        return chosen.apply(model)
    if "adapter_name" not in inspect.signature(chosen.apply).parameters:
        raise ModelError(
            f"tuner {tuner!r} adds no adapter that could have a name or stand beside another",
            "apply it to a model without adapters, without adapter_name",
        )
    check_new(model, adapter_name)
    for family in families():
        if family.makes(chosen):
            check_same(model, family)
    return cast("NamedAdapters", chosen).apply(model, adapter_name)


def save_tuner(model: nn.Module, directory: str | Path) -> None:
    """Write the adapter in use, or all weights of a model without one.

    Raises:
        ModelError: it cannot be written.
    """
    family = family_of(model)
    save = build_tuner("full").save if family is None else family.save
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        save(model, Path(directory))
    except OSError as error:
        raise ModelError(f"{str(directory)!r} cannot be written: {error}", "choose another folder") from error


def load_tuner(
    model: nn.Module,
    directory: str | Path,
    *,
    trainable: bool = False,
    adapter_name: str = DEFAULT_ADAPTER,
) -> nn.Module:
    """Put saved weights on a freshly loaded base: an adapter, or full weights.

    Args:
        directory: what a tuner or peft saved.
        trainable: whether training goes on from there.
        adapter_name: what the adapter is called on this model; it goes beside those that are there.

    Raises:
        ModelError: nothing to load there, or the weights do not fit this model.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ModelError(
            f"{str(directory)!r} is not a folder", "name one that save_tuner or peft has written"
        )
    for family in families():
        if family.recognises(directory):
            check_new(model, adapter_name)
            check_same(model, family)
            return family.load(model, directory, trainable=trainable, name=adapter_name)
    if (directory / ADAPTER_CONFIG).is_file():
        raise ModelError(
            f"{str(directory / ADAPTER_CONFIG)!r} is of no known kind", "save the adapter with swift or peft"
        )
    whole = "llamapro" if is_expanded(directory) else "full"
    return build_tuner(whole).load(model, directory, trainable=trainable)


def merge_tuner(model: nn.Module, *, dequantize: bool = False) -> nn.Module:
    """A plain model that computes the same function; a model without an adapter is returned as it is.

    Args:
        dequantize: a quantised base becomes a plain one, whose weights are the dequantised ones plus the
            adapter's; False refuses it, because the sum would be rounded to few bits.

    Raises:
        ModelError: the adapter cannot be merged without loss.
    """
    family = family_of(model)
    return model if family is None else family.merge(model, dequantize=dequantize)


def adapter_names(model: nn.Module) -> list[str]:
    """Names of the adapters that a model carries; none: an empty list."""
    family = family_of(model)
    return [] if family is None else family.names(model)


def active_adapter(model: nn.Module) -> str:
    """Name of the adapter in use.

    Raises:
        ModelError: the model carries no adapter.
    """
    return carried(model).active(model)


def switch_adapter(model: nn.Module, name: str) -> None:
    """Use another adapter of the model; it becomes the one that trains.

    Raises:
        ModelError: there is no such adapter.
    """
    family = carried(model)
    check_known(family, model, name)
    family.switch(model, name)


def merge_adapters(model: nn.Module) -> None:
    """Add the adapter in use to the weights, in place: the same function, without the adapter's cost.

    Raises:
        ModelError: the model carries no adapter, or one that cannot be merged.
    """
    family = carried(model)
    family.merge_in_place(model)


def unmerge_adapters(model: nn.Module) -> None:
    """Undo merge_adapters(), up to rounding.

    Raises:
        ModelError: the model carries no adapter.
    """
    carried(model).unmerge(model)


class TrainableShare(NamedTuple):
    """Parameters of a model, counted once each."""

    trainable: int
    total: int

    @property
    def share(self) -> float:
        """trainable / total."""
        return self.trainable / max(self.total, 1)


def trainable_share(model: nn.Module) -> TrainableShare:
    """How many of the parameters train. Packed 4-bit weights count by the numbers they stand for."""
    trainable = total = 0
    for value in model.parameters():
        state = getattr(value, "quant_state", None)
        size = value.numel() if state is None else state.shape.numel()
        total += size
        trainable += size * value.requires_grad
    return TrainableShare(trainable, total)
