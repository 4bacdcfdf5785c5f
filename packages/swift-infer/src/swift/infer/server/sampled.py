"""From the bodies of requests to sampling parameters."""

from __future__ import annotations

from typing import Any

from swift.core.errors import SwiftError
from swift.core.types import Constraint, SamplingParams
from swift.infer.constraints import check
from swift.infer.server.errors import ApiError
from swift.infer.server.schema import ChatRequest, NamedTool, Sampled
from swift.infer.server.served import ServedModel
from swift.infer.server.tools.enforce import calls_constraint


def sampling(
    served: ServedModel, request: Sampled, *, prompt: int, logprobs: int | None, param: str
) -> SamplingParams:
    """How the answers to a request are drawn.

    Args:
        prompt: its tokens; 0 where the engine counts them itself.
        param: what holds the prompt, for errors.

    Raises:
        ApiError: prompt and answer are longer than the context, or something that the engine cannot do.
    """
    facts, defaults = served.facts, served.defaults
    wanted = getattr(request, "max_completion_tokens", None) or request.max_tokens
    if facts.reads == "ids":
        served.check_length(prompt, wanted, param)
        served.known([*(request.stop_token_ids or ()), *(request.logit_bias or {})], "logit_bias")
    if logprobs is not None and (facts.reads == "chat" or served.filters):
        why = "the engine gives no token ids" if facts.reads == "chat" else "content filters watch the text"
        raise ApiError(f"log-probabilities are not offered: {why}", param="logprobs", code="unsupported")
    return SamplingParams(
        max_tokens=wanted or _room(served, prompt, defaults.max_new_tokens),
        temperature=_or(request.temperature, defaults.temperature),
        top_p=_or(request.top_p, defaults.top_p),
        top_k=max(0, _or(request.top_k, defaults.top_k)),
        min_p=_or(request.min_p, 0.0),
        stop=tuple(request.stop or ()),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        seed=_or(request.seed, defaults.seed),
        logprobs=logprobs,
        ignore_eos=request.ignore_eos,
        repetition_penalty=_or(request.repetition_penalty, 1.0),
        frequency_penalty=_or(request.frequency_penalty, 0.0),
        presence_penalty=_or(request.presence_penalty, 0.0),
        logit_bias=tuple((request.logit_bias or {}).items()),
        constraint=_constraint(served, request),
    )


def enforced_calls(request: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools of which one has to be called; None where the model may choose."""
    choice = request.tool_choice
    if choice is None or choice in ("none", "auto"):
        return None
    tools = request.offered or []
    if isinstance(choice, NamedTool):
        return [tool for tool in tools if tool["function"]["name"] == choice.function.name]
    return tools


def _constraint(served: ServedModel, request: Sampled) -> Constraint | None:
    try:
        wanted = request.constraint()
    except ValueError as error:
        raise ApiError(str(error), param="response_format", code="invalid_value") from error
    param = "response_format"
    if isinstance(request, ChatRequest) and (tools := enforced_calls(request)) is not None:
        if wanted is not None:
            raise ApiError("an enforced tool call has no other format", param=param, code="invalid_value")
        if served.facts.reads == "chat":
            return None  # the engine is told the choice itself
        wanted, param = _calls(served, request, tools), "tool_choice"
    return None if wanted is None else _checked(served, wanted, param)


def _calls(served: ServedModel, request: ChatRequest, tools: list[dict[str, Any]]) -> Constraint:
    several = request.tool_choice == "required" and request.parallel_tool_calls is not False
    try:
        return calls_constraint(served.agent, tools, several=several)
    except SwiftError as error:
        raise ApiError(
            f"{error.problem}: {error.remedy}", param="tool_choice", code="invalid_value"
        ) from error


def _checked(served: ServedModel, wanted: Constraint, param: str) -> Constraint:
    """Refused here, before it is queued."""
    if wanted.kind not in served.facts.constraints:
        kinds = ", ".join(sorted(served.facts.constraints)) or "none"
        raise ApiError(f"this engine enforces no {wanted.kind} ({kinds})", param=param, code="unsupported")
    try:
        check(wanted)
    except SwiftError as error:
        raise ApiError(f"{error.problem}: {error.remedy}", param=param, code="invalid_value") from error
    return wanted


def _room(served: ServedModel, prompt: int, usual: int) -> int:
    return usual if served.max_length is None else max(1, min(usual, served.max_length - prompt))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
