"""NF4 as a method of export (Dettmers et al., "QLoRA", 2023, section 3)."""

from __future__ import annotations

from transformers import BitsAndBytesConfig

from swift.infer.quantize.bitsandbytes import save_through
from swift.infer.quantize.bnb_nf4.config import BnbNf4Config
from swift.infer.quantize.job import Job


def quantize(job: Job, config: BnbNf4Config) -> None:
    """Write 4-bit weights in blocks of 64.

    Raises:
        ModelError: bitsandbytes is missing.
    """
    save_through(
        job,
        lambda skipped: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=config.double_quantization,
            bnb_4bit_compute_dtype=job.model.dtype,
            llm_int8_skip_modules=skipped,
        ),
        config.ignore,
    )
