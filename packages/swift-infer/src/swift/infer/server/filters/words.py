"""Listed words in folded text, found whole."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence

from ahocorasick_rs import AhoCorasick

from swift.core.errors import ConfigError
from swift.infer.server.filters.fold import fold, is_mark, joins


class Words:
    """A list of words for one pass over a text, however long the list.

    A word that begins or ends with a letter or digit of a script with spaces stands alone on that side; one
    that begins or ends in Chinese is found inside any text.

    Raises:
        ConfigError: no word, or one without a visible character.
    """

    def __init__(self, words: Iterable[str]) -> None:
        folded = {word: fold(word.strip())[0] for word in words}
        empty = [word for word, text in folded.items() if not text]
        if empty or not folded:
            raise ConfigError(
                f"sensitive_words: {empty[0]!r} has no visible character" if empty else "no sensitive word",
                "list words in words, or one a line in the file that path names",
            )
        self._sorted = sorted(set(folded.values()))
        self._longest = max(map(len, self._sorted))
        self._automaton = AhoCorasick(self._sorted)

    def found(
        self, text: str, sources: Sequence[int], before: str, *, whole: bool
    ) -> Iterator[tuple[int, int, bool]]:
        """(first, one past the last folded character, certain) of each occurrence, overlapping ones too.

        Args:
            text, sources: as fold() gives them.
            before: the folded character in front of the text, or "".
            whole: nothing follows; else what reaches the end is not certain yet.
        """
        for _, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            if not _begins(text, sources, before, start):
                continue
            if end == len(text):
                yield start, end, whole
            elif sources[end] != sources[end - 1] and not _goes_on(text[end - 1], text[end]):
                yield start, end, True

    def pending(self, text: str, sources: Sequence[int], before: str) -> int:
        """Where the longest ending of the text begins that may become a word; len(text): nowhere."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if self._starts(text[start:]) and _begins(text, sources, before, start):
                return start
        return len(text)

    def _starts(self, beginning: str) -> bool:
        """Whether a listed word is longer than this and begins with it."""
        place = bisect.bisect_right(self._sorted, beginning)
        return place < len(self._sorted) and self._sorted[place].startswith(beginning)


def _begins(text: str, sources: Sequence[int], before: str, start: int) -> bool:
    if start and sources[start - 1] == sources[start]:
        return False  # in the middle of a character that folds to several
    previous = text[start - 1] if start else before
    return not (previous and (joins(previous) or is_mark(previous)) and joins(text[start]))


def _goes_on(last: str, following: str) -> bool:
    return is_mark(following) or (joins(last) and joins(following))
