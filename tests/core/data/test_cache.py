"""Encoded samples that outlive the run."""

from __future__ import annotations

import datetime
import json
import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from swift.core import registry
from swift.core.config.schema import DataConfig
from swift.core.data import cache, cache_key
from swift.core.data.cache_store import Damaged, NotStorable, read_entry, write_entry
from swift.core.data.dataset import EncodedDataset
from swift.core.data.pipeline import build_datasets
from swift.core.errors import ConfigError
from swift.core.template.build import build_template
from swift.core.template.chat import ChatTemplate
from swift.core.types import Conversation, Encoded
from swift.plugin import register_dataset, register_filter


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [
        {"prompt": f"say {i}", "response": f"{i} " * (i % 7 + 1), "n": i, "f": 0.1 * i} for i in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    kept = registry.filters.registered(), registry.datasets.registered()
    yield
    registry.filters.restore(kept[0])
    registry.datasets.restore(kept[1])


class Counting(ChatTemplate):
    """Says how many rows it encoded."""

    def __init__(self, tokenizer: Any, **settings: Any) -> None:
        super().__init__(tokenizer, **settings)
        self._rows_seen = 0

    def encode(self, conversations: Any) -> list[Encoded]:
        self._rows_seen += len(conversations)
        return super().encode(conversations)


def build(
    tokenizer: PreTrainedTokenizerFast, source: Any, folder: Path | None, seed: int = 0, **settings: Any
) -> tuple[Any, int]:
    """The data sets, and how many rows had to be encoded for them."""
    task = settings.pop("task", "causal_lm")
    data = DataConfig.model_validate(
        {"dataset_name": str(source), "cache_dir": str(folder) if folder else None, **settings}
    )
    template = Counting(tokenizer, max_length=data.max_length, truncation=data.truncation, task=task)
    return build_datasets(data, template, task, seed=seed), template._rows_seen


def same(one: Encoded | None, other: Encoded | None) -> None:
    """Equal to the last bit, types included."""
    if one is None or other is None:
        assert one is other
        return
    for name in ("input_ids", "labels", "loss_weights"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None)
        if first is not None:
            assert first.dtype == second.dtype and first.tobytes() == second.tobytes()
    assert (one.label, one.columns, one.origin) == (other.label, other.columns, other.origin)
    same(one.rejected, other.rejected)
    for mine, its in zip(one.others, other.others, strict=True):
        same(mine, its)


def test_a_hit_encodes_nothing_and_is_bit_identical(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = [build(tokenizer, rows, tmp_path / "cache", split_ratio=0.2) for _ in range(2)]
    fresh, _ = build(tokenizer, rows, None, split_ratio=0.2)
    (first, made), (second, found) = cached
    assert (made, found) == (60, 0)
    assert "encoded samples come from the cache" in capsys.readouterr().err
    for part in ("train", "evaluation"):
        for one, two, three in zip(
            getattr(first, part), getattr(second, part), getattr(fresh, part), strict=True
        ):
            same(one, two)
            same(two, three)
    assert second.eval_conversations == fresh.eval_conversations
    assert (first.summary.pop("cache")["hit"], second.summary.pop("cache")["hit"]) == (False, True)
    assert first.summary == second.summary == fresh.summary
    ids = second.train[0].input_ids
    ids[0] = 7  # pages are private: nothing reaches the file
    third, _ = build(tokenizer, rows, tmp_path / "cache", split_ratio=0.2)
    same(third.train[0], fresh.train[0])


def test_pairs_weights_labels_and_related_texts_come_back(tmp_path: Path) -> None:
    def sample(start: int, **more: Any) -> Encoded:
        ids = np.arange(start, start + 3 + start % 2, dtype=np.int32)
        return Encoded(ids, ids.copy(), origin=f"x[{start}]", **more)

    samples = [
        sample(
            i,
            loss_weights=np.linspace(0, 1, 3 + i % 2, dtype=np.float32) if i % 2 else None,
            rejected=sample(i + 50),
            others=tuple(sample(i + 100 + j, label=float(j)) for j in range(i % 3)),
            label=[0, 1] if i else 3,
            columns={"n": i, "deep": {"x": [1.5, None, b"y"]}},
        )
        for i in range(6)
    ]
    write_entry(tmp_path / "entry", {"train": EncodedDataset(samples)})
    found = read_entry(tmp_path / "entry")["train"]
    for one, other in zip(iter(EncodedDataset(samples)), iter(found), strict=True):
        same(one, other)
    assert np.array_equal(found.lengths, EncodedDataset(samples).lengths)


CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "max_length": {"max_length": 64},
    "loss_turns": {"loss_turns": "last"},
    "on_error": {"on_error": "skip"},
    "split": {"split_ratio": 0.3},
    "task": {"task": "prompt"},
    "truncation": {"truncation": "right"},
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_whatever_decides_samples_makes_another_entry(
    change: str, rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    build(tokenizer, rows, tmp_path / "cache")
    assert build(tokenizer, rows, tmp_path / "cache", **CHANGES[change])[1] == 60
    assert build(tokenizer, rows, tmp_path / "cache")[1] == 0


def test_layout_of_batches_does_not(rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    build(tokenizer, rows, tmp_path / "cache")
    for settings in ({"packing": True}, {"group_by_length": True}, {"padding_free": True}):
        datasets, encoded = build(tokenizer, rows, tmp_path / "cache", **settings)
        assert encoded == 0
        assert ("packs" in datasets.summary["train"]) == ("packing" in settings)


def test_changed_data_and_tokenizers_are_noticed(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "cache"
    build(tokenizer, rows, folder)
    text = rows.read_text()
    rows.write_text(text.replace("say 3", "say 4", 1))
    assert build(tokenizer, rows, folder)[1] == 60
    rows.write_text(text)
    assert build(tokenizer, rows, folder)[1] == 0
    other = pickle.loads(pickle.dumps(tokenizer))
    assert build(other, rows, folder)[1] == 0
    other.chat_template = other.chat_template.replace("assistant", "model")
    assert build(other, rows, folder)[1] == 60
    other = pickle.loads(pickle.dumps(tokenizer))
    other.add_tokens(["say"])
    assert build(other, rows, folder)[1] == 60
    link = rows.with_name("same_bytes.jsonl")
    link.write_text(text)
    assert build(tokenizer, link, folder)[1] == 60  # origins name the file


def test_a_template_with_a_date_is_encoded_anew_each_day(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = pickle.loads(pickle.dumps(tokenizer))
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}" + dated.chat_template
    before = [cache_key.template_fingerprint(ChatTemplate(each, max_length=9)) for each in (tokenizer, dated)]
    tomorrow = SimpleNamespace(today=lambda: datetime.date(2031, 1, 1))
    monkeypatch.setattr(cache_key, "datetime", SimpleNamespace(date=tomorrow))
    after = [cache_key.template_fingerprint(ChatTemplate(each, max_length=9)) for each in (tokenizer, dated)]
    assert before[0] == after[0] and before[1] != after[1]


def test_rows_of_filters_and_registered_sets_are_the_fingerprint(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    limit = 10

    @register_filter("below")
    def below(row: dict[str, Any]) -> bool:
        return bool(row["n"] < limit)

    @register_dataset("made")
    def made() -> Iterator[dict[str, str]]:
        return ({"prompt": "x", "response": str(limit)} for _ in range(5))

    cases: list[tuple[Any, dict[str, Any], int]] = [(rows, {"filters": "below"}, 10), ("made", {}, 5)]
    for source, settings, count in cases:
        assert build(tokenizer, source, tmp_path / "cache", **settings)[1] == count
        assert build(tokenizer, source, tmp_path / "cache", **settings)[1] == 0
    limit = 12
    assert build(tokenizer, rows, tmp_path / "cache", filters="below")[1] == 12
    assert build(tokenizer, "made", tmp_path / "cache")[1] == 5


@pytest.mark.parametrize("name", ["arrays.bin", "objects.pkl", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_entry_is_made_anew(
    name: str,
    damage: str,
    rows: Path,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "cache"
    build(tokenizer, rows, folder)
    (path,) = folder.glob(f"*/{name}")
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x40
        path.write_bytes(content)
    assert build(tokenizer, rows, folder)[1] == 60
    assert "is damaged" in capsys.readouterr().err
    assert build(tokenizer, rows, folder)[1] == 0


def test_a_half_written_entry_is_never_seen(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("swift.core.data.cache_store._flush", full_disk)
        datasets, _ = build(tokenizer, rows, tmp_path / "cache")
    assert len(datasets.train) == 60
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    killed = tmp_path / "cache" / f".{datasets.summary['cache']['entry']}.123"
    killed.mkdir()
    assert build(tokenizer, rows, tmp_path / "cache")[1] == 60
    assert not killed.exists()
    assert build(tokenizer, rows, tmp_path / "cache")[1] == 0


def test_data_that_changes_while_it_is_read_is_not_kept(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["one", "two"])
    found = cache.fetch(tmp_path / "cache", lambda: next(keys), lambda: {"x": 1})
    assert found.value == {"x": 1} and not found.hit
    assert "changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "cache" / "one").exists()


def test_what_has_no_fingerprint_any_more_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["one"])

    def key() -> str:
        for name in keys:
            return name
        raise NotStorable("no fingerprint covers it")

    assert cache.fetch(tmp_path / "cache", key, lambda: {"x": 1}).value == {"x": 1}
    assert "not kept: no fingerprint covers it" in capsys.readouterr().err


def test_media_are_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.arange(3, dtype=np.int32)
    dataset = EncodedDataset([Encoded(ids, ids, media={"pixels": torch.zeros(2)})])
    for _ in range(2):
        found = cache.fetch(tmp_path / "cache", lambda: "key", lambda: {"train": dataset})
        assert found.value["train"] is dataset
        assert "torch.Tensor" in capsys.readouterr().err
    assert found.key is None


def test_reading_makes_no_class_that_does_not_belong(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("run",)

    with pytest.raises(NotStorable):
        write_entry(tmp_path / "entry", {"x": Evil()})
    assert not list(tmp_path.iterdir())
    write_entry(tmp_path / "entry", {"x": Conversation(text="y")})
    assert read_entry(tmp_path / "entry") == {"x": Conversation(text="y")}
    objects = tmp_path / "entry" / "objects.pkl"
    objects.write_bytes(pickle.dumps({"x": print}))
    manifest = json.loads((tmp_path / "entry" / "manifest.json").read_text())
    manifest["objects.pkl"] = cache_store_description(objects)
    (tmp_path / "entry" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match=r"builtins\.print does not belong here"):
        read_entry(tmp_path / "entry")


def cache_store_description(path: Path) -> dict[str, Any]:
    from swift.core.data.cache_store import _described

    return _described(path)


def test_templates_that_say_nothing_are_not_kept(
    rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = ChatTemplate(tokenizer, max_length=99)

    class Own:
        def encode(self, conversations: Any) -> list[Encoded]:
            return inner.encode(conversations)

    class Said(Own):
        def fingerprint(self) -> str:
            return "mine, version 1"

    data = DataConfig(dataset_name=[str(rows)], cache_dir=str(tmp_path / "cache"))
    hits = []
    for template in (Own(), Own(), Said(), Said()):
        built = build_datasets(data, template, "causal_lm", seed=0)
        hits.append(built.summary["cache"]["hit"])
    assert hits == [False, False, False, True]
    assert "has no fingerprint()" in capsys.readouterr().err


def test_unusable_folders_and_streams(rows: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"data\.cache_dir .* cannot be made"):
        build(tokenizer, rows, rows / "cache")
    with pytest.raises(ConfigError, match=r"data\.cache_dir .* with data\.streaming"):
        build(tokenizer, rows, tmp_path / "cache", streaming=True)


def make_slowly(folder: Path, log: Path) -> None:
    """What a rank does."""
    import time

    def make() -> dict[str, Any]:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return {"x": np.arange(1000)}

    found = cache.fetch(folder, lambda: "key", make)
    with log.open("a") as file:
        file.write(f"{int(found.value['x'].sum())}\n")


def test_one_rank_encodes_and_the_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=make_slowly, args=(tmp_path / "c", tmp_path / "log")) for _ in range(4)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0] * 4
    assert sorted((tmp_path / "log").read_text().split()) == ["499500"] * 4 + ["made"]


@pytest.mark.parametrize("other", ["packing", "padding_free", "streaming"])
def test_length_groups_are_refused_with_a_reason(
    other: str, rows: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ConfigError, match=rf"data\.group_by_length and data\.{other} are both true: "):
        build(tokenizer, rows, None, group_by_length=True, **{other: True})


def test_agent_formats_and_loss_scales_take_part(tokenizer: PreTrainedTokenizerFast) -> None:
    settings: list[dict[str, Any]] = [
        {},
        *({"agent_format": name} for name in registry.agent_formats.names()),
    ]
    settings += [{"loss_scale": name} for name in registry.loss_scales.names() if name != "regex"]
    keys = [
        [
            cache_key.template_fingerprint(build_template(DataConfig(**chosen), tokenizer, "causal_lm", None))
            for chosen in settings
        ]
        for _ in range(2)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(settings) > 5


def test_settings_that_cannot_be_told_apart_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    class Loop:
        def __init__(self) -> None:
            self.me = self

    for odd in (Loop(), object(), np.zeros(3)):
        template: Any = ChatTemplate(tokenizer, max_length=9)
        template.extra = odd
        with pytest.raises(NotStorable):
            cache_key.template_fingerprint(template)
