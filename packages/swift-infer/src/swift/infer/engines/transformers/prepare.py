"""What a request needs before it can join the batch: its grammar compiled, its images read."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import xgrammar

from swift.core.errors import SwiftError, in_one_line
from swift.core.types import GenerationRequest
from swift.infer.engines.transformers.background import Workers
from swift.infer.engines.transformers.constraint import Compiler
from swift.infer.engines.transformers.media import Media, MediaReader


@dataclass(slots=True, frozen=True)
class Prepared:
    """A request that can join.

    Attributes:
        request: with the placeholders of its images expanded.
        grammar: what its answer must match, or None.
        media: what its images are to the model, or None.
        problem: why it cannot join after all.
    """

    request: GenerationRequest
    grammar: xgrammar.CompiledGrammar | None = None
    media: Media | None = None
    problem: str = ""


class Preparer:
    """Prepares requests off the decoding loop.

    Args:
        processor: the model's processor, or its tokenizer.
        config: the model's.
        vocab_size: of the model.
        seconds: most that preparing one request may take.
    """

    def __init__(self, processor: Any, config: Any, vocab_size: int, seconds: float) -> None:
        self.media = MediaReader(processor, config)
        self._compiler = Compiler(getattr(processor, "tokenizer", processor), vocab_size)
        self._workers: Workers[Prepared] = Workers(2, seconds)

    def submit(self, request: GenerationRequest) -> Future[Prepared]:
        """Prepare a request soon; what prepare() returns or raises."""
        what = f"preparing the constraint or images of request {request.request_id!r}"
        return self._workers.submit(lambda: self.prepare(request), what)

    def prepare(self, request: GenerationRequest) -> Prepared:
        """Compile and read.

        Raises:
            DataError: the constraint cannot be enforced, or an image not be read.
            EngineError: the model takes no images.
        """
        constraint = request.sampling.constraint
        grammar = None if constraint is None else self._compiler.compile(constraint)
        if not request.images:
            return Prepared(request, grammar)
        expanded, media = self.media.read(request)
        return Prepared(expanded, grammar, media)

    def close(self) -> None:
        """Let its threads end."""
        self._workers.close()


def result_of(done: Future[Prepared], request: GenerationRequest) -> Prepared:
    """What became of preparing a request."""
    error = done.exception()
    if error is None:
        return done.result()
    words = f"{error.problem}; {error.remedy}" if isinstance(error, SwiftError) else in_one_line(error)
    return Prepared(request, problem=words.removesuffix("; "))


def needs_preparing(request: GenerationRequest) -> bool:
    """Whether a request cannot join at once."""
    return request.sampling.constraint is not None or bool(request.images)
