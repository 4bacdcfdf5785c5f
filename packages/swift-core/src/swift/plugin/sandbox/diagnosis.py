"""What befell a sandboxed plugin, and what can be done about it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, NamedTuple

from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.offers import plain

_TRUST = "or set trust: trusted if you trust it"
_OUT_OF_MEMORY = ("MemoryError", "std::bad_alloc", "OutOfMemoryError")
_REFUSED = ("Operation not permitted", "Permission denied", "can't start new thread")


class Ending(NamedTuple):
    """The two parts of a SandboxError."""

    what: str
    remedy: str


def timed_out(name: str, seconds: float) -> Ending:
    """It hangs, or needs longer than it may."""
    return Ending(
        f"{name} did not answer within {seconds:g} s and was stopped",
        f"raise plugins.timeout if it needs longer, {_TRUST}",
    )


def scratch_full(name: str, full: Exception) -> Ending:
    """It fills the disk."""
    return Ending(f"{name} {full}, and was stopped", f"let it write less, {_TRUST}")


def malformed(name: str, what: str) -> Ending:
    """It does not keep to the protocol."""
    return Ending(
        f"{name} answered with {plain(what, 300)}, which breaks the protocol, and was stopped",
        f"remove code that writes to descriptors that it did not open, {_TRUST}",
    )


def refused(why: Any) -> Ending:
    """The process could not lock itself down, so the plugin was never loaded."""
    problem, _, remedy = str(why).partition("\n  -> ")
    return Ending(f"it cannot be confined here: {plain(problem)}", plain(remedy) or _TRUST)


def unsendable(name: str, error: Exception) -> Ending:
    """The run's own arguments are not JSON."""
    return Ending(
        f"the arguments of {name} cannot be given to it: {error}",
        f"text, numbers, lists, mappings and tensors can, {_TRUST}",
    )


def post_mortem(name: str, status: int | None, limits: SandboxLimits) -> Ending:
    """The channel closed in the middle of a call.

    Args:
        status: of the process as subprocess gives it; None: it lives on.
    """
    if status is None:
        return Ending(f"{name} closed the channel to the run and was stopped", f"do not close it, {_TRUST}")
    if status >= 0:
        return Ending(f"{name} ended the process with status {status}", f"do not exit, {_TRUST}")
    cause = signal.Signals(-status).name
    if -status == signal.SIGXCPU:
        return Ending(
            f"{name} used the {limits.cpu_seconds} s of processor time that it may ({cause})",
            f"raise its limit of processor time, {_TRUST}",
        )
    if -status == signal.SIGKILL:
        return Ending(
            f"{name} was killed from outside ({cause})",
            "look whether the machine or container ran out of memory",
        )
    return Ending(
        f"{name} crashed with {cause}",
        "look in its native code for an access to memory that is not its own, or a failed assertion",
    )


def raised(path: Path, name: str, error: Any, limits: SandboxLimits) -> Ending:
    """An exception of the plugin's own code; its process lives on."""
    told = error if isinstance(error, dict) else {}
    kind, text, line = (told.get(key) for key in ("type", "text", "line"))
    problem, _, remedy = str(text).partition("\n  -> ")
    place = f"{path}:{line}" if isinstance(line, int) else str(path)
    what = f"sandboxed plugin {place!r}: {name} failed: {plain(str(kind), 100)}: {plain(problem)}"
    return Ending(what, plain(remedy) or _remedy(str(kind), problem, limits))


def _remedy(kind: str, text: str, limits: SandboxLimits) -> str:
    if kind in _OUT_OF_MEMORY or "allocate memory" in text:
        return f"raise plugins.memory_gb ({limits.memory / 2**30:g} now), or let it use less"
    if "File too large" in text:
        return f"a file may have {limits.file_bytes:,} bytes; write less, {_TRUST}"
    if any(each in text for each in _REFUSED):
        return (
            "a sandboxed plugin may read installed packages and its own file, write to its scratch folder, "
            f"and has neither network nor processes nor new threads; do without, {_TRUST}"
        )
    return "correct the plugin; `swift plugin check FILE` tries it without a run"


def last_lines(printed: str) -> str:
    """The end of what it printed, for an error message."""
    lines = plain(printed.strip()).splitlines()[-12:]
    return "; it printed last:" + "".join(f"\n    {line}" for line in lines) if lines else ""
