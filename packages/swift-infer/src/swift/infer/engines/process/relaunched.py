"""Server processes that are started anew for what they cannot take while they run."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.errors import EngineError
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.engines.http.dialect import Dialect
from swift.infer.engines.process.adapters import OfferedAdapter, OfferedAdapters
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.gate import Gate
from swift.infer.engines.process.model_folder import with_weights
from swift.infer.engines.process.server import Launch

if TYPE_CHECKING:
    import torch

LaunchOf = Callable[[int, str, Iterable[OfferedAdapter]], Launch]


@dataclass(frozen=True)
class Setting:
    """What a server is started with.

    Attributes:
        model: folder.
        adapters: name -> what is served under it.
    """

    model: str
    adapters: Mapping[str, OfferedAdapter]


class RelaunchedEngine(ManagedEngine):
    """A managed engine that takes adapters and new weights by a planned restart of its server.

    A change waits until no request runs, and holds those that come meanwhile: they are answered by the
    server that has it. A server that does not start with the change is started as it was before.

    Args:
        launch: makes the command line for a port, a model and adapters.
        model: folder that the server begins with.
        adapters: those that it begins with; owned by the engine.
        timeout: as ManagedEngine has it; and seconds that a change waits for running requests.
        others: as ManagedEngine has them.

    Raises:
        EngineError: the server did not become ready.
    """

    def __init__(
        self,
        launch: LaunchOf,
        model: str,
        adapters: OfferedAdapters,
        api: str,
        dialect: Dialect,
        facts: EngineFacts,
        *,
        timeout: float = 300.0,
    ) -> None:
        self._first = self._model = model
        self._adapters = adapters
        self._patience = timeout
        self._gate = Gate()
        self._changing = threading.Lock()
        try:
            super().__init__(
                lambda port: launch(port, self._model, adapters.loadings()),
                api,
                dialect,
                replace(facts, loads_adapters=True),
                timeout=timeout,
            )
        except BaseException:  # an interrupt too: the copies would stay behind
            adapters.close()
            raise

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[TokenDelta, None]:
        """Deltas of one request, once no change is going on; leaving the loop early aborts it.

        Raises:
            EngineError: the engine is closed, or the id is in use.
        """
        async with self._gate.inside(), aclosing(super().stream(request)) as deltas:
            async for delta in deltas:
                yield delta

    def facts(self) -> EngineFacts:
        """What the server can do, with the adapters of now."""
        return replace(super().facts(), adapters=self._adapters.names())

    def health(self) -> EngineHealth:
        """Whether requests are taken; those that wait for a change are."""
        told = super().health()
        if self._gate.is_closed and not self._closed:
            return EngineHealth(True, told.running, self._gate.held)
        return replace(told, waiting=self._gate.held)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter; one of that name is replaced. Costs a restart.

        Raises:
            EngineError: the server does not start with it, or running requests do not end; nothing has
                changed then.
            ModelError: an adapter of another model.
        """
        with self._changing:
            self._check_open()
            loading = self._adapters.prepared(name, folder)
            now = self._setting()
            self._change(replace(now, adapters={**now.adapters, name: loading}), f"the adapter {name!r}")

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter. Costs a restart.

        Raises:
            EngineError: none of that name is loaded, or as load_adapter().
        """
        with self._changing:
            self._adapters.get(name)
            now = self._setting()
            others = {key: loading for key, loading in now.adapters.items() if key != name}
            self._change(replace(now, adapters=others), f"all adapters but {name!r}")

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Replace all weights, by their names in the model's files. Costs a restart.

        Raises:
            EngineError: None, because nothing is shared; weights that are not the model's, or not all; or as
                load_adapter().
        """
        if weights is None:
            raise EngineError(
                f"{type(self).__name__} shares no tensors with this process", "send the weights by name"
            )
        with self._changing:
            self._check_open()
            folder = with_weights(Path(self._first), weights)
            self._change(replace(self._setting(), model=str(folder)), "the new weights")

    def restart(self) -> None:
        """As ManagedEngine does; with the adapters and weights of now."""
        with self._changing:
            super().restart()

    def close(self) -> None:
        """End the server and delete what it read of ours; safe to call twice."""
        super().close()
        self._adapters.close()
        self._forget(self._setting(), Setting(self._first, {}))

    def _setting(self) -> Setting:
        return Setting(self._model, self._adapters.offered())

    def _set(self, setting: Setting) -> None:
        self._model = setting.model
        self._adapters.offer_only(setting.adapters)

    def _change(self, wanted: Setting, what: str) -> None:
        """Start the server with another setting, or as it was before."""
        before = now = self._setting()
        try:
            with self._gate.closed(self._patience):
                self._check_open()
                self._set(wanted)
                try:
                    super().restart()
                    now = wanted
                except EngineError as error:
                    self._set(before)
                    raise self._returned(what, error) from error
        finally:
            self._set(now)
            self._forget(before if now is wanted else wanted, now)
            if self._closed:  # by another thread, which could not know what is read last
                self._forget(now, Setting(self._first, {}))

    def _returned(self, what: str, error: EngineError) -> EngineError:
        """Start the server as it was before; what there is to say of it."""
        try:
            super().restart()
        except EngineError as worse:
            return EngineError(
                f"the server does not start with {what} ({error.problem}), nor as it was: {worse.problem}",
                worse.remedy,
            )
        return EngineError(
            f"the server does not start with {what}, and is back as it was: {error.problem}", error.remedy
        )

    def _forget(self, dropped: Setting, kept: Setting) -> None:
        """Delete the files of ours that only a dropped setting needs."""
        if dropped.model not in (kept.model, self._first):
            shutil.rmtree(dropped.model, ignore_errors=True)
        needed = {loading.folder for loading in kept.adapters.values()}
        for loading in dropped.adapters.values():
            if loading.folder not in needed:
                shutil.rmtree(loading.folder, ignore_errors=True)
