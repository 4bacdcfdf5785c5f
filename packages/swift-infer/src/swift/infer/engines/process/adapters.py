"""Adapters of a server process: what it must know of them before it is started, and which it offers."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import EngineError, did_you_mean
from swift.infer.adapter_base import architecture, check_base

LEAST_RANK = 16  # room for ordinary adapters that are loaded later


def rank_of(folder: Path) -> int:
    """The greatest rank in an adapter folder.

    Raises:
        EngineError: its configuration cannot be read.
    """
    path = folder / "adapter_config.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return max([int(record["r"]), *map(int, (record.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{str(path)!r} is no configuration of a LoRA adapter: {error}") from error


@dataclass(frozen=True)
class OfferedAdapter:
    """One loading of an adapter.

    Attributes:
        name: what requests ask for.
        served: its name on the server.
        folder: a copy of its files; servers read them again after they put an adapter aside.
    """

    name: str
    served: str
    folder: Path


class OfferedAdapters:
    """Which adapters a server offers.

    Servers keep keys and values of prompts by the adapter's name (vLLM) or by name and folder (SGLang): a new
    adapter under an old name would be answered from the old one's. So each loading has its own name there.

    Args:
        adapters: name -> folder.
        model: what the server serves; adapters of another one are refused.
        rewrite: makes an adapter's copy what the server reads, by name and folder; raises EngineError for one
            that it cannot serve.

    Attributes:
        beside_base: what requests without an adapter are sent to; None: the model itself.

    Raises:
        EngineError, ModelError: as prepared(); nothing is left behind.
    """

    def __init__(
        self,
        adapters: Mapping[str, Path],
        model: str = "",
        rewrite: Callable[[str, Path], None] | None = None,
    ) -> None:
        self._rewrite = rewrite
        self._model, self._architecture = model, architecture(model) if model else {}
        self._numbers = itertools.count(1)
        self._copies = Path(tempfile.mkdtemp(prefix="swift-adapters-"))
        self._offered: dict[str, OfferedAdapter] = {}
        self.beside_base: OfferedAdapter | None = None
        try:
            for name, folder in adapters.items():
                self.offer(self.prepared(name, folder))
        except BaseException:  # an interrupt too: the copies would stay behind
            self.close()
            raise

    def names(self) -> tuple[str, ...]:
        """What requests may ask for."""
        return tuple(sorted(self._offered))

    def offered(self) -> dict[str, OfferedAdapter]:
        """Each name with what is served under it."""
        return dict(self._offered)

    def offer_only(self, offered: Mapping[str, OfferedAdapter]) -> None:
        """Answer to these names and no others from now on."""
        self._offered = dict(offered)

    def loadings(self) -> Iterable[OfferedAdapter]:
        """What the server has to be given when it is started anew."""
        beside = () if self.beside_base is None else (self.beside_base,)
        return (*self._offered.values(), *beside)

    def served(self, name: str) -> str:
        """The server's name of an adapter; the server refuses one that is not offered."""
        found = self._offered.get(name)
        return found.served if found is not None else name

    def prepared(self, name: str, folder: Path) -> OfferedAdapter:
        """A loading that is not offered yet.

        Raises:
            EngineError: a folder without LoRA adapter, one that the server cannot serve, or a name that a
                command line cannot carry.
            ModelError: an adapter of another model.
        """
        if not name or "=" in name or "," in name or any(sign.isspace() for sign in name):
            raise EngineError(f"an adapter cannot be called {name!r}", "leave out spaces, commas and =")
        rank_of(folder)
        check_base(folder, self._architecture, self._model)
        loading = self.numbered(name, folder)
        if self._rewrite is not None:
            try:
                self._rewrite(name, loading.folder)
            except EngineError:
                self.drop(loading)
                raise
        return loading

    def numbered(self, name: str, folder: Path) -> OfferedAdapter:
        """A loading of an adapter that is known to be sound."""
        served = f"{name}-{next(self._numbers)}"
        copy = self._copies / served.replace("/", "_")
        copy.mkdir()
        for path in folder.glob("adapter_*"):
            shutil.copy2(path, copy)
        return OfferedAdapter(name, served, copy)

    def offer(self, adapter: OfferedAdapter) -> OfferedAdapter | None:
        """Answer to its name from now on; the loading that did so before."""
        before = self._offered.get(adapter.name)
        self._offered[adapter.name] = adapter
        return before

    def get(self, name: str) -> OfferedAdapter:
        """Raises EngineError for a name that is not offered."""
        if name not in self._offered:
            raise EngineError(f"no adapter {name!r} is loaded", did_you_mean(name, self._offered))
        return self._offered[name]

    def drop(self, adapter: OfferedAdapter) -> None:
        """Forget a loading and its files."""
        if self._offered.get(adapter.name) is adapter:
            del self._offered[adapter.name]
        shutil.rmtree(adapter.folder, ignore_errors=True)

    def close(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self._copies, ignore_errors=True)
