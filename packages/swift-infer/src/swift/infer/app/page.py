"""The page: a chat, a choice of adapter, parameters, images, answers as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from html import escape
from typing import Any

import gradio as gr

from swift.core.errors import SwiftError
from swift.infer.app.client import ChatClient, Settings
from swift.infer.app.history import to_messages

ClientOf = Callable[[str | None], ChatClient]
"""The client of a person, by the name of the login; None: nobody logs in."""

FONT = ("system-ui", "sans-serif")  # fonts of the machine: a page that works without a network
MONO = ("ui-monospace", "monospace")


def theme() -> Any:  # gradio is not typed
    """The looks of the page, without anything fetched from elsewhere."""
    return gr.themes.Default(font=FONT, font_mono=MONO)


def build_page(client_of: ClientOf, title: str) -> gr.Blocks:
    """The chat page of a server; the models to choose from are asked whenever it is opened."""

    async def answer(
        message: Mapping[str, Any], history: list[dict[str, Any]], request: gr.Request, *chosen: Any
    ) -> AsyncIterator[str]:
        system, *parameters = chosen
        text = ""
        try:
            messages = to_messages(history, message.get("text", ""), message.get("files", ()), system or "")
            async for piece in client_of(request.username).stream(messages, to_settings(*parameters)):
                text += piece
                yield text
        except SwiftError as error:
            raise said(error) from error

    async def offered(chosen: str | None, request: gr.Request) -> Any:
        try:
            names = await client_of(request.username).models()
        except SwiftError as error:
            raise said(error) from error
        return gr.update(choices=names, value=chosen if chosen in names else names[0])

    with gr.Blocks(title=title, analytics_enabled=False, fill_height=True) as page:
        with gr.Sidebar():
            controls = parameter_controls()
        chat = gr.ChatInterface(
            answer,
            multimodal=True,
            textbox=gr.MultimodalTextbox(
                file_types=["image"], file_count="multiple", placeholder="Ask", show_label=False
            ),
            chatbot=gr.Chatbot(label=title, scale=1),
            additional_inputs=list(controls.values()),
            title=title,
            editable=True,
            api_name="chat",
            concurrency_limit=None,  # the server in front of the engine decides how many run
        )
        assert chat is not None
        page.load(offered, controls["model"], controls["model"], api_name="models")
    return page


def said(error: SwiftError) -> gr.Error:
    """The error as the page shows it, which takes it for HTML; no traceback in the terminal."""
    return gr.Error(escape(str(error), quote=False), print_exception=False)


def parameter_controls() -> dict[str, Any]:
    """The inputs beside the chat, in the order in which answer() gets them. Empty: the server's default."""
    return {
        "system": gr.Textbox(label="System message", lines=2),
        "model": gr.Dropdown([], label="Model or adapter", allow_custom_value=True),
        "max_tokens": gr.Number(label="Longest answer, in tokens", precision=0, minimum=1, value=None),
        "temperature": gr.Number(label="Temperature (0: greedy)", minimum=0, maximum=2, step=0.1, value=None),
        "top_p": gr.Number(label="top_p", minimum=0, maximum=1, step=0.05, value=None),
        "top_k": gr.Number(label="top_k (0: off)", precision=0, minimum=0, value=None),
        "seed": gr.Number(label="Seed", precision=0, value=None),
    }


def to_settings(
    model: str,
    max_tokens: float | None,
    temperature: float | None,
    top_p: float | None,
    top_k: float | None,
    seed: float | None,
) -> Settings:
    """Parameters as the API takes them; gradio's numbers may be floats."""
    return Settings(model, _whole(max_tokens), temperature, top_p, _whole(top_k), _whole(seed))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
