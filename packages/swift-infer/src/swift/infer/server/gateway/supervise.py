"""An engine that is built anew when it dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.engines import facts_of
from swift.core.errors import EngineError, SwiftError, in_one_line
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.server.generate import streaming

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supervision:
    """How an engine is watched.

    Attributes:
        max_restarts: builds of a new one in a row before it is given up.
        look_seconds: between two looks at its health.
        first_pause, longest_pause: seconds before the first build; each further pause is twice as long.
        steady_seconds: after which a restart counts as a success and is forgotten.
        close_seconds: that a dead engine may take to free what it holds.
    """

    max_restarts: int = 3
    look_seconds: float = 0.5
    first_pause: float = 1.0
    longest_pause: float = 60.0
    steady_seconds: float = 600.0
    close_seconds: float = 30.0


def _nothing() -> None:
    return


class SupervisedEngine(Engine):
    """Passes everything on to an engine, and watches its health from a thread of its own.

    When it dies, on_death is called (requests that run must be ended), it is closed and another is built,
    with the adapters that were loaded since and are still there; meanwhile requests fail at once. When it is
    given up, on_loss is called and it stays dead.

    Args:
        engine: the one to begin with.
        build: makes another one; called in the watching thread.
        on_death, on_restart: called in the watching thread.

    Attributes:
        on_loss: called in the watching thread too; may be set later.
    """

    def __init__(
        self,
        engine: Engine,
        build: Callable[[], Engine],
        supervision: Supervision | None = None,
        *,
        on_death: Callable[[], None] = _nothing,
        on_restart: Callable[[], None] = _nothing,
    ) -> None:
        self._engine: Engine | None = engine
        self._build = build
        self._rules = supervision or Supervision()
        self._on_death, self._on_restart = on_death, on_restart
        self.on_loss: Callable[[], None] = _nothing
        self._facts = facts_of(engine)
        self._health = engine.health()
        self._adapters: dict[str, Path] = {}
        self._restarts = 0
        self._steady_since = time.monotonic()
        self._problem = ""
        self._given_up = False
        self._closing = threading.Event()
        self._look_now = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="swift-engine-watch", daemon=True)
        self._thread.start()

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """As the engine does.

        Raises:
            EngineError: there is no engine now.
        """
        return self.living().generate(requests)

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """As the engine does; what fails because it has died is an EngineError.

        Raises:
            EngineError: there is no engine now, or it died.
        """
        engine = self.living()
        try:
            async with streaming(engine, request) as deltas:
                async for delta in deltas:
                    if delta.finish_reason == "error":
                        self._check(engine, delta.error or "")
                    yield delta
        except EngineError:
            self._look_now.set()
            raise

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """As the engine does."""
        self.living().update_weights(weights)

    def facts(self) -> EngineFacts:
        """What the engine can do, or could when it lived."""
        if self._engine is not None:
            self._facts = facts_of(self._engine)
        return self._facts

    def load_adapter(self, name: str, folder: Path) -> None:
        """As the engine does; the engines after it offer the adapter too."""
        self.living().load_adapter(name, folder)
        self._adapters[name] = folder

    def unload_adapter(self, name: str) -> None:
        """As the engine does."""
        self.living().unload_adapter(name)
        self._adapters.pop(name, None)

    def living(self) -> Engine:
        """The engine of now.

        Raises:
            EngineError: there is none.
        """
        if self._engine is None or self._problem:
            raise EngineError(self._problem or "the engine is closed", "try again in a few seconds")
        return self._engine

    def health(self) -> EngineHealth:
        """State at the last look; costs nothing."""
        return EngineHealth(ready=False, detail=self._problem) if self._problem else self._health

    @property
    def lost(self) -> str:
        """Why the engine was given up; empty while there is hope."""
        return self._problem if self._given_up else ""

    def close(self) -> None:
        """Stop watching and close the engine; safe to call twice."""
        self._closing.set()
        self._look_now.set()
        if self._thread is not threading.current_thread():
            self._thread.join(self._rules.close_seconds)
        if self._engine is not None:
            self._engine.close()
            self._health = self._engine.health()

    def _check(self, engine: Engine, problem: str) -> None:
        """Raises EngineError when an engine that could not answer is dead."""
        if not engine.health().ready:
            raise EngineError(problem or "the engine has died")

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._look_now.wait(self._rules.look_seconds)
            self._look_now.clear()
            if self._closing.is_set() or self._engine is None:
                return
            self._health = self._engine.health()
            if not self._health.ready:
                self._replace()

    def _replace(self) -> None:
        self._problem = f"the engine has died ({self._health.detail}) and is being started anew"
        logger.error("%s", self._problem)
        self._on_death()
        self._free()
        if time.monotonic() - self._steady_since > self._rules.steady_seconds:
            self._restarts = 0
        problem = self._health.detail
        while self._restarts < self._rules.max_restarts:
            pause = min(self._rules.first_pause * 2**self._restarts, self._rules.longest_pause)
            self._restarts += 1
            if self._closing.wait(pause):
                return
            try:
                self._engine = self._built()
            except Exception as error:  # noqa: BLE001 - whatever building a model raises: tried again, told
                problem = in_one_line(error)
                logger.error("the engine could not be built: %s", problem)
                continue
            self._steady_since = time.monotonic()
            self._health, self._problem = self._engine.health(), ""
            logger.warning("the engine is back (restart %d)", self._restarts)
            self._on_restart()
            return
        self._problem = f"the engine has died and {self._restarts} restarts failed: {problem}"
        self._given_up = True
        self.on_loss()

    def _built(self) -> Engine:
        """Another engine with the adapters; one that cannot have them is closed."""
        engine = self._build()
        try:
            self._offer_again(engine)
        except BaseException:
            engine.close()
            raise
        return engine

    def _offer_again(self, engine: Engine) -> None:
        for name, folder in tuple(self._adapters.items()):
            try:
                engine.load_adapter(name, folder)
            except SwiftError as error:  # one whose folder is gone must not cost the others their server
                del self._adapters[name]
                logger.error("the adapter %r is offered no longer: %s", name, in_one_line(error))

    def _free(self) -> None:
        """Close and forget the dead engine, whose weights may be in this process: two may not fit.

        One that cannot even close is left behind.
        """
        dead, self._engine = self._engine, None
        assert dead is not None
        closing = threading.Thread(target=dead.close, name="swift-engine-close", daemon=True)
        del dead
        closing.start()
        closing.join(self._rules.close_seconds)
        if closing.is_alive():
            logger.error("the dead engine did not close within %g s", self._rules.close_seconds)
