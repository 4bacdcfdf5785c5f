"""F1 of classifications. Shapes: B texts, C classes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from swift.core.metrics.decide import decided


def f1(
    predictions: Tensor,
    references: Tensor,
    average: Literal["macro", "micro", "weighted"] = "macro",
    threshold: float = 0.5,
) -> float:
    """2 precision recall / (precision + recall), by scikit-learn; 0 of a class that is never predicted.

    Args:
        predictions: logits [B, C].
        references: classes [B], or 0 and 1 [B, C].
        average: macro weighs classes alike, weighted by their frequency, micro counts decisions.
        threshold: of several labels, the probability from which on one is predicted.

    Raises:
        ConfigError: numbers instead of classes.
    """
    from sklearn.metrics import f1_score

    predicted = decided("f1", predictions, references, threshold)
    return float(f1_score(references.long().numpy(), predicted.numpy(), average=average, zero_division=0))
