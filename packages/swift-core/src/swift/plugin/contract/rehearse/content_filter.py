"""A content filter on a prompt and an answer, the answer cut in several ways."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from swift.core.errors import RefusedContent
from swift.core.registry import Component
from swift.core.types import Review
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import Made, guarded

KIND = "content filter"
TEXT = "A day in May: 2 and 2 is 4. \u4eca\u5929\u5929\u6c14\u5f88\u597d, \uff28\uff45\uff4c\uff4c\uff4f!"
SIZES = (1, 3, len(TEXT))


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, answers a prompt, says the same of an answer however it is cut, and reviews it."""
    made = Made(KIND, component, config)
    yield "builds", made.build
    yield "checks a prompt", lambda: _prompt(made)
    yield "watches an answer", lambda: _answers(made)
    yield "reviews an answer", lambda: _review(made)


def _call(made: Made, doing: str, function: Any, *args: Any) -> Any:
    return guarded(KIND, made.component, doing, "correct that method", function, *args)


def _prompt(made: Made) -> str:
    try:
        text = _call(made, "in check()", made.part.check, TEXT)
    except RefusedContent as refusal:
        return f"refuses it: {refusal.problem}"
    if not isinstance(text, str):
        raise fault(
            KIND,
            made.component,
            f"check() returned a {type(text).__name__}",
            "return the text, or another in its place; raise swift.core.errors.RefusedContent to refuse it",
        )
    return "passes it" if text == TEXT else "replaces it"


def _answers(made: Made) -> str:
    seen = [watched(made, [TEXT[at : at + size] for at in range(0, len(TEXT), size)]) for size in SIZES]
    for size, each in zip(SIZES, seen, strict=True):
        if each != seen[-1]:
            raise fault(
                KIND,
                made.component,
                f"shows {each[0]!r} of an answer in pieces of {size}, and {seen[-1][0]!r} of the whole",
                "hold back what the next piece may change, and give it out in finish()",
            )
    shown, stopped = seen[-1]
    return "stops it" if stopped else "passes it" if shown == TEXT else "changes it"


def watched(made: Made, pieces: Sequence[str]) -> tuple[str, bool]:
    """(what is shown of an answer in these pieces, whether it was stopped)."""
    watch = _call(made, "in watch()", made.part.watch)
    shown = ""
    for piece in pieces:
        shown += _text(made, "push()", _call(made, "in push()", watch.push, piece))
        if watch.stopped:
            return shown, True
    shown += _text(made, "finish()", _call(made, "in finish()", watch.finish))
    return shown, bool(watch.stopped)


def _text(made: Made, method: str, value: Any) -> str:
    if not isinstance(value, str):
        raise fault(KIND, made.component, f"{method} returned a {type(value).__name__}", "return a text")
    return value


def _review(made: Made) -> str:
    messages = [{"role": "user", "content": "How is the weather?"}]

    def ask() -> Any:
        return asyncio.run(made.part.review(messages, TEXT))

    review = _call(made, "in review(), which is an async method", ask)
    if review is None:
        return "has nothing to say"
    if not isinstance(review, Review):
        raise fault(
            KIND,
            made.component,
            f"review() returned a {type(review).__name__}",
            "return a swift.core.types.Review, or None",
        )
    return review.note or "replaces it"
