"""Which rows of which data set, how often, and in which order."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from swift.core.config.schema import DataConfig
from swift.core.data.mix import StoppingStrategy, counted, drawn, from_lists, mixed
from swift.core.data.pipeline import build_datasets
from swift.core.data.source import find_source
from swift.core.errors import ConfigError, DataError
from swift.core.template.chat import ChatTemplate


def write(path: Path, count: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": f"{path.stem} {i}", "response": f"yes {i}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def build(tokenizer: PreTrainedTokenizerFast, *, seed: int = 0, **settings: Any) -> Any:
    data = DataConfig.model_validate({"shuffle": False, **settings})
    template = ChatTemplate(tokenizer, max_length=data.max_length)
    return build_datasets(data, template, "causal_lm", seed=seed)


def origins(samples: Any) -> list[str]:
    return [sample.origin.rpartition("/")[2] for sample in samples]


def trained(datasets: Any) -> list[str]:
    return origins(datasets.train[index] for index in range(len(datasets.train)))


# Names, subsets and counts.


@given(st.integers(1, 30), st.integers(1, 100), st.integers(0, 5))
def test_a_count_takes_whole_passes_and_a_random_rest(rows: int, count: int, seed: int) -> None:
    taken = drawn(range(rows), count, [seed])
    times = Counter(taken)
    assert len(taken) == count and taken == drawn(range(rows), count, [seed])
    assert set(times.values()) <= {count // rows, count // rows + 1}
    assert taken[-(count % rows) :] == sorted(taken[-(count % rows) :]) or count % rows == 0


def test_counts_depend_on_the_seed_and_are_recorded(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    name = write(tmp_path / "a.jsonl", 40)
    first, again, other = (build(tokenizer, dataset_name=f"{name}#10", seed=seed) for seed in (1, 1, 2))
    assert trained(first) == trained(again) != trained(other)
    assert len(set(trained(first))) == 10
    report = first.summary["sources"][0]
    assert (report["name"], report["rows_used"], report["rows_drawn"]) == (f"{name}#10", 40, 10)


def test_a_row_drawn_twice_is_on_one_side_of_the_split(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    name = write(tmp_path / "a.jsonl", 10)
    datasets = build(tokenizer, dataset_name=f"{name}#35", split_ratio=0.3, shuffle=True)
    held_out = origins(datasets.eval_conversations)
    assert len(held_out) == len(set(held_out)) == 3
    assert not set(held_out) & set(trained(datasets))
    assert set(Counter(trained(datasets)).values()) <= {3, 4}


def test_subsets_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "set" / "easy.jsonl", 2)
    write(tmp_path / "set" / "hard" / "x.jsonl", 3)
    write(tmp_path / "set" / "hard" / "y.jsonl", 3)
    files = find_source(f"{tmp_path}/set:hard/easy#5")
    assert [file.name for file in files.files] == ["x.jsonl", "y.jsonl", "easy.jsonl"]
    assert (files.count, files.label) == (5, f"{tmp_path}/set:hard/easy")
    assert find_source(f"{tmp_path}/set:easy").files == (tmp_path / "set" / "easy.jsonl",)
    with pytest.raises(DataError, match="no subset 'harder'") as error:
        find_source(f"{tmp_path}/set:harder")
    assert "'hard'" in error.value.remedy
    with pytest.raises(DataError, match="is a file, which has no subsets"):
        find_source(f"{tmp_path}/set/easy.jsonl:easy")
    with pytest.raises(DataError, match=r"no subset '\.\.'"):
        find_source(f"{tmp_path}/set/hard:..")


def test_subsets_and_hubs() -> None:
    source = find_source("modelscope:org/name:one/two#7", hub="huggingface")
    assert source.hub is not None
    assert (source.hub.modelscope, source.hub_name) == ("org/name", "modelscope")
    assert (source.subsets, source.count) == (("one", "two"), 7)
    plain = find_source("huggingface:org/name", hub="modelscope")
    assert (plain.hub_name, plain.subsets, plain.count) == ("huggingface", (), None)
    assert find_source("gsm8k:socratic").subsets == ("socratic",)


def test_real_names_may_hold_the_signs(tmp_path: Path) -> None:
    odd = write(tmp_path / "a:b#3.jsonl", 2)
    assert find_source(odd).files == (Path(odd),)
    assert (find_source(f"{odd}#4").files, find_source(f"{odd}#4").count) == ((Path(odd),), 4)


@pytest.mark.parametrize("count", ["0", "abc", "-1", "", "1.5", "1e3"])
def test_a_count_must_be_one(count: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a whole number from 1 on") as error:
        find_source(f"{write(tmp_path / 'a.jsonl', 2)}#{count}")
    assert "NAME#1000" in error.value.remedy


@pytest.mark.parametrize("name", ["org/name:", "org/name:a//b", ":a"])
def test_an_empty_subset(name: str) -> None:
    with pytest.raises(DataError, match="empty"):
        find_source(name)


def test_files_take_no_config(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    item = {"name": write(tmp_path / "a.jsonl", 2), "config": {"x": 1}}
    with pytest.raises(DataError, match=r"takes no config \(x\)"):
        build(tokenizer, dataset_name=item)


# Interleaving.

A, B = [f"a{i}" for i in range(3)], [f"b{i}" for i in range(5)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (None, [*A, *B]),
        ("first_exhausted", "a0 b0 a1 b1 a2 b2".split()),
        ("all_exhausted", "a0 b0 a1 b1 a2 b2 a0 b3 a1 b4".split()),
    ],
)
def test_taking_turns(strategy: Any, expected: list[str]) -> None:
    assert list(mixed(from_lists([A, B]), None, strategy, 0)) == expected


def test_turns_are_those_of_the_datasets_library() -> None:
    from datasets import Dataset, interleave_datasets

    strategies: list[StoppingStrategy] = ["first_exhausted", "all_exhausted"]
    for strategy, parts in itertools.product(strategies, ([A, B], [B, A])):
        sets = [Dataset.from_dict({"x": part}) for part in parts]
        theirs = list(interleave_datasets(sets, stopping_strategy=strategy)["x"])
        assert list(mixed(from_lists(parts), None, strategy, 0)) == theirs


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.data())
def test_weights_end_where_the_strategy_says(sizes: list[int], data: st.DataObject) -> None:
    parts = [[(number, row) for row in range(size)] for number, size in enumerate(sizes)]
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    seed = data.draw(st.integers(0, 9))
    first, all_ = (
        list(mixed(from_lists(parts), weights, strategy, seed))
        for strategy in ("first_exhausted", "all_exhausted")
    )
    assert all_[: len(first)] == first == list(mixed(from_lists(parts), weights, None, seed))
    assert max(Counter(first).values()) == 1
    last, _ = first[-1]
    assert set(parts[last]) <= set(first)
    assert set(itertools.chain(*parts)) == set(all_)
    assert all_[-1] not in all_[:-1]  # ends with the row that completes the last of them


def test_a_data_set_of_weight_zero_is_not_waited_for() -> None:
    assert set(mixed(from_lists([A, B]), [1, 0], "all_exhausted", 0)) == set(A)


def test_a_stream_and_memory_mix_alike(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    names = [write(tmp_path / "a.jsonl", 4), write(tmp_path / "b.jsonl", 9)]
    for settings in ({"weights": [1, 3]}, {"stopping_strategy": "first_exhausted"}, {}):
        for strategy in ("first_exhausted", "all_exhausted"):
            chosen: dict[str, Any] = {"dataset_name": names, "stopping_strategy": strategy, **settings}
            memory = trained(build(tokenizer, **chosen))
            stream = iter(build(tokenizer, **chosen, streaming=True).train)
            assert origins(itertools.islice(stream, len(memory))) == memory


def test_counts_of_a_stream_are_its_first_rows(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    names = [f"{write(tmp_path / 'a.jsonl', 5)}#3", f"{write(tmp_path / 'b.jsonl', 2)}#3"]
    stream = build(tokenizer, dataset_name=names, streaming=True).train
    one_pass = [f"{name}.jsonl:{line}" for name, lines in (("a", "123"), ("b", "121")) for line in lines]
    assert origins(itertools.islice(iter(stream), 12)) == one_pass * 2


def test_an_empty_stream_with_a_count_ends() -> None:
    with pytest.raises(DataError, match="no usable rows"):
        list(counted(lambda: iter([]), 3, "empty"))


def test_the_seed_decides_the_mixture(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    names = [write(tmp_path / "a.jsonl", 30), write(tmp_path / "b.jsonl", 30)]
    one, same, other = (
        trained(
            build(tokenizer, dataset_name=names, weights=[1, 1], stopping_strategy="all_exhausted", seed=seed)
        )
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_weights_must_fit(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"data\.weights"):
        build(tokenizer, dataset_name=write(tmp_path / "a.jsonl", 3), weights=[1, 1])
    with pytest.raises(ConfigError, match=r"data\.weights is \[nan\]"):
        build(tokenizer, dataset_name=str(tmp_path / "a.jsonl"), weights=[float("nan")])
