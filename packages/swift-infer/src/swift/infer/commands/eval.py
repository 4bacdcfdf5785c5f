"""`swift eval` and `swift-infer eval`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from swift.infer.commands.options import as_overrides, options, run_command

if TYPE_CHECKING:
    from swift.infer.evaluate.run import Subject

LISTS = {"benchmark": "eval.benchmarks", "qa": "eval.qa", "mcq": "eval.mcq"}


def run(words: tuple[str, ...], list_word: str | None, perf: bool, compare: str | None, **given: Any) -> int:
    """Measure models, test their speed, or list what can be measured."""
    if list_word is not None:
        return show_benchmarks(list_word)
    if perf:
        check_load_test(given)
    config, overrides, models = apart(words, compare)
    for option, key in LISTS.items():
        named = [name for value in given.pop(option) for name in value.split(",")]
        overrides += [f"{key}={json.dumps(named)}"] if named else []
    for option, key in (("limit", "eval.limit"), ("output_dir", "eval.output_dir")):
        value = given.pop(option)
        overrides += [f"{key}={json.dumps(value)}"] if value is not None else []
    subjects = subjects_of(config, [*overrides, *as_overrides(given)], models)
    return load_test(subjects) if perf else measure(subjects)


def check_load_test(given: Mapping[str, Any]) -> None:
    """Refuse what a load test, which asks random prompts, would leave out.

    Raises:
        UsageError: questions, or how many of them.
    """
    unused = [f"--{option}" for option in (*LISTS, "limit") if given[option]]
    if unused:
        raise click.UsageError(
            f"--perf asks random prompts, not {', '.join(unused)}; eval.perf_requests says how many"
        )


def apart(words: tuple[str, ...], compare: str | None) -> tuple[str | None, list[str], list[str]]:
    """(YAML file, overrides, models to compare): further words are models once --compare is there."""
    models = compare.split(",") if compare else []
    config = None
    overrides = []
    for number, word in enumerate(words):
        if "=" in word:
            overrides.append(word)
        elif models and not (number == 0 and word.endswith((".yaml", ".yml"))):
            models.append(word)
        elif number == 0:
            config = word
        else:
            raise click.UsageError(f"{word!r} is not of the form section.key=value")
    return config, overrides, models


def subjects_of(config: str | None, overrides: list[str], models: list[str]) -> list[Subject]:
    """The models, each with its resolved run; names that are not unique are given in full."""
    from pathlib import Path

    from swift.infer.evaluate.run import Subject
    from swift.infer.load import load_infer_run, served_name

    path = Path(config) if config is not None else None
    first = load_infer_run(path, overrides)
    compared = models or first.benchmark.compare
    if not compared:
        return [Subject(served_name(first), first)]
    runs = [load_infer_run(path, [*overrides, f"model.model_id={json.dumps(model)}"]) for model in compared]
    names = [served_name(one) for one in runs]
    full = [model.strip("/").replace("/", "_") for model in compared]
    return [
        Subject(name if names.count(name) == 1 else whole, one)
        for name, whole, one in zip(names, full, runs, strict=True)
    ]


def measure(subjects: list[Subject]) -> int:
    """Table on the console, figures in a file; status 1 where a figure is missing."""
    from pathlib import Path

    from swift.core.console import say
    from swift.infer.evaluate.results import FILE
    from swift.infer.evaluate.run import evaluate
    from swift.infer.evaluate.table import comparison, remarks, show

    measured, labels = evaluate(subjects)
    show(comparison(measured, labels))
    for remark in remarks(measured):
        say(remark)
    click.echo(f"figures: {Path(subjects[0].run.benchmark.output_dir) / FILE}")
    return int(any(model.failures for model in measured))


def load_test(subjects: list[Subject]) -> int:
    """Speed under load, in a table and a file."""
    from swift.infer.evaluate.load_test import load_tests, speed
    from swift.infer.evaluate.table import show

    path, tested = load_tests(subjects)
    show(speed(tested))
    click.echo(f"figures: {path}")
    return int(any(row["failed"] for rows in tested.values() for row in rows))


def show_benchmarks(word: str) -> int:
    """Names, tags and metrics."""
    from rich.table import Table

    from swift.infer.evaluate.catalog import described
    from swift.infer.evaluate.table import show

    table = Table("benchmark", "tags", "metrics")
    for row in described("" if word == "all" else word):
        table.add_row(*row)
    show(table)
    return 0


command = run_command(
    "eval",
    run,
    "Measure models on benchmarks and own questions, through EvalScope.",
    example="eval.limit=100",
    epilog="Benchmarks: swift eval --list all. All keys: swift sft --help-config.",
    params=[
        *options("model", "adapter", "engine", "system", "seed"),
        click.Option(["--benchmark"], multiple=True, help="names, joined by commas  [eval.benchmarks]"),
        click.Option(["--qa"], multiple=True, help="own file of questions and answers  [eval.qa]"),
        click.Option(["--mcq"], multiple=True, help="own file of multiple-choice questions  [eval.mcq]"),
        click.Option(
            ["--compare"],
            metavar="M1 M2...",
            help="models, adapters or checkpoints, side by side  [eval.compare]",
        ),
        click.Option(["--limit"], type=click.IntRange(1), help="only the first so many  [eval.limit]"),
        click.Option(["--output-dir"], help="folder of the figures  [eval.output_dir]"),
        click.Option(["--perf"], is_flag=True, help="test speed under load instead"),
        click.Option(
            ["--list", "list_word"], metavar="WORD", help="list benchmarks with this word or tag; all: all"
        ),
    ],
)
