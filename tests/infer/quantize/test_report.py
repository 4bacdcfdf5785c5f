"""What an export says: sizes in words, and methods that there are not."""

from __future__ import annotations

import pytest

from swift.core.errors import RegistryError
from swift.infer.commands.export import method_key
from swift.infer.quantize.report import change


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (400, 100, "4.00 times smaller"),
        (1000, 980, "1.02 times smaller"),
        (400, 400, "the same size"),
        (1_000_000, 999_000, "the same size"),
        (1_000_000, 1_001_000, "the same size"),
        (100, 250, "2.50 times larger"),
    ],
)
def test_sizes_in_words(before: int, after: int, words: str) -> None:
    assert change(before, after) == words


def test_an_unknown_method_names_all_there_are_and_none() -> None:
    with pytest.raises(RegistryError, match=r"unknown method 'zip'(?s:.*)awq, bnb-int8.*gptq.*, none$"):
        method_key("zip")
    with pytest.raises(RegistryError, match="did you mean 'none'"):
        method_key("non")
    assert [method_key(method) for method in ("none", "gptq")] == ["export.method=null", "export.method=gptq"]
