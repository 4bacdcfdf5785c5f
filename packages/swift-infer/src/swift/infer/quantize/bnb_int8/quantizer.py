"""LLM.int8() as a method of export (Dettmers et al., "LLM.int8()", 2022)."""

from __future__ import annotations

from transformers import BitsAndBytesConfig

from swift.infer.quantize.bitsandbytes import save_through
from swift.infer.quantize.bnb_int8.config import BnbInt8Config
from swift.infer.quantize.job import Job


def quantize(job: Job, config: BnbInt8Config) -> None:
    """Write 8-bit weights with a scale for each row.

    Raises:
        ModelError: bitsandbytes is missing.
    """
    save_through(
        job,
        lambda skipped: BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=config.outlier_threshold,
            llm_int8_skip_modules=skipped,
        ),
        config.ignore,
    )
