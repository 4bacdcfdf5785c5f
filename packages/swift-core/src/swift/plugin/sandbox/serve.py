"""The plugin's side of the protocol: calls in, results out."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from swift.plugin.python import run_python
from swift.plugin.sandbox.child_channel import ChildChannel
from swift.plugin.sandbox.contents import TENSOR, fresh, unpack
from swift.plugin.sandbox.evaluate import Call, LossCalls, filter_row, metric_answer, reward_result
from swift.plugin.sandbox.frames import Message, decode
from swift.plugin.sandbox.offers import describe
from swift.plugin.sandbox.shared import Arena
from swift.plugin.transaction import Registered, registering

_SHORT = 4096  # bytes of a message; a longer one carries texts, which do not come again
_KEPT_CALLS = 256


class NativeFinder(MetaPathFinder):
    """Finds built modules by name, without their folders on sys.path.

    Args:
        files: module name -> shared library.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of that name, if it is one of them."""
        file = self._files.get(fullname)
        if file is None:
            return None
        loader = importlib.machinery.ExtensionFileLoader(fullname, str(file))
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


class Server:
    """Holds the plugin's objects and answers one call after the other."""

    def __init__(self, channel: ChildChannel, path: Path, native: Mapping[str, Path]) -> None:
        self.path = path
        self._channel = channel
        self._native = dict(native)
        if path.suffix == ".so":
            self._native[_module_name(path)] = path
        self._arenas: dict[int, Arena] = {}
        self._components: Registered = []
        self._instances: dict[int, Any] = {}
        self._losses = LossCalls(self._arenas)
        self._operations: dict[str, Callable[[Message], Message]] = {
            "load": self._load,
            "build": self._build,
            "arena": self._arena,
            "forget": self._losses.forget,
            "backward": self._losses.backward,
            "reward": self._reward,
            "filter": self._filter,
        }
        self._repeated: dict[bytes, Call] = {}
        self._binders: dict[str, Callable[[Message], Call]] = {
            "loss": self._bind_loss,
            "metric": self._bind_metric,
        }

    def run(self) -> None:
        """Answer until the channel closes.

        Raises:
            ChannelClosed: the run is gone.
        """
        while True:
            number, body = self._channel.receive_body()
            try:
                answer = self._call(body)(number)
            except BaseException as error:  # noqa: BLE001 (a plugin may raise anything; the run is told)
                answer = {"error": self._failure(error)}
            try:
                self._channel.send(number, answer)
            except (TypeError, ValueError, RecursionError) as error:  # not JSON: a row of a filter, say
                self._channel.send(number, {"error": self._failure(error)})

    def _call(self, body: bytes) -> Call:
        """What a message asks for; that of one with tensors is kept, because a run repeats its shapes."""
        known = self._repeated.get(body)
        if known is not None:
            return known
        message = decode(body)
        bind = self._binders.get(message["op"])
        if bind is None:
            operation = self._operations[message["op"]]
            return lambda _: operation(message)
        call = bind(message)
        if len(body) <= _SHORT and TENSOR.encode() in body:
            if len(self._repeated) >= _KEPT_CALLS:
                self._repeated.clear()
            self._repeated[body] = call
        return call

    def _failure(self, error: BaseException) -> Message:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path)]
        return {"type": type(error).__name__, "text": str(error)[:4000], "line": lines[-1] if lines else None}

    def _load(self, message: Message) -> Message:
        sys.meta_path.insert(0, NativeFinder(self._native))
        with registering() as components:
            if self.path.suffix == ".so":
                importlib.import_module(_module_name(self.path))
            else:
                run_python(self.path)
        self._components = components
        return {"offers": [describe(kind, component) for kind, component in components]}

    def _build(self, message: Message) -> Message:
        kind, component = self._components[message["offer"]]
        target = component.load()
        config = message["config"]
        if isinstance(target, type):
            part = target(**config)
        else:
            part = partial(target, **config) if config else target
        if not callable(part):
            raise TypeError(f"{kind} {component.name!r} is a {type(part).__name__}, which cannot be called")
        self._instances[message["id"]] = part
        return {"accepts": [str(name) for name in part.accepts]} if hasattr(part, "accepts") else {}

    def _arena(self, message: Message) -> Message:
        descriptor = self._channel.descriptors.pop()
        self._arenas[message["id"]] = Arena(descriptor, message["bytes"])
        os.close(descriptor)
        for dropped in message["drop"]:
            self._arenas.pop(dropped, None)
            self._repeated.clear()  # which hold views of it
        return {}

    def _bind_loss(self, message: Message) -> Call:
        return self._losses.bind(self._instances[message["id"]], message)

    def _bind_metric(self, message: Message) -> Call:
        metric = self._instances[message["id"]]
        arguments = unpack(message["arguments"], self._arenas)

        def call(_: int) -> Message | bytes:
            own = fresh(arguments)
            return metric_answer(metric(*own["given"], **own["extras"]))

        return call

    def _reward(self, message: Message) -> Message:
        given = message["arguments"]
        result = self._instances[message["id"]](*given["given"], **given["extras"])
        return {"result": reward_result(result)}

    def _filter(self, message: Message) -> Message:
        function = partial(self._instances[message["id"]], **message["config"])
        return {"result": [filter_row(function, row) for row in message["rows"]]}


def _module_name(path: Path) -> str:
    return path.name.partition(".")[0]
