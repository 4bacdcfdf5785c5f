"""LoRA through peft: W + scale * B A, where W is frozen and A, B train (arXiv 2106.09685)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.tuners.adapters import ADAPTER_CONFIG
from swift.tuners.lora.classifier import keep_classifier_whole
from swift.tuners.lora.config import LoraConfig, QloraConfig
from swift.tuners.lora.quantization import bitsandbytes_config
from swift.tuners.lora.targets import check_rank, resolve_targets
from swift.tuners.mismatch import refuse_mismatch, shapes


class LoraTuner:
    """Low-rank updates beside frozen weights; a QloraConfig also asks for quantised loading of the base."""

    def __init__(self, config: LoraConfig | None = None) -> None:
        self.config = config or LoraConfig()

    def load_options(self) -> dict[str, Any]:
        """The quantisation of the base, for QLoRA.

        Raises:
            ModelError: bitsandbytes is not installed.
        """
        if isinstance(self.config, QloraConfig):
            return {"quantization_config": bitsandbytes_config(self.config.quantization_bit)}
        return {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Freeze the model and put trainable A, B beside the target layers.

        The result is a peft model that shares the weights of `model`, which is changed in place.

        Raises:
            ModelError: a target matches nothing or cannot be adapted, or the rank is too large for one.
        """
        targets = resolve_targets(model, self.config.target_modules)
        check_rank(model, targets, self.config.lora_rank)
        return cast(nn.Module, _inject(model, self._peft_config(model, targets)))

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the adapter in peft's format.

        Raises:
            ModelError: the model carries no adapter.
        """
        # Without an adapter on them the embeddings are the base's; "auto" would ask the hub about them.
        _peft_model(model).save_pretrained(str(directory), save_embedding_layers=False)

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        Raises:
            ModelError: no adapter there, or one of another base (the differences are listed).
        """
        if not (directory / ADAPTER_CONFIG).is_file():
            raise ModelError(f"{str(directory)!r} holds no adapter ({ADAPTER_CONFIG})")
        adapter_config = peft.PeftConfig.from_pretrained(str(directory))
        adapter_config.inference_mode = not trainable
        base = adapter_config.base_model_name_or_path
        adapted = _inject(model, adapter_config)
        weights = peft.load_peft_weights(str(directory), device="cpu")
        try:
            refuse_mismatch(shapes(_own_weights(adapted)), shapes(weights), directory)
        except ModelError as error:
            adapted.unload()
            hint = f" (its adapter_config.json names {base!r})" if base else ""
            raise ModelError(error.problem, error.remedy + hint) from None
        peft.set_peft_model_state_dict(adapted, weights)
        return cast(nn.Module, adapted)

    def merge(self, model: nn.Module) -> nn.Module:
        """Add scale * B A to the weights and drop the adapter.

        Raises:
            ModelError: the base is quantised, where the sum would be rounded, or the sum is not finite.
        """
        adapted = _peft_model(model)
        if getattr(adapted.get_base_model(), "is_quantized", False):
            raise ModelError(
                "an adapter on quantised weights cannot be merged without rounding the sum",
                "load the base without quantisation and put the adapter on it: swift merge does so",
            )
        try:
            return cast(nn.Module, adapted.merge_and_unload(safe_merge=True))
        except ValueError as error:  # weights that are not finite
            raise ModelError(
                f"the adapter cannot be merged: {error}", "choose an earlier checkpoint"
            ) from error

    def _peft_config(self, model: nn.Module, targets: list[str]) -> peft.LoraConfig:
        config = self.config
        classifier = classifier_layers(model)  # new, so that it has to train as a whole
        return peft.LoraConfig(
            task_type=_task_type(model, classifier),
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=targets,
            modules_to_save=[*config.modules_to_save, *classifier] or None,
            init_lora_weights=config.init_lora_weights,
            use_rslora=config.use_rslora,
        )


def _task_type(model: nn.Module, classifier: list[str]) -> str | None:
    """What peft calls the model's task: it decides which auto class loads base and adapter together."""
    if classifier:
        return "SEQ_CLS"
    if not isinstance(model, PreTrainedModel):
        return None
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"


def _inject(model: nn.Module, config: peft.PeftConfig) -> peft.PeftModel:
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


def _own_weights(adapted: peft.PeftModel) -> dict[str, torch.Tensor]:
    # As in save(): "auto" would ask the hub whether the embeddings were resized.
    return cast(
        "dict[str, torch.Tensor]", peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    )


def _peft_model(model: nn.Module) -> peft.PeftModel:
    if not isinstance(model, peft.PeftModel):
        raise ModelError(f"{type(model).__name__} carries no adapter", "apply or load a tuner first")
    return model
