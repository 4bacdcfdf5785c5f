"""results.json, the plots and report.html of a quickstart; every number comes from the runs' own files."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import ConfigError


@dataclass(frozen=True)
class StageResult:
    """What one stage reached on the held-out rows, and how long it took.

    Attributes:
        exact_match: share of greedy answers that are right.
        eval_loss: nats a token of the right answers.
        seconds: wall time of its training.
    """

    name: str
    exact_match: float
    eval_loss: float
    seconds: float


def write_results(output: Path, stages: Sequence[StageResult], chat: dict[str, str]) -> Path:
    """Write results.json."""
    path = output / "results.json"
    results = {"stages": [asdict(stage) for stage in stages], "chat": chat}
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return path


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The reports of one run."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_plots(output: Path, stages: Sequence[StageResult]) -> list[Path]:
    """loss.png, reward.png and accuracy.png.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("plots need matplotlib", "pip install 'swift-core[quickstart]'") from error
    mpl.use("Agg")
    curves = {stage.name: read_metrics(output / stage.name) for stage in stages}
    losses = {name: _series(rows, "loss") for name, rows in curves.items() if name != "grpo"}
    rewards = {name: _series(rows, "reward") for name, rows in curves.items() if name == "grpo"}
    return [
        _line_plot(output / "loss.png", "training loss", "nats a token", losses),
        _line_plot(output / "reward.png", "reward of the roll-outs", "share right", rewards),
        _bar_plot(output / "accuracy.png", stages),
    ]


def _series(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    kept = [row for row in rows if key in row]
    return [row["step"] for row in kept], [row[key] for row in kept]


def _line_plot(path: Path, title: str, unit: str, curves: dict[str, tuple[list[float], list[float]]]) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name)
    axes.set(title=title, xlabel="step", ylabel=unit)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def _bar_plot(path: Path, stages: Sequence[StageResult]) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    bars = axes.bar([stage.name for stage in stages], [stage.exact_match for stage in stages])
    axes.bar_label(bars, fmt="{:.1%}")
    axes.set(title="held-out exact match by stage", ylabel="share right", ylim=(0, 1.08))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def write_report(
    output: Path, stages: Sequence[StageResult], chat: dict[str, str], plots: Sequence[Path], seconds: float
) -> Path:
    """One HTML page that stands alone: the table, the plots, the answer."""
    rows = "".join(
        f"<tr><td>{stage.name}</td><td>{stage.exact_match:.1%}</td>"
        f"<td>{stage.eval_loss:.3f}</td><td>{stage.seconds:.0f}</td></tr>"
        for stage in stages
    )
    images = "".join(
        f'<img alt="{plot.stem}" src="data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode()}">'
        for plot in plots
    )
    path = output / "report.html"
    path.write_text(
        _PAGE.format(
            rows=rows,
            images=images,
            prompt=html.escape(chat["prompt"]),
            reply=html.escape(chat["reply"]),
            seconds=f"{seconds:.0f}",
        ),
        encoding="utf-8",
    )
    return path


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>swift quickstart</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .3rem 1rem; border-bottom: 1px solid #ccc; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }}
img {{ max-width: 100%; }}
code {{ background: #eee; padding: .1rem .3rem; }}
</style></head><body>
<h1>swift quickstart</h1>
<p>A one-million-parameter Qwen3 was trained from scratch on Python's own manual, fine-tuned with LoRA on
chats of which half are wrong, and aligned with GRPO on an exact-match reward. All figures are from held-out
numbers.</p>
<table><tr><th>stage</th><th>exact match</th><th>held-out loss</th><th>seconds</th></tr>{rows}</table>
<p>Asked over HTTP: <code>{prompt}</code> &rarr; <code>{reply}</code></p>
{images}
<p>The whole run took {seconds} seconds.</p>
</body></html>
"""
