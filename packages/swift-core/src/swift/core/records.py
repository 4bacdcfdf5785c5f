"""JSON files that say what made something: run.json, eval.json, ... Loads nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def replace_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file whole, so that whoever reads it finds the old one or the new one."""
    staged = path.with_suffix(".json.tmp")
    staged.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    staged.replace(path)


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
