"""The metrics of swift-core, declared without loading what computes them."""

from __future__ import annotations

from swift.core.registry import Component

PACKAGES = "needs"
"""Attribute: modules that a metric imports, all in the extra swift-core[metrics]."""


LABELS = "labels"
"""Attribute: which labels a metric of labels understands, classes or numbers; default: any."""


def _metric(
    name: str, where: str, summary: str, *reads: str, needs: tuple[str, ...] = (), labels: str | None = None
) -> Component:
    attributes = (("reads", reads), (PACKAGES, needs), (LABELS, labels))
    return Component(name, f"swift.core.metrics.{where}", None, summary, attributes)


ACCURACY = _metric(
    "accuracy", "accuracy:accuracy", "share of texts with every label right", "labels", labels="classes"
)
F1 = _metric("f1", "f1:f1", "F1 of the classes, averaged", "labels", needs=("sklearn",), labels="classes")
TOKEN_ACCURACY = _metric(
    "token_accuracy",
    "token_accuracy:token_accuracy",
    "share of learned tokens that were likeliest",
    "tokens",
)
EXACT_MATCH = _metric(
    "exact_match", "exact_match:exact_match", "share of greedy answers that equal the reference", "texts"
)
BLEU = _metric("bleu", "bleu:bleu", "corpus BLEU of greedy answers, 0 to 100", "texts", needs=("sacrebleu",))
ROUGE = _metric(
    "rouge",
    "rouge:rouge",
    "rouge1, rouge2, rougeL (F1) of greedy answers",
    "texts",
    needs=("rouge_score",),
)
MRR = _metric("mrr", "mrr:mrr", "mean of 1 / rank of the first relevant document", "scores")
NDCG = _metric(
    "ndcg", "ndcg:ndcg", "normalised discounted cumulative gain of rankings", "scores", needs=("sklearn",)
)
MSE = _metric("mse", "mse:mse", "mean squared error of numbers", "labels", "scores", labels="numbers")
PEARSON = _metric(
    "pearson", "correlation:pearson", "linear correlation of numbers", "labels", "scores", labels="numbers"
)
SPEARMAN = _metric(
    "spearman",
    "correlation:spearman",
    "rank correlation of numbers",
    "labels",
    "scores",
    needs=("scipy",),
    labels="numbers",
)
