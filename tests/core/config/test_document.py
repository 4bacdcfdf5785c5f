"""YAML with places: what is read, where it came from, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swift.core.config.document import Document, override, parse_document, read_document
from swift.core.errors import EXIT_USAGE, ConfigError

TEXT = """\
# a run
model:
  model_id: tiny/qwen3
train:
  max_steps: 20
  lr_scheduler_kwargs:
    num_cycles: 2
"""


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "run.yaml")
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value)


def overridden(text: str, *assignments: str) -> Document:
    document = parse_document(text, "run.yaml")
    for assignment in assignments:
        override(document, assignment)
    return document


def test_values_and_places() -> None:
    document = parse_document(TEXT, "run.yaml")
    assert document.values == {
        "model": {"model_id": "tiny/qwen3"},
        "train": {"max_steps": 20, "lr_scheduler_kwargs": {"num_cycles": 2}},
    }
    assert document.place(("train", "max_steps")) == "run.yaml:5"
    assert document.place(("train", "lr_scheduler_kwargs", "num_cycles")) == "run.yaml:7"
    assert document.place(("train", "not_there")) == "run.yaml:4", "the nearest key around it"
    assert document.place(("export",)) == "configuration"


def test_empty_text_is_an_empty_document() -> None:
    assert parse_document("# nothing yet\n").values == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5e1", 5.0),
        ("1.0e-4", 1e-4),
        ("3", 3),
        ("0.25", 0.25),
        ("1e", "1e"),
        ("e4", "e4"),
        ("true", True),
        ("null", None),
        ("[1e-4, a]", [1e-4, "a"]),
    ],
)
def test_numbers_as_people_write_them(text: str, value: Any) -> None:
    for read in (
        parse_document(f"train: {{x: {text}}}").values["train"]["x"],
        overridden("", f"train.x={text}").values["train"]["x"],
    ):
        assert read == value
        assert type(read) is type(value)


def test_key_written_twice() -> None:
    message = refusal("train:\n  max_steps: 1\n  seed: 2\n  max_steps: 3\n")
    assert message.startswith("run.yaml:4: key 'train.max_steps' is written twice, first at line 2")
    assert "section" not in message


def test_section_written_twice() -> None:
    assert "run.yaml:2: key 'train' is written twice" in refusal("train: {seed: 1}\ntrain: {seed: 2}\n")


def test_merge_key_is_overridden_by_the_mapping_itself() -> None:
    document = parse_document("model: &a {x: 1, y: 1}\ntrain:\n  <<: *a\n  y: 2\n", "run.yaml")
    assert document.values["train"] == {"x": 1, "y": 2}
    assert document.place(("train", "y")) == "run.yaml:4"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train:\n  max_steps: [1\n", 3),
        ("train:\n\tmax_steps: 3\n", 2),
        ("train: {seed: 1}\nmodel: *missing\n", 2),
        ("train:\n  max_steps: 1\n---\nmodel: {}\n", 3),
        ("train:\n  x: !!python/object/apply:os.system [true]\n", 2),
    ],
)
def test_broken_yaml_names_its_line(text: str, line: int) -> None:
    assert refusal(text).startswith(f"run.yaml:{line}: not valid YAML: ")


def test_control_character() -> None:
    assert refusal("train: {x: \x00}").startswith("run.yaml: not valid YAML: ")


def test_alias_inside_its_own_anchor() -> None:
    assert "nested without end" in refusal("train: &a {x: *a}")


@pytest.mark.parametrize("text", ["- train\n", "train\n", "3\n"])
def test_no_sections(text: str) -> None:
    assert "run.yaml:1: the file holds no sections" in refusal(text)


def test_missing_file_names_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'nowhere\.yaml' does not exist") as caught:
        read_document(Path("nowhere.yaml"))
    assert str(tmp_path) in caught.value.remedy


def test_unreadable_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("train: {x: é}".encode("latin-1"))
    for path in (folder, latin):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_document(path)


@pytest.mark.parametrize(
    ("assignment", "section", "expected"),
    [
        ("train.max_steps=5", "train", {"max_steps": 5}),
        ("train.lr_scheduler_kwargs.num_cycles=3", "train", {"lr_scheduler_kwargs": {"num_cycles": 3}}),
        ("data.dataset_name=[a.json, b.json]", "data", {"dataset_name": ["a.json", "b.json"]}),
        ("data.columns={question: prompt}", "data", {"columns": {"question": "prompt"}}),
        ("infer.system=a: b: c", "infer", {"system": "a: b: c"}),
        ("infer.system=a=b", "infer", {"system": "a=b"}),
        ("model.revision=", "model", {"revision": None}),
    ],
)
def test_override_forms(assignment: str, section: str, expected: dict[str, Any]) -> None:
    document = overridden("", assignment)
    assert document.values == {section: expected}


def test_override_wins_and_is_remembered_as_the_place() -> None:
    document = overridden(TEXT, "train.max_steps=7", "train.max_steps=9")
    assert document.values["train"]["max_steps"] == 9
    assert document.place(("train", "max_steps")) == "command line (train.max_steps=9)"


def test_override_of_a_mapping_forgets_the_places_below() -> None:
    document = overridden(TEXT, "train.lr_scheduler_kwargs={num_cycles: 4}")
    assert document.place(("train", "lr_scheduler_kwargs", "num_cycles")).startswith("command line")


def test_override_into_an_empty_section() -> None:
    assert overridden("train:\n", "train.seed=1").values == {"train": {"seed": 1}}


@pytest.mark.parametrize("assignment", ["max_steps=5", "train.max_steps", "train.=5", ".seed=5", "=5"])
def test_malformed_override(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"not of the form section\.key=value"):
        override(Document(), assignment)


def test_override_below_a_value() -> None:
    with pytest.raises(ConfigError, match="'max_steps' holds a value, not keys"):
        overridden(TEXT, "train.max_steps.deep=1")


def test_section_that_is_short_for_a_key_takes_overrides_of_others() -> None:
    document = parse_document("plugins: [a.py]\n")
    override(document, "plugins.reload=true")
    assert document.values["plugins"] == {"load": ["a.py"], "reload": True}
    override(document, "plugins=b.py")
    assert document.values["plugins"] == {"load": "b.py", "reload": True}


def test_override_with_a_colon_is_a_text_and_with_braces_a_mapping() -> None:
    document = parse_document("")
    override(document, "infer.system=You are: helpful")
    override(document, "train.loss_config={gamma: 2.0}")
    assert document.values["infer"]["system"] == "You are: helpful"
    assert document.values["train"]["loss_config"] == {"gamma": 2.0}
