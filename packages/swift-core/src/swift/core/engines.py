"""Engines as a run builds them: from a live model, or from weights that the engine reads itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.core.protocols import Engine
from swift.core.types import EngineFacts


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
