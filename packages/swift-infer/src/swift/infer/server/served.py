"""A model on offer: its engine, its tokenizer, and what requests get when they say nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from swift.core.config.schema import InferConfig
from swift.core.errors import DataError, ModelError
from swift.core.protocols import Engine
from swift.core.types import SamplingParams
from swift.infer.prompts import chat_text, text_ids, with_system
from swift.infer.server.errors import ApiError
from swift.infer.server.schema import ChatRequest, CompletionRequest, Sampled


@dataclass(frozen=True)
class ServedModel:
    """One model behind the API.

    Attributes:
        name: what clients put in "model".
        max_length: longest prompt and answer together in tokens, None when there is no limit.
        defaults: sampling of requests that leave it open.
    """

    name: str
    engine: Engine
    tokenizer: Any
    max_length: int | None = None
    defaults: InferConfig = field(default_factory=lambda: InferConfig.model_validate({}))
    created: int = field(default_factory=lambda: int(time.time()))
    # the Rust tokenizers refuse a second thread while a first one sets padding or truncation
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def check_name(self, name: str) -> None:
        """Raises ApiError (404) for another model."""
        if name != self.name:
            raise ApiError(
                f"the model {name!r} does not exist; this server offers {self.name!r}",
                status=404,
                param="model",
                code="model_not_found",
            )

    def chat_prompt(self, request: ChatRequest) -> list[int]:
        """Token ids of a chat, rendered by the tokenizer's template.

        Raises:
            ApiError: no template, or one that refuses these messages.
        """
        messages = with_system(request.messages, self.defaults.system)
        tools = None if request.tool_choice == "none" else request.tools
        try:
            text = chat_text(self.tokenizer, messages, tools, request.chat_template_kwargs)
        except ModelError as error:
            raise ApiError(f"{error.problem}: use /v1/completions", code="no_chat_template") from error
        except DataError as error:
            raise ApiError(error.problem, param="messages", code="invalid_value") from error
        return self._encode(text, "messages", special=False)

    def completion_prompts(self, request: CompletionRequest) -> list[list[int]]:
        """Token ids of every prompt of a completion request.

        Raises:
            ApiError: no prompt.
        """
        prompts: list[Any] = [request.prompt] if _is_one(request.prompt) else list(request.prompt)
        if not prompts:
            raise ApiError("prompt is empty: send a text or token ids", param="prompt")
        return [self._encode(one, "prompt") if isinstance(one, str) else self._known(one) for one in prompts]

    def sampling(
        self, request: Sampled, prompt_length: int, logprobs: int | None, choice: int
    ) -> SamplingParams:
        """How the answers are drawn; each of several choices has a seed of its own.

        Raises:
            ApiError: prompt and answer are longer than the context.
        """
        wanted = getattr(request, "max_completion_tokens", None) or request.max_tokens
        limit = wanted or self.defaults.max_new_tokens
        self._check_length(prompt_length, wanted)
        seed = request.seed if request.seed is not None else self.defaults.seed
        return SamplingParams(
            max_tokens=limit,
            temperature=_or(request.temperature, self.defaults.temperature),
            top_p=_or(request.top_p, self.defaults.top_p),
            top_k=_or(request.top_k, self.defaults.top_k),
            stop=tuple(request.stop or ()),
            seed=None if seed is None else seed + choice,
            logprobs=logprobs,
            ignore_eos=request.ignore_eos,
        )

    def token(self, token_id: int) -> str:
        """The text of one token, special ones included."""
        return str(self.tokenizer.decode([token_id]))

    def _encode(self, text: str, param: str, *, special: bool = True) -> list[int]:
        """Token ids; a text that is far too long is refused before it costs minutes."""
        least = len(text) // self._longest_token
        if self.max_length is not None and least > self.max_length:
            raise ApiError(
                f"this model's context is {self.max_length} tokens; the prompt has {least} or more: cut it",
                param=param,
                code="context_length_exceeded",
            )
        try:
            with self._tokenizing:
                return list(text_ids(self.tokenizer, text, special=special))
        except DataError as error:
            raise ApiError(f"{error.problem}: {error.remedy}", param=param, code="invalid_value") from error

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self.tokenizer.get_vocab()))

    def _known(self, ids: Sequence[int]) -> list[int]:
        size = len(self.tokenizer)
        strange = next((token for token in ids if not 0 <= token < size), None)
        if strange is not None:
            raise ApiError(
                f"token id {strange} is outside the vocabulary of {size}",
                param="prompt",
                code="invalid_value",
            )
        return list(ids)

    def _check_length(self, prompt: int, wanted: int | None) -> None:
        total = prompt + (wanted or 1)
        if self.max_length is not None and total > self.max_length:
            raise ApiError(
                f"this model's context is {self.max_length} tokens; the prompt has {prompt} and the answer "
                f"may take {wanted or 1}: shorten the prompt or lower max_tokens",
                param="messages",
                code="context_length_exceeded",
            )
        if prompt == 0:
            raise ApiError("the prompt holds no token: send at least one", param="prompt")


def _is_one(prompt: Any) -> bool:
    return isinstance(prompt, str) or (bool(prompt) and isinstance(prompt[0], int))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
