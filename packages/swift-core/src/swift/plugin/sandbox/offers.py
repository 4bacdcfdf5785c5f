"""What a sandboxed plugin registered, told in words: its objects stay on the other side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swift.core.registry import Component

SANDBOXED_KINDS = ("loss", "metric", "reward", "filter")
LOSS_EXTRAS = ("weights", "attention_mask", "model_outputs", "batch", "num_items_in_batch")


@dataclass(frozen=True)
class Offer:
    """One registered part.

    Attributes:
        kind, name, summary, attributes: as the plugin registered it.
        line: of its decorator.
        signature: of its constructor, or of the function.
        call: of what is called for each result.
        accepts: names of the arguments that a call takes beyond the first two; None: any.
        is_factory: a class, whose constructor takes the configuration; a function takes it at each call.
        target: target(**config) gives the callable of the kind's ordinary contract, in either case.
    """

    kind: str
    name: str
    summary: str
    line: int
    signature: str
    call: str
    accepts: tuple[str, ...] | None
    is_factory: bool
    target: Callable[..., Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def describe(kind: str, component: Component) -> dict[str, Any]:
    """The component as JSON (runs on the plugin's side)."""
    target = component.load()
    is_factory = inspect.isclass(target)
    called = _called(target) if is_factory else target
    _, _, line = component.place.rpartition(":")
    return {
        "kind": kind,
        "name": component.name,
        "summary": component.summary,
        "line": int(line) if line.isdigit() else 0,
        "signature": _signature(target),
        "call": _signature(called),
        "accepts": _accepts(kind, target, called),
        "is_factory": is_factory,
        "attributes": {
            key: value
            for key, value in component.attributes
            if isinstance(value, str | int | float | bool | None)
        },
    }


def _called(target: Any) -> Any:
    return getattr(target, "forward", None) or target.__call__


def _signature(target: Any) -> str:
    try:
        return str(inspect.signature(target))
    except (TypeError, ValueError):
        return "(...)"  # code in C++


def _accepts(kind: str, target: Any, called: Any) -> list[str] | None:
    declared = getattr(target, "accepts", None)
    if declared is not None:
        return [str(name) for name in declared]
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return []
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    names = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
    return [name for name in names if name in LOSS_EXTRAS] if kind == "loss" else names


def parse_offer(value: Any, make: Callable[[int, dict[str, Any]], Callable[..., Any]], index: int) -> Offer:
    """An offer as the process told it, strictly checked.

    Args:
        make: gives the target of the offer of that index.

    Raises:
        ValueError: it is not an offer.
    """
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise ValueError("an offer with other fields than agreed")
    words = {key: plain(_typed(value[key], str)) for key in ("kind", "name", "summary", "signature", "call")}
    accepts = value["accepts"]
    if accepts is not None:
        accepts = tuple(plain(_typed(each, str)) for each in _typed(accepts, list))
    attributes = {plain(key): _attribute(each) for key, each in _typed(value["attributes"], dict).items()}
    return Offer(
        **words,
        line=_typed(value["line"], int),
        accepts=accepts,
        is_factory=_typed(value["is_factory"], bool),
        target=make(index, {**words, "accepts": accepts, "line": value["line"]}),
        attributes=attributes,
    )


_FIELDS = {
    "kind", "name", "summary", "line", "signature", "call", "accepts", "is_factory", "attributes",
}  # fmt: skip


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} is due")
    return value


def _attribute(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"an attribute that is a {type(value).__name__}")


def plain(text: str, limit: int = 2000) -> str:
    """Text of a plugin that is safe to print: no escape sequences for the terminal, not endless."""
    shown = "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text[-4 * limit :])
    return shown if len(shown) <= limit else f"... {shown[-limit:]}"
