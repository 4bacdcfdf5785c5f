"""Measure a model on held-out rows without training it."""

from __future__ import annotations

from swift.core.config.run import RunConfig
from swift.core.errors import DataError
from swift.core.train.arguments import training_device
from swift.core.train.evaluate import evaluate_loss
from swift.core.train.exact_match import measure_exact_match
from swift.core.train.parts import load_parts


def measure(run: RunConfig) -> dict[str, float]:
    """eval_loss under the run's objective, and exact_match where eval.exact_match asks for it.

    Raises:
        DataError: data.val_dataset_name is not set.
    """
    device = training_device(run)
    parts = load_parts(run, device)
    if parts.datasets.evaluation is None:
        raise DataError("nothing to measure on", "set data.val_dataset_name")
    losses = evaluate_loss(
        parts.model,
        parts.objective,
        parts.datasets.evaluation,
        batch_size=run.loop.per_device_eval_batch_size,
        device=device,
    )
    figures = {f"eval_{name}": value for name, value in losses.items()}
    if run.eval.exact_match:
        conversations = parts.datasets.eval_conversations
        figures["exact_match"] = measure_exact_match(parts.model, parts.tokenizer, conversations, run)
    return figures
