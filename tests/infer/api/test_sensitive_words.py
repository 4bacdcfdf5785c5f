"""Listed words in prompts and answers, however they are written and cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.core.errors import ConfigError, RefusedContent
from swift.core.registry import content_filters
from swift.infer.server.filters.fold import fold
from swift.infer.server.filters.sensitive_words import SensitiveWords
from swift.plugin.contract.check import check_component
from swift.plugin.parts import build_part

WORDS = ["damn", "bad word", "敏感词", "感词语", "c4", "café", "ass", "assassin"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Damn it", "**** it"),
        ("DAMN, damnation, goddamn", "****, damnation, goddamn"),
        ("ｄａｍｎ！", "****！"),  # noqa: RUF001 - full-width on purpose
        ("da\u200bmn", "*****"),
        ("he said 他说damn了", "he said 他说****了"),
        ("这是敏感词语。", "这是****。"),
        ("这是敏感的词", "这是敏感的词"),
        ("a bad word here", "a ******** here"),
        ("C4 and c40 and 𝐂𝟒", "** and c40 and **"),  # noqa: RUF001
        ("CAFÉ cafe\u0301 cafe", "**** ***** cafe"),
        ("an assassin's ass", "an ********'s ***"),
        ("glass", "glass"),
        ("ﬁdamn", "ﬁdamn"),
    ],
)
def test_masks(text: str, masked: str) -> None:
    assert SensitiveWords(WORDS).check(text) == masked


PIECES = st.sampled_from(
    [*"damn asc4 敏感词语，。\n", *WORDS, "ｄ", "Ａ", "\u200b", "\u0301", "é", "ﬁ", "ß", "한", "x", "**"]  # noqa: RUF001
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 40), max_size=12), action=st.sampled_from(["mask", "stop"]))
def test_any_cut_gives_the_same(text: str, cuts: list[int], action: str) -> None:
    part = SensitiveWords(WORDS, action=action)  # type: ignore[arg-type]
    whole = part.watch()
    shown = whole.push(text)
    shown += whole.finish()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    watch = part.watch()
    given_out = "".join(watch.push(text[start:end]) for start, end in pairwise(places)) + watch.finish()
    assert (given_out, watch.stopped) == (shown, whole.stopped)
    if action == "mask":
        assert len(shown) == len(text)
        assert all(new in (old, "*") for old, new in zip(text, shown, strict=True))
    else:
        assert text.startswith(shown)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_finds_what_a_search_without_automaton_finds(text: str) -> None:
    words = [fold(word)[0] for word in ("敏感词", "感词语")]  # found anywhere: no borders to look at
    folded, sources = fold(text)
    covered: set[int] = set()
    for word in words:
        for at in range(len(folded)):
            followed = folded[at + len(word) : at + len(word) + 1]
            if folded.startswith(word, at) and followed != "\u0301":
                covered.update(range(sources[at], sources[at + len(word) - 1] + 1))
    expected = "".join("*" if at in covered else letter for at, letter in enumerate(text))
    assert SensitiveWords(["敏感词", "感词语"]).check(text) == expected


def test_only_what_may_become_a_word_is_held_back() -> None:
    watch = SensitiveWords(WORDS).watch()
    shown = [watch.push(piece) for piece in ("I'll be da", "ngerous, da", "mn", "ed, 敏", "感", "词", "了")]
    assert shown == ["I'll be ", "dangerous, ", "", "damned, ", "", "", "***了"]
    assert watch.finish() == ""


def test_stop_ends_before_the_word() -> None:
    watch = SensitiveWords(WORDS, action="stop").watch()
    assert watch.push("well, da") + watch.push("mn it") == "well, "
    assert watch.stopped and watch.push("more") == "" and watch.finish() == ""


def test_refuse() -> None:
    part = SensitiveWords(["damn"], action="refuse")
    assert part.check("dame") == "dame"
    with pytest.raises(RefusedContent):
        part.check("damn")
    assert SensitiveWords(["damn"], action="stop").check("damn") == "damn"


def test_a_file_of_words(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("damn\n\n敏感词\n", encoding="utf-8")
    part = build_part(content_filters, "sensitive_words", {"path": str(tmp_path / "words")})
    assert part.check("damn 敏感词") == "**** ***"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "no sensitive word"),
        ({"words": ["\u200b"]}, "no visible character"),
        ({"words": ["a"], "action": "delete"}, "delete"),
        ({"words": ["a"], "mask": ""}, "one character"),
        ({"path": "/nowhere"}, "cannot be read"),
    ],
)
def test_arguments_are_refused(arguments: dict[str, str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        build_part(content_filters, "sensitive_words", arguments)


@pytest.mark.parametrize("action", ["mask", "stop", "refuse"])
def test_keeps_the_contract(action: str) -> None:
    config = {"words": ["day", "天气"], "action": action}
    results = check_component("content filter", content_filters.get("sensitive_words"), config)
    assert {result.status for result in results} == {"ok"}
