"""What a name in `data.dataset_name` means: a file, a folder, a registered name or a hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swift.core.data.names import WELL_KNOWN, Hub, HubDataset
from swift.core.errors import DataError, nearest
from swift.core.registry import datasets as registered

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
}
"""How the `datasets` library calls the reader of a file; text is cut into paragraphs at blank lines."""

SUFFIXES = (*sorted(JSON_SUFFIXES), *BUILDERS)


@dataclass(frozen=True)
class Source:
    """One thing that `data.dataset_name` named, found but not read.

    Attributes:
        name: as the user wrote it.
        kind: how it is read.
        files: the local files, sorted.
        folder: relative media paths start here.
        hub: what to fetch, for kind "hub".
    """

    name: str
    kind: Literal["files", "saved", "registered", "hub"]
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    hub: HubDataset | None = None
    hub_name: Hub = "huggingface"


def find_source(name: str, folder: Path | None = None, hub: Hub = "huggingface") -> Source:
    """What a name means: a registered data set, a path, a short name, or a hub id, in this order.

    Args:
        name: as `data.dataset_name` holds it; "modelscope:ORG/NAME" and "huggingface:ORG/NAME" choose a hub.
        folder: where the YAML file lies; relative paths are looked up in the working directory, then here.
        hub: where ids without a prefix are fetched from.

    Raises:
        DataError: it is none of these, or a folder without data files.
    """
    if name in registered:
        return Source(name, "registered")
    candidates = [Path(name).expanduser()]
    if folder is not None:
        candidates.append(folder / name)
    for candidate in candidates:
        if candidate.exists():
            return _local(name, candidate.absolute())
    prefix, _, rest = name.partition(":")
    if rest and prefix in ("huggingface", "modelscope"):
        return find_hub(name, rest, "modelscope" if prefix == "modelscope" else "huggingface")
    if name in WELL_KNOWN or _looks_like_id(name):
        return find_hub(name, name, hub)
    raise _unknown(name, candidates)


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


def _local(name: str, path: Path) -> Source:
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"data file {str(path)!r} has the suffix {path.suffix!r}, which no reader knows",
                f"known suffixes: {', '.join(SUFFIXES)}",
            )
        return Source(name, "files", (path,), path.parent)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return Source(name, "saved", (path,), path)
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DataError(
            f"data folder {str(path)!r} holds no data files", f"known suffixes: {', '.join(SUFFIXES)}"
        )
    return Source(name, "files", tuple(files), path)


def _unknown(name: str, candidates: list[Path]) -> DataError:
    looked = " and ".join(repr(str(candidate.absolute())) for candidate in candidates)
    near = nearest(name, {*registered.names(), *WELL_KNOWN})
    hint = f"nearest registered names: {', '.join(near)}; " if near else ""
    return DataError(
        f"data set {name!r} is neither a file or folder (looked for {looked}), nor a registered name, "
        "nor a hub id (ORG/NAME)",
        f"{hint}name a local file with its path, or a hub id",
    )
