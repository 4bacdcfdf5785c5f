"""A model on offer: its engine, its tokenizer, and what requests get when they say nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swift.core.config.schema import InferConfig
from swift.core.engines import facts_of
from swift.core.errors import DataError, did_you_mean
from swift.core.protocols import ContentFilter, Engine
from swift.core.template.agent.format import AgentFormat
from swift.core.types import EngineFacts
from swift.infer.encode.encoder import Encoder
from swift.infer.prompts import renderer_of, text_ids
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.supervise import SupervisedEngine
from swift.infer.server.tools.detect import chosen_format


@dataclass(frozen=True)
class ServedModel:
    """One model behind the API.

    Attributes:
        name: what clients put in "model".
        tokenizer: None where the engine reads chats and has one of its own.
        max_length: longest prompt and answer together in tokens, None when there is no limit.
        defaults: sampling of requests that leave it open.
        agent_format: data.agent_format that the model was trained with; None: the chat template's own.
        filters: what watches over prompts and answers, in order.
        image_hosts: where images may be fetched from.
        adapter_loading: clients may load and unload adapters.
    """

    name: str
    engine: Engine
    tokenizer: Any
    max_length: int | None = None
    defaults: InferConfig = field(default_factory=lambda: InferConfig.model_validate({}))
    created: int = field(default_factory=lambda: int(time.time()))
    agent_format: str | None = None
    filters: Sequence[ContentFilter] = ()
    image_hosts: frozenset[str] = frozenset()
    adapter_loading: bool = False
    # the Rust tokenizers refuse a second thread while a first one sets padding or truncation
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def facts(self) -> EngineFacts:
        """What the engine can do now."""
        return facts_of(self.engine)

    @property
    def encoder(self) -> Encoder | None:
        """That of now, of a model that gives vectors or scores instead of text.

        Raises:
            EngineError: the engine has died, and no other has taken its place yet.
        """
        engine = self.engine.living() if isinstance(self.engine, SupervisedEngine) else self.engine
        return engine if isinstance(engine, Encoder) else None

    def adapter(self, name: str) -> str | None:
        """The adapter that a model name asks for; None for the model itself.

        Raises:
            ApiError: 404, no such model.
        """
        if name == self.name:
            return None
        adapters = self.facts.adapters
        if name not in adapters:
            raise ApiError(
                f"the model {name!r} does not exist: {did_you_mean(name, [self.name, *adapters])}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return name

    @cached_property
    def agent(self) -> AgentFormat:
        """How calls stand in answers."""
        return chosen_format(self.agent_format, renderer_of(self.tokenizer))

    def token(self, token_id: int) -> str:
        """The text of one token, special ones included."""
        return str(self.tokenizer.decode([token_id]))

    def encode(self, text: str, param: str, *, special: bool = True) -> tuple[int, ...]:
        """Token ids; a text that is far too long is refused before it costs minutes.

        Raises:
            ApiError: too long, or text that UTF-8 cannot write.
        """
        least = len(text) // self._longest_token
        if self.max_length is not None and least > self.max_length:
            raise self._too_long(f"the prompt has {least} or more: cut it", param)
        try:
            with self._tokenizing:
                return text_ids(self.tokenizer, text, special=special)
        except DataError as error:
            raise ApiError(f"{error.problem}: {error.remedy}", param=param, code="invalid_value") from error

    def known(self, ids: Sequence[int], param: str) -> tuple[int, ...]:
        """Token ids that a client chose.

        Raises:
            ApiError: one of them is none of the tokenizer's.
        """
        strange = next((token for token in ids if not 0 <= token < self._vocabulary), None)
        if strange is not None:
            raise ApiError(
                f"token id {strange} is outside the vocabulary of {self._vocabulary}",
                param=param,
                code="invalid_value",
            )
        return tuple(ids)

    def check_length(self, prompt: int, wanted: int | None, param: str) -> None:
        """Refuse a prompt that leaves no room for its answer, or holds nothing.

        Raises:
            ApiError: so it is.
        """
        if self.max_length is not None and prompt + (wanted or 1) > self.max_length:
            told = f"the prompt has {prompt} and the answer may take {wanted or 1}"
            raise self._too_long(f"{told}: shorten the prompt or lower max_tokens", param)
        if prompt == 0:
            raise ApiError("the prompt holds no token: send at least one", param=param, code="invalid_value")

    def _too_long(self, why: str, param: str) -> ApiError:
        return ApiError(
            f"this model's context is {self.max_length} tokens; {why}",
            param=param,
            code="context_length_exceeded",
        )

    @cached_property
    def _vocabulary(self) -> int:
        return len(self.tokenizer)

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self.tokenizer.get_vocab()))
