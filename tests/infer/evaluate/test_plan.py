"""What is refused before anything is started, and what the worker is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swift.core.config.schema import BenchmarkConfig
from swift.core.errors import ConfigError
from swift.infer.evaluate.catalog import described, names
from swift.infer.evaluate.plan import order, plan
from swift.infer.evaluate.results import Measured, Result
from swift.infer.evaluate.run import Subject
from swift.infer.evaluate.table import comparison, remarks


def planned(folder: Path, **settings: Any) -> Any:
    return plan(BenchmarkConfig.model_validate(settings), folder)


def test_every_benchmark_of_evalscope_is_known() -> None:
    assert len(names()) > 250
    assert {"gsm8k", "mmlu", "general_qa", "mmmu"} <= set(names())
    assert any(row[0] == "gsm8k" and "Math" in row[1] and row[2] == "accuracy" for row in described("math"))
    assert described("no such word") == []


def test_an_unknown_benchmark_lists_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'gsm9k'") as raised:
        planned(tmp_path, benchmarks="gsm9k")
    assert "did you mean 'gsm8k'" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nothing is to be measured"),
        ({"benchmarks": "gsm8k", "local_path": {"gsm8k": "/nowhere"}}, "'/nowhere' does not exist"),
        ({"benchmarks": "gsm8k", "local_path": {"mmlu": "."}}, "is about 'mmlu'"),
        ({"benchmarks": "gsm8k", "benchmark_args": {"mmlu": {}}}, "is about 'mmlu'"),
        ({"benchmarks": ["gsm8k", "gsm8k"]}, "are called 'gsm8k'"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        planned(tmp_path, **settings)
    assert words in str(raised.value)


def test_a_folder_from_which_evalscope_would_delete_a_file_is_mirrored(tmp_path: Path) -> None:
    data = tmp_path / "gsm"
    data.mkdir()
    for name in ("test.jsonl", "dataset_infos.json"):
        (data / name).write_text("{}\n")
    settings = {"benchmarks": "gsm8k", "local_path": {"gsm8k": str(data)}, "subset": "main"}
    (asked,) = planned(tmp_path / "out", **settings)
    given = Path(asked.args["local_path"])
    assert given != data
    assert [file.name for file in given.iterdir()] == ["test.jsonl"]
    assert asked.args["subset_list"] == ["main"]
    (data / "dataset_infos.json").unlink()
    (asked,) = planned(tmp_path / "out", **settings)
    assert asked.args["local_path"] == str(data)


def test_a_judges_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    judge = {"model": "big", "url": "http://localhost/v1", "api_key_env": "JUDGE_KEY"}
    config = BenchmarkConfig.model_validate({"benchmarks": "simple_qa", "judge": judge})
    (asked,) = plan(config, tmp_path)
    told = order(asked, config, tmp_path, seed=1, hub="huggingface", endpoint={})
    assert told["judge"]["models"][0]["api_key"] == "secret"
    assert "secret" not in config.model_dump_json()


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "/etc"])
def test_answers_stay_in_the_output_folder(tmp_path: Path, name: str) -> None:
    subject = Subject(name, None)  # type: ignore[arg-type]
    assert subject.folder(tmp_path).resolve().parent == (tmp_path / "models").resolve()


def test_the_table_tells_failures_from_zeros() -> None:
    good = Result("gsm8k", 8, "accuracy", 0.25, too_long=2)
    better = Result("gsm8k", 8, "accuracy", 0.5)
    bad = Result("mmlu", 4, error="no answer could be graded")
    models = [Measured("a", "a", None, "transformers", [good, bad]), Measured("b", "b", None, "x", [better])]
    columns = {
        str(column.header): list(column.cells) for column in comparison(models, ["gsm8k", "mmlu"]).columns
    }
    assert columns["a"] == ["0.2500*", "failed"]
    assert columns["b"] == ["[bold]0.5000[/bold]", "failed"]
    assert any("2 questions are longer" in line for line in remarks(models))
    assert any("a, mmlu: no answer could be graded" in line for line in remarks(models))
