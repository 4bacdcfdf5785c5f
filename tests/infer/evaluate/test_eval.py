"""Grading for real: EvalScope, our server, the embedded engine, a model that can and one that cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click import UsageError
from click.testing import CliRunner, Result
from PIL import Image

from swift.core.config.run import load_run
from swift.core.errors import ConfigError, EngineError
from swift.infer.commands.eval import apart, command
from swift.infer.evaluate.child import Worker
from swift.infer.evaluate.load_test import load_one, speed
from swift.infer.evaluate.plan import plan
from swift.infer.evaluate.results import Result as EvalResult
from swift.infer.evaluate.results import write_speed
from swift.infer.evaluate.run import Subject, check, measure, reached


def invoke(*arguments: object) -> Result:
    """The command as the group calls it, which makes a status of what it returns."""
    words = [str(one) for one in arguments]
    return CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of gsm8k's form: with subsets by splits, as plain files."""
    folder = tmp_path_factory.mktemp("school")
    for split, count in (("train", 4), ("test", 3)):
        rows = ({"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(count))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def figures(digits: Any, school: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One evaluation of a trained and an untrained model: own files, and a benchmark with local data."""
    folder = tmp_path_factory.mktemp("figures")
    (folder / "nothing").mkdir()
    result = invoke(
        "--qa", digits.questions, "--mcq", digits.choices, "--benchmark", "gsm8k",
        "--compare", digits.run, "tiny/qwen3", folder / "nothing",
        f"eval.local_path={{gsm8k: {school}}}", "eval.benchmark_args={gsm8k: {few_shot_num: 2}}",
        "eval.answer_tokens=8", "--output-dir", folder, "--seed", 7,
    )  # fmt: skip
    assert result.return_value == 1, result.output  # one of the models is none
    found: dict[str, Any] = json.loads((folder / "eval.json").read_text())
    return {"record": found, "output": result.output, "folder": folder}


def of(figures: dict[str, Any], model: int) -> dict[str, Any]:
    return {one["benchmark"]: one for one in figures["record"]["models"][model]["results"]}


def test_the_trained_model_is_right_and_the_untrained_one_is_not(figures: dict[str, Any]) -> None:
    trained, untrained = of(figures, 0)["digits"], of(figures, 1)["digits"]
    assert trained["metric"] == untrained["metric"] == "exact_match"
    assert trained["score"] > 0.9
    assert untrained["score"] == 0.0
    assert trained["questions"] == untrained["questions"] == 24
    assert trained["failed"] == 0
    assert trained["metrics"]["exact_match"] == trained["score"]


def test_choices_and_local_benchmarks_are_graded(figures: dict[str, Any]) -> None:
    for model in (0, 1):
        found = of(figures, model)
        assert found["which"]["questions"] == 4
        assert found["gsm8k"]["questions"] == 3
        assert found["gsm8k"]["metric"] == "accuracy"
        assert all(0.0 <= one["score"] <= 1.0 and not one["error"] for one in found.values())


def test_the_record_says_what_decided_the_figures(figures: dict[str, Any], digits: Any) -> None:
    record = figures["record"]
    assert record["schema"] == 1
    assert {"python", "evalscope", "torch", "transformers", "swift-infer"} <= record["versions"].keys()
    assert record["settings"]["seed"] == 7
    assert record["settings"]["temperature"] == 0.0
    assert [model["model"] for model in record["models"]] == [
        str(digits.model),
        "tiny/qwen3",
        str(figures["folder"] / "nothing"),
    ]
    assert "exact_match" in figures["output"]
    assert (figures["folder"] / "worker.log").stat().st_size > 0


def test_training_measured_itself(digits: Any) -> None:
    measured = {row["step"]: row for row in digits.metrics if "eval_digits" in row}
    assert sorted(measured) == [60, 90]
    assert measured[90]["eval_digits"] > 0.9
    assert all(row["eval_benchmark_failures"] == 0 for row in measured.values())
    assert [row["step"] for row in digits.metrics if "loss" in row] == [30, 60, 90]  # no report is swallowed


def test_a_measurement_that_failed_is_counted_and_training_went_on(digits: Any) -> None:
    """The worker was killed at step 30; another one took its place."""
    failed = [row for row in digits.metrics if row.get("eval_benchmark_failures")]
    assert [(row["step"], row["eval_benchmark_failures"]) for row in failed] == [(30, 1.0)]
    assert "eval_digits" not in failed[0]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for several tests: EvalScope is slow to import."""
    with Worker(tmp_path_factory.mktemp("worker"), 300.0) as one:
        yield one


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["eval.benchmarks=simple_qa"], "eval.judge"),
        (["eval.benchmarks=gsm8k"], "eval.local_path={gsm8k: FOLDER}"),
        (["eval.benchmarks=gsm8k", "eval.local_path={gsm8k: .}"], "cannot be used"),
    ],
)
def test_what_cannot_be_run_is_refused_before_a_model_loads(
    worker: Worker, tmp_path: Path, overrides: list[str], words: str
) -> None:
    run = load_run(None, [one.replace(": .", f": {tmp_path}") for one in overrides])
    with pytest.raises(EngineError) as raised:
        check(worker, plan(run.benchmark, tmp_path), run)
    assert words in str(raised.value)


def test_a_model_that_does_not_load_is_a_failure_not_the_end(figures: dict[str, Any]) -> None:
    third = figures["record"]["models"][2]
    assert third["error"]
    assert third["results"] == []
    assert "failed" in figures["output"]


def graded(worker: Worker, folder: Path, overrides: list[str], subject: str) -> EvalResult:
    """One own file, graded by a worker that is running."""
    run = load_run(None, [*overrides, "eval.answer_tokens=8"])
    asked = plan(run.benchmark, folder)
    (result,) = measure(worker, Subject(subject, run), asked, {asked[0].label: 2}).results
    return result


def test_images_reach_the_model(worker: Worker, tmp_path: Path) -> None:
    rows = []
    for colour in ("red", "blue"):
        Image.new("RGB", (56, 56), colour).save(tmp_path / f"{colour}.png")
        rows.append({"question": "<image>Which colour?", "images": [f"{colour}.png"], "answer": colour})
    file = tmp_path / "colours.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = graded(worker, tmp_path, [f"eval.qa={file}", "model.model_id=tiny/qwen2.5-vl"], "sees")
    assert (result.error, result.questions, result.failed) == ("", 2, 0)
    answers = next((worker.folder / "models" / "sees").glob("colours/predictions/*/*.jsonl"))
    for line in answers.read_text().splitlines():
        assert json.loads(line)["model_output"]["usage"]["input_tokens"] > 15  # four of them are the image's


def test_a_model_that_is_served_elsewhere_is_asked_directly(
    worker: Worker, tmp_path: Path, digits: Any
) -> None:
    here = load_run(None, [f"model.model_id={digits.model}"])
    with reached(here) as where:
        remote = [f"infer.base_url={where['url']}", "infer.engine=remote", f"eval.qa={digits.questions}"]
        result = graded(worker, tmp_path, [*remote, "eval.limit=6"], "elsewhere")
    assert result.score == 1.0
    assert result.questions == 6
    gone = graded_error(worker, tmp_path, remote)
    assert "cannot be reached" in gone or "refused" in gone or "connect" in gone.lower()


def graded_error(worker: Worker, folder: Path, overrides: list[str]) -> str:
    run = load_run(None, [*overrides, "infer.retries=0"])
    return measure(worker, Subject("gone", run), plan(run.benchmark, folder), {"digits": 24}).error


def test_speed_under_load(worker: Worker, tmp_path: Path, digits: Any) -> None:
    overrides = ["eval.perf_concurrency=[1, 3]", "eval.perf_requests=2", "eval.perf_prompt_tokens=16"]
    run = load_run(None, [*overrides, "eval.perf_answer_tokens=5", f"model.model_id={digits.model}"])
    alone, together = rows = load_one(worker, Subject("small", run))
    assert [alone["requests"], together["requests"]] == [2, 6]
    for row in rows:
        assert row["failed"] == 0
        assert row["answer_tokens"] == 5
        assert row["prompt_tokens"] >= 16
        assert 0 < row["ttft_ms"] < row["latency_s"] * 1000
        assert row["tokens_per_second"] > 0
        assert row["ttft_p50_ms"] <= row["ttft_p99_ms"]
    assert json.loads(write_speed(tmp_path, {}, {"small": rows}).read_text())["models"]["small"] == rows
    assert speed({"small": rows}).row_count == 2


def test_words_after_compare_are_models() -> None:
    assert apart(("a=1", "m2", "x/m3"), "m1") == (None, ["a=1"], ["m1", "m2", "x/m3"])
    assert apart(("run.yaml", "m2"), "m1") == ("run.yaml", [], ["m1", "m2"])
    assert apart(("run.yaml", "a=1"), None) == ("run.yaml", ["a=1"], [])


def test_the_list_of_benchmarks() -> None:
    result = invoke("--list", "gsm8k")
    assert result.exit_code == 0
    assert "gsm8k_v" in result.output
    with pytest.raises(ConfigError, match="nothing is to be measured"):
        invoke("--model", "tiny/qwen3")


def test_a_load_test_refuses_questions() -> None:
    with pytest.raises(UsageError, match=r"not --qa, --limit; eval\.perf_requests"):
        invoke("--perf", "--qa", "questions.csv", "--limit", 3)
