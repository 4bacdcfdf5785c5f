"""Bodies of answers. Streams send dictionaries of the same form: a model a token would cost too much."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Reason = Literal["stop", "length", "tool_calls", "content_filter", "abort"]


def _is_none(value: Any) -> bool:
    return value is None


Absent = Field(default=None, exclude_if=_is_none)
"""A field that is left out where it says nothing."""


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class Called(BaseModel):
    """The function of a call; arguments as JSON text."""

    name: str
    arguments: str


class AnsweredCall(BaseModel):
    """A call that the model makes."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class AssistantMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    tool_calls: list[AnsweredCall] | None = Absent


class TokenLogprob(BaseModel):
    """A token, its log-probability and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenLogprob(TokenLogprob):
    """A drawn token and the likeliest ones in its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities of an answer."""

    content: list[ChosenLogprob]


class Answer(BaseModel):
    """What both kinds of answers have."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Any]
    usage: Usage


class ChatChoice(BaseModel):
    """One answer of a chat.

    Attributes:
        note: what a content filter says of the answer.
    """

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Reason | None
    token_ids: list[int] | None = Absent
    note: str | None = Absent


class ChatAnswer(Answer):
    """Answer of POST /v1/chat/completions."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    prompt_token_ids: list[int] | None = Absent


class TextLogprobs(BaseModel):
    """Log-probabilities of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One completion of one prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Reason | None
    prompt_token_ids: list[int] | None = Absent
    token_ids: list[int] | None = Absent
    note: str | None = Absent


class TextAnswer(Answer):
    """Answer of POST /v1/completions."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]


class ModelCard(BaseModel):
    """One entry of /v1/models.

    Attributes:
        root: folder of an adapter.
        parent: the model that an adapter changes.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "swift"
    max_model_len: int | None = Absent
    root: str | None = Absent
    parent: str | None = Absent


class ModelList(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """GET /health."""

    status: Literal["ok", "unavailable"]
    running: int
    waiting: int
    detail: str = ""


class Ready(BaseModel):
    """GET /ready: "ready", or why not."""

    status: str


class ErrorDetail(BaseModel):
    """What went wrong: value, rule and remedy; the field at fault; a word that programs compare."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Body of every answer that is an error."""

    error: ErrorDetail
