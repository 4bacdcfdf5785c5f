"""eval: what is measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from swift.core.config.base import Config
from swift.core.config.named import NamedParts, PartsOf
from swift.core.config.schema.types import Names, NonNegative


class EvalConfig(Config):
    """eval: what is measured on held-out data beside its loss."""

    metrics: Annotated[NamedParts, PartsOf("metric")] = Field(
        default_factory=list,
        description="registered metrics: a name, {name, config}, or a list of them. Metrics of predictions "
        "(accuracy, mrr, ...) at every evaluation, of greedy answers (exact_match, bleu, ...) at the end",
    )
    max_new_tokens: PositiveInt = Field(64, description="longest greedy answer, in tokens")
    num_samples: PositiveInt | None = Field(None, description="answer only the first so many held-out rows")


class JudgeConfig(Config):
    """A model that grades answers, behind an OpenAI-compatible URL."""

    model: str = Field(description="name of the grading model")
    url: str = Field(description="its API, up to and including /v1")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable with the key, so that no key stands in a file"
    )
    strategy: Literal["auto", "llm", "rule"] = Field(
        "auto", description="auto: only what rules cannot grade; llm: everything; rule: nothing"
    )


class BenchmarkConfig(Config):
    """eval: benchmarks, through EvalScope."""

    benchmarks: Names = Field(
        default_factory=list,
        description="names of EvalScope's benchmarks (swift eval --list): measured by swift eval, and by a "
        "training run on its live model",
    )
    qa: Names = Field(
        default_factory=list,
        description="own files of questions and answers (JSONL, JSON, CSV, ...), with images if the rows "
        "have them",
    )
    mcq: Names = Field(default_factory=list, description="own files of multiple-choice questions")
    benchmark_steps: PositiveInt | None = Field(
        None, description="while training: measure every so many steps; default: once, after the last step"
    )
    local_path: dict[str, str] = Field(
        default_factory=dict,
        description="benchmark -> folder or file that holds its data; default: the hub of model.hub",
    )
    subset: Names = Field(default_factory=list, description="only these subsets of each benchmark")
    benchmark_args: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="benchmark -> further settings as EvalScope names them: few_shot_num, prompt_template, "
        "extra_params, ...",
    )
    limit: PositiveInt | None = Field(None, description="only the first so many questions of each subset")
    repeats: PositiveInt = Field(1, description="how often each question is asked")
    temperature: NonNegative = Field(0.0, description="of answers to benchmarks; 0: greedy")
    answer_tokens: PositiveInt = Field(
        1024, description="longest answer to a benchmark's question, in tokens"
    )
    concurrency: PositiveInt = Field(32, description="most questions asked at a time")
    stall_timeout: float = Field(
        1800.0, gt=0, description="seconds without a new answer after which a benchmark is given up"
    )
    judge: JudgeConfig | None = Field(
        None, description="model, url, api_key_env: who grades benchmarks that rules cannot grade"
    )
    compare: Names = Field(
        default_factory=list, description="models, adapters or checkpoints to measure side by side"
    )
    resume: bool = Field(
        False, description="keep the answers that output_dir holds of an evaluation that was stopped"
    )
    output_dir: str = Field("eval-output", description="folder of eval.json, answers and logs")


class LoadTestConfig(Config):
    """eval: load tests (swift eval --perf)."""

    perf_concurrency: Annotated[
        list[PositiveInt], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
    ] = Field(default_factory=lambda: [1, 8, 32], description="requests at a time, one run each")
    perf_requests: PositiveInt = Field(
        4, description="requests of a run, for each of those that run at a time"
    )
    perf_prompt_tokens: PositiveInt = Field(128, description="tokens of each random prompt")
    perf_answer_tokens: PositiveInt = Field(64, description="tokens of each answer")
