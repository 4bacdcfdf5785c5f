"""Bodies of requests for text. Unknown fields are ignored; known ones that cannot be honoured are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationInfo,
    WrapValidator,
    field_validator,
)

from swift.core.types import Constraint
from swift.infer.server.messages import ChatMessage
from swift.infer.server.structured import (
    ResponseFormat,
    Schema,
    StructuredOutputs,
    format_constraint,
)
from swift.infer.server.text import Text, Word

MAX_CHOICES = 4096
"""Most answers of one request: prompts times n."""

LARGEST = 2**31 - 1

Stop = Annotated[
    list[Word],
    Field(max_length=16),
    BeforeValidator(
        lambda stop: [stop] if isinstance(stop, str) else stop, json_schema_input_type=Word | list[Word]
    ),
]
TokenId = Annotated[int, Field(ge=0, le=LARGEST)]
TokenLimit = Annotated[int, Field(ge=1, le=LARGEST)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(BaseModel):
    """stream_options of a request."""

    include_usage: bool = False


class Function(BaseModel):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


def _checked(value: Any, check: Any) -> Any:
    check(value)
    return value


AsSent = WrapValidator(_checked)
"""Checked, and kept with the keys and their order that the client chose: templates print them so."""


class ToolName(BaseModel):
    """The function that tool_choice names."""

    name: Word


class NamedTool(BaseModel):
    """tool_choice of one function."""

    type: Literal["function"] = "function"
    function: ToolName


class Sampled(BaseModel):
    """What chat and completion requests share.

    Attributes:
        top_k: -1 and 0 switch it off.
        structured_outputs: what the answer must match; the guided_ fields are its older names in vLLM.
        return_token_ids: show the ids of prompt and answer.
    """

    model_config = ConfigDict(protected_namespaces=(), allow_inf_nan=False)

    model: Text
    max_tokens: TokenLimit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=LARGEST)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=1024)] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | Text | None = None
    guided_regex: Word | None = None
    guided_choice: list[Word] | None = None
    guided_grammar: Word | None = None
    return_token_ids: bool = False

    @field_validator("stream_options")
    @classmethod
    def _only_streams(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("stream"):
            raise ValueError("only with stream=true")
        return value

    def constraint(self) -> Constraint | None:
        """What the answer must match.

        Raises:
            ValueError: several things at once.
        """
        older = {
            name: value
            for name in ("json", "regex", "choice", "grammar")
            if (value := getattr(self, f"guided_{name}")) is not None
        }
        found = [format_constraint(self.response_format)]
        found += self.structured_outputs.constraints() if self.structured_outputs else []
        found += StructuredOutputs.model_validate(older).constraints() if older else []
        asked = [one for one in found if one is not None]
        if len(asked) > 1:
            raise ValueError("give one of response_format, structured_outputs and the guided_ fields")
        return asked[0] if asked else None


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Annotated[Tool, AsSent]] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    functions: None = None
    function_call: None = None

    @property
    def offered(self) -> list[dict[str, Any]] | None:
        """The tools as the client wrote them."""
        return cast("list[dict[str, Any]] | None", self.tools)  # AsSent: checked as Tool, and kept

    @field_validator("top_logprobs")
    @classmethod
    def _with_logprobs(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not info.data.get("logprobs"):
            raise ValueError("needs logprobs=true")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, choice: Any, info: ValidationInfo) -> Any:
        names = [tool["function"]["name"] for tool in info.data.get("tools") or ()]
        if choice == "required" and not names:
            raise ValueError("needs tools")
        if isinstance(choice, NamedTool) and choice.function.name not in names:
            raise ValueError(f"names none of the tools: {', '.join(names) or 'none are given'}")
        return choice


class CompletionRequest(Sampled):
    """POST /v1/completions.

    Attributes:
        return_tokens_as_token_ids: log-probabilities name tokens by id ("token_id:7") instead of by text.
    """

    prompt: Text | list[Text] | list[int] | list[list[int]]
    logprobs: Annotated[NonNegativeInt, Field(le=20)] | None = None
    return_tokens_as_token_ids: bool = False
    echo: Literal[False] = False
    suffix: None = None
    best_of: Literal[1] | None = None
