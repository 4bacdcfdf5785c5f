"""Constrained answers: which tokens keep the text of a row within its grammar."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

import torch
import xgrammar

from swift.core.errors import EngineError
from swift.core.types import Constraint
from swift.infer.constraints import to_grammar

CACHE_BYTES = 256 * 2**20
MOST_SECONDS, MOST_A_TOKEN = 5.0, 0.05  # that following one answer's grammar may take: the others wait for it


class Matcher:
    """Where one answer stands in its grammar.

    Args:
        compiled: the grammar for the vocabulary of the model.
        stops: tokens that end an answer; they are possible where the grammar may end, and only there.
    """

    def __init__(self, compiled: xgrammar.CompiledGrammar, stops: Collection[int]) -> None:
        self._matcher = xgrammar.GrammarMatcher(
            compiled,
            override_stop_tokens=sorted(stops) or None,
            terminate_without_stop_token=not stops,
        )
        self._seconds = 0.0
        self._tokens = 0

    @property
    def ended(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return bool(self._matcher.is_terminated())

    @property
    def slow(self) -> bool:
        """Whether the grammar takes more time than one answer may."""
        return self._seconds > MOST_SECONDS + MOST_A_TOKEN * self._tokens

    def fill(self, bitmask: torch.Tensor, row: int) -> None:
        """Write one bit a token, set where it may come next, into a row of int32 [B, V / 32]."""
        start = time.perf_counter()
        self._matcher.fill_next_token_bitmask(bitmask, row)
        self._seconds += time.perf_counter() - start

    def add(self, token: int) -> None:
        """Go on by a token that fill() allowed."""
        start = time.perf_counter()
        self._matcher.accept_token(token)
        self._tokens += 1
        self._seconds += time.perf_counter() - start


def mask(logits: torch.Tensor, matchers: Mapping[int, Matcher]) -> None:
    """Set the logits [B, V] of tokens that may not come next to -inf, in place.

    Args:
        matchers: row -> matcher; other rows stay as they are.
    """
    if not matchers:
        return
    bitmask = xgrammar.allocate_token_bitmask(*logits.shape)
    for row, matcher in matchers.items():
        matcher.fill(bitmask, row)
    xgrammar.apply_token_bitmask_inplace(
        logits, bitmask.to(logits.device), vocab_size=logits.shape[-1], indices=list(matchers)
    )


class Compiler:
    """Constraints as grammars over one model's vocabulary; the last ones are kept. Any thread may call it.

    Args:
        tokenizer: of transformers.
        vocab_size: of the model, which may be larger than the tokenizer's.
    """

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._compiler: xgrammar.GrammarCompiler | None = None
        self._kept: OrderedDict[Constraint, xgrammar.CompiledGrammar] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    def compile(self, constraint: Constraint) -> xgrammar.CompiledGrammar:
        """The grammar of a constraint, from memory where it was compiled before.

        Raises:
            DataError: the constraint cannot be enforced.
            EngineError: the tokenizer's vocabulary cannot be read.
        """
        with self._guard:
            if constraint in self._kept:
                self._kept.move_to_end(constraint)
                return self._kept[constraint]
        compiled = self._ready().compile_grammar(to_grammar(constraint))
        self._keep(constraint, compiled)
        return compiled

    def _ready(self) -> xgrammar.GrammarCompiler:
        with self._guard:
            if self._compiler is None:
                self._compiler = self._new_compiler()
            return self._compiler

    def _new_compiler(self) -> xgrammar.GrammarCompiler:
        try:
            info = xgrammar.TokenizerInfo.from_huggingface(self._tokenizer, vocab_size=self._vocab_size)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise EngineError(
                f"the vocabulary of {type(self._tokenizer).__name__} cannot be used for constrained answers: "
                f"{error}",
                "send the request without a constraint, or choose another engine",
            ) from error
        threads = torch.get_num_threads()
        return xgrammar.GrammarCompiler(info, max_threads=threads, cache_enabled=False)

    def _keep(self, constraint: Constraint, compiled: xgrammar.CompiledGrammar) -> None:
        with self._guard:
            if constraint in self._kept:
                return
            self._kept[constraint] = compiled
            self._bytes += compiled.memory_size_bytes
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].memory_size_bytes
