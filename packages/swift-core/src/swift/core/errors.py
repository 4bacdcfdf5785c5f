"""Errors a user can act on: each message names the value, the rule it broke and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what a shell expects after Ctrl-C


LONGEST_MESSAGE = 600  # characters of an exception that is not ours

RAISED_BY_PLUGINS = (Exception, SystemExit)
"""What a user's own code may raise. SystemExit too: let through, it would end the run without a word."""


class SwiftError(Exception):
    """Base of every error that is the user's to solve; the command line prints it without a traceback.

    Attributes:
        exit_code: status with which the command ends.
        everywhere: raised on all ranks at the same place, so that they can still save together.
    """

    exit_code = EXIT_FAILURE
    everywhere = False

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}\n  -> {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[SwiftError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)  # survives the trip between processes


class ConfigError(SwiftError):
    """A configuration that cannot be run."""

    exit_code = EXIT_USAGE


class RegistryError(SwiftError):
    """A name that is unknown or registered twice."""

    exit_code = EXIT_USAGE


class DataError(SwiftError):
    """Rows that cannot be read, recognised or encoded."""


class ModelError(SwiftError):
    """A model, tokenizer or adapter that cannot be found, loaded or used."""


class CheckpointError(SwiftError):
    """A checkpoint or output folder that cannot be written, read or continued."""


class EngineError(SwiftError):
    """An inference engine that cannot start or has died."""


class RefusedContent(SwiftError):
    """A prompt that a content filter does not let through; the problem says why."""


class PluginError(SwiftError):
    """A user's own part that cannot be loaded, breaks its contract, or fails while it is called."""

    def with_cause(self, error: BaseException) -> PluginError:
        """This error, with the plugin's own exception and its traceback behind it."""
        self.__cause__ = error
        return self


class SandboxError(PluginError):
    """A sandboxed plugin that was stopped (crash, time-out, limit), or a kernel without sandbox."""


def in_one_line(error: BaseException) -> str:
    """The type of an exception that is not ours and what it says, in one line of bounded length."""
    text = str(error).partition("Invoked with:")[0]  # pybind11 lists all arguments there, tensors in full
    text = " ".join(text.split())
    short = text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE].rstrip() + "..."
    return f"{type(error).__name__}: {short}"


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> list[str]:
    """The names closest to a misspelt one, best first (Ratcliff-Obershelp similarity of at least 0.5)."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [
        by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.5)
    ]


def did_you_mean(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """A remedy sentence: the nearest names, or all of them when none is near."""
    names = sorted(choices)
    near = nearest(word, names, limit)
    if near:
        return "did you mean " + " or ".join(repr(name) for name in near) + "?"
    return "known names: " + (", ".join(names) if names else "none")
