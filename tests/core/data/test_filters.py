"""Filters keep, drop and replace rows before their format is recognised."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from swift.core import registry
from swift.core.config.schema import DataConfig
from swift.core.data import filter_components
from swift.core.data.pipeline import build_datasets
from swift.core.errors import ConfigError, DataError, PluginError, RegistryError, SandboxError
from swift.core.template.chat import ChatTemplate
from swift.core.types import Conversation, Message
from swift.plugin import register_dataset, register_filter


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before = registry.filters.registered(), registry.datasets.registered()
    for component in (filter_components.LENGTH, filter_components.REGEX, filter_components.DEDUPLICATE):
        if component.name not in registry.filters:
            registry.filters.register(component)
    yield
    registry.filters.restore(before[0])
    registry.datasets.restore(before[1])


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": f"word {i}", "r": "x" * (i + 1)}) + "\n" for i in range(10)))
    return str(path)


def build(tokenizer: PreTrainedTokenizerFast, **settings: Any) -> Any:
    columns = {"q": "prompt", "r": "response"}
    data = DataConfig.model_validate({"shuffle": False, "columns": columns, **settings})
    return build_datasets(data, ChatTemplate(tokenizer, max_length=4096), "causal_lm", seed=0)


def lines(datasets: Any) -> list[int]:
    return [int(sample.origin.rpartition(":")[2]) for sample in datasets.train]


def test_filters_run_in_order_on_rows_as_they_are(rows: str, tokenizer: PreTrainedTokenizerFast) -> None:
    @register_filter("even")
    def even(row: dict[str, Any]) -> bool | None:
        return None if int(row["q"].split()[1]) % 2 else True

    @register_filter("longer")
    class Longer:
        def __init__(self, than: int) -> None:
            self.than = than

        def __call__(self, row: dict[str, Any]) -> Any:
            return np.bool_(len(row["r"]) > self.than)

    @register_filter("shout")
    def shout(row: dict[str, Any], mark: str = "!") -> dict[str, Any]:
        return {**row, "r": row["r"].upper() + mark}

    chosen = ["even", {"name": "longer", "config": {"than": 4}}, {"name": "shout", "config": {"mark": "?"}}]
    datasets = build(tokenizer, dataset_name=rows, filters=chosen)
    assert lines(datasets) == [5, 7, 9]
    assert "XXXXX?" in tokenizer.decode(datasets.train[0].input_ids).replace(" ", "")
    report = datasets.summary["sources"][0]
    assert report["rows_filtered"] == {"even": 5, "longer": 2, "shout": 0}
    assert (report["rows_read"], report["rows_used"]) == (10, 3)


def test_a_batch_sees_many_rows_at_once(rows: str, tokenizer: PreTrainedTokenizerFast) -> None:
    sizes = []

    @register_filter("batched")
    class Batched:
        def __call__(self, row: dict[str, Any]) -> bool:
            raise AssertionError("batch() is there")

        def batch(self, rows: list[dict[str, Any]]) -> list[bool]:
            sizes.append(len(rows))
            return [len(row["r"]) > 3 for row in rows]

    assert lines(build(tokenizer, dataset_name=rows, filters="batched")) == [4, 5, 6, 7, 8, 9, 10]
    assert sizes == [10]


def raising(row: dict[str, Any]) -> bool:
    return bool(row["missing"])


class Short:
    def __call__(self, row: dict[str, Any]) -> bool:
        return True

    def batch(self, rows: list[dict[str, Any]]) -> list[bool]:
        return [True]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (raising, r"failed at .*rows.jsonl:1: KeyError"),
        (lambda row: 1, r"returned int for .*rows.jsonl:1: 1"),
        (lambda row: "keep", r"returned str for .*rows.jsonl:1"),
        (Short, r"returned 1 answers for 10 rows, .*rows.jsonl:1 to .*rows.jsonl:10"),
    ],
)
def test_a_broken_filter_names_itself_the_row_and_the_contract(
    part: Any, message: str, rows: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    register_filter("broken")(part)
    with pytest.raises(PluginError, match=message) as error:
        build(tokenizer, dataset_name=rows, filters="broken", on_error="skip")
    assert "filter 'broken' (" in error.value.problem and "test_filters.py:" in error.value.problem
    assert "True (keep the row)" in error.value.remedy


def test_a_stopped_sandbox_is_told_as_it_is(rows: str, tokenizer: PreTrainedTokenizerFast) -> None:
    @register_filter("stopped")
    def stopped(row: dict[str, Any]) -> bool:
        raise SandboxError("out of memory")

    with pytest.raises(SandboxError, match="out of memory"):
        build(tokenizer, dataset_name=rows, filters="stopped")


def test_unknown_filters_and_arguments(rows: str, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(RegistryError, match=r"data\.filters: unknown filter 'lenght'"):
        build(tokenizer, dataset_name=rows, filters="lenght")
    with pytest.raises(PluginError, match="minimum"):
        build(tokenizer, dataset_name=rows, filters={"name": "length", "config": {"minimum": 3}})


def test_when_nothing_passes_it_is_said_which_filter_dropped_it(
    rows: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    strict = {"name": "length", "config": {"min": 1000}}
    with pytest.raises(DataError, match=r"read 10, skipped 0, 10 dropped by filter 'length'"):
        build(tokenizer, dataset_name=rows, filters=strict)


def test_conversations_pass_untouched_or_are_replaced(tokenizer: PreTrainedTokenizerFast) -> None:
    turns: list[Message] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho", "loss": True},
    ]
    made = [Conversation(messages=turns, columns={"n": number}) for number in range(3)]
    register_dataset("chats")(lambda: made)

    @register_filter("pick")
    def pick(row: dict[str, Any]) -> Any:
        assert row["messages"] == turns
        return [True, False, {"prompt": "a", "response": "b", "n": "new"}][row["n"]]

    datasets = build(tokenizer, dataset_name="chats", filters="pick")
    assert [sample.columns["n"] for sample in datasets.train] == [0, "new"]


def test_built_in_filters(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["Some  TEXT", "some text", "short", "http://x some other text", "more text here"]
    path.write_text(
        "".join(
            json.dumps(
                {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]}
            )
            + "\n"
            for text in texts
        )
    )
    chosen = [
        {"name": "length", "config": {"min": 10, "max": 50, "column": "messages"}},
        {"name": "regex", "config": {"pattern": "https?://"}},
        "deduplicate",
    ]
    assert lines(build(tokenizer, dataset_name=str(path), filters=chosen)) == [1, 5]
    keep = {"name": "regex", "config": {"pattern": "text$", "action": "keep", "column": "messages"}}
    with pytest.raises(DataError, match="5 dropped"):  # "ok" is the last word of each
        build(tokenizer, dataset_name=str(path), filters=keep)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("regex", {"pattern": "("}, "has the pattern"),
        ("regex", {"pattern": "x", "action": "remove"}, "action='remove'"),
        ("length", {}, "min=None and max=None"),
        ("length", {"min": 3, "max": 2}, "min=3 and max=2"),
    ],
)
def test_arguments_of_built_in_filters(
    name: str, config: dict[str, Any], message: str, rows: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tokenizer, dataset_name=rows, filters={"name": name, "config": config})


def test_a_stream_begins_each_pass_with_fresh_filters(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": f"word {i % 3}", "r": "x"}) + "\n" for i in range(6)))
    stream = build(tokenizer, dataset_name=str(path), filters="deduplicate", streaming=True).train
    samples = itertools.islice(iter(stream), 6)
    assert [int(sample.origin.rpartition(":")[2]) for sample in samples] == [1, 2, 3, 1, 2, 3]


def test_max_samples_counts_rows_that_passed_and_reads_no_further(
    rows: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = Path(rows)
    path.write_text(path.read_text() + "not json\n")
    odd = {"name": "regex", "config": {"pattern": "[02468]$", "column": "q"}}
    assert lines(build(tokenizer, dataset_name=rows, filters=odd, max_samples=3)) == [2, 4, 6]
