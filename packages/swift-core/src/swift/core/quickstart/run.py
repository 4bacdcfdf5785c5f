"""The quickstart from start to end."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import torch

from swift.core.config.run import RunConfig, run_from_dict
from swift.core.console import quiet_libraries, say
from swift.core.errors import EXIT_INTERRUPTED, CheckpointError
from swift.core.models.load import load_processor, save_model
from swift.core.quickstart.chat import ask, served
from swift.core.quickstart.plan import Stage, Steps, measuring, stages
from swift.core.quickstart.report import StageResult, write_plots, write_report, write_results
from swift.core.quickstart.task import TaskFiles, write_task
from swift.core.train.measure import measure
from swift.core.train.parts import build_tuner, prepare_model
from swift.core.train.run import train_in_process

OWN = ("data", "pt", "sft", "grpo", "merged", "results.json", "report.html", "serve.log")


def quickstart(output: Path, steps: Steps, seed: int, samples: int, overwrite: bool) -> int:
    """Train, align, merge, serve and report below one folder; the exit status.

    Raises:
        CheckpointError: the folder already holds a quickstart and overwrite is off.
        SwiftError: a stage failed; what the earlier ones made stays.
    """
    started = time.monotonic()
    quiet_libraries()
    claim(output, overwrite)
    files = write_task(output / "data", seed, demonstrations=64 * max(steps.sft, steps.grpo), held_out=200)
    results: list[StageResult] = []
    plan = stages(output, files, steps, seed)
    for stage in plan:
        say(f"\n[{len(results) + 1}/{len(plan)}] {stage.title}")
        outcome = train_in_process(run_from_dict(stage.config))
        if outcome.signal_status is not None:
            return EXIT_INTERRUPTED
        figures = measure(run_from_dict(measuring(stage, files, samples)))
        exact_match = figures["eval_exact_match"]
        results.append(StageResult(stage.name, exact_match, figures["eval_loss"], outcome.seconds))
        say(f"    held out: exact match {exact_match:.1%}, loss {figures['eval_loss']:.3f}")
    say("\nmerging the adapter and serving the result")
    merged = merge_last(plan[-1], output / "merged")
    chat = chat_once(merged, files, output / "serve.log")
    write_results(output, results, chat)
    plots = write_plots(output, results)
    seconds = time.monotonic() - started
    report = write_report(output, results, chat, plots, seconds)
    print(closing_table(results, chat))
    say(f"{seconds:.0f} s in all; report: {report}; chat yourself: swift infer --model {merged}")
    return 0


def claim(output: Path, overwrite: bool) -> None:
    """Make the folder ours, deleting nothing that the quickstart did not write."""
    held = [name for name in OWN if (output / name).exists()]
    if held and not overwrite:
        raise CheckpointError(
            f"--output-dir {str(output)!r} already holds {', '.join(held)}",
            "choose another folder or add --overwrite",
        )
    for name in held:
        path = output / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    output.mkdir(parents=True, exist_ok=True)


def merge_last(stage: Stage, folder: Path) -> Path:
    """Fold the last adapter into its base and write a plain model folder."""
    run: RunConfig = run_from_dict(
        {**stage.config, "model": {"model_id": str(stage.model), "adapter": str(stage.adapter)}}
    )
    tuner = build_tuner(run)
    assert tuner is not None
    model = tuner.merge(prepare_model(run, run.model, tuner, torch.device("cpu")))
    save_model(model, load_processor(run.model), folder, run.export.max_shard_size)
    return folder


def chat_once(model: Path, files: TaskFiles, log: Path) -> dict[str, str]:
    """One request over HTTP with a number the model has never seen."""
    first = json.loads(files.held_out.read_text(encoding="utf-8").splitlines()[0])
    prompt = first["messages"][0]["content"]
    with served(model, log) as base_url:
        return {"prompt": prompt, "reply": ask(base_url, prompt)}


def closing_table(results: list[StageResult], chat: dict[str, str]) -> str:
    """The figures of every stage and the answer, for the terminal."""
    lines = [f"{'stage':<8}{'exact match':>13}{'held-out loss':>15}{'seconds':>9}"]
    lines += [
        f"{result.name:<8}{result.exact_match:>13.1%}{result.eval_loss:>15.3f}{result.seconds:>9.0f}"
        for result in results
    ]
    lines.append(f"over HTTP: {chat['prompt']!r} -> {chat['reply']!r}")
    return "\n".join(lines)
