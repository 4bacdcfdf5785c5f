"""Images reach Qwen2.5-VL as its own processor would bring them, padded or packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from swift.core.config.schema import DataConfig
from swift.core.data.collate import collate_flat, collate_padded
from swift.core.data.sources import SourceReport, conversations, find_sources
from swift.core.errors import DataError
from swift.core.template.chat import ChatTemplate
from swift.core.template.families import media_family
from swift.core.template.media import MediaFamily
from swift.core.types import IGNORE_INDEX, Conversation, Encoded
from swift.mm.media.image import load_image


@pytest.fixture
def family(processor: Any) -> MediaFamily:
    found = media_family(processor, "qwen2_5_vl")
    assert found is not None
    return found


def rows_of(path: Path) -> list[Conversation]:
    (source,) = find_sources([str(path)], None)
    return list(conversations(source, DataConfig.model_validate({}), SourceReport(source.name)))


def encoded(processor: Any, family: MediaFamily, rows: list[Conversation], **options: Any) -> list[Encoded]:
    options = {"max_length": 512, **options}
    return ChatTemplate(processor.tokenizer, media=family, **options).encode(rows)


def test_tokens_patches_and_grids_equal_those_of_the_processor(
    processor: Any, family: MediaFamily, image_rows: Path
) -> None:
    rows = rows_of(image_rows)
    samples = encoded(processor, family, rows)
    assert len(samples) == len(rows) == 8
    for row, sample in zip(rows, samples, strict=True):
        text = processor.apply_chat_template(row.messages, tokenize=False)
        images = [load_image(source, "row") for source in row.images]
        expected = processor(text=[text], images=images or None, return_tensors="pt")
        assert sample.input_ids.tolist() == expected["input_ids"][0].tolist()
        for name in ("pixel_values", "image_grid_thw") if images else ():
            assert sample.media is not None
            torch.testing.assert_close(sample.media[name], expected[name], rtol=0, atol=0)
        learned = [token for token in sample.labels.tolist() if token != IGNORE_INDEX]
        said = [
            message["content"] + "<|im_end|>" for message in row.messages if message["role"] == "assistant"
        ]
        assert processor.tokenizer.decode(learned) == "".join(said)


def test_padded_batches_give_each_row_the_loss_it_has_alone(
    processor: Any, model: Any, family: MediaFamily, image_rows: Path
) -> None:
    samples = encoded(processor, family, rows_of(image_rows))
    batch = family.complete(collate_padded(samples, processor.tokenizer.pad_token_id))
    with torch.no_grad():
        together = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
        for index, sample in enumerate(samples):
            text = torch.tensor(sample.input_ids, dtype=torch.long)[None]
            types = {"mm_token_type_ids": (text == processor.image_token_id).long()} if sample.media else {}
            alone = model(input_ids=text, **types, **(sample.media or {})).logits[0]
            torch.testing.assert_close(together[index, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_flat_batches_equal_separate_ones_in_loss_and_gradient(
    processor: Any, model: Any, family: MediaFamily, image_rows: Path
) -> None:
    samples = encoded(processor, family, rows_of(image_rows))
    flat = family.complete(collate_flat(samples))
    model(**flat).loss.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    model.zero_grad()
    learned = [int((sample.labels[1:] != IGNORE_INDEX).sum()) for sample in samples]
    for sample, count in zip(samples, learned, strict=True):
        batch = family.complete(collate_padded([sample], 0))
        (model(**batch).loss * count / sum(learned)).backward()
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name], rtol=2e-4, atol=1e-6, msg=name)


def test_flat_positions_equal_those_of_the_model(
    processor: Any, model: Any, family: MediaFamily, image_rows: Path
) -> None:
    samples = [sample for sample in encoded(processor, family, rows_of(image_rows)) if sample.media]
    flat = family.complete(collate_flat(samples))["position_ids"]
    start = 0
    for sample in samples:
        text = torch.tensor(sample.input_ids, dtype=torch.long)[None]
        types = (text == processor.image_token_id).long()
        assert sample.media is not None
        expected, _ = model.model.get_rope_index(text, types, sample.media["image_grid_thw"])
        assert torch.equal(flat[1:, :, start : start + text.shape[1]], expected)
        assert flat[0, 0, start] == 0
        start += text.shape[1]


def test_gradients_reach_the_vision_tower(
    processor: Any, model: Any, family: MediaFamily, image_rows: Path
) -> None:
    samples = encoded(processor, family, rows_of(image_rows)[:2])
    model(**family.complete(collate_padded(samples, 0))).loss.backward()
    still = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert not [name for name in still if "visual" in name], still


def test_pixels_are_limited_and_the_limit_is_saved(processor: Any, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    processor.save_pretrained(tmp_path / "before")
    own = AutoProcessor.from_pretrained(tmp_path / "before")
    family = media_family(own, "qwen2_5_vl", max_pixels=8 * 28 * 28)
    assert family is not None
    row = Conversation(images=[Image.new("RGB", (1000, 700))], origin="row")
    (replacement,) = family.prepare(row).replacements
    assert 1 < len(replacement) / len(own.image_token) <= 8
    own.save_pretrained(tmp_path / "after")
    assert (
        AutoProcessor.from_pretrained(tmp_path / "after").image_processor.size["longest_edge"] == 8 * 28 * 28
    )


def test_an_image_is_never_cut(processor: Any, family: MediaFamily, image_rows: Path) -> None:
    for how in ("right", "left", "split", "delete"):
        samples = encoded(processor, family, rows_of(image_rows), max_length=40, truncation=how)
        for sample in samples:
            tokens = int((sample.input_ids == processor.image_token_id).sum())
            grids = sample.media["image_grid_thw"] if sample.media else torch.zeros(0, 3)
            assert tokens == int(grids.prod(-1).sum()) // 4


def test_what_cannot_be_read_is_refused(processor: Any, family: MediaFamily) -> None:
    with pytest.raises(DataError, match=r"row 1: the row has video"):
        family.prepare(Conversation(videos=["a.mp4"], origin="row 1"))
    with pytest.raises(DataError, match=r"row 2: an image does not fit the model"):
        family.prepare(Conversation(images=[Image.new("RGB", (5000, 10))], origin="row 2"))
    text = [{"role": "user", "content": "<|image_pad|>"}, {"role": "assistant", "content": "Yes."}]
    (sample,) = encoded(processor, family, [Conversation(messages=text, origin="row 3")])
    with pytest.raises(DataError, match="1 image tokens, but its images have 0"):
        family.complete(collate_padded([sample], 0))
