"""A model on offer: its engine, its tokenizer, and what requests get when they say nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from swift.core.config.schema import InferConfig
from swift.core.protocols import Engine
from swift.core.types import SamplingParams
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
        if self.tokenizer.chat_template is None:
            raise ApiError(
                "this model's tokenizer has no chat template: use /v1/completions", code="no_chat_template"
            )
        messages = self._with_system(request.messages)
        tools = None if request.tool_choice == "none" else request.tools
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                tokenize=False,
                add_generation_prompt=True,
                **request.chat_template_kwargs,
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise ApiError(f"the chat template refuses these messages: {error}", param="messages") from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def completion_prompts(self, request: CompletionRequest) -> list[list[int]]:
        """Token ids of every prompt of a completion request.

        Raises:
            ApiError: no prompt.
        """
        prompts: list[Any] = [request.prompt] if _is_one(request.prompt) else list(request.prompt)
        if not prompts:
            raise ApiError("prompt is empty: send a text or token ids", param="prompt")
        return [
            list(self.tokenizer(one)["input_ids"]) if isinstance(one, str) else list(one) for one in prompts
        ]

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
        stop = request.stop or ()
        return SamplingParams(
            max_tokens=limit,
            temperature=_or(request.temperature, self.defaults.temperature),
            top_p=_or(request.top_p, self.defaults.top_p),
            top_k=_or(request.top_k, self.defaults.top_k),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            seed=None if seed is None else seed + choice,
            logprobs=logprobs,
            ignore_eos=request.ignore_eos,
        )

    def token(self, token_id: int) -> str:
        """The text of one token, special ones included."""
        return str(self.tokenizer.decode([token_id]))

    def _with_system(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.defaults.system is None or messages[0]["role"] == "system":
            return list(messages)
        return [{"role": "system", "content": self.defaults.system}, *messages]

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
