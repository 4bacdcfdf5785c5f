"""What lines with a slash do to a chat, before a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from PIL import Image
from rich.console import Console

from swift.core.config.schema import InferConfig, ModelConfig
from swift.core.engines import facts_of
from swift.core.errors import DataError
from swift.core.models.load import load_model, load_tokenizer
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.terminal.loop import chat
from swift.infer.terminal.state import ChatState
from swift.infer.terminal.words import obey
from swift.tuners import apply_tuner, save_tuner


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[TransformersEngine]:
    config = ModelConfig()
    folder = tmp_path_factory.mktemp("poet")
    tuned = apply_tuner(load_model(config, dtype=torch.float32, device="cpu"), "lora", lora_rank=4)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.2)
    save_tuner(tuned, folder)
    engine = TransformersEngine(load_model(config, dtype=torch.float32, device="cpu"), load_tokenizer(config))
    engine.load_adapter("poet", folder)
    yield engine
    engine.close()


@pytest.fixture
def state(engine) -> ChatState:
    config = InferConfig.model_validate({"max_new_tokens": 6, "temperature": 0.0})
    return ChatState(engine, load_tokenizer(ModelConfig()), config)


def answer(state: ChatState, line: str) -> str:
    return "".join(delta.text for delta in state.engine.generate([state.ask(line)]))


def test_an_adapter_answers_after_it_is_chosen_and_not_any_more_after_none(state):
    base = answer(state, "Hello")
    assert obey("/adapter poet", state) == "poet answers from now on"
    poet = answer(state, "Hello")
    obey("/adapter none", state)
    assert poet != base == answer(state, "Hello")
    with pytest.raises(DataError, match=r"no adapter 'poe' is loaded\n  -> did you mean 'poet'"):
        obey("/adapter poe", state)


def test_parameters_change_and_wrong_ones_change_nothing(state):
    assert obey("/set max_new_tokens=3", state) == "max_new_tokens=3"
    request = state.ask("Hello")
    assert request.sampling.max_tokens == 3
    with pytest.raises(DataError, match="top_p is '7'"):
        obey("/set top_p 7", state)
    with pytest.raises(DataError, match="did you mean 'temperature'"):
        obey("/set temprature 1", state)
    with pytest.raises(DataError, match=r"seed is '\[', which is no value"):
        obey("/set seed [", state)
    assert state.config.top_p == 1.0


def test_undo_forgets_a_question_and_its_answer(state):
    state.keep("one", "1")
    state.keep("two", "2")
    obey("/undo", state)
    assert [turn["content"] for turn in state.messages] == ["one", "1"]
    obey("/undo", state)
    assert obey("/undo", state) == "there is nothing to forget"


def test_the_system_message_is_read(state):
    before = state.ask("Hello").prompt_ids
    obey("/system Answer in verse.", state)
    after = state.ask("Hello")
    assert after.messages is not None and after.messages[0]["content"] == "Answer in verse."
    assert len(after.prompt_ids) > len(before)


def test_images_are_refused_by_a_model_that_takes_none(state):
    with pytest.raises(DataError, match="takes no images"):
        obey("/image a.png", state)


def test_a_file_that_is_no_image_is_refused_before_it_is_asked_about(state, monkeypatch, tmp_path):
    sees = replace(facts_of(state.engine), images=True)
    monkeypatch.setattr("swift.infer.terminal.words.facts_of", lambda engine: sees)
    (tmp_path / "a.png").write_text("no image")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    for name, reason in (("a.png", "not an image that pillow can read"), ("c.png", "No such file")):
        with pytest.raises(DataError, match=reason):
            obey(f"/image {tmp_path / name}", state)
    assert state.images == []
    assert obey(f"/image {tmp_path / 'b.png'}", state) == "b.png goes with the next question"
    assert len(state.images) == 1


def test_a_whole_chat(engine, monkeypatch):
    lines = iter(["/set seed 1", "Hello", "/nope", "/help", "/exit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    chat(engine, load_tokenizer(ModelConfig()), InferConfig.model_validate({"max_new_tokens": 4}), console)
    shown = console.export_text()
    assert "seed=1" in shown and "unknown command /nope" in shown and "/undo forgets" in shown
