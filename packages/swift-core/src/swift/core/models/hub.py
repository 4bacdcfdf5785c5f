"""From a model id to a local folder: folders as they are, hub ids from the cache or by download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from swift.core.errors import ModelError, nearest
from swift.core.models.folder import check_model_folder, missing_weights
from swift.core.models.names import names, resolve

Hub = Literal["huggingface", "modelscope"]

SECONDS_TO_ANSWER = 10.0  # one question to the hub before any download: whoever is offline learns it at once
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")


def is_path(model_id: str) -> bool:
    """Whether an id is written as a path, or names something that exists here."""
    return model_id.startswith((".", "/", "~")) or "\\" in model_id or Path(model_id).exists()


def locate(model_id: str, hub: Hub = "huggingface", revision: str | None = None) -> Path:
    """The local folder of a model; downloads it when it is neither a folder nor cached.

    Args:
        model_id: folder, short name (see names.resolve) or hub id.
        hub: where ids are fetched from.
        revision: branch, tag or commit; a cached copy of it is used without asking the hub.

    Raises:
        ModelError: no such folder, not a model folder, or the hub cannot be reached or does not know the id.
    """
    if is_path(model_id):
        return check_model_folder(Path(model_id).expanduser())
    if hub == "modelscope":
        return _from_modelscope(model_id, revision)
    return _from_huggingface(model_id, revision)


def _from_huggingface(model_id: str, revision: str | None) -> Path:
    from huggingface_hub.errors import HFValidationError

    repo = resolve(model_id).huggingface
    try:
        cached = _cached(repo, revision)
    except HFValidationError as error:
        raise ModelError(f"{model_id!r} is neither a folder nor a hub id", str(error)) from None
    return check_model_folder(cached or _download(model_id, repo, revision))


def _cached(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        folder = Path(error.snapshot_path)  # files that we never fetch may be what it lacks
    except LocalEntryNotFoundError:
        return None
    return folder if (folder / "config.json").is_file() and not missing_weights(folder) else None


def _download(model_id: str, repo: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    # The hub's own error derives from OSError, and from that of the HTTP library which this version uses.
    no_connection = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    try:
        info = HfApi().model_info(repo, revision=revision, timeout=SECONDS_TO_ANSWER)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        # By the name that was asked for, not by commit: only so the cache is found again without the hub.
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_wanted(files)))
    except GatedRepoError as error:
        raise _unavailable(
            model_id, repo, "Hugging Face", "access to it must be requested there, then `hf auth login`"
        ) from error
    except HfHubHTTPError as error:
        raise _unavailable(model_id, repo, "Hugging Face", _status(error)) from error
    except no_connection as error:
        reason = (
            "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else f"no connection: {error}"
        )
        raise _unavailable(model_id, repo, "Hugging Face", reason) from error


def _status(error: Exception) -> str:
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", None)
    return "the hub does not know this id or revision" if code in (401, 404) else f"the hub answered: {error}"


def _wanted(files: Sequence[str]) -> list[str]:
    """Configuration, tokenizer and one format of weights: safetensors where they exist."""
    top = [name for name in files if "/" not in name]
    weights = "*.safetensors" if any(name.endswith(".safetensors") for name in top) else "pytorch_model*"
    patterns = [*SMALL_FILES, weights]
    return [name for name in top if any(Path(name).match(pattern) for pattern in patterns)]


def _from_modelscope(model_id: str, revision: str | None) -> Path:
    repo = resolve(model_id).modelscope
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ModelError(
            f"model {model_id!r} would be fetched from ModelScope as {repo!r}, but modelscope is missing",
            "pip install 'swift-core[modelscope]', or set model.model_id to a local folder",
        ) from error
    import requests

    try:
        return check_model_folder(Path(snapshot_download(repo, revision=revision)))
    except (requests.RequestException, OSError, ValueError) as error:
        raise _unavailable(model_id, repo, "ModelScope", f"{type(error).__name__}: {error}") from error


def _unavailable(model_id: str, repo: str, hub: str, reason: str) -> ModelError:
    near = [] if "/" in model_id else nearest(model_id, names())
    hint = (
        f"did you mean {' or '.join(map(repr, near))}? " if near and model_id.lower() not in names() else ""
    )
    return ModelError(
        f"model {model_id!r} would be fetched from {hub} as {repo!r}, but {reason}",
        f"{hint}set model.model_id to a local folder with config.json and its weights, "
        "or use tiny/qwen3 (random weights, no download)",
    )
