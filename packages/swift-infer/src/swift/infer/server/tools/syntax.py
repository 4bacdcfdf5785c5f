"""How an agent format writes calls, seen by letting it write two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from swift.core.template.agent.format import AgentFormat, dumps, make_call

NAMES = ("swift_probe_a", "swift_probe_b")
ARGUMENTS: dict[str, Any] = {"probe": 1}
_FIRST_WORD = re.compile(r'\S[^\s{\[<"]*')


@dataclass(frozen=True)
class CallSyntax:
    """What stands around the arguments of calls, for formats that write them as one JSON object each.

    Attributes:
        begin: what calls begin with; text behind it is not shown until it is known to be no call.
        opening, between: before the arguments of the first and of each further call; {} stands for its name.
        close: behind the last call's arguments.
    """

    begin: str
    opening: tuple[str, str]
    between: tuple[str, str]
    close: str

    @property
    def head(self) -> re.Pattern[str]:
        """Opening of a call with any white space; its group is the name."""
        return _pattern(self.opening)

    @property
    def next_head(self) -> re.Pattern[str]:
        """What stands between two calls, with any white space; its group is the second one's name."""
        return _pattern(self.between)


def call_begin(agent: AgentFormat) -> str:
    """The first characters of every call of a format: a mark, or the bracket of bare JSON."""
    written = agent.calls([make_call(NAMES[0], ARGUMENTS)], "").partition(NAMES[0])[0]
    match = _FIRST_WORD.match(written)
    return match[0] if match else written


def call_syntax(agent: AgentFormat) -> CallSyntax | None:
    """None where arguments are not written as JSON (GLM's tags)."""
    arguments = dumps(ARGUMENTS)
    parts = agent.calls([make_call(name, ARGUMENTS) for name in NAMES], "").split(arguments)
    if len(parts) != 3 or any(part.count(name) != 1 for part, name in zip(parts, NAMES, strict=False)):
        return None
    if agent.calls([make_call(NAMES[0], ARGUMENTS)], "") != f"{parts[0]}{arguments}{parts[2]}":
        return None
    opening, between = (_halves(part, name) for part, name in zip(parts, NAMES, strict=False))
    return CallSyntax(call_begin(agent), opening, between, parts[2])


def _halves(text: str, name: str) -> tuple[str, str]:
    before, _, after = text.partition(name)
    return before, after


def _pattern(halves: tuple[str, str]) -> re.Pattern[str]:
    before, after = (r"\s*".join(map(re.escape, re.split(r"\s+", half))) for half in halves)
    return re.compile(rf"{before}([\w.-]+){after}\s*")
