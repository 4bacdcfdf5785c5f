"""Own multiple-choice questions: choices and answers as people write them, and what has no one meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import DataError
from swift.infer.evaluate.choices import read_choices, several_right
from swift.infer.evaluate.rows import Questions

WANTED = {"question": "q", "A": "x", "B": "y", "C": "z", "answer": "B"}


def read(folder: Path, *rows: dict[str, Any]) -> Questions:
    file = folder / "c.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_choices(file)


@pytest.mark.parametrize(
    "choices",
    [
        {"A": "x", "B": "y", "C": "z"},
        {"choice_a": "x", "choice_b": "y", "choice_c": "z"},
        {"Option 1": "x", "Option 2": "y", "Option 3": "z"},
        {"choices": ["x", "y", "z"]},
        {"options": '["x", "y", "z"]'},
        {"choices": "x | y | z"},
        {"options": {"A": "x", "B": "y", "C": "z"}},
        {"choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}},
    ],
)
def test_choices(tmp_path: Path, choices: dict[str, Any]) -> None:
    assert read(tmp_path, {"question": "q", **choices, "answer": "B"}).rows == [WANTED]


@pytest.mark.parametrize(
    "answer",
    [
        {"answer": "b"},
        {"answer": "(B)"},
        {"answer": "B."},
        {"target": "y"},
        {"answer_index": 1},
        {"label": 1},
        {"Answer": ["B"]},
        {"answerKey": "B"},
        {"label": "B"},
    ],
)
def test_answers(tmp_path: Path, answer: dict[str, Any]) -> None:
    found = read(tmp_path, {"query": "q", "choices": ["x", "y", "z"], **answer})
    assert found.rows == [WANTED]
    assert not several_right(found)


def test_several_right_choices_make_all_answers_lists(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["x", "y", "z"]}
    found = read(tmp_path, {**row, "answer": "C, a"}, {**row, "answer": ["y"]})
    assert [one["answer"] for one in found.rows] == [["A", "C"], ["B"]]
    assert several_right(found)


def test_a_text_with_a_comma_is_one_answer(tmp_path: Path) -> None:
    assert (
        read(tmp_path, {"question": "q", "choices": ["A, B", "C"], "answer": "A, B"}).rows[0]["answer"] == "A"
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"choices": ["x", "y"], "answer": "C"}, "names none of the 2 choices"),
        ({"choices": ["x", "y"], "answer": 1}, "answer_index"),
        ({"choices": ["B", "A"], "answer": "A"}, "names more than one"),
        ({"choices": ["x", "x"], "answer": "x"}, "names more than one"),
        ({"choices": ["x"], "answer": "A"}, "has 1 choices"),
        ({"choices": [str(n) for n in range(11)], "answer": "A"}, "2 to 10"),
        ({"A": "x", "C": "y", "answer": "A"}, "has 1 choices"),
        ({"choices": ["x", "y"], "answer_index": 2}, "the first is 0"),
        ({"choices": ["x", "y"]}, "no answer"),
    ],
)
def test_what_has_no_one_meaning_is_refused(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    good = {"question": "q", "choices": ["x", "y"], "answer": "A"}
    with pytest.raises(DataError, match=r"c\.jsonl:2: ") as raised:
        read(tmp_path, good, {"question": "q", **row})
    assert words in str(raised.value)


def test_a_row_without_question(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.jsonl:1: the row has no question"):
        read(tmp_path, {"choices": ["x", "y"], "answer": "A"})
