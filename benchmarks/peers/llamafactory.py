"""LLaMA-Factory: `llamafactory-cli train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from peers.contender import Contender, Report, report_of
from peers.job import Job


class LlamaFactory(Contender):
    """Its template `qwen3_nothink` is ChatML without a system message."""

    name = "llamafactory"

    def command(self, binaries: Path, job: Job, output: Path) -> list[str]:
        """A YAML file, and a dataset_info.json beside the rows."""
        tags = {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        }
        entry = {
            "file_name": str(job.rows),
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags,
        }
        (output / "dataset_info.json").write_text(json.dumps({"job": entry}), encoding="utf-8")
        file = output / "train.yaml"
        file.write_text(yaml.safe_dump(self._settings(job, output)), encoding="utf-8")
        return [str(binaries / "llamafactory-cli"), "train", str(file)]

    def _settings(self, job: Job, output: Path) -> dict[str, Any]:
        settings = {
            "model_name_or_path": str(job.model),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": job.rank,
            "lora_alpha": job.alpha,
            "lora_target": "all",
            "dataset": "job",
            "dataset_dir": str(output),
            "template": "qwen3_nothink",
            "cutoff_len": job.max_length,
            "output_dir": str(output / "run"),
            "overwrite_cache": True,
            "report_to": "none",
            "logging_steps": 1,
            "save_steps": job.steps,
            "per_device_train_batch_size": job.batch_size,
            "gradient_accumulation_steps": 1,
            "max_steps": job.steps,
            "learning_rate": job.learning_rate,
            "lr_scheduler_type": "constant",
            "seed": job.seed,
        }
        if job.checkpointing is not None:
            settings["disable_gradient_checkpointing"] = not job.checkpointing
        return settings

    def report(self, output: Path, log: Path) -> Report:
        """From the trainer's state."""
        state = json.loads((output / "run" / "trainer_state.json").read_text(encoding="utf-8"))
        return report_of(state["log_history"])
