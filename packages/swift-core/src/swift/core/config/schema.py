"""The sections of a run and the small configs that own their keys. Units: tokens, steps, samples, seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from swift.core.config.base import Config as Config
from swift.core.config.named import DatasetItems, NamedParts, PartsOf
from swift.core.registry import Trust
from swift.core.types import Task

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Names = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def _not_zero(steps: int) -> int:
    if steps == 0:
        raise ValueError("neither -1 nor a number of steps")
    return steps


class ModelConfig(Config):
    """model: which weights and tokenizer."""

    model_id: str = Field(
        "tiny/qwen3",
        description="local folder, hub id, short name, tiny/NAME (random weights, no download), "
        "or a registered model",
    )
    architecture: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a registered model, such as its sizes"
    )
    tokenizer_id: str | None = Field(
        None, description="tokenizer from elsewhere: folder, hub id or tiny/NAME; default: the model's own"
    )
    ref_model_id: str | None = Field(
        None, description="reference policy of preference and RL stages; default: the start of model_id"
    )
    adapter: str | None = Field(None, description="folder of an adapter to start from")
    hub: Literal["huggingface", "modelscope"] = Field(
        "huggingface", description="where ids of models and data sets are fetched from"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    chat_template: str | None = Field(
        None, description="jinja file, or the name of a built-in template, for a tokenizer without one"
    )
    attn_implementation: str | None = Field(
        None,
        description="attention of transformers (sdpa, eager); default: sdpa, or swift_varlen when packing",
    )
    trust_remote_code: bool = Field(False, description="run model code that comes with the weights")


class DataConfig(Config):
    """data: what is learned from."""

    dataset_name: DatasetItems = Field(
        default_factory=list,
        description="file, folder, registered name or hub id, as NAME[:SUBSET[/SUBSET...]][#COUNT]; "
        "or {name, config} with the arguments of a registered one; or a list of them",
    )
    val_dataset_name: DatasetItems = Field(
        default_factory=list, description="held-out data; default: split_ratio of dataset_name"
    )
    split_ratio: Share = Field(0.0, description="share of the rows held out for evaluation")
    split: str = Field("train", description="split of hub data sets")
    task_type: Task | None = Field(
        None,
        description="how rows are encoded; default: what the stage needs. "
        "seq_cls, embedding, reranker and generative_reranker also choose what stage sft learns",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="own column name -> standard column name"
    )
    weights: list[float] | None = Field(
        None, description="mix data sets by these sampling weights instead of joining them"
    )
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] | None = Field(
        None,
        description="mix data sets (in turns, or by weights) until the first is used up, or until all are, "
        "repeating the others; default: first_exhausted with weights, else data sets are joined",
    )
    filters: Annotated[NamedParts, PartsOf("filter")] = Field(
        default_factory=list,
        description="registered filters, run in order on every row as it was read: a name, {name, config}, "
        "or a list of them",
    )
    max_samples: PositiveInt | None = Field(None, description="use at most so many rows of each data set")
    shuffle: bool = Field(True, description="shuffle rows before the split, with train.seed")
    streaming: bool = Field(False, description="read and encode while training; needs train.max_steps")
    max_length: PositiveInt = Field(
        2048, description="longest sample, in tokens; also the capacity of a pack"
    )
    truncation: Literal["right", "left", "delete", "split"] = Field(
        "delete",
        description="what happens to a longer sample: cut its end or start, drop it, or cut it into several",
    )
    loss_turns: Literal["all", "last"] = Field("all", description="which assistant turns are learned")
    loss_scale: Annotated[NamedParts, PartsOf("loss scale")] = Field(
        default_factory=list,
        description="how much pieces of a turn weigh in the loss: default, last_round, ignore_thinking, "
        "tool_calls, regex, all, or a registered one. A name, {name, config}, or a list: weights multiply",
    )
    agent_format: str | None = Field(
        None,
        description="write tools, calls and results as text in this format: hermes, react, qwen, llama3, "
        "mistral, glm, deepseek, or a registered one; default: as the model's own chat template does",
    )
    template: str | None = Field(
        None,
        description="registered template that encodes rows instead of the tokenizer's chat template "
        "(which model.chat_template sets)",
    )
    template_config: dict[str, Any] = Field(default_factory=dict, description="arguments of that template")
    max_pixels: PositiveInt | None = Field(
        None,
        description="largest image area; larger ones are scaled down; default: the model's own limit",
    )
    packing: bool = Field(
        False, description="join samples into packs of max_length without mixing their attention"
    )
    group_by_length: bool = Field(
        False, description="make batches of samples of similar length, which need less padding"
    )
    cache_dir: str | None = Field(
        None, description="keep encoded samples in this folder and use them again in later runs; default: off"
    )
    padding_free: bool = Field(False, description="lay each batch out as one sequence instead of padding it")
    on_error: Literal["raise", "skip"] = Field("raise", description="skip counts unusable rows and goes on")


class LoopConfig(Config):
    """train: the loop."""

    stage: str = Field("sft", description="objective: pt, sft, dpo, grpo, ...")
    tuner_strategy: str | None = Field(
        None, description="which parameters train: full, lora, qlora, ...; default: all"
    )
    per_device_train_batch_size: PositiveInt = Field(
        8, description="samples (or packs) a step on each device"
    )
    per_device_eval_batch_size: PositiveInt = Field(
        8, description="samples an evaluation step on each device"
    )
    gradient_accumulation_steps: PositiveInt = Field(1, description="micro-batches an optimiser step")
    num_train_epochs: NonNegative = Field(1.0, description="passes over the data")
    max_steps: Annotated[int, AfterValidator(_not_zero)] = Field(
        -1, ge=-1, description="optimiser steps; -1: num_train_epochs decides"
    )
    eval_steps: PositiveInt | None = Field(
        None, description="evaluate every so many steps; default: at the end"
    )
    seed: int = Field(42, ge=0, description="seed of data order, initialisation, dropout and sampling")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="compute precision; auto: bfloat16 on a GPU that has it, float32 on CPU"
    )
    neftune_noise_alpha: float | None = Field(
        None,
        gt=0,
        description="noise on the input embeddings while training, uniform in +-alpha / sqrt(L d) for a "
        "sample of L tokens and embeddings of width d (NEFTune: 5 to 15); default: none",
    )
    fused_head: bool = Field(
        True,
        description="compute the cross-entropy in the output layer, without a tensor of all logits, where "
        "the model allows it; the same loss in less time and memory",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    qat: Literal["int2", "int3", "int4", "int8-int4", "int8-int8"] | None = Field(
        None,
        description="quantisation-aware training: compute with weights rounded to so many bits (and inputs "
        "to int8, where two are named), so that exporting them so loses little; default: off",
    )
    qat_group_size: PositiveInt | None = Field(
        128, description="weights of a row that share a scale in train.qat; null: the whole row"
    )
    dataloader_num_workers: int = Field(0, ge=0, description="processes that collate batches")
    callbacks: Annotated[NamedParts, PartsOf("callback")] = Field(
        default_factory=list, description="registered callbacks: a name, {name, config}, or a list of them"
    )


class OptimConfig(Config):
    """train: the optimiser and its schedule."""

    optim: str = Field(
        "adamw_torch", description="optimiser, by its transformers name or the name of a registered one"
    )
    optim_config: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the optimiser: of a registered one, or further ones of transformers'",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate; default: the stage's own (sft, pt: 1e-4 with an adapter, else 1e-5)",
    )
    weight_decay: NonNegative = Field(0.0, description="decoupled weight decay")
    adam_beta1: Fraction = Field(0.9, description="decay of the first moment")
    adam_beta2: Fraction = Field(0.999, description="decay of the second moment")
    adam_epsilon: NonNegative = Field(1e-8, description="added to the square root of the second moment")
    max_grad_norm: NonNegative = Field(1.0, description="clip the gradient's norm; 0: off")
    lr_scheduler_type: str = Field(
        "cosine", description="schedule, by its transformers name or the name of a registered one"
    )
    lr_scheduler_kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the schedule")
    warmup_steps: NonNegative = Field(0.0, description="steps of linear warm-up; below 1: share of all steps")


class CheckpointConfig(Config):
    """train: what is kept."""

    output_dir: str = Field("output", description="folder of the run")
    save_steps: PositiveInt | None = Field(
        None, description="checkpoint every so many steps; default: at the end"
    )
    save_total_limit: PositiveInt | None = Field(2, description="keep so many checkpoints, the newest ones")
    resume: bool = Field(False, description="continue the run in output_dir from its last good checkpoint")
    resume_from_checkpoint: str | None = Field(None, description="continue from this checkpoint folder")
    overwrite_output_dir: bool = Field(False, description="delete the run that output_dir already holds")


class LoggingConfig(Config):
    """train: what is reported."""

    logging_steps: PositiveInt = Field(1, description="report every so many steps")
    report_to: Names = Field(
        default_factory=list,
        description="tensorboard, wandb, swanlab, mlflow, ...; console and metrics.jsonl always",
    )
    run_name: str | None = Field(
        None, description="the run's name where it is reported to; default: the place chooses one"
    )
    project: str | None = Field(
        None, description="project (wandb, swanlab) or experiment (mlflow) that the run is reported under"
    )
    progress: bool = Field(True, description="progress bar on a terminal")


class DeviceConfig(Config):
    """device: where training runs."""

    parallel_method: str | None = Field(None, description="ddp, ...; default: one process")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU when there is one")


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


class ServerConfig(Config):
    """infer: the server."""

    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the server listens on; 0: any free one")
    served_model_name: str | None = Field(
        None, description="model name in the API; default: the folder's name"
    )
    api_keys: dict[str, str] = Field(
        default_factory=dict,
        description="name -> key that requests carry (Authorization: Bearer KEY); empty: everybody may ask",
    )
    api_keys_file: str | None = Field(
        None, description="YAML file of further api_keys, so that no key stands in the configuration"
    )
    requests_per_minute: PositiveInt | None = Field(None, description="of all clients together")
    tokens_per_minute: PositiveInt | None = Field(
        None, description="of all clients together, prompts and answers"
    )
    key_requests_per_minute: PositiveInt | None = Field(
        None, description="of each key, or address without keys"
    )
    key_tokens_per_minute: PositiveInt | None = Field(
        None, description="of each key, or address without keys; prompts and answers"
    )
    max_concurrent: PositiveInt = Field(
        1024, description="most requests handed to the engine at a time; the others queue"
    )
    max_queue: int = Field(
        4096, ge=0, description="most requests that queue; further ones are refused (429, Retry-After)"
    )
    request_timeout: float | None = Field(
        None, gt=0, description="seconds until a request is ended, its time in the queue included"
    )
    drain_timeout: NonNegative = Field(
        30.0, description="seconds that running answers may take after SIGTERM"
    )
    receive_timeout: float = Field(
        30.0, gt=0, description="seconds within which a client must have sent its request"
    )
    max_body_mb: float = Field(32.0, gt=0, description="largest request body in MiB")
    max_connections: PositiveInt = Field(
        8192, description="most open connections; further ones are refused (503)"
    )
    metrics_need_key: bool = Field(False, description="ask for an API key at /metrics too")
    max_restarts: int = Field(
        3, ge=0, description="how often a dead engine is started anew before the server gives up"
    )
    request_log: str | None = Field(
        None,
        description="JSONL file: key, model, status, latency, first token and token counts of each request",
    )
    content_filters: Annotated[NamedParts, PartsOf("content filter")] = Field(
        default_factory=list,
        description="registered content filters of prompts and answers: a name, {name, config}, or a list",
    )
    image_hosts: list[str] = Field(
        default_factory=list,
        description="hosts that images are fetched from by http(s) URLs; others must come as data: URLs",
    )
    allow_adapter_loading: bool = Field(
        False, description="offer /v1/load_lora_adapter and /v1/unload_lora_adapter"
    )


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


class ExportConfig(Config):
    """export: a plain or quantised model folder."""

    output_dir: str | None = Field(None, description="where the model goes")
    max_shard_size: str = Field("5GB", description="largest weight file")
    method: str | None = Field(
        None, description="quantisation: gptq, awq, fp8, int8, bnb-nf4, bnb-int8, gguf; default: none"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="precision of what is not quantised; auto: the model's own"
    )
    perplexity_samples: int = Field(
        64, ge=0, description="held-out rows by which the model is measured before and after; 0: it is not"
    )


class PluginItem(Config):
    """One plugin; a bare path is short for {path: PATH}."""

    path: str = Field(description=".py, .cpp, .cu or .so file, or an installed module")
    trust: Trust | None = Field(None, description="trusted or sandboxed; default: plugins.trust")


def _items(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return [{"path": item} if isinstance(item, str) else item for item in items]


class PluginsConfig(Config):
    """plugins: the user's own parts. A plain list is short for {load: [...]}."""

    load: Annotated[list[PluginItem], BeforeValidator(_items)] = Field(
        default_factory=list, description="files or modules that register components, or {path, trust}"
    )
    reload: bool = Field(False, description="swap in a changed file at the next step, without a restart")
    trust: Trust = Field(
        "trusted",
        description="trusted: in this process; sandboxed: in its own, without files or network",
    )
    timeout: float = Field(30.0, gt=0, description="seconds that one call of a sandboxed plugin may take")
    memory_gb: float = Field(4.0, gt=0, description="memory in GiB that a sandboxed plugin may take")
    fallback: dict[str, str] = Field(
        default_factory=dict,
        description="plugin name -> registered name that takes its place when it fails; "
        "without one the run saves and stops",
    )
