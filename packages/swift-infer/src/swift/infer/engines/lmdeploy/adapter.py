"""Adapters as LMDeploy (0.18.0) reads them: through peft 0.14, and of their record rank and scale alone.

A record of a later peft has keys that peft 0.14 does not know; it then drops all keys that are LoRA's own,
and goes on with its defaults. So the copies that LMDeploy gets have a record of what it reads, no more.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from swift.core.errors import EngineError
from swift.core.models.adapter_folder import adapter_record

MERGE = "merge the adapter into the weights (swift merge), or use another infer.engine"
RECORD, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
IGNORED = ("use_rslora", "rank_pattern", "alpha_pattern")  # keys that change the scale of some factors
FACTORS = (".lora_A.weight", ".lora_B.weight")


def rewrite(name: str, folder: Path) -> None:
    """Give an adapter's copy the record that LMDeploy reads.

    Raises:
        EngineError: an adapter that LMDeploy would refuse, or serve with other numbers.
    """
    record = adapter_record(folder)
    for key in IGNORED:
        if record.get(key):
            raise EngineError(f"LMDeploy ignores {key} {record[key]!r} of the adapter {name!r}", MERGE)
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": record.get("base_model_name_or_path"),
        "r": record["r"],
        "lora_alpha": record.get("lora_alpha", record["r"]),
        "target_modules": _layers(name, folder / WEIGHTS),
        "inference_mode": True,
    }
    (folder / RECORD).write_text(json.dumps(told), encoding="utf-8")


def _layers(name: str, path: Path) -> list[str]:
    """Names of the linear layers that have factors.

    Raises:
        EngineError: no readable file, or one with other tensors than factors.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            names = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise EngineError(f"the adapter {name!r} has no readable {WEIGHTS}: {error}") from error
    other = next((one for one in names if not one.endswith(FACTORS)), None)
    if other is not None:
        raise EngineError(
            f"LMDeploy takes factors of LoRA alone, and the adapter {name!r} has {other!r}", MERGE
        )
    return sorted({one.split(".")[-3] for one in names})
