"""infer: how answers are generated, and what becomes of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from swift.core.config.base import Config
from swift.core.config.named import NamedParts, PartsOf
from swift.core.config.schema.types import Fraction, NonNegative


class InferConfig(Config):
    """infer: how answers are generated."""

    engine: str = Field(
        "transformers", description="who generates: transformers, vllm, sglang, lmdeploy, remote"
    )
    task: Literal["auto", "generate", "embedding", "rerank"] = Field(
        "auto", description="what the model is asked for; auto: what it was trained for"
    )
    pooling: Literal["auto", "last", "mean", "cls"] = Field(
        "auto", description="vector of an embedding model; auto: as it was trained"
    )
    adapters: dict[str, str] = Field(
        default_factory=dict,
        description="name -> adapter folder: offered beside the model, chosen by the name a request asks for",
    )
    max_new_tokens: PositiveInt = Field(256, description="longest answer, in tokens")
    temperature: NonNegative = Field(0.7, description="0: greedy")
    top_p: Fraction = Field(1.0, description="nucleus: the likeliest tokens of this total probability")
    top_k: int = Field(0, ge=0, description="only the k likeliest tokens; 0: off")
    seed: int | None = Field(None, description="seed of the sampling")
    system: str | None = Field(None, description="system message put before every chat")


class SampleConfig(Config):
    """infer: training data out of answers (swift sample)."""

    sample_method: Literal["best_of_n", "rejection", "pairs", "distill"] = Field(
        "best_of_n",
        description="what becomes of the answers to a prompt: the best one; those from reward_threshold on; "
        "the best and the worst as a preference pair; all of them (a teacher's)",
    )
    answers_per_prompt: PositiveInt = Field(4, description="answers drawn for each prompt")
    reward_funcs: Annotated[NamedParts, PartsOf("reward")] = Field(
        default_factory=list,
        description="registered rewards: a name, {name, config}, or a list of them",
    )
    reward_weights: list[float] | None = Field(None, description="factors of the rewards; default: all 1")
    reward_threshold: float | None = Field(None, description="keep no answer with less reward")
    keep_per_prompt: PositiveInt = Field(4, description="rejection: keep at most so many, the best ones")
    min_margin: NonNegative = Field(
        0.0, description="pairs: least difference of the two rewards, which is never 0"
    )
    keep_truncated: bool = Field(False, description="keep answers that max_new_tokens has cut off")
    prompts_at_a_time: PositiveInt = Field(
        64, description="prompts answered together; a stopped run repeats at most so many"
    )
