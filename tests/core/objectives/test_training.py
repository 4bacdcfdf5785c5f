"""Each objective learns a small task, and what it leaves is what transformers loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from swift.core.errors import ConfigError, DataError, ModelError
from swift.core.objectives.embed.pool import pool
from swift.core.registry import losses
from swift.core.train.result import TrainResult

Row = dict[str, Any]
Train = Callable[..., TrainResult]
Write = Callable[..., str]

FOCAL_LOSS = """# custom_loss.py
import torch
import torch.nn as nn
from swift.plugin import register_loss

@register_loss("focal_loss")
class FocalLoss(nn.Module):
    def __init__(self, alpha=1.0, gamma=2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        BCE_loss = nn.functional.binary_cross_entropy_with_logits(inputs, targets, reduction='none')
        pt = torch.exp(-BCE_loss)
        focal_loss = self.alpha * (1 - pt) ** self.gamma * BCE_loss
        return focal_loss.mean()
"""


def final(result: TrainResult) -> Path:
    assert result.final_dir is not None
    return result.final_dir


def logits_of(folder: Path, texts: list[str]) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits: torch.Tensor = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits
    return logits


def test_a_users_focal_loss_trains_a_multi_label_classifier(
    train: Train, write: Write, labelled: list[Row], tmp_path: Path
) -> None:
    plugin = tmp_path / "custom_loss.py"
    plugin.write_text(FOCAL_LOSS)
    try:
        result = train(
            "seq_cls",
            write(labelled),
            train={
                "loss_type": "focal_loss",
                "loss_config": {"alpha": 0.8, "gamma": 2.0},
                "max_steps": 40,
                "per_device_train_batch_size": 16,
            },
            eval={"metrics": ["accuracy", "f1"]},
            plugins=[str(plugin)],
        )
    finally:
        losses.unregister("focal_loss")
    truth = torch.tensor([row["label"] for row in labelled])
    logits = logits_of(final(result), [row["text"] for row in labelled])
    config = json.loads((final(result) / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and len(config["id2label"]) == 3
    assert ((logits > 0) == truth).float().mean() > 0.9, "a constant answer reaches 0.5"
    assert result.figures["eval_accuracy"] > 0.5, "all three labels right: guessing reaches 0.125"
    focal = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
    expected = 0.8 * (1 - torch.exp(-focal)) ** 2 * focal
    # the last 32 rows after the shuffle are held out; all 160 bound what their loss can be
    assert expected.min() <= result.figures["eval_loss"] <= expected.max()


def test_lora_trains_the_head_and_resumes(
    train: Train, write: Write, labelled: list[Row], tiny_model_dir: Path
) -> None:
    rows = [{"text": row["text"], "label": row["label"][0]} for row in labelled]
    file = write(rows)
    settings = {"tuner_strategy": "lora", "learning_rate": 5e-3, "per_device_train_batch_size": 16}
    base = {"model_id": str(tiny_model_dir)}  # a folder without a classification head
    whole = train("seq_cls", file, "whole", model=base, train={**settings, "max_steps": 24, "save_steps": 12})
    truth = torch.tensor([row["label"] for row in rows])
    from peft import AutoPeftModelForSequenceClassification

    model = AutoPeftModelForSequenceClassification.from_pretrained(final(whole), num_labels=2)
    assert model.active_peft_config.task_type == "SEQ_CLS"
    saved = {name for name, _ in model.named_parameters() if "modules_to_save" in name}
    assert saved == {"base_model.model.score.modules_to_save.default.weight"}
    again = train(
        "seq_cls",
        file,
        "again",
        model=base,
        train={
            **settings,
            "max_steps": 24,
            "resume_from_checkpoint": str(whole.output_dir / "checkpoint-12"),
        },
    )
    assert again.figures["eval_loss"] == pytest.approx(whole.figures["eval_loss"], abs=1e-6)

    from swift.tuners.merge import merge_adapter

    merged = merge_adapter(final(whole), whole.output_dir / "merged")
    right = (logits_of(merged, [row["text"] for row in rows]).argmax(-1) == truth).float().mean()
    assert right > 0.85, "half of the texts hold the word"


def test_regression(train: Train, write: Write, labelled: list[Row]) -> None:
    rows = [{"text": row["text"], "label": float(sum(row["label"]))} for row in labelled]
    result = train(
        "seq_cls", write(rows), train={"max_steps": 40}, eval={"metrics": ["mse", "pearson", "spearman"]}
    )
    figures = result.figures
    assert figures["eval_mse"] == pytest.approx(figures["eval_loss"], abs=1e-5)
    assert figures["eval_pearson"] > 0.7 and figures["eval_spearman"] > 0.7
    assert logits_of(final(result), [row["text"] for row in rows]).shape == (160, 1)


def test_infonce(train: Train, write: Write, related: list[Row]) -> None:
    result = train("embedding", write(related), eval={"metrics": ["mrr", "ndcg"]})
    assert result.figures["eval_mrr"] > 0.7, "one of about 12 different texts is right"
    model, tokenizer = AutoModel.from_pretrained(final(result)), AutoTokenizer.from_pretrained(final(result))
    texts = [row[column] for column in ("query", "positive", "negative") for row in related]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    query, positive, negative = pool(hidden, batch["attention_mask"], "last").chunk(3)
    assert ((query * positive).sum(-1) > (query * negative).sum(-1)).float().mean() > 0.9


@pytest.mark.parametrize(
    ("loss", "tuner"),
    [
        ("cosent", {}),
        ("contrastive", {"tuner_strategy": "lora", "learning_rate": 1e-2}),
    ],
)
def test_scored_pairs(train: Train, write: Write, related: list[Row], loss: str, tuner: Row) -> None:
    rows = [
        {"sentence1": row["query"], "sentence2": row["positive" if n % 2 else "negative"], "score": n % 2}
        for n, row in enumerate(related)
    ]
    result = train(
        "embedding",
        write(rows),
        train={"loss_type": loss, "max_steps": 30, "per_device_train_batch_size": 16, **tuner},
        eval={"metrics": "spearman"},
    )
    assert result.figures["eval_spearman"] > 0.75, "0 by chance, 0.86 at best (scores are 0 or 1)"


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_reranker(train: Train, write: Write, related: list[Row], loss: str) -> None:
    result = train(
        "reranker",
        write(related),
        train={"loss_type": loss, "max_steps": 35},
        eval={"metrics": ["mrr", "ndcg"]},
    )
    assert result.figures["eval_mrr"] > 0.9, "chance is 0.75"
    model = AutoModelForSequenceClassification.from_pretrained(final(result))
    assert model.config.num_labels == 1


def test_generative_reranker(train: Train, write: Write, related: list[Row]) -> None:
    result = train(
        "generative_reranker",
        write(related),
        data={"max_length": 400},
        train={
            "yes_token": "True",
            "no_token": "False",
            "max_steps": 20,
            "per_device_train_batch_size": 4,
            "learning_rate": 2e-3,
        },
        eval={"metrics": "mrr"},
    )
    assert result.figures["eval_mrr"] > 0.85, "chance is 0.75"
    assert type(AutoModelForCausalLM.from_pretrained(final(result))).__name__ == "Qwen3ForCausalLM"


def test_a_composite_of_losses_reports_each(train: Train, write: Write, related: list[Row]) -> None:
    both = [{"name": "infonce", "config": {"temperature": 0.1}}, {"name": "cross_entropy", "weight": 0.5}]
    result = train("embedding", write(related), train={"loss_type": both, "max_steps": 2})
    figures = result.figures
    assert figures["eval_loss"] == pytest.approx(
        figures["eval_loss/infonce"] + 0.5 * figures["eval_loss/cross_entropy"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("task", "changes", "error", "words"),
    [
        ("seq_cls", {"data": {"packing": True}}, ConfigError, ["seq_cls", "data.packing"]),
        ("seq_cls", {"train": {"num_labels": 2}}, DataError, ["num_labels 2"]),
        ("embedding", {}, DataError, ["no text to compare"]),
        ("embedding", {"train": {"loss_type": "listwise"}}, ConfigError, ["'listwise'", "lists", "pairs"]),
        ("seq_cls", {"eval": {"metrics": "mrr"}}, ConfigError, ["'mrr'", "scores", "'seq_cls'", "labels"]),
    ],
)
def test_what_cannot_be_learned(
    train: Train,
    write: Write,
    labelled: list[Row],
    related: list[Row],
    task: str,
    changes: Any,
    error: type[Exception],
    words: list[str],
) -> None:
    rows = related if "loss_type" in changes.get("train", {}) else labelled
    with pytest.raises(error) as caught:
        train(task, write(rows[:20]), **changes)
    for word in words:
        assert word in str(caught.value)


def test_yes_and_no_are_one_token_each(train: Train, write: Write, related: list[Row]) -> None:
    with pytest.raises(ConfigError, match=r"train\.yes_token is 'yes', which is 2 tokens"):
        train("generative_reranker", write(related[:20]), data={"max_length": 400})
    same = {"yes_token": "a", "no_token": "a"}
    with pytest.raises(ConfigError, match="are both 'a'"):
        train("generative_reranker", write(related[:20]), data={"max_length": 400}, train=same)


def test_a_head_of_another_width_is_not_replaced_silently(
    train: Train, write: Write, labelled: list[Row]
) -> None:
    rows = [{"text": row["text"], "label": row["label"][0]} for row in labelled[:20]]
    first = train("seq_cls", write(rows), "first", train={"max_steps": 1})
    more = write([{**row, "label": number % 4} for number, row in enumerate(rows)], "more")
    with pytest.raises(ModelError, match=r"head of 2 labels, and 4 are asked for"):
        train("seq_cls", more, "second", model={"model_id": str(final(first))})
