"""Models beside each other on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swift.infer.evaluate.results import Measured, Result

WIDTH = 200  # columns of a table that goes to a file or a pipe


def show(table: Table) -> None:
    """Print it; where nobody watches, without regard to the width of a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table)


def comparison(models: Sequence[Measured], labels: Sequence[str]) -> Table:
    """One row a benchmark, one column a model; the best score of a row is bold."""
    table = Table("benchmark", "metric", "questions")
    for model in models:
        table.add_column(escape(model.name), justify="right")
    for label in labels:
        found = [_of(model, label) for model in models]
        scores = [result.score for result in found if result is not None and result.score is not None]
        best = max(scores, default=None) if len(models) > 1 else None
        known = next((result for result in found if result is not None and result.metric), None)
        table.add_row(
            escape(label),
            known.metric if known else "",
            str(known.questions) if known else "",
            *(_cell(result, best) for result in found),
        )
    return table


def remarks(models: Sequence[Measured]) -> list[str]:
    """What a score alone does not say: failures, questions without answer, rows left out."""
    lines = []
    for model in models:
        if model.error:
            lines.append(f"{model.name}: {model.error}")
        for result in model.results:
            where = f"{model.name}, {result.benchmark}"
            if result.error:
                lines.append(f"{where}: {result.error}")
            for count, what in (
                (result.failed, "questions got no answer and are not in the score"),
                (result.too_long, "questions are longer than the model's context and count as wrong"),
                (result.skipped, "rows of the file could not be used"),
            ):
                if count:
                    lines.append(f"{where}: {count} {what}")
    return lines


def _of(model: Measured, label: str) -> Result | None:
    return next((result for result in model.results if result.benchmark == label), None)


def _cell(result: Result | None, best: float | None) -> str:
    if result is None or result.score is None:
        return "failed"
    text = f"{result.score:.4f}" + ("*" if result.failed or result.too_long else "")
    return f"[bold]{text}[/bold]" if result.score == best else text
