"""Which benchmarks EvalScope has, read from its index without importing it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swift.core.errors import ConfigError, did_you_mean


@functools.cache
def package_folder() -> Path:
    """Where EvalScope is installed.

    Raises:
        ConfigError: it is not.
    """
    spec = find_spec("evalscope")
    if spec is None or spec.origin is None:
        raise ConfigError("EvalScope is not installed", "pip install 'swift-infer[eval]'")
    return Path(spec.origin).parent


@functools.cache
def names() -> tuple[str, ...]:
    """Every benchmark's name, sorted."""
    index = package_folder() / "benchmarks" / "_index.json"
    return tuple(sorted(json.loads(index.read_text(encoding="utf-8"))))


def check_names(wanted: Iterable[str]) -> None:
    """Raises ConfigError for a name that is no benchmark's, with the nearest ones."""
    for name in wanted:
        if name not in names():
            raise ConfigError(
                f"eval.benchmarks: unknown benchmark {name!r}",
                f"{did_you_mean(name, names())} All of them: swift eval --list all",
            )


def described(word: str = "") -> list[tuple[str, str, str]]:
    """(name, tags, metrics) of the benchmarks whose name or tags hold a word."""
    rows = [(name, *_meta(name)) for name in names()]
    return [row for row in rows if word.lower() in f"{row[0]} {row[1]}".lower()]


def _meta(name: str) -> tuple[str, str]:
    file = package_folder() / "benchmarks" / "_meta" / f"{name}.json"
    meta = json.loads(file.read_text(encoding="utf-8"))["meta"] if file.is_file() else {}
    return ", ".join(meta.get("tags", [])), ", ".join(_named(meta.get("metrics", [])))


def _named(metrics: Sequence[Any]) -> list[str]:
    return [metric if isinstance(metric, str) else next(iter(metric)) for metric in metrics]
