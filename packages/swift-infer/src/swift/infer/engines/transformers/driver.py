"""Who makes the steps of the batch: any thread that waits for something, one at a time, for everybody."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from swift.core.types import TokenDelta
from swift.infer.engines.transformers.batcher import Batcher
from swift.infer.engines.transformers.door import Door
from swift.infer.engines.transformers.model import LiveModel
from swift.infer.engines.transformers.prepare import Prepared
from swift.infer.engines.transformers.sequence import Sequence, failure


class Driver:
    """Takes requests from the door into the batch, makes steps, and puts deltas out.

    Args:
        begin: the sequence of a request, or the delta that says why it cannot be run.

    Attributes:
        death: the error that ended the loop for good; empty while it lives.
    """

    def __init__(
        self,
        model: LiveModel,
        door: Door,
        batcher: Batcher,
        begin: Callable[[Prepared], Sequence | TokenDelta],
    ) -> None:
        self.death = ""
        self._model, self._door, self._batcher, self._begin = model, door, batcher, begin
        self._driving = threading.Lock()
        self._turn = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return self._door.quiet and not self._batcher.busy

    def drive(self, wanted: Callable[[], bool], steps: int = 1) -> None:
        """A few steps for everybody, unless another thread has meanwhile done what was wanted."""
        with self._turn:
            pass  # whoever waits to change something between two steps comes first
        with self._driving:
            if not wanted():
                return
            try:
                with self._model.borrowed():
                    for _ in range(steps):
                        self._receive()
                        if not self._batcher.busy:
                            break
                        self._door.deliver(self._batcher.step())
            except BaseException as error:  # reported to everyone who waits, then to the caller
                if not isinstance(error, KeyboardInterrupt):
                    self.death = f"dead: {type(error).__name__}: {error}"
                self._fail_all(self.death or "interrupted")
                raise

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """No step is made within the block, which waits for at most those that are being made."""
        with self._turn, self._driving:
            yield

    def end(self, problem: str) -> None:
        """Fail everything that has come and is not finished."""
        with self._driving:
            self._fail_all(problem)

    def _receive(self) -> None:
        for arrived in self._door.arrived():
            begun = self._begin(arrived)
            if isinstance(begun, TokenDelta):
                self._door.deliver([begun])
            else:
                self._batcher.add(begun)
        leaving = self._door.departed()
        if leaving:
            self._door.deliver(self._batcher.drop(leaving))

    def _fail_all(self, problem: str) -> None:
        failed = [failure(request_id, problem) for request_id in self._door.absent()]
        self._door.deliver([*self._batcher.drop_all(problem), *failed])
