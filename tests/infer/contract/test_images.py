"""Images, on a small Qwen2.5-VL: the embedded engine always, vLLM with SWIFT_TEST_ENGINES=vllm-images, its
server with vllm-server-images."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from swift.core.config.schema import ModelConfig
from swift.core.engines import build_engine
from swift.core.models.load import load_model, load_processor
from swift.core.models.plain import plain_weights
from swift.core.registry import engines
from swift.core.types import GenerationRequest, SamplingParams

pytestmark = pytest.mark.timeout(600)
VL = ModelConfig(model_id="tiny/qwen2.5-vl")
TEXT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>what is it<|im_end|>\n"
ASKED = os.environ.get("SWIFT_TEST_ENGINES", "transformers").split(",")
NAMES = [name for name in ("transformers", "vllm-images", "vllm-server-images") if name in ASKED]


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(VL)


def clear_model(factor: float = 40.0) -> Any:
    """Random weights whose choices are clear, so that rounding turns none."""
    model = load_model(VL, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(8)
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.mul_(factor)
            layer.mlp.down_proj.weight.mul_(factor)
    return model.eval()


@pytest.fixture(scope="module", params=NAMES)
def seeing(request: pytest.FixtureRequest, processor: Any) -> Iterator[tuple[Any, Any]]:
    """(engine, the model that it answers as)."""
    name, *rest = request.param.split("-")
    config = engines.get(name).config
    assert config is not None
    model = clear_model()
    keys = {"kv_cache_gb": 0.5, "max_length": 1024, "server": "server" in rest} if name == "vllm" else {}
    reader = processor.tokenizer if name == "vllm" else processor
    engine = build_engine(name, config.model_validate(keys), model, reader, VL)
    yield engine, model
    engine.close()


def picture(seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(
        torch.randint(0, 256, (84, 140, 3), generator=generator, dtype=torch.uint8).numpy()
    )


def answered(engine: Any, processor: Any, images: list[Image.Image]) -> list[list[int]]:
    """Greedy tokens about each image, asked at once."""
    ids = tuple(processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    requests = []
    for number, image in enumerate(images):
        file = io.BytesIO()
        image.save(file, "PNG")
        params = SamplingParams(16, 0.0, ignore_eos=True)
        requests.append(GenerationRequest(str(number), ids, params, images=(file.getvalue(),)))
    found: list[list[int]] = [[] for _ in images]
    for delta in engine.generate(requests):
        assert delta.error is None, delta.error
        found[int(delta.request_id)] += delta.token_ids
    return found


def generated(model: Any, processor: Any, image: Image.Image) -> list[int]:
    """What generate of transformers answers."""
    inputs = processor(text=[TEXT], images=[image], return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=16, min_new_tokens=16, do_sample=False)
    new: list[int] = tokens[0, inputs["input_ids"].shape[1] :].tolist()
    return new


def test_answers_about_images_are_those_of_generate(seeing: Any, processor: Any) -> None:
    engine, model = seeing
    assert engine.facts().images
    images = [picture(1), picture(2)]
    found = answered(engine, processor, images)
    assert found == [generated(model, processor, image) for image in images]
    assert found[0] != found[1]


def test_what_is_no_image_is_an_error_of_its_request(seeing: Any, processor: Any) -> None:
    engine, _ = seeing
    ids = tuple(processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    (last,) = engine.generate([GenerationRequest("broken", ids, SamplingParams(4), images=(b"no image",))])
    assert last.finish_reason == "error"
    assert "image" in last.error
    assert engine.health().ready


def rows(model: Any, processor: Any, image: Image.Image, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities [T, V] at the places that T tokens were drawn from."""
    inputs = dict(processor(text=[TEXT], images=[image], return_tensors="pt"))
    count = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(tokens)))
    with torch.no_grad():
        logits = model(**inputs).logits
    found: torch.Tensor = logits[0, count - 1 : -1].float().log_softmax(-1)
    return found


def test_logprobs_about_an_image_are_those_of_a_forward_pass(seeing: Any, processor: Any) -> None:
    engine, model = seeing
    ids = tuple(processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    file = io.BytesIO()
    picture(1).save(file, "PNG")
    biased = ((40, 100.0),)  # so that one is drawn that the model itself holds for unlikely
    params = SamplingParams(8, 0.0, logprobs=3, ignore_eos=True, logit_bias=biased)
    deltas = list(engine.generate([GenerationRequest("drawn", ids, params, images=(file.getvalue(),))]))
    assert deltas[-1].finish_reason == "length", deltas[-1].error
    tokens = [token for delta in deltas for token in delta.token_ids]
    told = [value for delta in deltas for value in delta.logprobs or ()]
    best = rows(model, processor, picture(1), tokens)
    assert told == pytest.approx(best.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist(), abs=1e-2)
    tops = [top for delta in deltas for top in delta.top_logprobs or ()]
    assert [list(top) for top in tops] == best.topk(3).indices.tolist()
    assert any(token not in top for token, top in zip(tokens, tops, strict=True))
    assert "".join(delta.text for delta in deltas)


def send(engine: Any, model: Any) -> None:
    """All weights, by the names that an engine knows them under: a live model's, or those of its files."""
    live = dict(model.named_parameters())
    engine.update_weights((live if engine.facts().shares_weights else plain_weights(model)).items())


def test_new_weights_see_too(seeing: Any, processor: Any) -> None:
    engine, model = seeing
    other = clear_model(30.0)
    send(engine, other)
    found = answered(engine, processor, [picture(1)])
    send(engine, clear_model())
    assert found == [generated(other, processor, picture(1))]
    assert answered(engine, processor, [picture(1)]) == [generated(model, processor, picture(1))]
