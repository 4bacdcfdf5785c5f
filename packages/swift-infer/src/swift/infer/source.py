"""From a configuration to what an engine that loads weights itself is built from."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.config.schema import ModelConfig
from swift.core.engines import EngineSource, written_copy
from swift.core.errors import ModelError
from swift.core.models.adapter_folder import CONFIGS
from swift.infer.load import find_adapter, inference_device, load_adapted


def engine_source(run: RunConfig) -> tuple[EngineSource, Any, list[Path]]:
    """(what the engine reads, the tokenizer, temporary folders that it needs as long as it lives).

    A folder or a hub's model is read where it is. tiny/NAME, a plugin's model, and one with model.adapter,
    are written to a temporary folder first, the adapter added to the weights.

    Raises:
        ModelError: model, tokenizer or adapter cannot be loaded or written.
    """
    from swift.core.models.hub import locate
    from swift.core.models.load import load_tokenizer

    made: list[Path] = []
    if read_in_place(run.model):
        folder = locate(run.model.model_id, run.model.hub, run.model.revision)
        tokenizer = load_tokenizer(run.model)
    else:
        model, tokenizer = load_adapted(_on_cpu(run))
        folder = written_copy(model, tokenizer, run.model)
        made.append(folder)
    other = ""
    if run.model.tokenizer_id is not None and not made:
        made.append(Path(tempfile.mkdtemp(prefix="swift-tokenizer-")))
        tokenizer.save_pretrained(made[-1])
        other = str(made[-1])
    source = EngineSource(
        model=str(folder),
        tokenizer=other,
        adapters=adapter_folders(run.infer.adapters),
        dtype=run.loop.dtype,
        device="cpu" if inference_device(run).type == "cpu" else run.device.device,
        trust_remote_code=run.model.trust_remote_code,
        chat_template=run.model.chat_template,
        seed=run.loop.seed,
    )
    return source, tokenizer, made


def read_in_place(config: ModelConfig) -> bool:
    """Whether the weights are files already, and all that the model is."""
    from swift.core.models.load import TINY
    from swift.core.registry import models

    written = config.model_id.startswith(TINY) or config.model_id in models
    return not written and config.adapter is None


def adapter_folders(named: Mapping[str, str]) -> dict[str, Path]:
    """infer.adapters, with the folder `final` where the output of a run is named.

    Raises:
        ModelError: no adapter there.
    """
    found = {name: find_adapter(Path(folder)) for name, folder in named.items()}
    for name, adapter in found.items():
        if adapter is None:
            raise ModelError(
                f"infer.adapters: {name!r} is {named[name]!r}, which holds no adapter "
                f"({' or '.join(CONFIGS)})",
                "name an adapter folder, or the output folder of a run that trained one",
            )
    return {name: adapter for name, adapter in found.items() if adapter is not None}


def _on_cpu(run: RunConfig) -> RunConfig:
    """The same run with the model on CPU: the engine needs the GPU's memory."""
    return dataclasses.replace(run, device=run.device.model_copy(update={"device": "cpu"}))
