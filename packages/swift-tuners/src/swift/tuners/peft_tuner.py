"""What all methods of peft share: choosing layers, saving, loading, merging."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, cast

import peft
import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from swift.core.config.schema import Config
from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.core.protocols import Tuner
from swift.tuners.adapters import ADAPTER_CONFIG
from swift.tuners.classifier import keep_classifier_whole
from swift.tuners.dequantize import dequantised, is_quantised_layer
from swift.tuners.lora.start import has_start, saved_form
from swift.tuners.mismatch import refuse_mismatch, shapes
from swift.tuners.soft_prompts.model import wrap
from swift.tuners.targets import check_saved, resolve_targets
from swift.tuners.tied import name_tied_head

DEFAULT = "default"  # the name that peft gives to an only adapter


class PeftTuner(Tuner, ABC):
    """A method that peft implements.

    Args:
        config: the method's settings; default: its defaults.

    Attributes:
        config_class: of the settings.
        mergeable: whether the adapter can become part of the weights.
    """

    config_class: ClassVar[type[Config]]
    mergeable: ClassVar[bool] = True

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config or self.config_class()

    @abstractmethod
    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The method's settings in peft's form.

        Args:
            model: the base, before anything was put on it.
            common: task_type, target_modules and modules_to_save, as every method takes them.

        Raises:
            ModelError: a setting does not fit the model.
        """

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and add what trains.

        The result is a peft model that shares the weights of `model`, which is changed in place. A peft model
        gets another adapter beside its own, which is used from then on.

        Raises:
            ModelError: a target matches nothing or cannot be adapted, or a setting does not fit the model.
        """
        base = base_of(model)
        check_saved(base, self.config.modules_to_save)
        classifier = classifier_layers(base)  # new, so that it has to train as a whole
        common = {
            "task_type": _task_type(base, classifier),
            "target_modules": resolve_targets(base, self.config.target_modules),
            "modules_to_save": [*self.config.modules_to_save, *classifier] or None,
        }
        return cast(nn.Module, inject(model, self.peft_config(base, common), adapter_name))

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the adapter in use in peft's format.

        Raises:
            ModelError: the model carries no adapter.
        """
        save_peft(peft_model(model), directory)

    def load(
        self, model: nn.Module, directory: Path, *, trainable: bool = False, adapter_name: str = DEFAULT
    ) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        Raises:
            ModelError: no adapter there, or one of another base (the differences are listed).
        """
        return cast(nn.Module, load_peft(model, directory, trainable=trainable, name=adapter_name))

    def merge(self, model: nn.Module) -> nn.Module:
        """Make the adapter in use part of the weights, and drop it.

        Raises:
            ModelError: the base is quantised, where the sum would be rounded; the result is not finite; or
                the method cannot be merged.
        """
        return merge_peft(model)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights into the adapter that apply() made.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        fill(peft_model(model), saved_weights(directory), directory)
        return True


def load_peft(
    model: nn.Module, directory: Path, *, trainable: bool = False, name: str = DEFAULT
) -> peft.PeftModel:
    """Put an adapter of any of peft's methods on its base, which is left as it was if it does not fit.

    Raises:
        ModelError: no adapter there, or one of another base (the differences are listed).
    """
    weights = saved_weights(directory)
    config = saved_config(directory)
    config.inference_mode = not trainable
    base = config.base_model_name_or_path
    before = model.active_adapters[0] if isinstance(model, peft.PeftModel) else None
    adapted = inject(model, config, name)
    try:
        fill(adapted, weights, directory)
    except ModelError as error:
        if before is None:
            if not config.is_prompt_learning:  # virtual tokens change no layer
                adapted.unload()
        else:
            adapted.delete_adapter(name)
            adapted.set_adapter(before)
        hint = f" (its adapter_config.json names {base!r})" if base else ""
        raise ModelError(error.problem, error.remedy + hint) from None
    return adapted


def saved_config(directory: Path) -> peft.PeftConfig:
    """How a saved adapter was made.

    Raises:
        ModelError: no adapter there, or its configuration cannot be read.
    """
    path = directory / ADAPTER_CONFIG
    if not path.is_file():
        raise ModelError(f"{str(directory)!r} holds no adapter ({ADAPTER_CONFIG})")
    try:
        return peft.PeftConfig.from_pretrained(str(directory))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def saved_weights(directory: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved adapter.

    Raises:
        ModelError: no adapter there, or its weights cannot be read.
    """
    if not (directory / ADAPTER_CONFIG).is_file():
        raise ModelError(f"{str(directory)!r} holds no adapter ({ADAPTER_CONFIG})")
    try:
        return cast("dict[str, torch.Tensor]", peft.load_peft_weights(str(directory), device="cpu"))
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the adapter's weights in {str(directory)!r} cannot be read: {error}") from error


def fill(adapted: peft.PeftModel, weights: dict[str, torch.Tensor], directory: Path) -> None:
    """Copy saved tensors into the adapter in use.

    Raises:
        ModelError: they do not fit (the differences are listed).
    """
    refuse_mismatch(shapes(own_weights(adapted)), shapes(weights), directory)
    peft.set_peft_model_state_dict(adapted, weights, adapter_name=adapted.active_adapters[0])


def save_peft(adapted: peft.PeftModel, directory: Path) -> None:
    """Write the adapter in use in peft's format."""
    name = adapted.active_adapters[0]
    config = adapted.peft_config[name]
    state = None
    if has_start(adapted):
        adapted.peft_config[name], state = saved_form(adapted)
    try:
        # Without an adapter on them the embeddings are the base's; "auto" would ask the hub about them.
        adapted.save_pretrained(
            str(directory), selected_adapters=[name], save_embedding_layers=False, state_dict=state
        )
    finally:
        adapted.peft_config[name] = config
    if name == DEFAULT:
        return
    for path in (directory / name).iterdir():  # peft gives every other name a folder of its own
        path.replace(directory / path.name)
    (directory / name).rmdir()


def merge_peft(model: nn.Module, *, dequantize: bool = False) -> nn.Module:
    """Make the adapter in use part of the weights, and drop it.

    Args:
        dequantize: make a quantised base plain first; False refuses it.

    Raises:
        ModelError: the base is quantised, where the sum would be rounded; the method cannot be merged, or the
            result is not finite.
    """
    adapted = peft_model(model)
    if dequantize and is_quantised(adapted):
        adapted = with_plain_base(adapted)
    refuse_quantised(adapted)
    mergeable(adapted)
    try:
        return cast(nn.Module, adapted.merge_and_unload(safe_merge=True))
    except ValueError as error:  # weights that are not finite
        raise ModelError(f"the adapter cannot be merged: {error}", "choose an earlier checkpoint") from error


def with_plain_base(adapted: peft.PeftModel) -> peft.PeftModel:
    """The adapter in use on the base with its weights dequantised; the quantised one is used up."""
    name = adapted.active_adapters[0]
    config, weights = adapted.peft_config[name], own_weights(adapted)
    plain = inject(dequantised(adapted.unload()), config, name)
    peft.set_peft_model_state_dict(plain, weights, adapter_name=name)
    return plain


def is_quantised(adapted: peft.PeftModel) -> bool:
    """Whether layers of the base are kept in few bits."""
    return any(is_quantised_layer(module) for module in adapted.modules())


def refuse_quantised(adapted: peft.PeftModel) -> None:
    """Merging rounds the sum to few bits.

    Raises:
        ModelError: the base is quantised.
    """
    if is_quantised(adapted):
        raise ModelError(
            "an adapter on quantised weights cannot be merged without rounding the sum to few bits",
            "merge_tuner(model, dequantize=True) adds it to the dequantised weights, for a plain model; "
            "swift merge adds it to the base without quantisation",
        )


def mergeable(adapted: peft.PeftModel) -> BaseTuner:
    """peft's part that merges.

    Raises:
        ModelError: the method adds tokens or hidden states, which are no part of the weights.
    """
    config = adapted.active_peft_config
    if config.is_prompt_learning:
        raise ModelError(
            f"an adapter of type {config.peft_type} cannot be merged: it adds virtual tokens, and no weights",
            "use it beside its base",
        )
    return cast("BaseTuner", adapted.base_model)


def is_merged(adapted: peft.PeftModel) -> bool:
    """Whether an adapter is part of the weights at the moment."""
    return any(isinstance(module, BaseTunerLayer) and module.merged for module in adapted.modules())


def base_of(model: nn.Module) -> nn.Module:
    """The model without peft's wrapper; adapters may stand in it."""
    return cast(nn.Module, model.get_base_model()) if isinstance(model, peft.PeftModel) else model


def _task_type(model: nn.Module, classifier: list[str]) -> str | None:
    """What peft calls the model's task: it decides which auto class loads base and adapter together."""
    if classifier:
        return "SEQ_CLS"
    if not isinstance(model, PreTrainedModel):
        return None
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"


def inject(model: nn.Module, config: peft.PeftConfig, name: str = DEFAULT) -> peft.PeftModel:
    """Add an adapter and use it.

    Raises:
        ModelError: it cannot go on this model, which is left as it was.
    """
    if isinstance(model, peft.PeftModel) and name in model.peft_config:
        raise ModelError(f"the model carries an adapter {name!r} already", "give the new one another name")
    own_name = (
        base_of(model).__dict__.get("name_or_path") or None
    )  # peft records this one, with a warning if it differs
    trained_on = config.base_model_name_or_path
    base = own_name or trained_on
    config.base_model_name_or_path = own_name
    try:
        if isinstance(model, peft.PeftModel):
            adapted = model
            name_tied_head(adapted, config)
            adapted.add_adapter(name, config)
            adapted.set_adapter(name, inference_mode=config.inference_mode)
        else:
            adapted = wrap(model, config, name)
    except (ValueError, TypeError, ImportError) as error:  # layers of a kind that peft cannot adapt
        _take_back(model, name)
        reason = re.sub(r"\(\n.*\n\)", "", str(error), flags=re.DOTALL)  # peft prints modules in full
        raise ModelError(
            f"the adapter cannot go on {type(base_of(model)).__name__}: {reason}",
            f"load it on the base it was trained on, {trained_on!r}"
            if trained_on
            else "choose other target_modules or another method, or load it on the base it was trained on",
        ) from error
    keep_classifier_whole(adapted)
    # A folder is found again from any working directory.
    config.base_model_name_or_path = str(Path(base).resolve()) if base and Path(base).is_dir() else base
    return adapted


def _take_back(model: nn.Module, name: str) -> None:
    """Undo an injection that broke off."""
    for place, module in list(model.named_modules()):
        if not isinstance(module, BaseTunerLayer):
            continue
        if name in module._get_available_adapters():
            module.delete_adapter(name)
        if not module._get_available_adapters():
            parent, _, last = place.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())


def own_weights(adapted: peft.PeftModel) -> dict[str, torch.Tensor]:
    """The tensors of the adapter in use, as they are saved."""
    # As in save_peft(): "auto" would ask the hub whether the embeddings were resized.
    return cast(
        "dict[str, torch.Tensor]",
        peft.get_peft_model_state_dict(
            adapted, adapter_name=adapted.active_adapters[0], save_embedding_layers=False
        ),
    )


def peft_model(model: nn.Module) -> peft.PeftModel:
    """The model itself, if peft put adapters on it.

    Raises:
        ModelError: it carries none.
    """
    if not isinstance(model, peft.PeftModel):
        raise ModelError(f"{type(model).__name__} carries no adapter", "apply or load a tuner first")
    return model
