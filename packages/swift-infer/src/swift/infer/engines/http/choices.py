"""One of several texts, as the grammars of other engines write it."""

from __future__ import annotations

import json
import re


def choice_regex(value: str) -> str:
    """A regular expression for a JSON list of texts; only what is special outside of classes is escaped."""
    texts: list[str] = json.loads(value)
    return "(" + "|".join(re.sub(r"([\\^$.|?*+()\[\]{}])", r"\\\1", text) for text in texts) + ")"
