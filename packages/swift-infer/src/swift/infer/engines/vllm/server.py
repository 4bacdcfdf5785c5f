"""vLLM as a server process: its own OpenAI server, with token ids in and out."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.models.hub import locate
from swift.core.types import EngineFacts
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.openai_chat import OPENAI_CONSTRAINTS, VLLM_CONSTRAINTS
from swift.infer.engines.process.adaptable import AdaptableEngine
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.launch import launch_of
from swift.infer.engines.process.model_folder import takes_images
from swift.infer.engines.process.server import Launch
from swift.infer.engines.vllm.command import MODEL, command, environment, on_cpu, settled
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.formats import MERGE, check_format, quantisation
from swift.infer.engines.vllm.generate import VllmDialect
from swift.infer.environments.place import interpreter_for

if TYPE_CHECKING:
    import torch


class VllmServerEngine(AdaptableEngine):
    """vLLM in an environment of its own.

    The server listens on this machine alone, in vLLM's development mode, by which its weights are replaced;
    it answers nobody who has not the secret that it was started with, /health aside.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of vLLM.

    Raises:
        EngineError: no interpreter has vLLM, it cannot read the weights, or did not become ready.
        ModelError: no such model, or an adapter of another one.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: VllmEngineConfig | None = None
    ) -> None:
        config = settled(source, config or VllmEngineConfig(server=True))
        self._folder = locate(source.model, revision=source.revision)
        check_format(self._folder, on_cpu=on_cpu(source))
        python = interpreter_for("vllm", config.python)
        here = replace(source, model=str(self._folder), revision=None)
        secret = secrets.token_urlsafe(32)

        def launch(port: int, adapters: Iterable[OfferedAdapter]) -> Launch:
            words = command(here, config, python, port, adapters)
            return launch_of("vllm", config, port, words, environment(config, secret))

        self._sent, self._patience = False, config.start_timeout
        facts = EngineFacts(
            images=takes_images(here.model),
            constraints=OPENAI_CONSTRAINTS | VLLM_CONSTRAINTS,
            loads_adapters=bool(config.max_loras),
        )
        adapters = OfferedAdapters(source.adapters, here.model)
        dialect = VllmDialect(self._named, facts.images)
        super().__init__(launch, adapters, "/v1", "", dialect, facts, timeout=config.timeout, secret=secret)
        try:
            self._facts = replace(facts, max_length=self._length())
            if facts.loads_adapters and on_cpu(source):
                self._settle_base()
        except BaseException:  # an interrupt too: the server would live on
            self.close()
            raise

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Replace all weights between two steps, through files that the server reads.

        Running requests keep the tokens they have and go on with the new weights; what was computed with the
        old ones is forgotten.

        Raises:
            EngineError: None, because nothing is shared; unknown name, wrong shape, or not all weights
                (nothing has changed then); quantised weights, which cannot be replaced; or vLLM failed at it.
        """
        if weights is None:
            raise EngineError("a vLLM server shares no tensors with this process", "send the weights by name")
        if quantisation(self._folder):
            raise EngineError("vLLM cannot replace quantised weights", "start it on the plain ones")
        from swift.infer.engines.process.weights import stored_shapes, written

        with self._changing, written(weights, stored_shapes(self._folder)) as paths:
            self._check_open()
            self._sent = True
            try:
                self._reload(paths)
            except ServerFault as fault:
                raise EngineError(
                    f"vLLM could not take the new weights: {fault.problem}", fault.remedy
                ) from fault

    def restart(self) -> None:
        """As ManagedEngine does.

        Raises:
            EngineError: the server held weights that were sent to it, and they have ended with it.
        """
        if self._sent:
            raise EngineError(
                "a vLLM server cannot be started anew with the weights that were sent to it",
                "build another engine and send them again",
            )
        super().restart()

    def _named(self, adapter: str | None) -> str:
        """The server's name of an adapter, or of what answers for the model itself."""
        if adapter is not None:
            return self._adapters.served(adapter)
        beside = self._adapters.beside_base
        return MODEL if beside is None else beside.served

    def _length(self) -> int | None:
        cards = self.server.get("/v1/models")["data"]
        length: int | None = next(card.get("max_model_len") for card in cards if card["id"] == MODEL)
        return length

    def _settle_base(self) -> None:
        """Keep requests without an adapter apart from those with one: see base_rows.

        Raises:
            EngineError: no adapter of zeros goes beside this model.
        """
        from swift.infer.engines.process.weights import stored_shapes
        from swift.infer.engines.vllm.base_rows import zero_adapters

        failed = ServerFault("vLLM takes no adapter beside a model without linear layers")
        for folder in zero_adapters(stored_shapes(self._folder)):
            zeros = self._adapters.numbered("base", folder)
            shutil.rmtree(folder)
            try:
                self._ask("load", {"lora_name": zeros.served, "lora_path": str(zeros.folder)})
            except ServerFault as fault:
                self._adapters.drop(zeros)
                failed = fault
                continue
            self._adapters.beside_base = zeros
            return
        raise EngineError(f"vLLM cannot serve any adapter beside this model: {failed.problem}", MERGE)

    def _reload(self, paths: list[str]) -> None:
        """Raises ServerFault when a step of it fails."""
        self._post("/pause?mode=keep&clear_cache=false")
        try:
            self._post("/collective_rpc", {"method": "load_swift_weights", "args": [paths]})
            if not self._post("/reset_prefix_cache?reset_running_requests=true")["success"]:
                raise ServerFault("vLLM kept what it had computed with the former weights")
            self._post("/reset_mm_cache")
            self._post("/reset_encoder_cache")  # else the scheduler counts on what workers forgot
        finally:
            self._post("/resume")

    def _post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.server.post(path, body or {}, timeout=self._patience)
