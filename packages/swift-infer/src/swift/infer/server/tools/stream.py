"""Calls out of an answer, as a whole and as it comes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swift.core.template.agent.format import AgentFormat, Tool, dumps
from swift.infer.server.tools.json_end import JsonEnd
from swift.infer.server.tools.syntax import call_begin, call_syntax


@dataclass(frozen=True)
class CallPiece:
    """What a stream shows of one call: first its name, then its arguments as they come.

    Attributes:
        index: number of the call in its answer.
        name: set in the first piece of a call.
        id: of calls that an engine found itself; others get one.
    """

    index: int
    name: str | None = None
    arguments: str = ""
    id: str | None = None

    def delta(self) -> dict[str, Any]:
        """As the chat API writes it."""
        if self.name is None:
            return {"index": self.index, "function": {"arguments": self.arguments}}
        return {"index": self.index, **api_call(self.name, self.arguments, self.id)}


def api_call(name: str, arguments: str, number: str | None = None) -> dict[str, Any]:
    """A call of an answer, with an id of its own."""
    function = {"name": name, "arguments": arguments}
    return {"id": number or f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def read_calls(
    agent: AgentFormat, text: str, tools: Sequence[Tool] | None
) -> tuple[str, list[dict[str, Any]]]:
    """(what a person reads, calls as the chat API writes them) of a whole answer."""
    content, calls = _parsed(agent, text, tools)
    return content, [api_call(name, arguments) for name, arguments in calls]


def _parsed(agent: AgentFormat, text: str, tools: Sequence[Tool] | None) -> tuple[str, list[tuple[str, str]]]:
    try:
        content, calls = agent.parse(text, tools)
    except RecursionError:  # JSON that a model nested beyond reason is no call
        return text, []
    functions = [call["function"] for call in calls]
    return content, [(function["name"], dumps(function["arguments"])) for function in functions]


class CallStream:
    """Splits a stream of text into what a person reads and pieces of calls.

    Text is shown until a call begins; from then on nothing but calls, and what else was said at the end.
    """

    def __init__(self, agent: AgentFormat, tools: Sequence[Tool] | None) -> None:
        self.agent, self.tools = agent, tools
        self.calls = 0
        self.syntax = call_syntax(agent)
        self._begin = call_begin(agent)
        self._text = ""
        self._shown = 0  # characters of the text that were given out as content
        self._at = 0  # how far calls were read
        self._arguments: JsonEnd | None = None
        self._begun = False

    def push(self, text: str) -> Iterator[str | CallPiece]:
        """Add text; what can be told by now."""
        self._text += text
        if not self._begun:
            yield from self._content()
        while self._begun and self.syntax is not None:
            reached = (self._at, self.calls)
            yield from self._in_arguments() if self._arguments is not None else self._at_head()
            if (self._at, self.calls) == reached:
                return

    def finish(self) -> Iterator[str | CallPiece]:
        """What is left: text that was no call, or words around the calls, and calls not yet shown."""
        content, calls = _parsed(self.agent, self._text, self.tools)
        said = self._text[: self._shown]
        if not calls and not self.calls:
            rest = self._text[self._shown :]
        else:
            rest = content.removeprefix(said.strip()) if content.startswith(said.strip()) else ""
        if rest:
            yield rest
        for name, arguments in calls[self.calls :]:
            yield CallPiece(self.calls, name, arguments)
            self.calls += 1

    def _content(self) -> Iterator[str]:
        place = self._text.find(self._begin, self._shown)
        self._begun = place >= 0
        end = place if self._begun else len(self._text) - overlap(self._text, self._begin)
        if end > self._shown:
            yield self._text[self._shown : end]
        self._shown = self._at = max(self._shown, end)

    def _at_head(self) -> Iterator[CallPiece]:
        assert self.syntax is not None
        match = None
        if self.calls:
            match = self.syntax.next_head.match(self._text, self._at)
        match = match or self.syntax.head.search(self._text, self._at)
        if match is None or match.end() == len(self._text):  # the arguments have not begun
            return
        if self._text[match.end()] == "{":
            self._at, self._arguments = match.end(), JsonEnd()
            yield CallPiece(self.calls, match[1])
            self.calls += 1

    def _in_arguments(self) -> Iterator[CallPiece]:
        assert self._arguments is not None
        end = self._arguments.feed(self._text, self._at)
        if end > self._at:
            yield CallPiece(self.calls - 1, arguments=self._text[self._at : end])
        self._at = end
        if self._arguments.done:
            self._arguments = None


def overlap(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark."""
    sizes = range(min(len(text), len(mark) - 1), 0, -1)
    return next((size for size in sizes if mark.startswith(text[-size:])), 0)
