"""What all methods of peft share: choosing layers, saving, loading, merging."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.core.protocols import Tuner
from swift.tuners.adapters import ADAPTER_CONFIG
from swift.tuners.classifier import keep_classifier_whole
from swift.tuners.mismatch import refuse_mismatch, shapes
from swift.tuners.target_config import TargetConfig
from swift.tuners.targets import resolve_targets

DEFAULT = "default"  # the name that peft gives to an only adapter


class PeftTuner(Tuner, ABC):
    """A method that peft implements.

    Args:
        config: the method's settings; default: its defaults.

    Attributes:
        config_class: of the settings.
        mergeable: whether the adapter can become part of the weights.
    """

    config_class: ClassVar[type[TargetConfig]]
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

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze the model and add what trains.

        The result is a peft model that shares the weights of `model`, which is changed in place.

        Raises:
            ModelError: a target matches nothing or cannot be adapted, or a setting does not fit the model.
        """
        classifier = classifier_layers(model)  # new, so that it has to train as a whole
        common = {
            "task_type": _task_type(model, classifier),
            "target_modules": resolve_targets(model, self.config.target_modules),
            "modules_to_save": [*self.config.modules_to_save, *classifier] or None,
        }
        return cast(nn.Module, inject(model, self.peft_config(model, common)))

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the adapter in peft's format.

        Raises:
            ModelError: the model carries no adapter.
        """
        # Without an adapter on them the embeddings are the base's; "auto" would ask the hub about them.
        peft_model(model).save_pretrained(str(directory), save_embedding_layers=False)

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        Raises:
            ModelError: no adapter there, or one of another base (the differences are listed).
        """
        return cast(nn.Module, load_peft(model, directory, trainable=trainable))

    def merge(self, model: nn.Module) -> nn.Module:
        """Make the adapter part of the weights, and drop it.

        Raises:
            ModelError: the base is quantised, where the sum would be rounded; the result is not finite; or
                the method cannot be merged.
        """
        return merge_peft(model)


def load_peft(model: nn.Module, directory: Path, *, trainable: bool = False) -> peft.PeftModel:
    """Put an adapter of any of peft's methods on its base, which is left as it was if it does not fit.

    Raises:
        ModelError: no adapter there, or one of another base (the differences are listed).
    """
    if not (directory / ADAPTER_CONFIG).is_file():
        raise ModelError(f"{str(directory)!r} holds no adapter ({ADAPTER_CONFIG})")
    adapter_config = peft.PeftConfig.from_pretrained(str(directory))
    adapter_config.inference_mode = not trainable
    base = adapter_config.base_model_name_or_path
    adapted = inject(model, adapter_config)
    weights = peft.load_peft_weights(str(directory), device="cpu")
    try:
        refuse_mismatch(shapes(own_weights(adapted)), shapes(weights), directory)
    except ModelError as error:
        adapted.unload()
        hint = f" (its adapter_config.json names {base!r})" if base else ""
        raise ModelError(error.problem, error.remedy + hint) from None
    peft.set_peft_model_state_dict(adapted, weights)
    return adapted


def merge_peft(model: nn.Module) -> nn.Module:
    """Make the adapter part of the weights, and drop it.

    Raises:
        ModelError: the base is quantised, where the sum would be rounded, or the result is not finite.
    """
    adapted = peft_model(model)
    if getattr(adapted.get_base_model(), "is_quantized", False):
        raise ModelError(
            "an adapter on quantised weights cannot be merged without rounding the sum",
            "load the base without quantisation and put the adapter on it: swift merge does so",
        )
    try:
        return cast(nn.Module, adapted.merge_and_unload(safe_merge=True))
    except ValueError as error:  # weights that are not finite
        raise ModelError(f"the adapter cannot be merged: {error}", "choose an earlier checkpoint") from error


def _task_type(model: nn.Module, classifier: list[str]) -> str | None:
    """What peft calls the model's task: it decides which auto class loads base and adapter together."""
    if classifier:
        return "SEQ_CLS"
    if not isinstance(model, PreTrainedModel):
        return None
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"


def inject(model: nn.Module, config: peft.PeftConfig) -> peft.PeftModel:
    own_name = (
        model.__dict__.get("name_or_path") or None
    )  # peft records this one, with a warning if it differs
    base = own_name or config.base_model_name_or_path
    config.base_model_name_or_path = own_name
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:  # targets that do not exist, or of a kind that peft cannot adapt
        raise ModelError(f"the adapter cannot go on {type(model).__name__}: {error}") from error
    keep_classifier_whole(adapted)
    # A folder is found again from any working directory.
    config.base_model_name_or_path = str(Path(base).resolve()) if base and Path(base).is_dir() else base
    return adapted


def own_weights(adapted: peft.PeftModel) -> dict[str, torch.Tensor]:
    # As in save(): "auto" would ask the hub whether the embeddings were resized.
    return cast(
        "dict[str, torch.Tensor]", peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    )


def peft_model(model: nn.Module) -> peft.PeftModel:
    if not isinstance(model, peft.PeftModel):
        raise ModelError(f"{type(model).__name__} carries no adapter", "apply or load a tuner first")
    return model
