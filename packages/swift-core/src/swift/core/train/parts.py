"""What a run is composed of, found by name and loaded: tokenizer, data, model, tuner, objective."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import IterableDataset

from swift.core.config.run import RunConfig
from swift.core.config.schema import ModelConfig
from swift.core.console import say
from swift.core.data.pipeline import Datasets, build_datasets
from swift.core.errors import ConfigError
from swift.core.metrics.check import check_labels
from swift.core.metrics.use import Metrics
from swift.core.models.attention import check_varlen
from swift.core.models.fused_head import fuse_head
from swift.core.models.heads import set_padding
from swift.core.models.load import load_config, load_model, load_processor
from swift.core.protocols import Objective, Tuner
from swift.core.registry import objectives, tuners
from swift.core.template.build import build_template
from swift.core.template.families import media_family
from swift.core.train.arguments import compute_dtype, trains_all_weights, weight_dtype
from swift.core.train.context import ObjectiveContext
from swift.core.train.evaluate import samples
from swift.core.train.qat import prepare_qat, scheme_of
from swift.plugin.live import LiveParts
from swift.plugin.nouns import build_noun, objective_task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swift.core.template.media import MediaFamily
    from swift.core.types import Head


@dataclass(frozen=True)
class Parts:
    """What a run is composed of, loaded."""

    model: nn.Module
    processor: Any
    tokenizer: Any
    datasets: Datasets
    objective: Objective
    tuner: Tuner | None
    metrics: Metrics


def load_parts(run: RunConfig, device: torch.device, live: LiveParts | None = None) -> Parts:
    """Tokenizer and data first, since mistakes there are the commonest and the cheapest to find.

    Args:
        live: where plugins may swap parts.
    """
    live = live or LiveParts(run.plugins.fallback)
    component = objectives.get(run.objective_name)
    task = run.data.task_type or objective_task(component)
    model_config = resolved_model(run)
    processor = load_processor(model_config)
    tokenizer = getattr(processor, "tokenizer", processor)
    architecture = load_config(model_config)
    check_context(architecture, run.data.max_length)
    media = media_family(processor, architecture.model_type, run.data.max_pixels)
    template = build_template(run.data, tokenizer, task, media)
    if run.data.streaming and run.loop.max_steps < 1:
        raise ConfigError(
            "data.streaming reads without end, and train.max_steps is not set", "set train.max_steps"
        )
    datasets = build_datasets(
        run.data, template, task, seed=run.loop.seed, folder=run.folder, hub=run.model.hub
    )
    target = component.load()
    settings, head = settle(target, run.objective, datasets)
    datasets.summary |= settled_keys(run.objective, settings)
    check_labels((named.name for named in run.eval.metrics), getattr(settings, "problem_type", None))
    metrics = Metrics(run.eval.metrics, run.objective_name, live)
    tuner = build_tuner(run)
    model = prepare_model(run, model_config, tuner, device, head, tokenizer.pad_token_id)
    if head is None:
        with_fused_head(run, model)
    context = objective_context(run, model_config, tokenizer, device, live, media)
    objective = build_noun(objectives, run.objective_name, settings, context)
    return Parts(model, processor, tokenizer, datasets, objective, tuner, metrics)


def check_context(architecture: Any, max_length: int) -> None:
    """Refuse samples that the model has no positions for.

    Raises:
        ConfigError: data.max_length is beyond the model's context.
    """
    context = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    if context is not None and max_length > context:
        raise ConfigError(
            f"data.max_length is {max_length}, but the model's context has {context} positions",
            f"set data.max_length={context} or less; data.truncation says what happens to longer samples",
        )


def settle(target: Any, config: Any, datasets: Datasets) -> tuple[Any, Head | None]:
    """The objective's config completed from the data, and the head that its model needs.

    Raises:
        DataError, ConfigError: the objective cannot learn from these rows.
    """
    if not hasattr(target, "settle"):  # a factory, or a class of the user's that is no Objective
        return config, None
    known: list[Any] = [data for data in (datasets.train, datasets.evaluation) if data is not None]
    streamed = any(isinstance(data, IterableDataset) for data in known)
    items = (data[index] for data in known for index in range(len(data)))
    settled = target.settle(config, None if streamed else (one for item in items for one in samples([item])))
    return settled, target.head(settled)


def settled_keys(config: Any, settled: Any) -> dict[str, Any]:
    """What the data decided, for run.json and the console."""
    if settled is config:
        return {}
    before, after = config.model_dump(), settled.model_dump()
    found = {key: value for key, value in after.items() if value != before[key]}
    if found:
        say("from the data: " + ", ".join(f"{key}={value}" for key, value in found.items()))
    return {"objective": after}


def is_flat(run: RunConfig) -> bool:
    """Whether batches are laid out as one sequence with boundaries."""
    return run.data.packing or run.data.padding_free


def resolved_model(run: RunConfig) -> ModelConfig:
    """The model section with the attention that the batch layout needs."""
    if is_flat(run) and run.model.attn_implementation is None:
        return run.model.model_copy(update={"attn_implementation": "swift_varlen"})
    return run.model


def build_tuner(run: RunConfig) -> Tuner | None:
    """The chosen tuner, or None when every parameter trains as it is."""
    if run.loop.tuner_strategy is None:
        return None
    return cast("Tuner", build_noun(tuners, run.loop.tuner_strategy, run.tuner))


def prepare_model(
    run: RunConfig,
    config: ModelConfig,
    tuner: Tuner | None,
    device: torch.device,
    head: Head | None = None,
    pad_id: int | None = None,
) -> nn.Module:
    """Load the base, then let the tuner decide what moves.

    Args:
        head: another output than next-token logits.
        pad_id: padding token, which some heads look for.
    """
    dtype = weight_dtype(run, compute_dtype(run, device))
    options = tuner.load_options() if tuner is not None else {}
    model: nn.Module = load_model(
        config, dtype=dtype, device=device, seed=run.loop.seed, options=options, head=head
    )
    if head is not None:
        set_padding(cast("PreTrainedModel", model), pad_id)
    if is_flat(run):
        check_varlen(model)
    scheme = scheme_of(run.loop)
    if scheme is not None:
        prepare_qat(model, scheme)
    if run.model.adapter is not None:
        if tuner is None or trains_all_weights(run):
            raise ConfigError(
                f"model.adapter is {run.model.adapter!r}, but no adapter is trained",
                "set train.tuner_strategy=lora (or its own method), or merge it first with `swift merge`",
            )
        return tuner.load(model, Path(run.model.adapter), trainable=True)
    return tuner.apply(model) if tuner is not None else model


def with_fused_head(run: RunConfig, model: nn.Module) -> None:
    """Let the head compute losses (train.fused_head), or say why it cannot."""
    obstacle = fuse_head(model) if run.loop.fused_head else None
    if obstacle is not None:
        say(f"fused head: off, {obstacle}")


def load_reference(run: RunConfig, config: ModelConfig, device: torch.device) -> Callable[[], nn.Module]:
    """How to get a frozen copy of the policy that the run started from (or of ref_model_id)."""

    def load() -> nn.Module:
        own = run.model.ref_model_id is None
        chosen = config if own else config.model_copy(update={"model_id": run.model.ref_model_id})
        model: nn.Module = load_model(
            chosen, dtype=compute_dtype(run, device), device=device, seed=run.loop.seed, options={}
        )
        tuner = build_tuner(run)
        if own and run.model.adapter is not None and tuner is not None:
            model = tuner.load(model, Path(run.model.adapter))
        with_fused_head(run, model)
        return model.eval().requires_grad_(False)

    return load


def objective_context(
    run: RunConfig,
    config: ModelConfig,
    tokenizer: Any,
    device: torch.device,
    live: LiveParts,
    media: MediaFamily | None = None,
) -> ObjectiveContext:
    """The objective's view of the run."""
    rank, world_size = rank_and_world()
    tuner = build_tuner(run)
    return ObjectiveContext(
        tokenizer=tokenizer,
        model_config=config,
        load_reference=load_reference(run, config, device),
        engine_name=run.infer.engine,
        engine_config=run.engine,
        device=device,
        seed=run.loop.seed,
        rank=rank,
        world_size=world_size,
        save_adapter=tuner.save if tuner is not None else None,
        per_device_batch_size=run.loop.per_device_train_batch_size,
        flat=is_flat(run),
        media=media,
        parts=live,
    )


def rank_and_world() -> tuple[int, int]:
    """This process among the ranks, as launchers say it in the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
