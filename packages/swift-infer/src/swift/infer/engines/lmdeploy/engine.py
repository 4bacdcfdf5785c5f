"""The engine `lmdeploy`: LMDeploy's server in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from swift.core.engines import EngineSource
from swift.core.models.hub import locate
from swift.core.types import EngineFacts
from swift.infer.engines.lmdeploy.adapter import rewrite
from swift.infer.engines.lmdeploy.chat import CONSTRAINTS, LmdeployDialect
from swift.infer.engines.lmdeploy.command import MODEL, check, command
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.launch import launch_of
from swift.infer.engines.process.model_folder import takes_images
from swift.infer.engines.process.relaunched import RelaunchedEngine
from swift.infer.engines.process.server import Launch
from swift.infer.environments.place import interpreter_for


class LmdeployEngine(RelaunchedEngine):
    """LMDeploy behind HTTP, with token ids in and out.

    Its adapters are words of its command line, and it takes weights from other processes through the GPU's
    memory alone, so that both cost a restart.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of LMDeploy.

    Raises:
        EngineError: no interpreter has LMDeploy, it cannot serve an adapter, or did not become ready.
        ModelError: no such model, or an adapter of another one.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: LmdeployEngineConfig | None = None
    ) -> None:
        config = config or LmdeployEngineConfig()
        check(source)
        python = interpreter_for("lmdeploy", config.python)
        folder = str(locate(source.model, revision=source.revision))

        def launch(port: int, model: str, adapters: Iterable[OfferedAdapter]) -> Launch:
            here = replace(source, model=model, revision=None)
            return launch_of("lmdeploy", config, port, command(here, config, python, port, adapters))

        facts = EngineFacts(
            max_length=config.max_length or source.max_length,
            images=takes_images(folder),
            constraints=CONSTRAINTS,
        )
        adapters = OfferedAdapters(source.adapters, folder, rewrite)
        dialect = LmdeployDialect(MODEL, adapters.served)
        super().__init__(launch, folder, adapters, "", dialect, facts, timeout=config.timeout)
