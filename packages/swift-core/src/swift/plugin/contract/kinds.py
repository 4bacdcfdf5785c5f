"""The contract of every kind of part that a plugin can bring, as data.

Two sorts: a part that is called (a loss, a reward) is a function, or an object with __call__ or forward; a
part that is built (an optimizer, a callback) is what a class or factory returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LOSS_EXTRAS = ("weights", "attention_mask", "model_outputs", "batch", "num_items_in_batch")
"""What a loss also gets where it names it."""

LAYOUTS = {
    "tokens": "token logits [N, V] and targets int64 [N]",
    "classes": "class logits [B, C] and labels int64 [B]",
    "multi_label": "class logits [B, C] and labels of 0.0 and 1.0 [B, C]",
    "regression": "values [B] and labels float [B]",
    "pairs": "similarities [P] and true similarities or relevances float [P]",
    "candidates": "cosines with every candidate [N, M] and the positive's column int64 [N]",
    "lists": "scores [G, K], padded with -1e4, and relevances [G, K], padded with 0",
}
"""What a loss can be made for; it has to fit one of them."""

FORMS = ("pairs", "candidates", "lists")
"""Layouts that a loss names at its registration: register_loss(NAME, form=...)."""

LAYOUT_SETTINGS = {
    "tokens": "any stage that learns tokens, such as train.stage=sft",
    "classes": "data.task_type=seq_cls and labels as whole numbers",
    "multi_label": "data.task_type=seq_cls and labels as lists of 0/1",
    "regression": "data.task_type=seq_cls and labels as decimal numbers",
    "pairs": "data.task_type=embedding or reranker",
    "candidates": "data.task_type=embedding",
    "lists": "data.task_type=reranker",
}
"""The settings under which a loss gets a layout."""


COLUMN_WORDS = {"": (), "named": ("[a column of the data]",), "all": ("**columns",)}


@dataclass(frozen=True)
class Contract:
    """How one kind of part is used.

    Attributes:
        kind: as in the registry and in `swift plugin new KIND`.
        setting: the YAML that chooses one called NAME.
        returns: what comes out of a call, or of the factory.
        called: names of the arguments of each call, by position; empty for a part that is built.
        columns: of the data, by name: "all" of them, which the part has to take, or the "named" ones.
        instead: methods of an object that takes the place of a function.
        built: names of what the run hands to the class or factory, by position.
        built_extras: names of what it hands over by keyword; the factory has to take them.
        extras: further arguments, each given by name to a part (or factory) that names it.
        methods: what a built part must have.
    """

    kind: str
    setting: str
    returns: str
    called: tuple[str, ...] = ()
    columns: Literal["", "named", "all"] = ""
    instead: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    built_extras: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The contract in one line, as errors quote it."""
        extras = [f"[{extra}]" for extra in self.extras]
        if self.called:
            words = [*self.called, *extras, *COLUMN_WORDS[self.columns]]
            objects = f", or is an object with {' and '.join(self.instead)}" if self.instead else ""
            return f"{self.noun} is called as ({', '.join(words)}) and returns {self.returns}{objects}"
        words = [*self.built, *(f"{name}=..." for name in self.built_extras), *extras, "**its arguments"]
        return f"{self.noun} is built as ({', '.join(words)}) and is {self.returns}"

    @property
    def noun(self) -> str:
        """The kind with its article."""
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"


CONTRACTS: dict[str, Contract] = {
    contract.kind: contract
    for contract in (
        Contract(
            "loss",
            "train: {loss_type: NAME, loss_config: {}}",
            "a tensor with gradient: one mean value, or one value an item [N]",
            called=("inputs", "targets"),
            extras=LOSS_EXTRAS,
        ),
        Contract(
            "reward",
            "train: {stage: grpo, reward_funcs: [NAME]}",
            "one finite number for each completion",
            called=("prompts", "completions"),
            columns="all",
        ),
        Contract(
            "metric",
            "eval: {metrics: [NAME]}",
            "a number, or numbers by name",
            called=("predictions", "references"),
            extras=("groups", "prompts"),
            columns="named",
        ),
        Contract(
            "filter",
            "data: {filters: [NAME]}",
            "True to keep the row, False or None to drop it, or the row (a dictionary) that takes its place",
            called=("row",),
        ),
        Contract(
            "rollout",
            "train: {stage: grpo, rollout: NAME, rollout_config: {}}",
            "a swift.rlhf.rollout.Turn",
            called=("messages", "completion", "turn", "columns"),
            instead=("step",),
        ),
        Contract(
            "optimizer",
            "train: {optim: NAME, optim_config: {}}",
            "an optimizer: an object whose step() updates the parameters in place",
            built=("params",),
            extras=("lr", "weight_decay", "model"),
            methods=("step",),
        ),
        Contract(
            "scheduler",
            "train: {lr_scheduler_type: NAME, lr_scheduler_kwargs: {}}",
            "a torch LRScheduler; or a function (step, ...) that returns the factor of the learning rate",
            built=("optimizer",),
            extras=("num_training_steps", "num_warmup_steps"),
        ),
        Contract(
            "callback",
            "train: {callbacks: [NAME]}",
            "a transformers.TrainerCallback",
            methods=(
                "on_init_end",
                "on_train_begin",
                "on_step_begin",
                "on_step_end",
                "on_log",
                "on_train_end",
            ),
        ),
        Contract(
            "template",
            "data: {template: NAME}",
            "a template: encode(conversations) returns one swift.core.types.Encoded for each",
            built=("tokenizer",),
            extras=("max_length", "truncation", "loss_turns", "task", "media"),
            methods=("encode",),
        ),
        Contract(
            "dataset",
            "data: {dataset_name: NAME}",
            "an iterable of rows (dictionaries) in a stable order, or has conversations() that yields "
            "swift.core.types.Conversation",
            extras=("subset",),
        ),
        Contract(
            "model",
            "model: {model_id: NAME, architecture: {}, tokenizer_id: tiny/qwen3}",
            "a transformers.PreTrainedModel; or is a class of them, its config_class of the model_type NAME",
            built=("config",),
            extras=("dtype", "device", "seed"),
            methods=("forward", "parameters"),
        ),
        Contract(
            "tuner",
            "train: {tuner_strategy: NAME}",
            "a tuner: swift.core.protocols.Tuner",
            built=("config",),
            methods=("load_options", "apply", "save", "load", "merge"),
        ),
        Contract(
            "objective",
            "train: {stage: NAME}",
            "an objective: swift.core.protocols.Objective",
            built=("config", "context"),
            methods=(
                "collate",
                "prepare",
                "count",
                "loss",
                "predict",
                "state_dict",
                "load_state_dict",
                "close",
            ),
        ),
        Contract(
            "engine",
            "infer: {engine: NAME}",
            "an engine: swift.core.protocols.Engine",
            built=("model", "tokenizer"),
            built_extras=("config",),
            methods=("generate", "stream", "update_weights", "health", "close"),
        ),
        Contract(
            "loss scale",
            "data: {loss_scale: NAME}",
            "one weight for the text, or its pieces with a weight each",
            called=("message", "text"),
        ),
        Contract(
            "agent format",
            "data: {agent_format: NAME}",
            "an agent format: swift.core.template.agent.format.AgentFormat",
            methods=("system", "calls", "results", "parse"),
        ),
        Contract(
            "content filter",
            "infer: {content_filters: [NAME]}",
            "a content filter: swift.core.protocols.ContentFilter",
            methods=("check", "watch", "review"),
        ),
    )
}
