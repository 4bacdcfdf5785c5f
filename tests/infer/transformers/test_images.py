"""Images in the embedded engine against generate of transformers, beside text rows in one batch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_processor
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

VL = ModelConfig(model_id="tiny/qwen2.5-vl")
SIZES = [[(84, 140)], [(56, 56), (200, 90)], [], [(84, 140)], []]
TEXTS = ["what is it", "compare these", "hello", "what is it", "a longer text without any image"]


@dataclass
class Served:
    model: Any
    processor: Any

    def prompt(self, images: int, text: str) -> str:
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
        rendered = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return str(rendered)

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def served() -> Served:
    model = load_model(VL, dtype=torch.float32, device="cpu")
    with torch.no_grad():  # clearer choices, that rounding cannot turn, and answers that go on changing
        model.get_input_embeddings().weight.mul_(8)
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.mul_(40)
            layer.mlp.down_proj.weight.mul_(40)
    return Served(model, load_processor(VL))


def picture(width: int, height: int, seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def errors(engine: TransformersEngine, request: GenerationRequest) -> str:
    deltas = list(engine.generate([request]))
    assert deltas[-1].finish_reason == "error"
    return deltas[-1].error or ""


@pytest.mark.parametrize("config", [{}, {"max_running": 3, "max_batch_tokens": 16}])
def test_answers_equal_those_of_transformers(served: Served, config: dict[str, int]) -> None:
    engine = TransformersEngine(served.model, served.processor, TransformersEngineConfig(**config))
    assert engine.facts().images
    pictures = [
        [picture(*size, 10 * row + n) for n, size in enumerate(sizes)] for row, sizes in enumerate(SIZES)
    ]
    texts = [served.prompt(len(some), text) for some, text in zip(pictures, TEXTS, strict=True)]
    asked = [
        GenerationRequest(
            str(row),
            served.ids(text),
            SamplingParams(24, 0.0, ignore_eos=True),
            images=tuple(encoded(image) for image in some),
        )
        for row, (text, some) in enumerate(zip(texts, pictures, strict=True))
    ]
    found: dict[str, list[int]] = {one.request_id: [] for one in asked}
    for delta in engine.generate(asked):
        assert delta.error is None, delta.error
        found[delta.request_id] += delta.token_ids
    for row, (text, some) in enumerate(zip(texts, pictures, strict=True)):
        assert found[str(row)] == expected(served, text, some), row
    assert found["0"] != found["3"]  # the same question about another picture
    assert len(set(found["0"])) > 3


def expected(served: Served, text: str, images: Sequence[Image.Image]) -> list[int]:
    inputs = served.processor(text=[text], images=list(images) or None, return_tensors="pt")
    output = served.model.generate(**inputs, max_new_tokens=24, do_sample=False, eos_token_id=[])
    return output[0, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]


def test_placeholders_and_images_must_be_equally_many(served: Served) -> None:
    engine = TransformersEngine(served.model, served.processor)
    image = encoded(picture(56, 56, 1))
    ids = served.ids(served.prompt(1, "what"))
    params = SamplingParams(4, 0.0)
    assert "1 placeholders" in errors(engine, GenerationRequest("a", ids, params, images=(image, image)))
    none = served.ids(served.prompt(0, "what"))
    assert "0 placeholders" in errors(engine, GenerationRequest("b", none, params, images=(image,)))
    assert "not an image" in errors(engine, GenerationRequest("c", ids, params, images=(b"nonsense",)))
    cut = image[: len(image) // 2]
    assert "damaged" in errors(engine, GenerationRequest("d", ids, params, images=(cut,)))
    end = ids.index(served.processor.image_token_id) + 1
    assert "ends with an image" in errors(engine, GenerationRequest("e", ids[:end], params, images=(image,)))
    assert engine.health().ready


def test_a_model_of_text_refuses_images() -> None:
    config = ModelConfig()
    model = load_model(config, dtype=torch.float32, device="cpu")
    engine = TransformersEngine(model, load_processor(config))
    assert not engine.facts().images
    problem = errors(engine, GenerationRequest("a", (5, 6), SamplingParams(4), images=(b"x",)))
    assert "1 images" in problem and "qwen3" in problem and "text only" in problem
