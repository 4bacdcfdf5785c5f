from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from swift.core import registry
from swift.core.data.read import ReadCounts, find_source, read_rows
from swift.core.errors import DataError
from swift.core.registry import Component


def test_rows_of_an_array_keep_their_lines_and_their_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n  {"a": 1},\n  {"b": {"c": [1,\n 2]}},\n\n  {"a": "x"}\n]\n')
    rows = list(read_rows(find_source(str(path))))
    assert rows == [({"a": 1}, f"{path}:2"), ({"b": {"c": [1, 2]}}, f"{path}:3"), ({"a": "x"}, f"{path}:6")]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_malformed_line_names_itself_or_is_counted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"a": 1}\n{"a": oops}\n\n[3]\n{"a": 2}\n')
    with pytest.raises(DataError, match=rf"{name}:2: not valid JSON") as error:
        list(read_rows(find_source(str(path))))
    assert "data.on_error=skip" in str(error.value)
    counts = ReadCounts()
    rows = list(read_rows(find_source(str(path)), on_error="skip", counts=counts))
    assert [row["a"] for row, _ in rows] == [1, 2]
    assert (counts.read, counts.skipped) == (2, 2)


def test_a_malformed_element_of_an_array_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n  {"a": 1},\n  {"a": ,},\n  {"a": 3}\n]')
    with pytest.raises(DataError, match=r"rows.json:3: not valid JSON"):
        list(read_rows(find_source(str(path))))
    counts = ReadCounts()
    rows = list(read_rows(find_source(str(path)), on_error="skip", counts=counts))
    assert [row["a"] for row, _ in rows] == [1, 3]
    assert counts.skipped == 1


def test_other_files_come_through_the_datasets_library(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "response"], ["hi", "ho"], ["two\nlines", "yes"]])
    pyarrow.parquet.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("First\nparagraph.\n\nSecond.\n")
    rows = [row for row, _ in read_rows(find_source(str(tmp_path)))]
    assert rows[0] == {"prompt": "hi", "response": "ho"}
    assert rows[1]["prompt"] == "two\nlines"
    assert rows[2:4] == [{"text": "one"}, {"text": "two"}]
    assert [row["text"].strip() for row in rows[4:]] == ["First\nparagraph.", "Second."]


def test_a_path_is_looked_up_beside_the_yaml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "rows.jsonl").write_text('{"text": "x"}\n')
    monkeypatch.chdir(tmp_path)
    assert next(read_rows(find_source("rows.jsonl", tmp_path / "yaml")))[0] == {"text": "x"}


def test_an_unknown_name_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        find_source("hh-rlfh", tmp_path / "yaml")
    message = str(error.value)
    assert str(tmp_path / "hh-rlfh") in message and str(tmp_path / "yaml" / "hh-rlfh") in message
    assert "hh-rlhf" in message


def test_without_network_the_error_names_the_hub_id_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="Anthropic/hh-rlhf") as error:
        list(read_rows(find_source("hh-rlhf")))
    assert "data.dataset_name" in error.value.remedy


def test_a_registered_data_set_has_stable_fingerprints() -> None:
    registry.datasets.register(Component("three-rows", lambda: [{"text": str(i)} for i in range(3)]))
    try:
        counts = [ReadCounts(), ReadCounts()]
        rows = [list(read_rows(find_source("three-rows"), counts=count)) for count in counts]
    finally:
        registry.datasets.unregister("three-rows")
    assert rows[0][2] == ({"text": "2"}, "three-rows[2]")
    assert counts[0].digest.hexdigest() == counts[1].digest.hexdigest()


def test_the_fingerprint_changes_with_the_bytes(tmp_path: Path) -> None:
    digests = []
    for text in ("a", "b", "a"):
        (tmp_path / "x.jsonl").write_text(json.dumps({"text": text}))
        counts = ReadCounts()
        list(read_rows(find_source(str(tmp_path / "x.jsonl")), counts=counts))
        digests.append(counts.digest.hexdigest())
    assert digests[0] == digests[2] != digests[1]
