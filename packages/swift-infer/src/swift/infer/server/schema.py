"""Bodies of the API. Unknown fields are ignored; known ones that cannot be honoured are errors."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from swift.core.types import FinishReason
from swift.infer.server.messages import to_message

Stop = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(max_length=16),
    BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop),
]


class StreamOptions(BaseModel):
    """stream_options of a request."""

    include_usage: bool = False


class Sampled(BaseModel):
    """What chat and completion requests share."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    max_tokens: PositiveInt | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: NonNegativeInt | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    seed: int | None = None
    stop: Stop | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @field_validator("frequency_penalty", "presence_penalty", "logit_bias")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        if value:
            raise ValueError("not supported, leave it out")
        return value


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: PositiveInt | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("response_format")
    @classmethod
    def _only_text(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("only text is supported")
        return value

    @field_validator("messages")
    @classmethod
    def _readable(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [to_message(one, f"messages[{number}]") for number, one in enumerate(messages)]


class CompletionRequest(Sampled):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] = False
    suffix: None = None
    best_of: Literal[1] | None = None


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(BaseModel):
    """One answer, or one piece of it; which of the fields are set depends on the object."""

    index: int
    message: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    text: str | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: FinishReason | Literal["tool_calls"] | None = None

    @model_serializer(mode="wrap")
    def _without_other_kinds(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kinds = ("message", "delta", "text")
        return {
            name: value for name, value in handler(self).items() if value is not None or name not in kinds
        }


class Answer(BaseModel):
    """Response body, and every piece of a stream."""

    id: str
    object: str
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    choices: list[Choice]
    usage: Usage | None = None

    def line(self) -> str:
        """The server-sent event of a piece."""
        return f"data: {self.model_dump_json(exclude={'usage'} if self.usage is None else None)}\n\n"


class ModelCard(BaseModel):
    """One entry of /v1/models."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "swift"
    max_model_len: int | None = None


class ModelList(BaseModel):
    """GET /v1/models."""

    object: str = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """GET /health."""

    status: Literal["ok", "unavailable"]
    running: int
    waiting: int
    detail: str = ""
