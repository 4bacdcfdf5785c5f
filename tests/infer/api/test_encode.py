"""Vectors and scores: those of training, from what training leaves behind, for many at once."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from openai import OpenAI

from swift.core.config.run import run_from_dict
from swift.core.registry import objectives
from swift.core.template.chat import ChatTemplate
from swift.core.train.context import ObjectiveContext
from swift.core.train.run import train_in_process
from swift.core.types import Conversation
from swift.infer.encode.load import load_encoder
from swift.infer.encode.record import encode_settings
from swift.infer.load import load_adapted, load_infer_run
from swift.infer.server.gateway.supervise import SupervisedEngine, Supervision
from swift.infer.server.offer import load_offered, served_model

PAIRS = [
    ("red fruit", "apple"), ("yellow fruit", "banana"), ("it barks", "dog"), ("it purrs", "cat"),
    ("it flies", "bird"), ("it swims", "fish"), ("drives on roads", "car"), ("sails the sea", "ship"),
]  # fmt: skip
RELEVANT, IRRELEVANT = "{} !!!!", "{} ????"
TASKS = ("embedding", "reranker", "generative_reranker")


def rows_of(task: str) -> list[dict[str, Any]]:
    """Pairs by heart for vectors; for scores a word of the document that tells."""
    nouns = [text for _, text in PAIRS]
    if task == "embedding":
        return [
            {"query": query, "positive": text, "negative": [one for one in nouns if one != text][:4]}
            for query, text in PAIRS
        ]
    return [
        {"query": query, "positive": RELEVANT.format(text), "negative": [IRRELEVANT.format(text)]}
        for query, text in PAIRS
    ]


def trained(task: str, folder: Path, **more: Any) -> Path:
    """A small model trained on rows_of(task)."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(task)))
    words = {"yes_token": "1", "no_token": "0"} if task == "generative_reranker" else {}
    train_in_process(
        run_from_dict(
            {
                "model": {"model_id": "tiny/qwen3"},
                "data": {"dataset_name": str(folder / "rows.jsonl"), "task_type": task},
                "train": {
                    "output_dir": str(folder / "out"),
                    "tuner_strategy": "full",
                    "num_train_epochs": 15,
                    "learning_rate": 2e-3,
                    "per_device_train_batch_size": 8,
                    **words,
                    **more,
                },
            }
        )
    )
    return folder / "out"


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Output folders of a training for each task, made when first asked for."""
    made: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in made:
            made[task] = trained(task, tmp_path_factory.mktemp(task))
        return made[task]

    return run


def objective_of(task: str, run: Any, tokenizer: Any) -> Any:
    record = json.loads((Path(run.model.model_id).parent / "run.json").read_text())["config"]["train"]
    component = objectives.get(task)
    assert component.config is not None
    keys = {key: value for key, value in record.items() if key in component.config.model_fields}
    context = ObjectiveContext(tokenizer, run.model, load_reference=lambda: torch.nn.Linear(1, 1))
    return component.load()(component.config.model_validate(keys), context)


def test_results_are_those_of_the_training_objective(task: str, runs: Any) -> None:
    run = load_infer_run(None, [f"model.model_id={runs(task)}", "train.dtype=float32"])
    settings = encode_settings(run)
    assert settings is not None and settings.task == task
    encoder, tokenizer = load_encoder(run, settings)
    model, _ = load_adapted(run, settings.head)
    texts = [text for _, text in PAIRS]
    row = Conversation(
        messages=[{"role": "user", "content": "it barks"}],
        positives=[[{"role": "user", "content": text}] for text in texts],
        origin="test",
    )
    objective = objective_of(task, run, tokenizer)
    sample = ChatTemplate(tokenizer, max_length=512, task=objective.task).encode([row])[0]
    batch = objective.collate([sample])
    with torch.no_grad():
        if task == "embedding":
            expected = torch.cat(objective._vectors(model, batch))[1:]
            ids = encoder.reader.texts(texts)
        else:
            expected = objective.scores(model, batch)
            ids = encoder.reader.pairs("it barks", texts)
    results = np.stack(asyncio.run(encoder.encode(ids)))
    encoder.close()
    np.testing.assert_allclose(results, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_an_encoder_that_died_is_replaced_for_requests_too(runs: Any, serve: Any) -> None:
    run = load_infer_run(None, [f"model.model_id={runs('embedding')}", "train.dtype=float32"])
    encoder, tokenizer = load_offered(run)
    quick = Supervision(look_seconds=0.05, first_pause=0.05)
    back = threading.Event()
    engine = SupervisedEngine(encoder, lambda: load_offered(run)[0], quick, on_restart=back.set)
    served = served_model(run, encoder, tokenizer, [], engine)
    with serve(served) as client:
        (card,) = client.models.list()
        before = client.embeddings.create(model=card.id, input="a").data[0].embedding
        encoder.close()
        assert back.wait(30)
        assert client.embeddings.create(model=card.id, input="a").data[0].embedding == before
    engine.close()


def test_a_trained_model_ranks_right(task: str, runs: Any, serve: Any) -> None:
    run = load_infer_run(None, [f"model.model_id={runs(task)}", "train.dtype=float32"])
    encoder, tokenizer = load_offered(run)
    served = served_model(run, encoder, tokenizer, [], encoder)
    with serve(served) as client:
        (card,) = client.models.list()
        right = (_found_by_vectors if task == "embedding" else _found_by_scores)(client, card.id)
        with pytest.raises(openai.BadRequestError, match="writes no text"):
            client.chat.completions.create(model=card.id, messages=[{"role": "user", "content": "x"}])
        other = "rerank" if task == "embedding" else "embeddings"
        body = {"model": card.id, "query": "a", "documents": ["b"], "input": "c"}
        error = httpx.post(f"{client.base_url}{other}", json=body).json()["error"]
        assert error["code"] == "wrong_task"
    assert right >= 7, f"{right} of {len(PAIRS)}"


def _found_by_vectors(client: OpenAI, model: str) -> int:
    texts = [text for _, text in PAIRS]
    right = 0
    for query, text in PAIRS:
        answer = client.embeddings.create(model=model, input=[query, *texts])  # base64 on the wire
        vectors = np.array([one.embedding for one in answer.data])
        right += texts[int(np.argmax(vectors[1:] @ vectors[0]))] == text
    assert answer.usage.prompt_tokens > 0
    plain = client.embeddings.create(model=model, input=[query, *texts], encoding_format="float")
    np.testing.assert_allclose(np.array([one.embedding for one in plain.data]), vectors, atol=1e-6)
    short = np.array(client.embeddings.create(model=model, input=query, dimensions=8).data[0].embedding)
    np.testing.assert_allclose(short, vectors[0][:8] / np.linalg.norm(vectors[0][:8]), rtol=1e-4, atol=1e-6)
    refused: list[dict[str, Any]] = [
        {"dimensions": 10**6}, {"input": "w " * 500_000}, {"input": [10**9]}, {"input": ""}
    ]  # fmt: skip
    for wrong in refused:
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(**{"model": model, "input": "x", **wrong})
    return right


def _found_by_scores(client: OpenAI, model: str) -> int:
    right = 0
    for query, text in PAIRS:
        documents = [IRRELEVANT.format(text), RELEVANT.format(text), IRRELEVANT.format("tree")]
        body = {"model": model, "query": query, "documents": documents, "top_n": 2, "return_documents": True}
        found = httpx.post(f"{client.base_url}rerank", json=body, timeout=60).json()["results"]
        scores = [one["relevance_score"] for one in found]
        assert len(found) == 2 and scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert found[0]["document"]["text"] == documents[found[0]["index"]]
        right += found[0]["index"] == 1
    return right


def test_a_model_that_writes_text_gives_no_vectors(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="it writes text") as caught:
        client.embeddings.create(model="tiny", input="x")
    assert caught.value.code == "wrong_task"
