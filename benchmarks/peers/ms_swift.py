"""ms-swift: `swift sft` of that project."""

from __future__ import annotations

from pathlib import Path

from peers.contender import Contender, Report, json_reports, report_of
from peers.job import Job


class MsSwift(Contender):
    """Its own defaults for weight decay and Adam differ from the others', so they are set."""

    name = "ms-swift"

    def command(self, binaries: Path, job: Job, output: Path) -> list[str]:
        """Options alone."""
        options = {
            "model": str(job.model),
            "model_type": "qwen3",
            "template": "chatml",
            "tuner_type": "lora",
            "dataset": str(job.rows),
            "split_dataset_ratio": 0,
            "max_length": job.max_length,
            "truncation_strategy": "right",
            "lora_rank": job.rank,
            "lora_alpha": job.alpha,
            "lora_dropout": 0.0,
            "target_modules": "all-linear",
            "torch_dtype": "float32",
            "per_device_train_batch_size": job.batch_size,
            "gradient_accumulation_steps": 1,
            "max_steps": job.steps,
            "learning_rate": job.learning_rate,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0,
            "weight_decay": 0,
            "adam_beta2": 0.999,
            "logging_steps": 1,
            "save_steps": job.steps,
            "report_to": "none",
            "seed": job.seed,
            "output_dir": str(output / "run"),
            "add_version": "false",
        }
        if job.checkpointing is not None:
            options["gradient_checkpointing"] = str(job.checkpointing).lower()
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        return [str(binaries / "swift"), "sft", *words]

    def report(self, output: Path, log: Path) -> Report:
        """From logging.jsonl."""
        return report_of(json_reports(output / "run" / "logging.jsonl"))
