"""The content filter of listed words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from swift.core.errors import ConfigError, RefusedContent
from swift.core.protocols import AnswerWatch, ContentFilter
from swift.infer.server.filters.fold import fold
from swift.infer.server.filters.words import Words

Action = Literal["mask", "stop", "refuse"]
ACTIONS = ("mask", "stop", "refuse")


class SensitiveWords(ContentFilter):
    """Listed words in prompts and answers, in English and Chinese.

    Args:
        words: the list. Case, full-width letters, compatibility forms and zero-width characters make no
            difference; see words.Words for where a word counts.
        path: UTF-8 file of more words, one a line.
        action: mask: each character of a word becomes one of `mask`, in prompts and answers. stop: prompts
            pass; an answer ends before the first word. refuse: prompts with a word are refused, and an answer
            with one ends before it.
        mask: one character.

    Raises:
        ConfigError: no words, an unreadable file, or another action or mask.
    """

    def __init__(
        self,
        words: Sequence[str] = (),
        path: str | None = None,
        action: Action = "mask",
        mask: str = "*",
    ) -> None:
        if action not in ACTIONS or len(mask) != 1:
            raise ConfigError(
                f"sensitive_words: action {action!r}, mask {mask!r}",
                f"action is one of {', '.join(ACTIONS)}; mask is one character",
            )
        self.action, self.mask = action, mask
        self.words = Words([*words, *(_lines(path) if path is not None else ())])

    def check(self, text: str) -> str:
        """A prompt with its words masked.

        Raises:
            RefusedContent: it holds one and the action is refuse.
        """
        if self.action == "stop":
            return text
        watch = WordWatch(self.words, self.action, self.mask)
        shown = watch.push(text) + watch.finish()
        if watch.stopped:
            raise RefusedContent("the prompt holds a word that this server does not take")
        return shown

    def watch(self) -> WordWatch:
        """A fresh look at one answer."""
        return WordWatch(self.words, self.action, self.mask)


def _lines(path: str) -> list[str]:
    try:
        return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"sensitive_words: {path!r} cannot be read: {error}", "name a UTF-8 file, one word a line"
        ) from error


class WordWatch(AnswerWatch):
    """One answer as it comes. Only what may still become a word, or is one, is held back.

    Whatever way a text is cut into pieces, the same is given out.
    """

    def __init__(self, words: Words, action: Action, mask: str) -> None:
        self.stopped = False
        self._words, self._masks, self._mask = words, action == "mask", mask
        self._raw = ""  # from the first character on that is needed for words to come
        self._folded = ""
        self._sources: list[int] = []
        self._before = ""  # the folded character in front of them
        self._covered: set[int] = set()  # characters of _raw that are part of a word
        self._given = 0  # characters of _raw that were given out

    def push(self, text: str) -> str:
        """Add text; what may be shown by now."""
        if self.stopped:
            return ""
        folded, sources = fold(text)
        self._sources += [place + len(self._raw) for place in sources]
        self._raw += text
        self._folded += folded
        return self._released(whole=False)

    def finish(self) -> str:
        """What was held back to the end."""
        return "" if self.stopped else self._released(whole=True)

    def _released(self, *, whole: bool) -> str:
        hold = len(self._raw)  # from here on nothing is certain
        if not whole:
            hold = self._place(self._words.pending(self._folded, self._sources, self._before))
        for start, end, certain in self._words.found(self._folded, self._sources, self._before, whole=whole):
            if certain:
                self._covered.update(range(self._sources[start], self._sources[end - 1] + 1))
            else:
                hold = min(hold, self._place(start))
        shown = self._masked(hold) if self._masks else self._cut(hold)
        self._forget(min(hold, self._given))
        return shown

    def _place(self, folded: int) -> int:
        return self._sources[folded] if folded < len(self._sources) else len(self._raw)

    def _masked(self, hold: int) -> str:
        """Words as masks; a character inside a word is certain, whatever comes."""
        start = end = self._given
        while end < len(self._raw) and (end < hold or end in self._covered):
            end += 1
        self._given = end
        return "".join(
            self._mask if place in self._covered else self._raw[place] for place in range(start, end)
        )

    def _cut(self, hold: int) -> str:
        """Up to the first word, once none can begin before it any more."""
        first = min(self._covered, default=len(self._raw))
        start, self._given = self._given, min(hold, first)
        self.stopped = bool(self._covered) and first <= hold
        return self._raw[start : self._given]

    def _forget(self, base: int) -> None:
        """Drop the characters in front of base."""
        kept = next((at for at, source in enumerate(self._sources) if source >= base), len(self._sources))
        if kept:
            self._before = self._folded[kept - 1]
        self._folded = self._folded[kept:]
        self._sources = [source - base for source in self._sources[kept:]]
        self._covered = {place - base for place in self._covered if place >= base}
        self._raw = self._raw[base:]
        self._given -= base
