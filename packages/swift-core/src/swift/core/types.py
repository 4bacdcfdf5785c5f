"""The values that travel between the six nouns. Shapes: B sequences, T tokens, N supervised tokens.

This module loads neither torch nor numpy: configuration and command lines import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

IGNORE_INDEX = -100  # label of a token that is read but not learned (torch's cross_entropy default)

Message = dict[str, Any]
"""One turn as OpenAI writes it: role, content, and optionally tool_calls, tool_call_id, name.

A boolean "loss" overrides whether this turn is learned."""

Batch = dict[str, Any]
"""What a model step reads: tensors by their transformers names, plus what the objective itself needs."""

Task = Literal[
    "causal_lm", "text", "preference", "prompt", "seq_cls", "embedding", "reranker", "generative_reranker"
]
"""How a row is encoded: chat turns, plain text, chosen/rejected pairs, a prompt to be continued, a text with
a label, or a text with others that are related to it."""

GENERATIVE_TASKS = frozenset({"causal_lm", "text", "preference", "prompt"})
"""Tasks whose models write text."""


@dataclass(slots=True)
class Conversation:
    """One row of any data set after its format was recognised.

    Attributes:
        messages: the turns; for a preference row the preferred conversation from its first turn on.
        rejected: for a preference row the dispreferred conversation from its first turn on.
        positives, negatives: texts that are and are not related to messages, for embedding and reranking.
        text: plain text instead of turns (pre-training).
        tools: JSON schemas of the tools that the assistant may call.
        label: class, score or desirability, for the tasks that read one.
        images, videos, audios: paths, URLs or raw values in the order of their placeholders.
        columns: every column the format did not use; rewards and metrics read them.
        origin: "file:line" or "dataset[row]", named by errors.
    """

    messages: list[Message] = field(default_factory=list)
    rejected: list[Message] | None = None
    positives: list[list[Message]] = field(default_factory=list)
    negatives: list[list[Message]] = field(default_factory=list)
    text: str | None = None
    tools: list[dict[str, Any]] | None = None
    label: Any = None
    images: list[Any] = field(default_factory=list)
    videos: list[Any] = field(default_factory=list)
    audios: list[Any] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(slots=True)
class Encoded:
    """One sample ready to be collated.

    Attributes:
        input_ids: int32 [T].
        labels: int32 [T]; the token itself where it is learned, IGNORE_INDEX elsewhere (not shifted).
        loss_weights: float32 [T] factors of the token losses, or None for all ones.
        media: tensors that the model reads beside the tokens (pixel_values, ...).
        rejected: the dispreferred sample of a preference pair.
        others: further texts of the row, each with its relevance as label (1 positive, 0 negative).
        label: class, list of 0 and 1, score or relevance, where the task reads one.
        columns: the row's unused columns.
        origin: where the row came from.
    """

    input_ids: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    loss_weights: np.ndarray[Any, Any] | None = None
    media: dict[str, torch.Tensor] | None = None
    rejected: Encoded | None = None
    others: tuple[Encoded, ...] = ()
    label: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(slots=True, frozen=True)
class Metric:
    """A mean that stays exact over micro-batches and ranks: sum(total) / sum(count).

    Attributes:
        total: sum of the measured values.
        count: number of values (tokens, sequences, pairs, ...); the unit is the metric's own.
    """

    total: float | torch.Tensor
    count: float | torch.Tensor = 1.0


@dataclass(slots=True)
class LossOutput:
    """Result of one forward pass of an objective.

    Attributes:
        loss: scalar with gradient, already divided by the step's normalizer, so that summing it over
            micro-batches and ranks gives the loss of the whole step.
        metrics: what to report, each with its own normalisation.
    """

    loss: torch.Tensor
    metrics: dict[str, Metric] = field(default_factory=dict)


@dataclass(slots=True)
class Predictions:
    """What an objective predicts for a batch of held-out samples; metrics read it.

    Attributes:
        kind: which metrics can read it: those registered with this word as reads.
        predictions, references: aligned. tokens: ids [N] each. labels: logits [B, C] (regression: values
            [B]), labels [B] or [B, C]. scores: scores and their relevance (0/1, or similarities), both
            [M], with groups.
        groups: [M] number of the query that a score belongs to.
    """

    kind: Literal["tokens", "labels", "scores"]
    predictions: torch.Tensor
    references: torch.Tensor
    groups: torch.Tensor | None = None


@dataclass(slots=True, frozen=True)
class Head:
    """Which output a model is loaded with, where it is not next-token logits.

    Attributes:
        kind: "classification" for one row of logits a sequence, "embedding" for hidden states.
        num_labels: width of the classification head.
        problem_type: "single_label_classification", "multi_label_classification" or "regression", as
            transformers writes it into config.json.
    """

    kind: Literal["classification", "embedding"]
    num_labels: int = 1
    problem_type: str | None = None


FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(slots=True, frozen=True)
class Constraint:
    """What the text of an answer must match as a whole.

    Attributes:
        kind: json_schema; json_object, for any JSON object; regex; choice, for one of several texts; grammar.
        value: the schema as JSON text, the regular expression, a JSON list of texts, or EBNF as xgrammar
            writes it; empty for json_object.
    """

    kind: Literal["json_schema", "json_object", "regex", "choice", "grammar"]
    value: str = ""


@dataclass(slots=True, frozen=True)
class SamplingParams:
    """How tokens are drawn. temperature 0 is greedy; top_k 0, top_p 1, min_p 0 switch those filters off.

    Attributes:
        max_tokens: most new tokens.
        min_p: drop tokens less likely than this share of the likeliest one's probability.
        stop: strings that end the text (not returned).
        stop_token_ids: tokens that end the answer beside the model's own.
        seed: makes the draw of this request repeatable whatever else runs beside it.
        logprobs: None for none, 0 for the drawn tokens', k for the k likeliest beside them.
        ignore_eos: go on to max_tokens.
        repetition_penalty: logits of tokens in prompt or answer are divided by it where positive and
            multiplied where negative; 1 is off (Keskar et al., "CTRL", 2019, section 4.1).
        frequency_penalty, presence_penalty: subtracted from the logit of a token for each time, and once if
            at all, it stands in the answer (OpenAI's API); 0 is off.
        logit_bias: (token id, what is added to its logit).
        constraint: what the text must match.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    ignore_eos: bool = False
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    constraint: Constraint | None = None


@dataclass(slots=True, frozen=True)
class GenerationRequest:
    """One prompt. Token ids go in and come out: text is never tokenised twice.

    Attributes:
        prompt_ids: with one placeholder token for each image, as the chat template writes it.
        adapter: name of a loaded adapter; None for the model itself.
        images: encoded files (PNG, JPEG, ...) in the order of their placeholders.
        messages, tools: the chat that the ids were made of; what engines read that have a tokenizer of
            their own (EngineFacts.reads). None for a plain text.
        tool_choice: "required", or {"type": "function", ...} with the one to call, for those engines; for
            the others the constraint says it.
    """

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams = SamplingParams()
    adapter: str | None = None
    images: tuple[bytes, ...] = ()
    messages: tuple[Message, ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None


@dataclass(slots=True, frozen=True)
class TokenDelta:
    """What one request gained since its last delta.

    Attributes:
        token_ids: new tokens, the closing EOS included.
        text: new text, complete characters only, without stop strings and special tokens.
        logprobs: log-probability of each new token under the model at temperature 1 without filters,
            or None when not asked for.
        top_logprobs: for each new token the likeliest alternatives as {token id: log-probability}.
        finish_reason: set in a request's last delta.
        error: what went wrong, when finish_reason is "error".
        refused: the request itself is at fault; sent again it would fail again.
        tool_calls: calls as the chat API writes them, from engines that find them in the text themselves.
        usage: (tokens of the prompt, new tokens), in the last delta of engines that give no token ids.
    """

    request_id: str
    token_ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[dict[int, float], ...] | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    refused: bool = False
    tool_calls: tuple[dict[str, Any], ...] = ()
    usage: tuple[int, int] | None = None


@dataclass(slots=True, frozen=True)
class EngineFacts:
    """What an engine can do, so that a request it cannot honour is refused before it is queued.

    Attributes:
        max_length: longest prompt and answer together, in tokens; None: not known, or no limit.
        reads: "ids": prompt_ids; "chat": messages and tools, or else the plain text of the prompt.
        shares_weights: it generates with the very tensors it was given, so that changing them in place is
            enough; else new weights must be sent.
        images: it takes images.
        constraints: kinds of Constraint that it enforces.
        adapters: names that requests may ask for.
        loads_adapters: load_adapter() works.
    """

    max_length: int | None = None
    reads: Literal["ids", "chat"] = "ids"
    shares_weights: bool = False
    images: bool = False
    constraints: frozenset[str] = frozenset()
    adapters: tuple[str, ...] = ()
    loads_adapters: bool = False


@dataclass(slots=True, frozen=True)
class EngineHealth:
    """Whether an engine answers, and how busy it is."""

    ready: bool
    running: int = 0
    waiting: int = 0
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Review:
    """What a content filter says of a finished answer.

    Attributes:
        note: shown beside the answer.
        replacement: takes the answer's place, where it has not been streamed already.
    """

    note: str = ""
    replacement: str | None = None
