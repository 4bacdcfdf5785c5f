"""Scripts that put no spaces between words: a metric of words sees a whole sentence as one word in them."""

from __future__ import annotations

import re
from collections.abc import Iterable

HAN = r"\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
OTHERS = (
    r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
)
_HAN = re.compile(f"[{HAN}]")
_OTHERS = re.compile(f"[{OTHERS}]")
_TOKEN = re.compile(rf"[{HAN}{OTHERS}]|[^\W_{HAN}{OTHERS}]+")


def has_han(texts: Iterable[str]) -> bool:
    """Whether a text holds Chinese characters."""
    return any(_HAN.search(text) for text in texts)


def has_other_unspaced(texts: Iterable[str]) -> bool:
    """Whether a text holds kana, Thai, Lao, Burmese or Khmer."""
    return any(_OTHERS.search(text) for text in texts)


def words(text: str) -> list[str]:
    """Lower-case words of letters and digits, each character of an unspaced script by itself."""
    return _TOKEN.findall(text.lower())
