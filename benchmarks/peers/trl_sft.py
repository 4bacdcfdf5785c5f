"""TRL: `trl sft`."""

from __future__ import annotations

import json
from pathlib import Path

from peers.contender import Contender
from peers.job import Job


class Trl(Contender):
    """Rows become prompt and completion, of which TRL learns the completion."""

    name = "trl"

    def command(self, binaries: Path, job: Job, output: Path) -> list[str]:
        """Options, and the rows in a folder that `datasets` reads."""
        data = output / "data"
        data.mkdir()
        with (data / "train.jsonl").open("w", encoding="utf-8") as file:
            for line in job.rows.read_text(encoding="utf-8").splitlines():
                *prompt, answer = json.loads(line)["messages"]
                file.write(json.dumps({"prompt": prompt, "completion": [answer]}) + "\n")
        options = {
            "model_name_or_path": str(job.model),
            "dtype": "float32",
            "dataset_name": str(data),
            "max_length": job.max_length,
            "use_peft": "true",
            "lora_r": job.rank,
            "lora_alpha": job.alpha,
            "lora_dropout": 0.0,
            "lora_target_modules": "all-linear",
            "per_device_train_batch_size": job.batch_size,
            "gradient_accumulation_steps": 1,
            "max_steps": job.steps,
            "learning_rate": job.learning_rate,
            "lr_scheduler_type": "constant",
            "bf16": "false",
            "logging_steps": 1,
            "save_steps": job.steps,
            "report_to": "none",
            "seed": job.seed,
            "output_dir": str(output / "run"),
        }
        if job.checkpointing is not None:
            options["gradient_checkpointing"] = str(job.checkpointing).lower()
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        return [str(binaries / "trl"), "sft", *words]
