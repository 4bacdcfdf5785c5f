"""Engines as a run builds them: from a live model, or from weights that the engine reads itself."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from swift.core.errors import EngineError
from swift.core.protocols import Engine
from swift.core.registry import engines
from swift.core.types import EngineFacts

if TYPE_CHECKING:
    from torch import nn

    from swift.core.config.schema import ModelConfig

LOADS, ELSEWHERE = "loads", "elsewhere"  # attributes of an engine's component


@dataclass(frozen=True)
class EngineSource:
    """Weights for an engine that reads them itself (its component has the attribute loads=True).

    Attributes:
        model: folder or hub id of a plain model; tiny/NAME has been written to a folder. Empty for an engine
            that holds none of ours (remote).
        tokenizer: folder of the tokenizer, where it is not the model's own.
        adapters: name -> folder.
        dtype: as torch calls it, or auto.
        device: auto, cpu or cuda.
        max_length: longest prompt and answer together, in tokens; None: the model's own.
    """

    model: str
    tokenizer: str = ""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    dtype: str = "auto"
    device: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    chat_template: str | None = None
    seed: int = 42
    max_length: int | None = None


def facts_of(engine: Engine) -> EngineFacts:
    """What an engine can do; those of plugins need not say."""
    told: Any = getattr(engine, "facts", None)
    facts: EngineFacts = told() if told is not None else EngineFacts(shares_weights=True)
    return facts


def loads_weights(name: str) -> bool:
    """Whether an engine reads weights itself and is built from an EngineSource."""
    return bool(dict(engines.get(name).attributes).get(LOADS))


def is_elsewhere(name: str) -> bool:
    """Whether an engine's model is not ours: it is asked over a network, and holds what it holds."""
    return bool(dict(engines.get(name).attributes).get(ELSEWHERE))


def build_engine(
    name: str,
    config: Any,
    model: nn.Module,
    tokenizer: Any,
    model_config: ModelConfig,
    *,
    seed: int = 42,
    adapted: bool = True,
) -> Engine:
    """The engine of that name over a live model.

    One that loads weights itself gets them as a folder, which vanishes with the engine.

    Args:
        config: the engine's own keys.
        model_config: where the model came from, for the processor of a multimodal one.
        adapted: write the weights with what an adapter adds; False: the base alone, and the caller sends
            what trains.

    Raises:
        EngineError: the engine cannot run this model, or its model is elsewhere.
        ModelError: the model cannot be written as plain weights.
    """
    from swift.plugin.nouns import build_noun

    if not loads_weights(name):
        return cast("Engine", build_noun(engines, name, model, tokenizer, config=config))
    if is_elsewhere(name):
        raise EngineError(
            f"infer.engine {name!r} generates with a model of its own, not with the one that trains",
            "choose another engine, such as transformers",
        )
    folder = written_copy(model, tokenizer, model_config, adapted=adapted)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    source = EngineSource(
        str(folder), dtype=dtype, seed=seed, trust_remote_code=model_config.trust_remote_code
    )
    try:
        engine = cast("Engine", build_noun(engines, name, source, tokenizer, config=config))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine


def written_copy(
    model: nn.Module, tokenizer: Any, model_config: ModelConfig, *, adapted: bool = True
) -> Path:
    """A temporary folder with a live model's plain weights; the caller's to delete.

    Raises:
        ModelError: the model cannot be written as plain weights.
    """
    from swift.core.models.load import load_processor
    from swift.core.models.plain import reads_images, save_plain

    processor = load_processor(model_config) if reads_images(model) else tokenizer
    folder = Path(tempfile.mkdtemp(prefix="swift-engine-"))
    try:
        save_plain(model, processor, folder, adapted=adapted)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
