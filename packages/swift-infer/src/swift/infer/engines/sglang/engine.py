"""The engine `sglang`: SGLang's server in an environment of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.types import EngineFacts
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.server import Launch
from swift.infer.engines.sglang.command import ENVIRONMENT, command, room_for_adapters
from swift.infer.engines.sglang.config import SglangEngineConfig
from swift.infer.engines.sglang.generate import CONSTRAINTS, GenerateDialect
from swift.infer.environments.place import interpreter_for

if TYPE_CHECKING:
    import torch


class SglangEngine(ManagedEngine):
    """SGLang behind HTTP, with token ids in and out.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of SGLang.

    Raises:
        EngineError: no interpreter has SGLang, or the server did not become ready.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: SglangEngineConfig | None = None
    ) -> None:
        config = config or SglangEngineConfig()
        room = room_for_adapters(source, config)
        config = config.model_copy(update={"max_loras": room})
        python = interpreter_for("sglang", config.python)
        self._adapters = dict(source.adapters)

        def launch(port: int) -> Launch:
            return Launch(
                name="sglang",
                command=command(replace(source, adapters=dict(self._adapters)), config, python, port),
                health=f"http://127.0.0.1:{port}/health",
                environment=ENVIRONMENT,
                log=Path(config.server_log) if config.server_log else None,
                start_timeout=config.start_timeout,
            )

        facts = EngineFacts(
            constraints=CONSTRAINTS, adapters=tuple(sorted(self._adapters)), loads_adapters=room > 0
        )
        dialect = GenerateDialect(seeds=config.deterministic)
        super().__init__(launch, "", dialect, facts, timeout=config.timeout)
        self._facts = replace(facts, **self._told())

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Send weights by parameter name, through a file that the server reads.

        Raises:
            EngineError: None, because nothing is shared; or the server refuses them.
        """
        if weights is None:
            raise EngineError("SGLang shares no tensors with this process", "send the weights by name")
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="swift-weights-") as folder:
            tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights}
            save_file(tensors, Path(folder) / "model.safetensors")
            self._ask("/update_weights_from_disk", {"model_path": folder, "load_format": "safetensors"})

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter; one of that name is replaced.

        Raises:
            EngineError: the server was started without room for adapters, or refuses this one.
        """
        if not self._facts.loads_adapters:
            raise EngineError(
                f"SGLang was started without room for the adapter {name!r}",
                "set infer.max_loras to 1 or more",
            )
        if name in self._adapters:
            self.unload_adapter(name)
        self._ask("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder.absolute())})
        self._offer({**self._adapters, name: folder})

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter.

        Raises:
            EngineError: none of that name is loaded.
        """
        if name not in self._adapters:
            super().unload_adapter(name)
        self._ask("/unload_lora_adapter", {"lora_name": name})
        self._offer({key: folder for key, folder in self._adapters.items() if key != name})

    def _offer(self, adapters: dict[str, Path]) -> None:
        self._adapters = adapters
        self._facts = replace(self._facts, adapters=tuple(sorted(adapters)))

    def _ask(self, path: str, body: dict[str, Any]) -> None:
        try:
            told = self.server.post(path, body)
        except ServerFault as fault:
            raise fault.error() from fault
        if isinstance(told, dict) and told.get("success") is False:
            raise EngineError(f"SGLang refuses {path}: {told.get('message') or told.get('error_message')}")

    def _told(self) -> dict[str, Any]:
        """Facts that only the running server knows."""
        card = self.server.get("/v1/models")["data"][0]
        info = self.server.get("/model_info")
        return {"max_length": card.get("max_model_len"), "images": bool(info.get("has_image_understanding"))}
