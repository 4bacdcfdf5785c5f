"""A chat in the terminal."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from rich.console import Console

from swift.core.config.schema import InferConfig
from swift.core.errors import DataError
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, Message
from swift.infer.prompts import chat_ids, check_chats, sampling, with_system

with contextlib.suppress(ImportError):  # not on Windows
    import readline  # input() then edits, recalls lines, and takes more than a tty's 4,095 bytes

    readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines are one message

HELP = "/reset starts over, /exit or Ctrl-D leaves, Ctrl-C stops an answer"


def chat(engine: Engine, tokenizer: Any, config: InferConfig, console: Console | None = None) -> None:
    """Read a line, stream the answer, until the person leaves.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    check_chats(tokenizer)
    console = console or Console(highlight=False)
    console.print(HELP, style="dim")
    messages: list[Message] = []
    for number in itertools.count():
        line = ask(console)
        if line is None or line == "/exit":
            return
        if line == "/reset":
            messages = []
            console.print("a new chat", style="dim")
        elif line.startswith("/"):
            console.print(f"unknown command {line}: {HELP}", style="dim", markup=False)
        elif line:
            turns = [*messages, {"role": "user", "content": line}]
            answer = reply(engine, tokenizer, turns, config, number, console)
            if answer is not None:
                messages = [*turns, {"role": "assistant", "content": answer}]


def reply(
    engine: Engine,
    tokenizer: Any,
    turns: list[Message],
    config: InferConfig,
    number: int,
    console: Console,
) -> str | None:
    """Print the next turn; None when there is none, and why is printed."""
    try:
        ids = chat_ids(tokenizer, with_system(turns, config.system))
    except DataError as error:
        console.print(str(error), style="red", markup=False)
        return None
    return stream(engine, GenerationRequest(f"chat-{number}", ids, sampling(config, number)), console)


def ask(console: Console) -> str | None:
    """One line of the person, or None at the end of the input; Ctrl-C clears the line."""
    while True:
        try:
            return input("> ").strip()  # not rich's: readline must know the prompt to redraw a long line
        except EOFError:
            console.print()
            return None
        except KeyboardInterrupt:
            console.print()


def stream(engine: Engine, request: GenerationRequest, console: Console) -> str | None:
    """Print an answer while it comes; what there is of it after Ctrl-C, None when it failed."""
    text = ""
    deltas = engine.generate([request])
    try:
        for delta in deltas:
            if delta.error is not None:
                console.print(f"{delta.error} (/reset starts over)", style="red", markup=False)
                return None
            text += delta.text
            console.print(delta.text, end="", markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print(" (stopped)", style="dim", end="")
    finally:
        close = getattr(deltas, "close", None)
        if close is not None:
            close()
    console.print()
    return text
