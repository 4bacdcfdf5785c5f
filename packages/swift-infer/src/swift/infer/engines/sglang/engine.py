"""The engine `sglang`: SGLang's server in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.models.hub import locate
from swift.core.types import EngineFacts
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.process.adaptable import AdaptableEngine
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.launch import launch_of
from swift.infer.engines.process.server import Launch
from swift.infer.engines.sglang.command import ENVIRONMENT, command, room_for_adapters, room_for_rank
from swift.infer.engines.sglang.config import SglangEngineConfig
from swift.infer.engines.sglang.generate import CONSTRAINTS, GenerateDialect
from swift.infer.environments.place import interpreter_for

if TYPE_CHECKING:
    import torch


class SglangEngine(AdaptableEngine):
    """SGLang behind HTTP, with token ids in and out.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of SGLang.

    Raises:
        EngineError: no interpreter has SGLang, or the server did not become ready.
        ModelError: no such model, or an adapter of another one.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: SglangEngineConfig | None = None
    ) -> None:
        config = config or SglangEngineConfig()
        config = config.model_copy(update={"max_loras": room_for_adapters(source, config)})
        rank = room_for_rank(source, config)
        python = interpreter_for("sglang", config.python)
        self._folder = locate(source.model, revision=source.revision)

        def launch(port: int, adapters: Iterable[OfferedAdapter]) -> Launch:
            words = command(source, config, python, port, adapters, rank)
            return launch_of("sglang", config, port, words, ENVIRONMENT)

        facts = EngineFacts(constraints=CONSTRAINTS, loads_adapters=bool(config.max_loras))
        adapters = OfferedAdapters(source.adapters, str(self._folder))
        dialect = GenerateDialect(config.deterministic, adapters.served)
        super().__init__(launch, adapters, "", "", dialect, facts, timeout=config.timeout)
        self._facts = replace(facts, **self._told())

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Send weights by parameter name, through a file that the server reads.

        Raises:
            EngineError: None, because nothing is shared; weights that are not the model's, or not all; or the
                server refuses them.
        """
        if weights is None:
            raise EngineError("SGLang shares no tensors with this process", "send the weights by name")
        from swift.infer.engines.process.weights import stored_shapes, written

        with written(weights, stored_shapes(self._folder)) as paths:
            body = {"model_path": str(Path(paths[0]).parent), "load_format": "safetensors"}
            try:
                self.server.post("/update_weights_from_disk", body)  # 400 where it failed
            except ServerFault as fault:
                raise fault.error() from fault

    def _told(self) -> dict[str, Any]:
        """Facts that only the running server knows."""
        card = self.server.get("/v1/models")["data"][0]
        info = self.server.get("/model_info")
        return {"max_length": card.get("max_model_len"), "images": bool(info.get("has_image_understanding"))}
