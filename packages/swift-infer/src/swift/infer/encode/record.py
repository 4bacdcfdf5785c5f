"""What the run that trained a model says of how it is used; loads neither torch nor transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from swift.core.config.run import RunConfig
from swift.core.config.sections import objective_name
from swift.core.errors import ConfigError, ModelError
from swift.core.types import Head

EncodedTask = Literal["embedding", "reranker", "generative_reranker"]
Pooling = Literal["last", "mean", "cls"]
TASKS: tuple[EncodedTask, ...] = ("embedding", "reranker", "generative_reranker")


@dataclass(frozen=True)
class EncodeSettings:
    """How texts become vectors or scores.

    Attributes:
        pooling: of embeddings.
        yes, no: the tokens that a generative reranker decides by.
    """

    task: EncodedTask
    pooling: Pooling = "last"
    yes: str = "yes"
    no: str = "no"

    @property
    def head(self) -> Head | None:
        """Which output the model is loaded with."""
        heads = {"embedding": Head("embedding"), "reranker": Head("classification", 1)}
        return heads.get(self.task)

    @property
    def endpoint(self) -> str:
        """Last part of the route that asks for it."""
        return "embeddings" if self.task == "embedding" else "rerank"


def encode_settings(run: RunConfig) -> EncodeSettings | None:
    """How infer.task and the model's folder say that texts are read; None: the model writes text.

    Raises:
        ConfigError: a task without what it takes to do as training did.
        ModelError: run.json cannot be read.
    """
    wanted = run.infer.task
    if wanted == "generate":
        return None
    folder = Path(run.model.adapter or run.model.model_id)
    sections = _sections(folder)
    trained = objective_name(sections.get("train", {}).get("stage"), sections) if sections else None
    task = next((one for one in TASKS if one == trained), None)
    if task is not None and wanted in ("auto", _word(task)):
        return _settings(task, sections["train"], run)
    if wanted == "auto":
        return None
    if trained is not None:
        raise ConfigError(
            f"infer.task is {wanted!r}, and {str(folder)!r} was trained with {trained!r}",
            "leave infer.task at auto",
        )
    return _untrained(wanted, folder, run)


def _word(task: EncodedTask) -> str:
    return "embedding" if task == "embedding" else "rerank"


def _settings(task: EncodedTask, train: dict[str, Any], run: RunConfig) -> EncodeSettings:
    pooling = run.infer.pooling if run.infer.pooling != "auto" else train.get("pooling", "last")
    return EncodeSettings(task, pooling, train.get("yes_token", "yes"), train.get("no_token", "no"))


def _untrained(wanted: str, folder: Path, run: RunConfig) -> EncodeSettings:
    """A model that was trained elsewhere: what its own files say."""
    if wanted == "embedding":
        pooling = run.infer.pooling if run.infer.pooling != "auto" else _pooling_file(folder)
        if pooling is None:
            raise ConfigError(
                f"nothing in {str(folder)!r} says how its hidden states become a vector",
                "set infer.pooling to last, mean or cls",
            )
        return EncodeSettings("embedding", pooling)
    names = _read(folder / "config.json").get("architectures") or [""]
    scores = str(names[0]).endswith("ForSequenceClassification")
    return EncodeSettings("reranker" if scores else "generative_reranker")


def _pooling_file(folder: Path) -> Pooling | None:
    """What sentence-transformers writes."""
    modes = _read(folder / "1_Pooling" / "config.json")
    words: dict[str, Pooling] = {
        "pooling_mode_lasttoken": "last",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    return next((word for mode, word in words.items() if modes.get(mode)), None)


def _sections(folder: Path) -> dict[str, Any]:
    """The configuration of the run that wrote a folder; empty where none is recorded."""
    file = next((at / "run.json" for at in (folder, folder.parent) if (at / "run.json").is_file()), None)
    config = _read(file).get("config", {}) if file is not None else {}
    return config if isinstance(config, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}
