"""LoRA adapters that vLLM serves: which folders it takes, and under which numbers it knows them."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from vllm.config.lora import MaxLoRARanks
from vllm.lora.request import LoRARequest

from swift.core.errors import EngineError, did_you_mean
from swift.core.models.adapter_folder import adapter_record
from swift.infer.engines.vllm.formats import MERGE

LEAST_RANK = 16


class Loaded:
    """An adapter as requests carry it, with a copy of its files for as long as one of them does.

    vLLM reads a file again whenever it has put the adapter aside meanwhile, and dies where it is gone.

    Args:
        request: vLLM's name, number and folder for it.
    """

    def __init__(self, request: LoRARequest) -> None:
        self.request = request
        weakref.finalize(self, shutil.rmtree, request.lora_path, ignore_errors=True)


class Adapters:
    """Name -> what requests carry.

    vLLM keeps keys and values of prompts by the adapter's name in its cache, so that a new adapter under an
    old name would be answered from the old one's: each loading has a name of its own.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._offered: dict[str, Loaded] = {}
        self.beside_base: Loaded | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._offered))

    def prepared(self, name: str, folder: Path) -> Loaded:
        """An adapter that is not offered yet.

        Raises:
            EngineError: an adapter of another method than LoRA.
            ModelError: a folder without an adapter.
        """
        check_lora(name, folder)
        copy = Path(tempfile.mkdtemp(prefix="swift-adapter-"))
        for path in folder.glob("adapter_*"):
            shutil.copy2(path, copy)
        return self.numbered(name, copy)

    def numbered(self, name: str, folder: Path) -> Loaded:
        """An adapter in a folder that is ours, under a name and number of its own."""
        number = next(self._numbers)
        return Loaded(LoRARequest(f"{name}#{number}", number, str(folder)))

    def offer(self, name: str, adapter: Loaded) -> None:
        """Answer to this name from now on; requests that run with the former one go on with it."""
        self._offered[name] = adapter

    def chosen(self, name: str | None) -> Loaded | None:
        """What a request for this adapter, or for the base, carries.

        Raises:
            EngineError: unknown name.
        """
        return self.beside_base if name is None else self.get(name)

    def get(self, name: str) -> Loaded:
        """Raises EngineError for an unknown name."""
        if name not in self._offered:
            raise EngineError(f"no adapter {name!r} is loaded", did_you_mean(name, self._offered))
        return self._offered[name]

    def drop(self, name: str) -> None:
        """Raises EngineError for an unknown name."""
        self.get(name)
        del self._offered[name]

    def clear(self) -> None:
        """Drop all."""
        self._offered.clear()
        self.beside_base = None


def check_lora(name: str, folder: Path) -> None:
    """Raises EngineError for an adapter of another method than LoRA; of LoRA, vLLM checks the rest."""
    record = adapter_record(folder)
    kind = str(record.get("method") or record.get("peft_type"))
    if kind != "LORA":
        raise EngineError(
            f"adapter {name!r} ({str(folder)!r}) is of the method {kind!r}; vLLM takes LoRA only", MERGE
        )


def rank_of(folder: Path) -> int:
    """Greatest rank of an adapter's factors."""
    record = adapter_record(folder)
    own = [int(rank) for rank in (record.get("rank_pattern") or {}).values()]
    return max([int(record.get("r") or 1), *own])


def room_for(folders: Iterable[Path], asked: int | None) -> int:
    """The rank that vLLM keeps room for: the least of its own sizes that holds every adapter.

    Raises:
        EngineError: it has none so great.
    """
    needed = asked or max([LEAST_RANK, *map(rank_of, folders)])
    sizes: list[int] = [size for size in get_args(MaxLoRARanks) if size >= needed]
    if not sizes:
        raise EngineError(
            f"vLLM takes adapters up to rank {max(get_args(MaxLoRARanks))}, not {needed}", MERGE
        )
    return min(sizes)
