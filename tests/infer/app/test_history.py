"""Turns of the page as messages."""

import base64
from typing import Any

import pytest

from swift.core.errors import DataError
from swift.infer.app.history import to_messages


def test_texts_of_a_role_become_one_message():
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    ]
    assert to_messages(history, "d", [], "be brief") == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


def test_images_stand_before_their_text_as_data_urls(tmp_path):
    file = tmp_path / "dot.png"
    file.write_bytes(b"bytes")
    old = [{"role": "user", "content": [{"type": "file", "file": {"path": str(file)}}, "what is it?"]}]
    first, second = to_messages(
        [*old, {"role": "assistant", "content": "a dot"}], "and now?", [str(file)], ""
    )[::2]
    url = "data:image/png;base64," + base64.b64encode(b"bytes").decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    assert first["content"] == [image, {"type": "text", "text": "what is it?"}]
    assert second["content"] == [image, {"type": "text", "text": "and now?"}]


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"'notes.txt' is no image"):
        to_messages([], "read it", [str(tmp_path / "notes.txt")], "")
