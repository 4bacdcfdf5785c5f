"""Own questions: which rows are understood, and which are refused with their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from swift.core.errors import DataError
from swift.infer.evaluate.questions import read_questions, with_images


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "answer": "a"},
        {"query": "q", "response": "a"},
        {"prompt": "q", "target": "a"},
        {"instruction": "q", "input": "", "output": "a"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "q"}], "answer": "a"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_natural_columns(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read_questions(jsonl(tmp_path / "q.jsonl", row))
    assert found.rows == [{"messages": [{"role": "user", "content": "q"}], "answer": "a"}]
    assert not with_images(found)


def test_system_and_earlier_turns_stay(tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
    messages = [{"role": role, "content": text} for role, text in turns]
    (row,) = read_questions(jsonl(tmp_path / "q.jsonl", {"messages": messages})).rows
    assert row == {"messages": messages[:-1], "answer": "4"}


def test_cells_of_tables_stay_texts(tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text('\ufeffquestion,answer\n"0042, then",0021\nnan,"two\nlines"\n', encoding="utf-8")
    rows = read_questions(table).rows
    assert [(row["messages"][0]["content"], row["answer"]) for row in rows] == [
        ("0042, then", "0021"),
        ("nan", "two\nlines"),
    ]
    tabs = tmp_path / "q.tsv"
    tabs.write_text("question\tanswer\na,b\t007\n")
    assert read_questions(tabs).rows[0]["answer"] == "007"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("question,answer\na,b\nc,\n", 3, "no answer"),
        ("question,answer\na,b\n,c\n", 3, "q.csv:3"),
        ("question,answer\na,b,c\n", 2, "more cells"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    table = tmp_path / "q.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=rf"q\.csv:{line}: ") as raised:
        read_questions(table)
    assert words in str(raised.value)


def test_skipped_rows_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "a", "answer": "b"}\n{broken\n{"question": "c"}\n[1]\n')
    with pytest.raises(DataError, match=r"q\.jsonl:2"):
        read_questions(file)
    found = read_questions(file, skip=True)
    assert len(found.rows) == 1
    assert found.skipped == 3
    file.write_text('{"question": "c"}\n')
    with pytest.raises(DataError, match="holds no question"):
        read_questions(file, skip=True)
    with pytest.raises(DataError, match="no file"):
        read_questions(tmp_path / "none.jsonl")


def test_images_are_named_by_whole_paths(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    row = {"question": "<image>Which colour?", "images": ["red.png"], "answer": "red"}
    found = read_questions(jsonl(tmp_path / "q.jsonl", row))
    assert with_images(found)
    assert found.rows[0]["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": str(tmp_path / "red.png")}},
        {"type": "text", "text": "Which colour?"},
    ]
    with pytest.raises(DataError, match=r"q\.jsonl:1: no image .*blue"):
        read_questions(jsonl(tmp_path / "q.jsonl", {**row, "images": ["blue.png"]}))
