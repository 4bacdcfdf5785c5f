"""Data files and folders: which reader a file needs, and what a folder's subsets are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swift.core.errors import DataError, did_you_mean

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
class Local:
    """What lies at a path.

    Attributes:
        kind: "saved" for folders that Dataset.save_to_disk wrote.
        folder: relative media paths start here.
    """

    kind: Literal["files", "saved"]
    files: tuple[Path, ...]
    folder: Path


def find_local(path: Path, subsets: tuple[str, ...] = ()) -> Local:
    """The data files of a file or folder.

    Args:
        path: it exists.
        subsets: of a folder: its own folders, or files by their name without suffix.

    Raises:
        DataError: a suffix that no reader knows, no data files, or no such subset.
    """
    if subsets:
        parts = [_subset(path, subset) for subset in subsets]
        if len({part.kind for part in parts}) > 1:
            raise DataError(
                f"the subsets {', '.join(subsets)} of {str(path)!r} are partly files, partly saved data sets",
                "name them as data sets of their own",
            )
        files = tuple(file for part in parts for file in part.files)
        return parts[0] if len(parts) == 1 else Local(parts[0].kind, files, path)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"data file {str(path)!r} has the suffix {path.suffix!r}, which no reader knows",
                f"known suffixes: {', '.join(SUFFIXES)}",
            )
        return Local("files", (path,), path.parent)
    if _is_saved(path):
        return Local("saved", (path,), path)
    files = tuple(file for file in sorted(path.rglob("*")) if _is_data(file))
    if not files:
        raise DataError(
            f"data folder {str(path)!r} holds no data files", f"known suffixes: {', '.join(SUFFIXES)}"
        )
    return Local("files", files, path)


def _subset(path: Path, subset: str) -> Local:
    if path.is_file() or _is_saved(path):
        what = "a saved data set" if path.is_dir() else "a file"
        raise DataError(
            f"{str(path)!r} is {what}, which has no subsets, and {subset!r} was asked for",
            "leave the subset away (data.split chooses a split)",
        )
    offered: dict[str, list[Path]] = {}
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            offered.setdefault(child.name, []).append(child)
        elif _is_data(child):
            offered.setdefault(child.stem, []).append(child)
    if subset not in offered:
        raise DataError(f"data folder {str(path)!r} has no subset {subset!r}", did_you_mean(subset, offered))
    found = [find_local(child) for child in offered[subset]]
    return (
        found[0] if len(found) == 1 else Local("files", tuple(f for part in found for f in part.files), path)
    )


def _is_saved(path: Path) -> bool:
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
