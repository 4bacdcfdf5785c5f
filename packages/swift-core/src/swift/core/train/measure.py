"""Measure a model on held-out rows without training it."""

from __future__ import annotations

from swift.core.config.run import RunConfig
from swift.core.errors import DataError
from swift.core.metrics.check import check_metrics
from swift.core.metrics.gathered import Gathered
from swift.core.train.answers import measure_answers
from swift.core.train.arguments import training_device
from swift.core.train.evaluate import evaluate_loss
from swift.core.train.parts import load_parts


def measure(run: RunConfig) -> dict[str, float]:
    """eval_loss under the run's objective, and what eval.metrics asks for.

    Raises:
        DataError: data.val_dataset_name is not set.
    """
    check_metrics(run)
    device = training_device(run)
    parts = load_parts(run, device)
    if parts.datasets.evaluation is None:
        raise DataError("nothing to measure on", "set data.val_dataset_name")
    gathered = Gathered() if parts.metrics.of_predictions else None
    values = evaluate_loss(
        parts.model,
        parts.objective,
        parts.datasets.evaluation,
        batch_size=run.loop.per_device_eval_batch_size,
        device=device,
        gathered=gathered,
    )
    if gathered is not None:
        values |= parts.metrics.predicted(gathered.whole())
    figures = {f"eval_{name}": value for name, value in values.items()}
    if parts.metrics.of_texts:
        figures |= measure_answers(parts.model, parts.tokenizer, parts.datasets, parts.metrics, run)
    return figures
