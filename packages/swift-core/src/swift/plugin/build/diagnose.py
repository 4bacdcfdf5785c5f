"""The part of a compiler's output that says what is wrong."""

from __future__ import annotations

import re

MOST_ERRORS = 3
_ERROR = re.compile(r"^.+?[:(]\d+[:)].*\berror\b|^\S*(?:ld|collect2)\S*: |undefined reference", re.MULTILINE)
_CODE = re.compile(r"^\s+\d*\s*\|")


def first_errors(output: str) -> str:
    """The first errors, each with file:line and the code that gcc and clang show below it.

    Output without a recognised error comes back as its last lines.
    """
    lines = output.splitlines()
    places = [index for index, line in enumerate(lines) if _ERROR.search(line)]
    if not places:
        return "\n".join(lines[-20:])
    chosen: list[str] = []
    for index in places[:MOST_ERRORS]:
        chosen.append(lines[index])
        chosen += [line for line in lines[index + 1 : index + 3] if _CODE.match(line)]
    more = len(places) - MOST_ERRORS
    return "\n".join([*chosen, f"... and {more} more errors"] if more > 0 else chosen)
