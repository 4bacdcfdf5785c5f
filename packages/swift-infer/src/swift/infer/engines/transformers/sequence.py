"""One request on its way through the engine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from swift.core.errors import did_you_mean
from swift.core.types import FinishReason, GenerationRequest, TokenDelta
from swift.infer.engines.transformers.adapter_folder import Adapter
from swift.infer.engines.transformers.adapters import Adapters
from swift.infer.engines.transformers.constraint import Matcher
from swift.infer.engines.transformers.detokenize import Decode, Detokenizer
from swift.infer.engines.transformers.media import Media
from swift.infer.engines.transformers.penalties import Penalties, penalties
from swift.infer.engines.transformers.prepare import Prepared
from swift.infer.engines.transformers.refuse import Limits, problem
from swift.infer.engines.transformers.sampler import Draw, Drawn


class Prompt(NamedTuple):
    """What decides the keys and values of a prompt: where all of it is equal, they are."""

    tokens: tuple[int, ...]
    adapter: Adapter | None
    images: bytes


@dataclass(slots=True, eq=False)
class Sequence:
    """A request, its answer so far, and how many of its tokens the cache holds.

    Attributes:
        length: tokens in the cache.
        last: the token that the next step reads: at first the prompt's last one.
        limit: most new tokens, with the context of the model taken into account.
        adapter: what the model computes it with, beside its own weights.
        media: images of the prompt.
    """

    request: GenerationRequest
    detokenizer: Detokenizer
    seed: int
    limit: int
    length: int = 0
    last: int = 0
    generated: int = 0
    finish_reason: FinishReason | None = None
    adapter: Adapter | None = None
    media: Media | None = None
    _stops: frozenset[int] = field(default_factory=frozenset)
    _penalties: Penalties | None = None
    _matcher: Matcher | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens to be read before the first step: all of the prompt but its last one."""
        return self.request.prompt_ids[:-1]

    @property
    def prompt(self) -> Prompt:
        """What is read before the first step, and how."""
        return Prompt(self.prefix, self.adapter, b"" if self.media is None else self.media.digest)

    @property
    def most(self) -> int:
        """Tokens the cache may hold for it at its end."""
        return len(self.request.prompt_ids) + self.limit

    @property
    def position(self) -> int:
        """Of the token that the next step reads; images take fewer positions than tokens."""
        return self.length + (0 if self.media is None else self.media.shift)

    def draw(self) -> Draw:
        """How the next token is sampled."""
        return Draw(self.request.sampling, self.seed, self.generated, self._penalties, self._matcher)

    def accept(self, drawn: Drawn) -> TokenDelta:
        """Take the token that follows `last`; the delta to report."""
        trouble = self._trouble(drawn)
        if trouble:
            self.finish_reason = "error"
            return failure(self.request.request_id, trouble)
        self.length += 1
        self.generated += 1
        self.last = drawn.token
        if self._penalties is not None:
            self._penalties.add(drawn.token)
        if self._matcher is not None:
            self._matcher.add(drawn.token)
        text = self._text(drawn.token)
        return TokenDelta(
            request_id=self.request.request_id,
            token_ids=(drawn.token,),
            text=text,
            logprobs=None if drawn.logprob is None else (drawn.logprob,),
            top_logprobs=None if drawn.top is None else (drawn.top,),
            finish_reason=self.finish_reason,
        )

    def _trouble(self, drawn: Drawn) -> str:
        if not drawn.finite:
            return "the model's logits are not numbers (NaN): its weights are broken"
        if not drawn.possible:
            return (
                "no token of the model can continue the answer within its constraint: correct the constraint"
            )
        if self._matcher is not None and self._matcher.slow:
            return "following the constraint takes too much time: make it simpler"
        return ""

    def _text(self, token: int) -> str:
        closing = token in self._stops
        text = "" if closing else self.detokenizer.push(token)
        complete = self._matcher is not None and self._matcher.ended
        if closing or complete or self.detokenizer.stopped:
            self.finish_reason = "stop"
        elif self.generated >= self.limit:
            self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self.detokenizer.finish()
            if self.detokenizer.stopped:  # the rest of the text completed a stop string
                self.finish_reason = "stop"
        return text


def begin(
    prepared: Prepared, limits: Limits, decode: Decode, stops: frozenset[int], adapters: Adapters
) -> Sequence | TokenDelta:
    """A sequence, or the delta that says why the request cannot be run."""
    request, sampling = prepared.request, prepared.request.sampling
    own = request.prompt_ids
    if own and limits.virtual_tokens:
        request = replace(request, prompt_ids=(0,) * limits.virtual_tokens + own)
    limit = sampling.max_tokens
    if limits.context is not None:
        limit = min(limit, limits.context - len(request.prompt_ids))
    trouble = prepared.problem or problem(request, limits, limit) or _wrong_adapter(request, adapters)
    if trouble:
        return failure(request.request_id, trouble, refused=True)
    ending = frozenset(sampling.stop_token_ids)
    if prepared.grammar is not None or not sampling.ignore_eos:
        ending |= {token for token in stops if token < limits.vocab_size}
    return Sequence(
        request=request,
        detokenizer=Detokenizer(decode, sampling.stop),
        seed=secrets.randbits(64) if sampling.seed is None else sampling.seed,
        limit=limit,
        last=request.prompt_ids[-1],
        adapter=None if request.adapter is None else adapters.get(request.adapter),
        media=prepared.media,
        _stops=ending,
        _penalties=penalties(sampling, own),
        _matcher=None if prepared.grammar is None else Matcher(prepared.grammar, ending),
    )


def _wrong_adapter(request: GenerationRequest, adapters: Adapters) -> str:
    if request.adapter is None or request.adapter in adapters.names:
        return ""
    return f"no adapter {request.adapter!r} is loaded; {did_you_mean(request.adapter, adapters.names)}"


def failure(request_id: str, problem: str, *, refused: bool = False) -> TokenDelta:
    """The last delta of a request that failed; refused: by its own fault."""
    return TokenDelta(request_id=request_id, finish_reason="error", error=problem, refused=refused)
