"""data: what is learned from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from swift.core.config.base import Config
from swift.core.config.named import DatasetItems, NamedParts, PartsOf
from swift.core.config.schema.types import Share
from swift.core.types import Task


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
