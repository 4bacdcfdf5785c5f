"""One export: load, measure, quantise a copy, load what was written, measure again, write its card."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swift.core.config.run import RunConfig
from swift.core.config.schema import ModelConfig
from swift.core.console import quiet_libraries, quiet_loggers, say
from swift.core.errors import ConfigError
from swift.core.models.load import is_multimodal, load_model, load_tokenizer, save_model
from swift.core.new_folder import check_new_folder, new_folder
from swift.core.registry import quantizers
from swift.infer.load import inference_device
from swift.infer.quantize.card import write_card
from swift.infer.quantize.job import Job
from swift.infer.quantize.libraries import check_library
from swift.infer.quantize.perplexity import first_answer, perplexity
from swift.infer.quantize.source import check_space, export_dtype, load_source, plain_bytes
from swift.infer.quantize.tokens import Tokens, gather_tokens

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass(frozen=True)
class Exported:
    """What an export made, and how it compares.

    Attributes:
        perplexity: (before, after) on the same held-out tokens; None without any.
        size: (before, after) bytes of weights.
        answer: what the exported model says to a greeting.
    """

    folder: Path
    perplexity: tuple[float, float] | None
    size: tuple[int, int]
    answer: str
    tokens: Tokens


def export(run: RunConfig) -> Exported:
    """Write the model that a configuration names, plain or quantised, as a folder that loads and answers.

    Raises:
        ConfigError: export.output_dir or calibration data is missing.
        CheckpointError: the output holds something already, or there is no room for it.
        ModelError: the method's library is missing, the model cannot be loaded or quantised, or what was
            written does not work.
    """
    if run.export.output_dir is None:
        raise ConfigError("export.output_dir is not set", "name a new folder: --output DIR")
    output = Path(run.export.output_dir)
    check_new_folder(output)
    check_library(run.export.method)
    quiet_libraries()
    quiet_loggers()
    device = inference_device(run)
    tokens = gather_tokens(run, load_tokenizer(run.model), reads_data(run))
    model, processor = load_source(run)
    size = plain_bytes(model)
    check_space(output, size)
    before = perplexity(model.to(device), tokens.held_out)
    with new_folder(output) as folder:
        _fill(
            run,
            Job(model.cpu(), processor, folder, tokens.calibration, device, run.export.max_shard_size, say),
        )
        model_class = "AutoModelForImageTextToText" if is_multimodal(model.config) else "AutoModelForCausalLM"
        del model
        gc.collect()
        after, answer = _try(folder, run, device, tokens)
        compared = (before, after) if before is not None and after is not None else None
        exported = Exported(output, compared, (size, weight_bytes(folder)), answer, tokens)
        write_card(folder, run, exported, model_class)
    return exported


def reads_data(run: RunConfig) -> bool:
    """Whether the chosen method looks at calibration rows."""
    config = run.quantizer
    return hasattr(config, "calibration_samples") and getattr(config, "rounding", "") != "nearest"


def _fill(run: RunConfig, job: Job) -> None:
    if run.export.method is None:
        save_model(job.model, job.processor, job.folder, job.max_shard_size)
        return
    quantizers.build(run.export.method, job, run.quantizer)
    job.processor.save_pretrained(job.folder)
    if job.model.can_generate():
        job.model.generation_config.save_pretrained(job.folder)


def _try(folder: Path, run: RunConfig, device: torch.device, tokens: Tokens) -> tuple[float | None, str]:
    """Load what was written, by the same way as any model: (perplexity, an answer)."""
    config = run.model.model_copy(update={"adapter": None, "architecture": {}, "tokenizer_id": None})
    config = ModelConfig.model_validate({**config.model_dump(), "model_id": str(folder), "revision": None})
    model: Any = load_model(config, dtype=export_dtype(run), device=device)
    return perplexity(model, tokens.held_out), first_answer(model, load_tokenizer(config))


def weight_bytes(folder: Path) -> int:
    """Size of the weight files of a folder."""
    return sum(file.stat().st_size for pattern in WEIGHTS for file in folder.glob(pattern))
