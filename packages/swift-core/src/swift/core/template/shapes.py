"""Which rows share a rendering: compiled shapes, found by the roles of a row."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swift.core.template.constants import analyse
from swift.core.template.loss_scale.apply import Weigher
from swift.core.template.plan import Plan, plan_tokens
from swift.core.template.render import HIDDEN, Renderer
from swift.core.template.request import Request
from swift.core.template.shape import Guard, Shape, compile_shape
from swift.core.template.words import WordMemory, has_safe_cuts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SIMPLE_KEYS = frozenset({"role", "content", *HIDDEN})
MOST_SHAPES = 4096


@dataclass(frozen=True, slots=True)
class Shared:
    """A row that needs no rendering of its own.

    Attributes:
        contents: of its turns, to be put into the shape.
        plan: how to tokenise it piece by piece; None: render the shape and tokenise the whole.
    """

    contents: list[str]
    shape: Shape
    plan: Plan | None


class ShapeMemory:
    """Compiles a shape for each sequence of roles, once.

    Attributes:
        known: (roles, learned turns, generation prompt, date) -> shape and plan, or None where there is none.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        renderer: Renderer,
        weigher: Weigher,
        closing: re.Pattern[str],
    ) -> None:
        self.known: dict[Any, tuple[Shape, Plan | None] | None] = {}
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._weigher = weigher
        self._closing = closing
        self._backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        self._memory = WordMemory(self._backend) if self._backend and has_safe_cuts(self._backend) else None
        self._guard: Guard | None = None

    def find(self, request: Request) -> Shared | None:
        """The shape of a row, or None where only the real template can render it."""
        contents = plain_contents(request)
        found = self._shape(request) if contents is not None else None
        if contents is None or found is None or not self._exchangeable(contents):
            return None
        return Shared(contents, *found)

    def _shape(self, request: Request) -> tuple[Shape, Plan | None] | None:
        roles = tuple([message["role"] for message in request.messages])
        today = datetime.date.today() if analyse(self._renderer.source()).dated else None
        key = (roles, request.learn, request.generation_prompt, today)
        try:
            return self.known[key]
        except KeyError:
            if len(self.known) >= MOST_SHAPES:
                self.known.clear()
        found = self.known[key] = self._compile(roles, request)
        return found

    def _compile(self, roles: tuple[str, ...], request: Request) -> tuple[Shape, Plan | None] | None:
        constants = analyse(self._renderer.source())
        if not constants.exchangeable:
            return None
        shape = compile_shape(
            self._renderer,
            roles,
            self._weigher.asked(request),
            self._closing,
            generation_prompt=request.generation_prompt,
        )
        if shape is None or list(shape.slots) != sorted(shape.slots):
            return None
        if self._memory is None or self._backend is None or self._weigher.applies(request):
            return shape, None
        return shape, plan_tokens(shape, self._backend, self._memory)

    def _exchangeable(self, contents: list[str]) -> bool:
        if self._guard is None:
            added = [token.content for token in self._tokenizer.added_tokens_decoder.values()]
            self._guard = Guard(analyse(self._renderer.source()), added)
        return self._guard.admits(contents)


def plain_contents(request: Request) -> list[str] | None:
    """The contents, when nothing else in the row can influence its rendering."""
    row = request.conversation
    if not request.messages or row.tools or row.images or row.videos or row.audios:
        return None
    contents = []
    for message in request.messages:
        content = message["content"]
        if not isinstance(content, str) or (len(message) > 2 and not message.keys() <= _SIMPLE_KEYS):
            return None
        contents.append(content)
    return contents
