"""Runs inside llm-compressor's environment, started by run.py with the path of a JSON task; imports no swift.

Prints one JSON object a line about its progress; whatever else is printed is shown when it fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def tell(progress: str) -> None:
    """One line for the process that started this one."""
    print(json.dumps({"progress": progress}), flush=True)


def modifiers(task: dict[str, Any]) -> list[Any]:
    """The recipe of a method, as close to our own as llm-compressor's settings allow."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    ignore = [f"re:.*{name}$" for name in task["ignore"]]
    if task["method"] == "fp8":
        return [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=ignore)]
    if task["method"] == "int8":
        return [*smoothing(task), GPTQModifier(targets="Linear", scheme="W8A8", ignore=ignore)]
    groups = {"group_0": {"targets": ["Linear"], "weights": weights(task)}}
    if task["method"] == "gptq":
        order = "static" if task["act_order"] else None
        return [
            GPTQModifier(config_groups=groups, ignore=ignore, dampening_frac=task["damping"], actorder=order)
        ]
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [AWQModifier(duo_scaling=False), QuantizationModifier(config_groups=groups, ignore=ignore)]


def smoothing(task: dict[str, Any]) -> list[Any]:
    """SmoothQuant, where it is wanted."""
    if not task["smoothing"]:
        return []
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    return [SmoothQuantModifier(smoothing_strength=task["smoothing"])]


def weights(task: dict[str, Any]) -> dict[str, Any]:
    """Few bits in groups."""
    return {
        "num_bits": task["bits"],
        "type": "int",
        "symmetric": task["symmetric"],
        "strategy": "group" if task["group_size"] else "channel",
        "group_size": task["group_size"],
    }


def main(path: str) -> None:
    """Quantise and write."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    tell("importing")
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if task["method"] == "awq" and not torch.cuda.is_available():
        sys.exit("llm-compressor's AWQ pins every cached input in memory, which torch refuses without a GPU")
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    settings: dict[str, Any] = {}
    if task["rows"]:
        rows = Dataset.from_list(
            [{"input_ids": row, "attention_mask": [1] * len(row)} for row in task["rows"]]
        )
        longest = max(len(row) for row in task["rows"])
        settings = {"dataset": rows, "max_seq_length": longest, "num_calibration_samples": len(rows)}
    tell("quantising")
    oneshot(model=model, processor=tokenizer, recipe=modifiers(task), **settings)
    tell("writing")
    model.save_pretrained(task["output"], save_compressed=True)


if __name__ == "__main__":
    main(sys.argv[1])
