"""Finding adapters in folders; loads neither torch nor peft."""

from __future__ import annotations

import json
from pathlib import Path

from swift.core.errors import ModelError

ADAPTER_CONFIG = "adapter_config.json"


def find_adapter(directory: Path) -> Path:
    """The folder itself, the adapter right below it, or the one in its newest checkpoint.

    Raises:
        ModelError: there is none, or several that are no checkpoints.
    """
    if not directory.is_dir():
        raise ModelError(
            f"{str(directory)!r} is not a folder", "name an adapter, or the output folder of a run"
        )
    if (directory / ADAPTER_CONFIG).is_file():
        return directory
    found = sorted(path.parent for path in directory.glob(f"*/{ADAPTER_CONFIG}"))
    final = [path for path in found if not path.name.startswith("checkpoint-")]
    if len(final) > 1:
        names = ", ".join(path.name for path in final)
        raise ModelError(f"{str(directory)!r} holds several adapters: {names}", "name one of them")
    if final:
        return final[0]
    if found:
        return max(found, key=_step)
    if (directory / "config.json").is_file():
        raise ModelError(
            f"{str(directory)!r} holds a whole model and no adapter: there is nothing to merge",
            "use it as it is",
        )
    raise ModelError(
        f"{str(directory)!r} holds no adapter ({ADAPTER_CONFIG})",
        "name an adapter, or the output folder of a run",
    )


def base_model_id(adapter: Path) -> str:
    """The base model that an adapter names.

    Raises:
        ModelError: it names none, or its configuration cannot be read.
    """
    path = adapter / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text()).get("base_model_name_or_path")
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error
    if not base:
        raise ModelError(f"{str(path)!r} does not name its base model", "name it with --model")
    return str(base)


def _step(checkpoint: Path) -> int:
    digits = checkpoint.name.removeprefix("checkpoint-")
    return int(digits) if digits.isdigit() else -1
