"""`swift sft`, which is `python -m swift.core.cli sft` in an environment without the root package."""

from __future__ import annotations

from pathlib import Path

from peers.contender import Contender, Report, json_reports, report_of
from peers.job import Job


class Ours(Contender):
    """This project, with batches laid flat; its attention needs no flash-attention for that."""

    name = "swift"

    def command(self, binaries: Path, job: Job, output: Path) -> list[str]:
        """Overrides alone; no YAML file is needed."""
        checkpointing = bool(job.checkpointing)
        return [
            str(binaries / "python"),
            "-m",
            "swift.core.cli",
            "sft",
            f"model.model_id={job.model}",
            f"data.dataset_name={job.rows}",
            f"data.max_length={job.max_length}",
            "data.truncation=right",
            "data.padding_free=true",
            "train.tuner_strategy=lora",
            f"train.lora_rank={job.rank}",
            f"train.lora_alpha={job.alpha}",
            f"train.per_device_train_batch_size={job.batch_size}",
            f"train.max_steps={job.steps}",
            f"train.learning_rate={job.learning_rate}",
            "train.lr_scheduler_type=constant",
            "train.dtype=float32",
            f"train.seed={job.seed}",
            f"train.gradient_checkpointing={str(checkpointing).lower()}",
            f"train.output_dir={output / 'run'}",
        ]

    def report(self, output: Path, log: Path) -> Report:
        """From OUT/metrics.jsonl."""
        return report_of(json_reports(output / "run" / "metrics.jsonl"))
