"""The run's side of a plugin's process: calls with a time limit, and a plain error for every way they end."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swift.core.errors import SandboxError
from swift.plugin.sandbox import diagnosis
from swift.plugin.sandbox.diagnosis import Ending
from swift.plugin.sandbox.frames import ChannelClosed, ChannelError, Message
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.require import require_sandbox
from swift.plugin.sandbox.running import Running
from swift.plugin.sandbox.scratch import ScratchFull

Act = Callable[[Running], Message]

_GRACE = 2.0  # seconds for a process whose channel closed to end, so that its signal can be told


class SandboxProcess:
    """One plugin file in its own process. Thread-safe; one call at a time.

    It starts with the first call. After a crash, a time-out or a violation the process is gone, and every
    call raises the same error until restart(). A pickled copy, and this object in a forked process, start a
    process of their own, with the same parts built anew.

    Args:
        path: the plugin's file.
        native: built modules that it may import, by name.
    """

    def __init__(self, path: Path, limits: SandboxLimits, native: Mapping[str, Path]) -> None:
        self.path = path
        self.limits = limits
        self.native = dict(native)
        self._builds: list[Message] = []
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._failure: SandboxError | None = None
        self._running: Running | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: getattr(self, key) for key in ("path", "limits", "native", "_builds")
        }  # neither lock nor process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._running.process.pid if self._running is not None else None

    @property
    def scratch(self) -> Path | None:
        """The only folder that it may write to, while there is a process."""
        return self._running.scratch if self._running is not None else None

    def offers(self) -> list[Any]:
        """What the plugin registered, in its own words."""
        with self._lock:
            return self._ready().offers

    def build(self, offer: int, config: Mapping[str, Any], name: str) -> tuple[int, Message]:
        """Make a part: its number, which stays valid over restarts, and what it says about itself.

        Raises:
            SandboxError: the constructor fails, or a value of config is not JSON.
        """
        with self._lock:
            number = len(self._builds)
            message = {"op": "build", "offer": offer, "config": dict(config), "id": number}
            answer = self.call(message, name)
            self._builds.append(message)
            return number, answer

    def call(self, message: Message, name: str) -> Message:
        """Send a message and wait for its answer.

        Args:
            name: what is called, for errors.

        Raises:
            SandboxError: it failed, was stopped, or the process is gone.
        """
        return self.run(lambda running: running.request(message, self.limits.timeout), name)

    def run(self, act: Act, name: str) -> Message:
        """call(), for more than one message: act makes the requests and returns the answer that counts.

        Raises:
            SandboxError: as call() does.
        """
        with self._lock:
            return self._guarded(self._ready(), act, name)

    def restart(self) -> None:
        """Start afresh after a failure, and build the parts again; what they had learned is lost.

        Raises:
            SandboxError: it fails again.
        """
        with self._lock:
            self.close()
            self._failure = None
            self._ready()

    def close(self) -> None:
        """End the process and remove its folder; safe to call twice. The next call starts it again."""
        with self._lock:
            running, self._running = self._running, None
            if running is None:
                return
            if running.owner == os.getpid():
                running.end()
            else:
                running.disown()

    def broken(self, name: str, what: str) -> SandboxError:
        """The error for an answer that is not what was agreed; ends the process."""
        return self._ended(diagnosis.malformed(name, what))

    def _ready(self) -> Running:
        if self._running is not None and self._running.owner != os.getpid():
            self._running.disown()
            self._reset()
        if self._failure is not None:
            raise self._failure
        if self._running is None:
            self._running = self._start()
        return self._running

    def _start(self) -> Running:
        require_sandbox()
        running = self._running = Running(self.path, self.limits, self.native)
        seconds = self.limits.load_timeout
        hello = self._guarded(running, lambda run: run.hello(seconds), "start", seconds)
        if "refused" in hello:
            raise self._ended(diagnosis.refused(hello["refused"]))
        answer = self._guarded(running, lambda run: run.request({"op": "load"}, seconds), "load", seconds)
        if not isinstance(answer.get("offers"), list):
            raise self.broken("load", "no list of parts")
        running.offers = answer["offers"]
        for message in self._builds:
            self._guarded(running, functools.partial(_request, message, self.limits.timeout), "build")
        return running

    def _guarded(self, running: Running, act: Act, name: str, seconds: float | None = None) -> Message:
        """Run an exchange; whatever breaks it ends the process, but for an exception of the plugin's own."""
        try:
            answer = act(running)
        except TimeoutError:
            raise self._ended(diagnosis.timed_out(name, seconds or self.limits.timeout)) from None
        except ScratchFull as full:
            raise self._ended(diagnosis.scratch_full(name, full)) from None
        except ChannelClosed:
            raise self._ended(diagnosis.post_mortem(name, running.wait(_GRACE), self.limits)) from None
        except ChannelError as error:
            raise self._ended(diagnosis.malformed(name, str(error))) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error(diagnosis.unsendable(name, error)) from None
        if "error" in answer:
            ending = diagnosis.raised(self.path, name, answer["error"], self.limits)
            raise SandboxError(*ending)
        return answer

    def _ended(self, ending: Ending) -> SandboxError:
        printed = self._running.end() if self._running is not None else ""
        self._running = None
        self._failure = self._error(Ending(ending.what + diagnosis.last_lines(printed), ending.remedy))
        return self._failure

    def _error(self, ending: Ending) -> SandboxError:
        return SandboxError(f"sandboxed plugin {str(self.path)!r}: {ending.what}", ending.remedy)


def _request(message: Message, seconds: float, running: Running) -> Message:
    return running.request(message, seconds)
