"""Metrics in a run: what is refused before it, what they are fed, and where the figures go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.core.config.named import Named
from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError, PluginError, RegistryError
from swift.core.metrics.check import check_labels, check_metrics
from swift.core.metrics.use import Metrics, named_values
from swift.core.train.evaluate import evaluate_loss
from swift.core.train.measure import measure
from swift.core.train.parts import load_parts
from swift.core.train.record import METRICS_FILE, RUN_FILE
from swift.core.train.run import train_in_process
from swift.core.types import Predictions
from swift.plugin import register_metric
from swift.plugin.live import LiveParts

pytestmark = pytest.mark.usefixtures("untouched_registries")


def run_of(wanted: Any, **train: Any) -> Any:
    return run_from_dict({"train": train, "eval": {"metrics": wanted}})


@pytest.mark.parametrize(
    ("wanted", "train", "error", "words"),
    [
        ("accurracy", {}, RegistryError, ["accurracy", "'accuracy'"]),
        (["bleu", "bleu"], {}, ConfigError, ["'bleu' twice"]),
        ("accuracy", {}, ConfigError, ["'accuracy'", "reads labels", "'sft'", "tokens and texts", "bleu"]),
        ("exact_match", {"stage": "embedding"}, ConfigError, ["reads texts", "'embedding'", "scores", "mrr"]),
        ("token_accuracy", {"stage": "dpo"}, ConfigError, ["reads tokens", "'dpo'", "texts"]),
    ],
)
def test_refused_before_anything_is_loaded(wanted: Any, train: Any, error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        check_metrics(run_of(wanted, **train))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "config", "stage", "words"),
    [
        ("f1", {"average": "foo"}, "seq_cls", ["'f1'", "'foo'", "macro"]),
        ("accuracy", {"threshold": 1.5}, "seq_cls", ["threshold=1.5"]),
        ("ndcg", {"k": 0}, "reranker", ["'ndcg'", "'k'"]),
        ("bleu", {"tokenize": "nosuch"}, "sft", ["'bleu'", "nosuch"]),
    ],
)
def test_arguments_are_tried_before_training(
    name: str, config: dict[str, Any], stage: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Metrics([Named(name=name, config=config)], stage, LiveParts())
    for word in words:
        assert word in str(caught.value)


def test_metrics_of_the_other_sort_of_labels_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"'accuracy' compares classes.*predicts numbers\n.*mse, pearson"):
        check_labels(["accuracy"], "regression")
    with pytest.raises(ConfigError, match=r"'mse' compares numbers.*predicts classes\n.*accuracy, f1"):
        check_labels(["accuracy", "mse"], "multi_label_classification")
    check_labels(["accuracy", "f1"], "single_label_classification")
    check_labels(["spearman", "mrr"], None)


def test_what_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'sacrebleu'[\s\S]*swift-core\[metrics\]"):
        check_metrics(run_of("bleu"))


def test_a_metric_of_a_user_reads_texts_unless_it_says_otherwise() -> None:
    @register_metric("length")
    def length(predictions: list[str], references: list[str], columns: Any, scale: float = 1.0) -> float:
        """Mean length."""
        assert columns == [{"id": 1}, {"id": 2}]
        return scale * sum(map(len, predictions)) / len(predictions)

    @register_metric("spread", reads="scores")
    class Spread:
        """Several figures of one metric."""

        def __call__(self, predictions: Any, references: Any, groups: Any) -> dict[str, float]:
            return {
                "spread": float(predictions.max() - predictions.min()),
                "queries": float(groups.max() + 1),
            }

    check_metrics(run_of(["length"]))
    texts = Metrics([Named(name="length", config={"scale": 2.0})], "sft", LiveParts())
    given = {"prompts": [[], []], "columns": [{"id": 1}, {"id": 2}]}
    assert texts.generated(["a", "abc"], ["", ""], given) == {"length": 4.0}
    scores = Metrics([Named(name="spread")], "reranker", LiveParts())
    values = Predictions("scores", torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0]), torch.tensor([0, 1]))
    assert scores.predicted(values) == {"spread": 2.0, "spread_queries": 2.0}


@pytest.mark.parametrize("value", [float("nan"), "good", None, {"a": float("inf")}])
def test_what_is_no_figure(value: Any) -> None:
    @register_metric("odd")
    def odd(predictions: Any, references: Any) -> Any:
        """Return what no metric may."""
        return value

    with pytest.raises(PluginError, match=r"metric 'odd' \(.*test_use\.py:\d+\)[\s\S]*finite number"):
        Metrics([Named(name="odd")], "sft", LiveParts()).generated(["a"], ["b"], {})


def test_names_of_several_figures() -> None:
    assert named_values("rouge", {"rouge1": 0.5, "mean": 0.4}) == {"rouge1": 0.5, "rouge_mean": 0.4}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    rows = [{"prompt": f"count {n}", "response": "one two three four five"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_figures_go_into_the_reports_and_the_record(chats: Path, tmp_path: Path) -> None:
    result = train_in_process(
        run_from_dict(
            {
                "data": {"dataset_name": str(chats), "split_ratio": 0.2, "max_length": 64},
                "train": {
                    "output_dir": str(tmp_path / "run"),
                    "max_steps": 20,
                    "eval_steps": 10,
                    "learning_rate": 3e-3,
                    "progress": False,
                },
                "eval": {
                    "metrics": ["token_accuracy", "exact_match", "bleu", {"name": "rouge"}],
                    "max_new_tokens": 8,
                    "num_samples": 4,
                },
            }
        )
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    measured = {row["step"]: row for row in lines if "eval_loss" in row}
    assert measured.keys() == {10, 20}
    assert measured[20]["eval_token_accuracy"] == result.figures["eval_token_accuracy"] > 0.9
    assert "eval_exact_match" not in measured[20], "answers are generated once, at the end"
    (answered,) = [row for row in lines if "eval_exact_match" in row]
    assert answered["eval_rouge1"] > 0.9 and answered["eval_bleu"] > 90, "there is one answer to learn"
    record = json.loads((tmp_path / "run" / RUN_FILE).read_text())["figures"]
    assert record["eval_exact_match"] == answered["eval_exact_match"] == result.figures["eval_exact_match"]

    again = measure(
        run_from_dict(
            {
                "model": {"model_id": str(result.final_dir)},
                "data": {"val_dataset_name": str(chats), "max_length": 64},
                "eval": {"metrics": ["token_accuracy", "exact_match"], "max_new_tokens": 8, "num_samples": 4},
            }
        )
    )
    assert again["eval_token_accuracy"] > 0.9 and again["eval_exact_match"] == answered["eval_exact_match"]


def test_ranks_make_equally_many_calls_and_measure_every_row_once(chats: Path) -> None:
    run = run_from_dict({"data": {"val_dataset_name": str(chats), "max_length": 64, "max_samples": 9}})
    parts = load_parts(run, torch.device("cpu"))
    dataset = parts.datasets.evaluation
    assert dataset is not None
    calls: list[int] = []
    totals: list[torch.Tensor] = []

    def keep(values: torch.Tensor) -> torch.Tensor:
        totals.append(values)
        return values

    collate = parts.objective.collate
    for rank in range(4):
        calls.append(0)

        def counted(examples: Any) -> Any:
            calls[-1] += 1
            return collate(examples)

        parts.objective.collate = counted  # type: ignore[method-assign]
        evaluate_loss(
            parts.model,
            parts.objective,
            dataset,
            batch_size=2,
            device=torch.device("cpu"),
            rank=rank,
            world_size=4,
            reduce=keep,
        )
    assert calls == [2, 2, 2, 2], "9 rows: one rank has 3 of them, the others 2"
    parts.objective.collate = collate  # type: ignore[method-assign]
    whole = evaluate_loss(parts.model, parts.objective, dataset, batch_size=2, device=torch.device("cpu"))
    total, count = torch.stack(totals).sum(0).tolist()
    assert total / count == pytest.approx(whole["loss"], rel=1e-6)
