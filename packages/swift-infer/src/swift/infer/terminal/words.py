"""Lines that begin with a slash: what changes a chat instead of being asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from PIL import Image
from pydantic import ValidationError

from swift.core.engines import facts_of
from swift.core.errors import DataError, did_you_mean
from swift.infer.terminal.state import ChatState

PARAMETERS = ("max_new_tokens", "temperature", "top_p", "top_k", "seed")


def obey(line: str, state: ChatState) -> str:
    """Do what a line says; what to tell the person.

    Raises:
        DataError: it cannot be done; nothing has changed.
    """
    word, _, argument = line[1:].partition(" ")
    if word not in WORDS:
        raise DataError(f"unknown command /{word}", did_you_mean(word, [*WORDS, "exit"]))
    return WORDS[word][0](state, argument.strip())


def _reset(state: ChatState, argument: str) -> str:
    state.reset()
    return "a new chat"


def _undo(state: ChatState, argument: str) -> str:
    return "the last question is forgotten" if state.undo() else "there is nothing to forget"


def _system(state: ChatState, argument: str) -> str:
    state.config = state.config.model_copy(update={"system": argument or None})
    return "system message set" if argument else "no system message"


def _image(state: ChatState, argument: str) -> str:
    if not facts_of(state.engine).images:
        raise DataError("this model takes no images", "chat with one that does, such as Qwen2.5-VL")
    file = Path(argument).expanduser()
    try:
        with Image.open(file) as picture:
            picture.load()
        state.images.append(file.read_bytes())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "it is not an image that pillow can read"
        raise DataError(f"image {argument!r} cannot be read: {reason}", "/image PATH") from error
    return f"{file.name} goes with the next question"


def _adapter(state: ChatState, argument: str) -> str:
    known = facts_of(state.engine).adapters
    if not argument:
        return f"{state.adapter or 'the model itself'} answers; adapters: {', '.join(known) or 'none'}"
    if argument != "none" and argument not in known:
        raise DataError(f"no adapter {argument!r} is loaded", did_you_mean(argument, [*known, "none"]))
    state.adapter = None if argument == "none" else argument
    return f"{state.adapter or 'the model itself'} answers from now on"


def _set(state: ChatState, argument: str) -> str:
    if not argument:
        return ", ".join(f"{name}={getattr(state.config, name)}" for name in PARAMETERS)
    name, _, value = argument.replace("=", " ", 1).partition(" ")
    if name not in PARAMETERS:
        raise DataError(f"unknown parameter {name!r}", did_you_mean(name, PARAMETERS))
    try:
        changed = {**state.config.model_dump(), name: yaml.safe_load(value)}
        state.config = type(state.config).model_validate(changed)
    except ValidationError as error:
        raise DataError(f"{name} is {value.strip()!r}: {error.errors()[0]['msg']}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{name} is {value.strip()!r}, which is no value") from error
    return f"{name}={getattr(state.config, name)}"


def _help(state: ChatState, argument: str) -> str:
    lines = [f"/{word} {told}" for word, (_, told) in WORDS.items()]
    return "\n".join([*lines, "/exit or Ctrl-D leaves, Ctrl-C stops an answer"])


WORDS: dict[str, tuple[Callable[[ChatState, str], str], str]] = {
    "reset": (_reset, "starts over"),
    "undo": (_undo, "forgets the last question and its answer"),
    "system": (_system, "TEXT sets the system message; without a text there is none"),
    "adapter": (
        _adapter,
        "NAME lets an adapter answer, none the model itself; without a name: which there are",
    ),
    "image": (_image, "PATH shows an image with the next question"),
    "set": (_set, f"KEY VALUE changes a parameter ({', '.join(PARAMETERS)}); without a key: what they are"),
    "help": (_help, "shows these"),
}
