from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swift.core.data.formats import to_conversation
from swift.core.errors import DataError

USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
BAD = {"role": "assistant", "content": "B"}
SYSTEM = {"role": "system", "content": "S"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


CALLER = {"role": "assistant", "content": "", "tool_calls": [CALL]}
OTHER = {"role": "user", "content": "Q\nmore"}
THREE = [SYSTEM, USER, ANSWER, USER, ANSWER]
UNLEARNED = {"role": "assistant", "content": "A", "weight": 0}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"instruction": "Q", "input": "", "output": "A"}, [USER, ANSWER]),
        ({"instruction": "Q", "input": "more", "output": "A"}, [OTHER, ANSWER]),
        ({"instruction": "Q", "output": "A", "history": [["Q", "A"]], "system": "S"}, THREE),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, [USER, ANSWER]),
        ({"conversations": [{"from": "human", "value": "Q"}], "system": "S"}, [SYSTEM, USER]),
        ({"messages": [USER, UNLEARNED]}, [USER, {**ANSWER, "loss": False}]),
        ({"question": "Q", "answer": "A"}, [USER, ANSWER]),
        ({"prompt": [USER], "completion": [ANSWER]}, [USER, ANSWER]),
        ({"prompt": "Q"}, [USER]),
        (
            {"conversations": [
                {"from": "human", "value": "Q"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
                {"from": "observation", "value": "1"},
            ]},
            [USER, CALLER, {"role": "tool", "content": "1"}],
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]}]},
            [USER, CALLER],
        ),
    ],
)  # fmt: skip
def test_turns(row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert to_conversation(row, "x:1").messages == messages


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [BAD]},
        {"prompt": "Q", "chosen": [USER, ANSWER], "rejected": [USER, BAD]},
        {"chosen": [USER, ANSWER], "rejected": [USER, BAD]},
        {
            "conversations": [{"from": "human", "value": "Q"}],
            "chosen": {"from": "gpt", "value": "A"},
            "rejected": {"from": "gpt", "value": "B"},
        },
        {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"},
    ],
)
def test_pairs(row: dict[str, Any]) -> None:
    conversation = to_conversation(row, "x:1")
    assert (conversation.messages, conversation.rejected) == ([USER, ANSWER], [USER, BAD])


def test_columns_label_and_text() -> None:
    labelled = to_conversation({"messages": [USER, ANSWER], "label": False, "id": 7, "note": None}, "x:1")
    assert (labelled.label, labelled.columns) == (False, {"id": 7})
    assert to_conversation({"text": "T"}, "x:1").text == "T"
    assert to_conversation({"q": "Q", "a": "A"}, "x:1", {"q": "prompt", "a": "response"}).messages == [
        USER,
        ANSWER,
    ]


def test_an_unknown_layout_names_row_columns_and_remedy() -> None:
    with pytest.raises(DataError, match=r"f\.json:3: no known format has the columns foo, bar") as error:
        to_conversation({"foo": 1, "bar": 2}, "f.json:3")
    assert "ShareGPT" in str(error.value) and "data.columns" in error.value.remedy


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": [{"role": "narrator", "content": "x"}]},
        {"conversations": [{"from": "function_call", "value": "not json"}]},
        {"chosen": "A", "rejected": "B"},
        {"messages": [{"role": "user", "content": "<image><image>"}, ANSWER], "images": ["a.png"]},
    ],
)
def test_unusable_rows_name_their_origin(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^f:9: "):
        to_conversation(row, "f:9")


def test_placeholders_become_parts_and_paths_start_at_the_folder() -> None:
    row = {
        "messages": [{"role": "user", "content": "See <image>, <video> there"}, ANSWER],
        "images": ["a.png"],
    }
    conversation = to_conversation(row, "x:1", folder=Path("/data"))
    assert conversation.images == ["/data/a.png"]
    assert conversation.messages[0]["content"] == [
        {"type": "text", "text": "See "},
        {"type": "image"},
        {"type": "text", "text": ", <video> there"},
    ]
