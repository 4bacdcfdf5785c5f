"""The template of chat models: conversations to tokens and labels, by the tokenizer's own jinja template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swift.core.errors import ConfigError, DataError
from swift.core.template.agent.convert import plain_conversation
from swift.core.template.agent.format import AgentFormat
from swift.core.template.loss_scale.apply import Weigher
from swift.core.template.loss_scale.scales import LossScales
from swift.core.template.media import MediaFamily, expand, has_media
from swift.core.template.plan import Plan
from swift.core.template.related import RELATED_TASKS, related_requests, related_sample
from swift.core.template.render import Rendered, Renderer, RenderError
from swift.core.template.request import LossTurns, Request, last_assistant, requests_of
from swift.core.template.shapes import ShapeMemory
from swift.core.template.spans import closing_pattern, render_with_spans
from swift.core.template.special import SpecialTokens
from swift.core.template.tokens import Tokens, tokenise, tokenise_slowly
from swift.core.template.tools import has_tools
from swift.core.template.truncate import EncodeStatistics, Truncation, fit, is_learned
from swift.core.types import Conversation, Encoded, Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


class ChatTemplate:
    """Encodes rows in batches, exactly as the tokenizer's apply_chat_template and tokenizer would.

    Rows of one shape (the same roles, plain contents) share one rendering; see shape.py for when that holds.
    All other rows go through the real template one by one.

    Args:
        tokenizer: with a chat template, unless every row is plain text.
        max_length: most tokens of a sample.
        truncation: what happens to a longer one.
        loss_turns: which assistant turns are learned; a message's own "loss" (true, false, a weight)
            overrides it.
        task: what a row becomes (see types.Task).
        media: family of a multimodal model.
        agent: format that tools, calls and results are written in; None: the chat template's own.
        scales: how much each piece of a turn weighs.

    Raises:
        ModelError: turns are to be rendered and the tokenizer has no chat template.
        ConfigError: truncation or scales that the task cannot take.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: Truncation = "delete",
        loss_turns: LossTurns = "all",
        task: Task = "causal_lm",
        media: MediaFamily | None = None,
        agent: AgentFormat | None = None,
        scales: LossScales | None = None,
    ) -> None:
        _check_truncation(truncation, task)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation: Truncation = truncation
        self.loss_turns: LossTurns = loss_turns
        self.task: Task = task
        self.media = media
        self.agent = agent
        self.statistics = EncodeStatistics()
        self.renderer = Renderer(tokenizer)
        self.closing = closing_pattern(_special_tokens(tokenizer))
        self.scales = scales or LossScales()
        placeholder = media.placeholder if media is not None else ""
        self._weigher = Weigher(self.scales, self.renderer, self.closing, placeholder, task)
        self.backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        self.shapes = ShapeMemory(tokenizer, self.renderer, self._weigher, self.closing)
        self._special: SpecialTokens | None = None
        if task not in ("text", "seq_cls", "embedding"):  # those two may need no turns
            self.renderer.source()

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoded]:
        """Samples of these rows in order; a row may give none (dropped) or several (split).

        Raises:
            DataError: a row cannot be encoded; the message names its origin.
            ModelError: turns in plain-text training with a tokenizer without chat template.
        """
        if self.agent is not None:
            shown = self.renderer.shows_system
            conversations = [plain_conversation(row, self.agent, shown) for row in conversations]
        requests = [self._requests(row) for row in conversations]
        flat = [request for row in requests for request in row]
        tensors: dict[int, dict[str, torch.Tensor]] = {}
        tokens = iter(self._tokens(flat, tensors))
        samples: list[Encoded] = []
        for row, asked in zip(conversations, requests, strict=True):
            results = [next(tokens) for _ in asked]
            samples += self._samples(row, results, tensors.get(id(row)))
        return samples

    def _tokens(
        self, requests: Sequence[Request], tensors: dict[int, dict[str, torch.Tensor]]
    ) -> list[Tokens]:
        """Each request's tokens; rows of a planned shape go together, the rest in one batch."""
        results: list[Tokens | None] = [None] * len(requests)
        planned: dict[Plan, tuple[list[int], list[list[str]]]] = {}
        rendered: list[tuple[int, Rendered]] = []
        for number, request in enumerate(requests):
            found = self.shapes.find(request)
            if found is None:
                rendered.append((number, self._render(request, tensors)))
            elif found.plan is None:
                rendered.append((number, self._weigher.weigh(request, found.shape.render(found.contents))))
            else:
                numbers, rows = planned.setdefault(found.plan, ([], []))
                numbers.append(number)
                rows.append(found.contents)
        for plan, (numbers, rows) in planned.items():
            for number, tokens in zip(numbers, plan.encode(rows), strict=True):
                results[number] = tokens
        for (number, _), tokens in zip(rendered, self._tokenise([row for _, row in rendered]), strict=True):
            results[number] = tokens
        return [
            self._finished(request, tokens)
            for request, tokens in zip(requests, results, strict=True)
            if tokens is not None
        ]

    def _requests(self, row: Conversation) -> list[Request]:
        if self.task in RELATED_TASKS:
            return related_requests(row, self.task)
        return requests_of(row, self.task, self.loss_turns)

    def _finished(self, request: Request, tokens: Tokens) -> Tokens:
        if request.text is not None:
            if self._special is None:
                self._special = SpecialTokens(self.tokenizer)
            return self._special.around(tokens)
        return (tokens[0], tokens[0], None) if request.whole else tokens

    def _tokenise(self, rows: list[Rendered]) -> list[Tokens]:
        if self.backend is None:
            return [tokenise_slowly(self.tokenizer, row) for row in rows]
        self.backend.no_truncation()
        self.backend.no_padding()
        return tokenise(self.backend, rows) if rows else []

    def _render(self, request: Request, tensors: dict[int, dict[str, torch.Tensor]]) -> Rendered:
        row = request.conversation
        if request.text is not None:
            return Rendered(request.text, [])
        if not request.messages:
            return Rendered(self._plain_text(row.text or ""), [])
        try:
            asked = self._weigher.asked(request)
            if any(asked):
                rendered = render_with_spans(
                    self.renderer, request.messages, request.tools, asked, self.closing
                )
                rendered = self._weigher.weigh(request, rendered)
            else:
                text = self.renderer.render(
                    request.messages, request.tools, generation_prompt=request.generation_prompt
                )
                rendered = Rendered(text, [])
        except RenderError as error:
            raise DataError(
                f"{row.origin}: the chat template cannot render this row: {error}",
                _remedy(request),
            ) from error
        return self._with_media(rendered, row, tensors) if has_media(row) else rendered

    def _with_media(
        self, rendered: Rendered, row: Conversation, tensors: dict[int, dict[str, torch.Tensor]]
    ) -> Rendered:
        if self.media is None:
            raise DataError(
                f"{row.origin}: the row has images, video or audio, which this model does not take",
                "choose a multimodal model and pip install swift-mm, or remove the media columns",
            )
        inputs = self.media.prepare(row)
        tensors[id(row)] = inputs.tensors
        try:
            return expand(rendered, self.media.placeholder, inputs.replacements)
        except ValueError as error:
            raise DataError(f"{row.origin}: {error}", "write one placeholder for each file") from error

    def _plain_text(self, text: str) -> str:
        """Text between the tokenizer's own beginning and end of a document."""
        eos = self.tokenizer.eos_token or ""
        bos = self.tokenizer.bos_token if getattr(self.tokenizer, "add_bos_token", False) else ""
        return f"{bos or ''}{text}{eos}"

    def _samples(
        self, row: Conversation, results: list[Tokens], media: dict[str, torch.Tensor] | None
    ) -> list[Encoded]:
        """Truncate, count, and put the pieces of one row together."""
        self.statistics.rows += 1
        longest = max(len(ids) for ids, _, _ in results)
        self.statistics.longest = max(self.statistics.longest, longest)
        # cutting through the tokens of an image would leave tensors without their places
        how: Truncation = "delete" if media else self.truncation
        fitted = [self._fit(tokens, how) for tokens in results]
        if not all(fitted):
            self.statistics.drop(longest)
            return []
        if longest > self.max_length:
            self.statistics.truncated += 1
        columns = self._columns(row)
        if self.task in RELATED_TASKS:
            return [related_sample(row, self.task, [pieces[0] for pieces in fitted], columns)]
        if self.task == "preference":
            chosen, rejected = (self._encoded(pieces[0], row, media, columns) for pieces in fitted)
            chosen.rejected = rejected
            return [chosen]
        return [self._encoded(piece, row, media, columns) for piece in fitted[0]]

    def _fit(self, tokens: Tokens, how: Truncation) -> list[Tokens]:
        if len(tokens[0]) <= self.max_length:
            return [tokens] if not self.scales.parts or is_learned(tokens) else []
        pieces = fit(tokens, self.max_length, how)
        if self.task == "prompt" or self.task in RELATED_TASKS:
            return pieces
        return [piece for piece in pieces if is_learned(piece)]

    def _encoded(
        self,
        tokens: Tokens,
        row: Conversation,
        media: dict[str, torch.Tensor] | None,
        columns: dict[str, Any],
    ) -> Encoded:
        ids, labels, weights = tokens
        return Encoded(ids, labels, weights, media=media, columns=columns, origin=row.origin)

    def _columns(self, row: Conversation) -> dict[str, Any]:
        columns = row.columns
        if row.label is not None:
            columns = {**columns, "label": row.label}
        return columns if self.task != "prompt" else {**columns, **_prompt_columns(row)}


def _check_truncation(truncation: Truncation, task: Task) -> None:
    whole = {"preference", "prompt", *RELATED_TASKS}
    if truncation == "split" and task in whole:
        raise ConfigError(
            f"data.truncation is 'split', but a {task} sample cannot be cut into several",
            "use delete, right or left",
        )
    if truncation == "right" and task == "generative_reranker":
        raise ConfigError(
            "data.truncation is 'right', which would cut off the place of the answer", "use delete or left"
        )


def _remedy(request: Request) -> str:
    if has_tools(request.messages, request.tools):
        return (
            "set data.agent_format (hermes, react, ...), which writes tools, calls and results as plain text"
        )
    return "correct its turns, set data.on_error=skip, or choose another model.chat_template"


def _prompt_columns(row: Conversation) -> dict[str, Any]:
    """What rewards read of a prompt: its turns, and the answer that the row gives."""
    last = last_assistant(row.messages)
    given = row.messages[last]["content"] if last < len(row.messages) else None
    return {"messages": row.messages[:last], "answer": row.columns.get("answer", given)}


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return [*tokenizer.all_special_tokens, *added]
