"""Layouts of rows for classes, vectors and rankings, and the texts that the model reads of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swift.core.data.dataset import EncodedDataset
from swift.core.data.formats import to_conversation
from swift.core.errors import ConfigError, DataError
from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.objectives.embed.objective import check_texts
from swift.core.objectives.rerank.objective import check_documents
from swift.core.template.chat import ChatTemplate
from swift.core.types import Encoded, Task

TOKENIZER = tiny_tokenizer()


def encode(row: dict[str, Any], task: Task, **options: Any) -> Encoded:
    template = ChatTemplate(TOKENIZER, max_length=options.pop("max_length", 400), task=task, **options)
    (sample,) = template.encode([to_conversation(row, "rows.jsonl:1")])
    return EncodedDataset([sample])[0]  # what a run sees has been through it


def text(sample: Encoded) -> str:
    return str(TOKENIZER.decode(sample.input_ids))


def turn(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"query": "q", "positive": "p", "negative": "n"}, [1, 0]),
        ({"anchor": "q", "positive": ["p", "p2"], "negatives": ["n"]}, [1, 1, 0]),
        ({"query": "q", "pos": ["p"], "neg": ["n", "n2"]}, [1, 0, 0]),
        (
            {"messages": [turn("q")], "positive_messages": [[turn("p")]], "negative_messages": [[turn("n")]]},
            [1, 0],
        ),
        ({"messages": [turn("q")], "positive_messages": [turn("p")], "label": 0.8}, [0.8]),
        ({"sentence1": "q", "sentence2": "p", "score": 0.8}, [0.8]),
        ({"sentence1": "q", "sentence2": "p", "label": 0}, [0]),
        ({"sentence1": "q", "sentence2": "p"}, [1]),
        ({"query": "q", "documents": ["n", "p", "n2"], "labels": [0, 1, 0]}, [1, 0, 0]),
        ({"query": "q", "document": "n", "label": 0}, [0]),
    ],
)
def test_layouts_of_related_texts(row: dict[str, Any], labels: list[float]) -> None:
    sample = encode(row, "embedding")
    assert text(sample) == "q"
    assert [other.label for other in sample.others] == labels
    for other in sample.others:
        assert text(other)[0] == ("p" if other.label or "sentence2" in row else "n")
    pairs = encode(row, "reranker")
    assert [pair.label for pair in (pairs, *pairs.others)] == labels
    assert "<Query>: q\n<Document>: " + text(sample.others[0]) in text(pairs)


def test_texts_reach_the_model_as_inference_will_write_them() -> None:
    plain = encode({"text": "some words", "label": 1}, "seq_cls")
    assert plain.input_ids.tolist() == TOKENIZER("some words")["input_ids"] and plain.label == 1
    chat = [turn("hello"), turn("hi", "assistant")]
    rendered = encode({"messages": chat, "label": [0, 1]}, "seq_cls")
    assert text(rendered) == TOKENIZER.apply_chat_template(chat, tokenize=False) and rendered.label == [0, 1]
    asked = encode({"prompt": "hello", "label": 0.5}, "seq_cls")
    assert text(asked) == TOKENIZER.apply_chat_template([turn("hello")], tokenize=False)
    judged = encode({"query": "q", "positive": "p"}, "generative_reranker")
    turns = [
        turn(
            "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
            'Note that the answer can only be "yes" or "no".',
            "system",
        ),
        turn(
            "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
            "<Query>: q\n<Document>: p"
        ),
    ]
    assert text(judged) == TOKENIZER.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    instructed = {"messages": [turn("Find code", "system"), turn("q")], "positive": "p"}
    assert "<Instruct>: Find code\n" in text(encode(instructed, "generative_reranker"))


def test_special_tokens_of_the_tokenizer_go_around_a_text() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3, "[UNK]": 4}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    bert = PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", pad_token="[UNK]"
    )
    template = ChatTemplate(bert, max_length=8, task="seq_cls")
    (sample,) = template.encode([to_conversation({"text": "b a", "label": 0}, "r:1")])
    assert sample.input_ids.tolist() == bert("b a")["input_ids"] == [0, 3, 2, 1]


@pytest.mark.parametrize(
    ("task", "row", "words"),
    [
        ("seq_cls", {"text": "a"}, ["rows.jsonl:1", "no label", "data.columns"]),
        ("embedding", {"text": "a"}, ["rows.jsonl:1", "no text to compare", "positive_messages"]),
        ("reranker", {"query": "q", "positive": []}, ["no text to compare"]),
        ("embedding", {"query": "q", "positive": 5}, ["'positive'", "int"]),
        ("embedding", {"sentence1": "q", "sentence2": "p", "score": "high"}, ["'score'", "'high'"]),
        ("reranker", {"query": "q", "documents": ["a", "b"], "labels": [1]}, ["2 documents", "1 labels"]),
        ("reranker", {"query": "q", "documents": ["a"], "labels": [3]}, ["3", "1 for a relevant"]),
        (
            "embedding",
            {"query": "q", "positive": "p", "negative": "n", "label": 0.3},
            ["label 0.3", "one pair"],
        ),
    ],
)
def test_bad_rows(task: Task, row: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        encode(row, task)
    for word in words:
        assert word in str(caught.value)


def test_rows_that_a_loss_cannot_compare() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no positive text[\s\S]*cosine, cosent"):
        check_texts(encode({"sentence1": "q", "sentence2": "p", "score": 0.4}, "embedding"), "candidates")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: 1 documents[\s\S]*loss_type=pointwise"):
        check_documents(encode({"query": "q", "positive": "p"}, "reranker"), "lists")


def test_what_is_too_long() -> None:
    row = {"query": "q " * 50, "positive": "p " * 200}
    template = ChatTemplate(TOKENIZER, max_length=60, task="embedding")
    assert template.encode([to_conversation(row, "r:1")]) == [] and template.statistics.dropped == 1
    cut = encode(row, "embedding", max_length=60, truncation="right")
    assert len(cut.others[0].input_ids) == 60
    for truncation, task in (("split", "embedding"), ("right", "generative_reranker")):
        with pytest.raises(ConfigError, match=r"data\.truncation"):
            ChatTemplate(TOKENIZER, max_length=9, truncation=truncation, task=task)  # type: ignore[arg-type]


def test_an_encoded_data_set_keeps_labels_and_other_texts_of_every_row() -> None:
    def piece(*ids: int, label: Any = None) -> Encoded:
        array = np.array(ids, np.int32)
        return Encoded(array, array, label=label)

    one, two, three = piece(1, 2), piece(3), piece(4, 5, 6, label=2)
    one.others = (piece(7, label=1), piece(8, 9, label=0))
    three.others = (piece(10, label=0.5),)
    kept = EncodedDataset([one, two, three])
    assert kept.lengths.tolist() == [5, 1, 4]
    assert [[o.input_ids.tolist() for o in kept[i].others] for i in range(3)] == [[[7], [8, 9]], [], [[10]]]
    assert [o.label for i in range(3) for o in kept[i].others] == [1, 0, 0.5]
    assert [kept[i].label for i in range(3)] == [None, None, 2]


def test_a_similarity_is_a_finite_number() -> None:
    for score in ("high", float("nan")):
        with pytest.raises(DataError, match=r"rows\.jsonl:1: column 'score' holds"):
            to_conversation({"sentence1": "q", "sentence2": "p", "score": score}, "rows.jsonl:1")
