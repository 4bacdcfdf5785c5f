"""Everything that the `datasets` library and the hubs read for us."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from swift.core.data.names import HubDataset
from swift.core.data.registered import registered_rows
from swift.core.data.source import Source
from swift.core.data.source_local import BUILDERS
from swift.core.errors import DataError


def file_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows through `datasets`, streamed so that nothing is copied into its cache."""
    import datasets

    suffix = file.suffix.lower()
    options: dict[str, Any] = {"sep": "\t"} if suffix == ".tsv" else {}
    if BUILDERS[suffix] == "text":
        options = {"sample_by": "paragraph"}
    with _Explained(str(file), "check that the file is what its suffix says"):
        yield from datasets.load_dataset(
            BUILDERS[suffix], data_files=[str(file)], split="train", streaming=True, **options
        )


def foreign_rows(source: Source, split: str) -> Iterable[Any]:
    """Rows that are not read from files of ours; conversations where a registered data set yields them."""
    if source.kind == "registered":
        return registered_rows(source)
    if source.kind == "saved":
        return _saved_rows(source, split)
    return _hub_rows(source, split)


def _saved_rows(source: Source, split: str) -> Iterator[Any]:
    for folder in source.files:
        yield from _saved_folder_rows(folder, split)


def _saved_folder_rows(folder: Path, split: str) -> Iterator[Any]:
    import datasets

    with _Explained(str(folder), "the folder must come from Dataset.save_to_disk"):
        loaded = datasets.load_from_disk(str(folder))
        if isinstance(loaded, datasets.DatasetDict):
            if split not in loaded:
                raise DataError(f"{folder}: no split {split!r}", f"data.split can be {', '.join(loaded)}")
            loaded = loaded[split]
        yield from loaded


def _hub_rows(source: Source, split: str) -> Iterator[Any]:
    assert source.hub is not None
    read = _modelscope_rows if source.hub_name == "modelscope" else _huggingface_rows
    for subset in source.subsets or (source.hub.config,):
        yield from read(source, source.hub, subset, source.hub.split(split))


def _huggingface_rows(source: Source, hub: HubDataset, subset: str | None, split: str) -> Iterator[Any]:
    import datasets

    what = f"data set {source.name!r} ({hub.huggingface} on Hugging Face)"
    with _Explained(what, _offline_remedy(hub.huggingface)):
        yield from datasets.load_dataset(hub.huggingface, subset, split=split)


def _modelscope_rows(source: Source, hub: HubDataset, subset: str | None, split: str) -> Iterator[Any]:
    assert hub.modelscope is not None
    try:
        from modelscope.msdatasets import MsDataset
    except ImportError:
        raise DataError(
            f"data set {source.name!r} would come from ModelScope ({hub.modelscope}), whose client is not "
            "installed",
            "pip install 'swift-core[modelscope]'",
        ) from None
    what = f"data set {source.name!r} ({hub.modelscope} on ModelScope)"
    with _Explained(what, _offline_remedy(hub.modelscope)):
        yield from MsDataset.load(hub.modelscope, subset_name=subset, split=split)


def _offline_remedy(hub_id: str) -> str:
    return (
        f"without network: download {hub_id} elsewhere and set data.dataset_name to the folder or file "
        "(JSON, JSONL, CSV, Parquet), or fill the hub's cache beforehand"
    )


class _Explained:
    """Say which data set failed when the `datasets` library raises one of its own errors."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from datasets.exceptions import DatasetsError

        # parser and Arrow errors are ValueErrors, the hub's HTTP errors OSErrors
        if isinstance(error, OSError | ValueError | DatasetsError):
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise DataError(f"{self.what} cannot be read: {reason}", self.remedy) from error
