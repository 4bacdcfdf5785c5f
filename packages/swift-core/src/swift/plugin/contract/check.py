"""All checks of one component: what `swift plugin check` prints."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swift.core.errors import SwiftError
from swift.core.registry import Component
from swift.plugin.contract.kinds import CONTRACTS
from swift.plugin.contract.signature import check_signature

Status = Literal["ok", "failed", "not applicable"]


GATES = ("builds", "applies")
"""Checks that the ones after them stand on."""


class NotApplicable(Exception):
    """A check that cannot be made of this part; the message says why."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    status: Status
    detail: str = ""


Rehearsal = Iterator[tuple[str, Callable[[], str | None]]]
"""What a rehearsal module's `checks(component, config)` yields: a check's name, and how to make it. Making it
returns a detail to print, raises a SwiftError where the contract is broken, or NotApplicable."""


def check_component(kind: str, component: Component, config: Mapping[str, Any]) -> list[Check]:
    """Check the signature, then build the part and run it on synthetic values, check by check.

    A part that cannot be built, or whose signature does not fit, is not run.
    """
    if kind not in CONTRACTS:
        return [Check("contract", "not applicable", f"a {kind} has no contract of its own")]
    first = _made("signature", lambda: check_signature(kind, component, config=config))
    if first.status == "failed":
        return [first]
    results = [first]
    rehearsal = importlib.import_module(f"swift.plugin.contract.rehearse.{kind.replace(' ', '_')}")
    try:
        for name, make in rehearsal.checks(component, config):
            results.append(_made(name, make))
            if results[-1].status == "failed" and name in GATES:
                break
    except SwiftError as error:  # its arguments are refused before anything is built
        results.append(Check("builds", "failed", str(error)))
    return results


def _made(name: str, make: Callable[[], str | None]) -> Check:
    try:
        return Check(name, "ok", make() or "")
    except NotApplicable as reason:
        return Check(name, "not applicable", str(reason))
    except SwiftError as error:
        return Check(name, "failed", str(error))
