"""An engine on a tiny model: two requests, and what their deltas add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.settings import component_settings

MOST = 4


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, answers every request within its limit, the same twice when greedy, and closes."""
    from swift.plugin.contract.rehearse import tiny

    settings = component_settings("engine", component, config)
    given = {"config": settings} if component.config is not None else {"config": None, **config}
    made = Made("engine", component, given, tiny.model().eval(), tiny.tokenizer())
    yield "builds", made.build
    yield "generates", lambda: f"{_generate(made)} tokens"
    yield "deterministic", lambda: _twice(made)
    yield "health and close", lambda: _closes(made)


def _call(made: Made, method: str, *args: Any) -> Any:
    return guarded(
        "engine", made.component, f"in {method}()", "correct it", getattr(made.part, method), *args
    )


def _generate(made: Made) -> list[int]:
    """Tokens of both answers."""
    sampling = SamplingParams(max_tokens=MOST, temperature=0.0, ignore_eos=True)
    requests = [GenerationRequest(name, (20, 21, 22), sampling) for name in ("first", "second")]
    deltas: list[TokenDelta] = _call(made, "generate", requests)
    tokens: dict[str, int] = {request.request_id: 0 for request in requests}
    finished = set()
    for delta in guarded("engine", made.component, "in generate()", "correct it", lambda: list(deltas)):
        tokens[delta.request_id] += len(delta.token_ids)
        if delta.finish_reason == "error":
            raise made.fault(f"ends a request with the error {delta.error!r}", "correct generate()")
        if delta.finish_reason is not None:
            finished.add(delta.request_id)
    if finished != set(tokens):
        raise made.fault(
            f"finishes {len(finished)} of {len(tokens)} requests",
            "set finish_reason in the last delta of each",
        )
    if any(count != MOST for count in tokens.values()):
        raise made.fault(
            f"draws {list(tokens.values())} tokens where max_tokens={MOST} and ignore_eos",
            "count new tokens only",
        )
    return list(tokens.values())


def _twice(made: Made) -> None:
    sampling = SamplingParams(max_tokens=MOST, temperature=0.0)
    answers = []
    for name in ("first", "second"):
        deltas = list(_call(made, "generate", [GenerationRequest(name, (20, 21, 22), sampling)]))
        answers.append([token for delta in deltas for token in delta.token_ids])
    if answers[0] != answers[1]:
        raise made.fault(
            f"draws {answers[0]} and then {answers[1]} greedily", "temperature 0 takes the likeliest"
        )


def _closes(made: Made) -> str:
    health = _call(made, "health")
    _call(made, "update_weights")
    _call(made, "close")
    _call(made, "close")
    return f"{health}"
