"""What is asked: the benchmarks and own files of a configuration, as orders for the worker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.core.config.schema import BenchmarkConfig, JudgeConfig
from swift.core.errors import ConfigError
from swift.infer.evaluate.catalog import check_names
from swift.infer.evaluate.choices import read_choices, several_right
from swift.infer.evaluate.questions import read_questions, with_images
from swift.infer.evaluate.rows import Questions

REWRITTEN = "dataset_infos.json"  # EvalScope deletes this file from folders that it reads
SINGLE = (
    "Answer the following multiple choice question. The entire content of your response should be of the "
    "following format: 'ANSWER: [LETTER]' (without quotes) where [LETTER] is one of {letters}."
    "\n\n{question}\n\n{choices}"
)
SEVERAL = SINGLE.replace("[LETTER]", "[LETTERS]").replace("is one of", "is one or more of")


@dataclass(frozen=True)
class Asked:
    """One benchmark of a run.

    Attributes:
        label: how tables and figures call it.
        benchmark: EvalScope's name.
        args: EvalScope's dataset_args.
        local: its data lies on this machine.
        skipped: rows of an own file that could not be used.
    """

    label: str
    benchmark: str
    args: Mapping[str, Any] = field(default_factory=dict)
    local: bool = False
    skipped: int = 0


def plan(config: BenchmarkConfig, folder: Path, *, skip: bool = False) -> list[Asked]:
    """Everything that is asked; own files are written into folder as EvalScope reads them.

    Args:
        skip: leave out rows of own files that cannot be used.

    Raises:
        ConfigError: nothing is asked, an unknown benchmark, or settings of one that is not asked.
        DataError: an own file cannot be used.
    """
    check_names(config.benchmarks)
    for key, named in (("local_path", config.local_path), ("benchmark_args", config.benchmark_args)):
        unasked = sorted(set(named) - set(config.benchmarks))
        if unasked:
            raise ConfigError(f"eval.{key} is about {unasked[0]!r}, which eval.benchmarks does not name")
    asked = [_named(name, config, folder) for name in config.benchmarks]
    asked += [_own_questions(Path(file), folder, skip) for file in config.qa]
    asked += [_own_choices(Path(file), folder, skip) for file in config.mcq]
    if not asked:
        raise ConfigError("nothing is to be measured", "name --benchmark NAME, --qa FILE or --mcq FILE")
    labels = [one.label for one in asked]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of eval.benchmarks, eval.qa and eval.mcq are called {twice!r}", "rename a file"
        )
    return asked


def order(
    asked: Asked, config: BenchmarkConfig, folder: Path, *, seed: int, hub: str, endpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """What the worker is told of one benchmark; endpoint has model, url, key and sampling."""
    return {
        "benchmark": asked.benchmark,
        "args": dict(asked.args),
        "local": asked.local,
        "hub": hub,
        "limit": config.limit,
        "repeats": config.repeats,
        "concurrency": config.concurrency,
        "stall_timeout": config.stall_timeout,
        "judge": _judge(config.judge),
        "seed": seed,
        "resume": config.resume,
        "folder": str(folder),
        **endpoint,
    }


def _judge(judge: JudgeConfig | None) -> dict[str, Any]:
    if judge is None:
        return {}
    key = os.environ.get(judge.api_key_env, "EMPTY")
    model = {"model_id": judge.model, "api_url": judge.url, "api_key": key, "eval_type": "openai_api"}
    return {"strategy": judge.strategy, "models": [model]}


def _named(name: str, config: BenchmarkConfig, folder: Path) -> Asked:
    args = dict(config.benchmark_args.get(name, {}))
    if config.subset:
        args["subset_list"] = list(config.subset)
    place = config.local_path.get(name)
    if place is None:
        return Asked(name, name, args)
    if not Path(place).exists():
        raise ConfigError(f"eval.local_path: {place!r} does not exist", f"it is to hold the data of {name}")
    args["local_path"] = str(_untouched(Path(place).resolve(), folder / "data" / name))
    return Asked(name, name, args, local=True)


def _untouched(place: Path, mirror: Path) -> Path:
    """The folder itself, or one of links to its files where EvalScope would delete one of them."""
    if not (place / REWRITTEN).is_file():
        return place
    mirror.mkdir(parents=True, exist_ok=True)
    for file in place.iterdir():
        link = mirror / file.name
        if file.name != REWRITTEN and not link.exists():
            link.symlink_to(file)
    return mirror


def _own_questions(file: Path, folder: Path, skip: bool) -> Asked:
    found = read_questions(file, skip=skip)
    benchmark = "own_vqa" if with_images(found) else "own_qa"
    place = _write(found, folder / "data" / file.stem / "default_test.jsonl")
    return Asked(file.stem, benchmark, {"local_path": place}, local=True, skipped=found.skipped)


def _own_choices(file: Path, folder: Path, skip: bool) -> Asked:
    found = read_choices(file, skip=skip)
    several = several_right(found)
    args = {
        "local_path": _write(found, folder / "data" / file.stem / "default_val.jsonl"),
        "prompt_template": SEVERAL if several else SINGLE,
        "extra_params": {"multiple_correct": several},
    }
    return Asked(file.stem, "general_mcq", args, local=True, skipped=found.skipped)


def _write(found: Questions, file: Path) -> str:
    """Write rows as JSONL; the folder, as EvalScope wants it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows)
    return str(file.parent.resolve())
