"""Read a line, stream the answer."""

from __future__ import annotations

import contextlib
from typing import Any

from rich.console import Console

from swift.core.config.schema import InferConfig
from swift.core.errors import DataError
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest
from swift.infer.prompts import check_chats
from swift.infer.terminal.state import ChatState
from swift.infer.terminal.words import obey

with contextlib.suppress(ImportError):  # not on Windows
    import readline  # input() then edits, recalls lines, and takes more than a tty's 4,095 bytes

    readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines are one message

HINT = "/reset starts over, /exit or Ctrl-D leaves, Ctrl-C stops an answer, /help tells more"


def chat(engine: Engine, tokenizer: Any, config: InferConfig, console: Console | None = None) -> None:
    """Read a line, stream the answer, until the person leaves.

    Raises:
        ModelError: the tokenizer has no chat template.
    """
    if tokenizer is not None:
        check_chats(tokenizer)
    console = console or Console(highlight=False)
    console.print(HINT, style="dim")
    state = ChatState(engine, tokenizer, config)
    while (line := read_line(console)) is not None and line != "/exit":
        try:
            if line.startswith("/"):
                console.print(obey(line, state), style="dim", markup=False)
            elif line:
                answer = stream(engine, state.ask(line), console)
                if answer is not None:
                    state.keep(line, answer)
        except DataError as error:
            console.print(str(error), style="red", markup=False)


def read_line(console: Console) -> str | None:
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
