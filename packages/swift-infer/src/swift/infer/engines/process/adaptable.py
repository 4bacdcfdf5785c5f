"""Server processes that load adapters while they run, as vLLM and SGLang do by the same two requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from swift.core.errors import EngineError
from swift.core.types import EngineFacts
from swift.infer.engines.http.dialect import Dialect
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.server import Launch

LaunchWith = Callable[[int, Iterable[OfferedAdapter]], Launch]


class AdaptableEngine(ManagedEngine):
    """A managed engine with adapters.

    Args:
        launch: makes the command line for a port and the adapters on offer.
        adapters: those that it is started with.
        prefix: path before /load_lora_adapter and /unload_lora_adapter.
        others: as ManagedEngine has them.

    Raises:
        EngineError: the server did not become ready.
    """

    def __init__(
        self,
        launch: LaunchWith,
        adapters: OfferedAdapters,
        prefix: str,
        api: str,
        dialect: Dialect,
        facts: EngineFacts,
        *,
        timeout: float = 300.0,
        secret: str = "",
    ) -> None:
        self._adapters, self._prefix = adapters, prefix
        self._changing = threading.Lock()
        try:
            super().__init__(
                lambda port: launch(port, adapters.loadings()),
                api,
                dialect,
                facts,
                timeout=timeout,
                secret=secret,
            )
        except BaseException:  # an interrupt too: the copies would stay behind
            adapters.close()
            raise

    def facts(self) -> EngineFacts:
        """What the server can do, with the adapters of now."""
        return replace(super().facts(), adapters=self._adapters.names())

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter; one of that name is replaced.

        Raises:
            EngineError: the server was started without room for adapters, or refuses this one.
        """
        if not self._facts.loads_adapters:
            raise EngineError(
                f"the server was started without room for the adapter {name!r}",
                "set infer.max_loras to 1 or more",
            )
        with self._changing:
            loading = self._adapters.prepared(name, folder)
            try:
                self._ask("load", {"lora_name": loading.served, "lora_path": str(loading.folder)})
            except ServerFault as fault:
                self._adapters.drop(loading)
                raise EngineError(
                    f"the server refuses the adapter {name!r} ({str(folder)!r}): {fault.problem}",
                    fault.remedy,
                ) from fault
            before = self._adapters.offer(loading)
            if before is not None:
                self._forget(before)

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter.

        Raises:
            EngineError: none of that name is loaded.
        """
        with self._changing:
            self._forget(self._adapters.get(name))

    def close(self) -> None:
        """End the server and delete the copies of the adapters; safe to call twice."""
        super().close()
        self._adapters.close()

    def _forget(self, loading: OfferedAdapter) -> None:
        self._adapters.drop(loading)
        try:
            self._ask("unload", {"lora_name": loading.served})
        except ServerFault as fault:
            raise fault.error() from fault

    def _ask(self, verb: str, body: dict[str, str]) -> None:
        """Raises ServerFault when the server refuses."""
        told = self.server.post(f"{self._prefix}/{verb}_lora_adapter", body)
        if isinstance(told, dict) and told.get("success") is False:
            raise ServerFault(str(told.get("error_message") or told.get("message") or told))
