"""What a name in `data.dataset_name` means: a file, a folder, a registered name or a hub id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from swift.core.config.named import Named
from swift.core.data.mix_syntax import Entry, parse_entry
from swift.core.data.names import WELL_KNOWN, Hub, HubDataset
from swift.core.data.source_local import SUFFIXES, find_local
from swift.core.errors import DataError, nearest
from swift.core.registry import datasets as registered


@dataclass(frozen=True)
class Source:
    """One thing that `data.dataset_name` named, found but not read.

    Attributes:
        name: as the user wrote it.
        kind: how it is read.
        files: the local files or saved folders, sorted.
        folder: relative media paths start here.
        hub: what to fetch, for kind "hub".
        registered: its name in the registry, for kind "registered".
        subsets: of a hub or registered data set; those of a folder have become files.
        count: rows to draw; None takes each once.
        config: arguments of a registered data set.
        label: what errors call its rows.
    """

    name: str
    kind: Literal["files", "saved", "registered", "hub"]
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    hub: HubDataset | None = None
    hub_name: Hub = "huggingface"
    registered: str = ""
    subsets: tuple[str, ...] = ()
    count: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


def find_source(item: str | Named, folder: Path | None = None, hub: Hub = "huggingface") -> Source:
    """What a name means: a registered data set, a path, a short name, or a hub id, in this order.

    Args:
        item: as `data.dataset_name` holds it: NAME[:SUBSET[/SUBSET...]][#COUNT]; "modelscope:ORG/NAME" and
            "huggingface:ORG/NAME" choose a hub.
        folder: where the YAML file lies; relative paths are looked up in the working directory, then here.
        hub: where ids without a prefix are fetched from.

    Raises:
        DataError: it is none of these, has no such subset, or is a folder without data files.
    """
    written, config = (item.name, item.config) if isinstance(item, Named) else (item, {})
    entry = parse_entry(written, lambda text: text in registered or _existing(text, folder) is not None)
    source = _find(entry, folder, hub)
    if config and source.kind != "registered":
        raise DataError(
            f"data set {written!r} is not a registered one, so it takes no config ({', '.join(config)})",
            "remove config, or name a data set that register_dataset() registered",
        )
    return replace(source, name=written, count=entry.count, config=config, label=entry.label)


def _find(entry: Entry, folder: Path | None, hub: Hub) -> Source:
    name = entry.name
    if name in registered:
        return Source(name, "registered", registered=name, subsets=entry.subsets)
    path = _existing(name, folder)
    if path is not None:
        local = find_local(path.absolute(), entry.subsets)
        return Source(name, local.kind, local.files, local.folder)
    prefix, _, rest = name.partition(":")
    if rest and prefix in ("huggingface", "modelscope"):
        found = find_hub(name, rest, "modelscope" if prefix == "modelscope" else "huggingface")
    elif name in WELL_KNOWN or _looks_like_id(name):
        found = find_hub(name, name, hub)
    else:
        raise _unknown(entry, _candidates(name, folder))
    return replace(found, subsets=entry.subsets)


def _candidates(name: str, folder: Path | None) -> list[Path]:
    beside = [folder / name] if folder is not None else []
    return [Path(name).expanduser(), *beside]


def _existing(name: str, folder: Path | None) -> Path | None:
    if not name:
        return None
    return next((path for path in _candidates(name, folder) if path.exists()), None)


def find_hub(name: str, hub_id: str, hub: Hub) -> Source:
    """A data set on a hub, by short name or id."""
    known = WELL_KNOWN.get(hub_id, HubDataset(hub_id, hub_id))
    if hub == "modelscope" and known.modelscope is None:
        raise DataError(
            f"data set {name!r} has no known id on ModelScope",
            f"name its id (ORG/NAME), or use huggingface:{known.huggingface}",
        )
    return Source(name, "hub", hub=known, hub_name=hub)


def _looks_like_id(name: str) -> bool:
    organisation, _, rest = name.partition("/")
    plain = organisation and rest and "/" not in rest and not name.startswith((".", "~"))
    return bool(plain) and Path(rest).suffix.lower() not in SUFFIXES


def _unknown(entry: Entry, candidates: list[Path]) -> DataError:
    name = entry.name
    looked = " and ".join(repr(str(candidate.absolute())) for candidate in candidates)
    near = nearest(name, {*registered.names(), *WELL_KNOWN})
    hint = f"nearest registered names: {', '.join(near)}; " if near else ""
    written = f" (of {entry.written!r}, written as NAME[:SUBSET][#COUNT])" if entry.written != name else ""
    return DataError(
        f"data set {name!r}{written} is neither a file or folder (looked for {looked}), nor a registered "
        "name, nor a hub id (ORG/NAME)",
        f"{hint}name a local file with its path, or a hub id",
    )
