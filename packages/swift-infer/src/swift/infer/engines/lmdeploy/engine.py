"""The engine `lmdeploy`: LMDeploy's server in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift.core.engines import EngineSource
from swift.core.types import EngineFacts
from swift.infer.adapter_base import architecture, check_base
from swift.infer.engines.lmdeploy.chat import CONSTRAINTS, LmdeployDialect
from swift.infer.engines.lmdeploy.command import MODEL, check, command
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.server import Launch
from swift.infer.environments.place import interpreter_for


class LmdeployEngine(ManagedEngine):
    """LMDeploy behind HTTP, with token ids in and out; adapters are those it was started with.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of LMDeploy.

    Raises:
        EngineError: no interpreter has LMDeploy, or the server did not become ready.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: LmdeployEngineConfig | None = None
    ) -> None:
        config = config or LmdeployEngineConfig()
        check(source)
        for folder in source.adapters.values():
            check_base(folder, architecture(source.model), source.model)
        python = interpreter_for("lmdeploy", config.python)

        def launch(port: int) -> Launch:
            return Launch(
                name="lmdeploy",
                command=command(source, config, python, port),
                health=f"http://127.0.0.1:{port}/health",
                log=Path(config.server_log) if config.server_log else None,
                start_timeout=config.start_timeout,
            )

        facts = EngineFacts(
            max_length=config.max_length or source.max_length,
            images=takes_images(source.model),
            constraints=CONSTRAINTS,
            adapters=tuple(sorted(source.adapters)),
        )
        super().__init__(launch, "", LmdeployDialect(MODEL), facts, timeout=config.timeout)


def takes_images(model: str) -> bool:
    """Whether a model folder's config.json describes a vision tower; False for what is no folder."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "vision_config" in config
