"""Answers that must match something."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from swift.core.types import Constraint

pytestmark = pytest.mark.timeout(600)
SCHEMA = {
    "type": "object",
    "properties": {
        "done": {"type": "boolean"},
        "kind": {"enum": ["small", "large"]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
    },
    "required": ["done", "kind", "sizes"],
    "additionalProperties": False,
}
CHOICES = ["a cat", "a dog", "neither of them"]
SEEDS = (None, 1, 2)


def constrained(subject: Any, kind: str, value: str) -> list[str]:
    """One greedy and two drawn texts."""
    if kind not in subject.facts.constraints:
        pytest.skip(f"{subject.name} has no constraint {kind}")
    constraint = Constraint(kind, value)  # type: ignore[arg-type]
    requests = [
        subject.request(
            str(seed),
            temperature=0.0 if seed is None else 1.0,
            seed=seed,
            max_tokens=96,
            constraint=constraint,
        )
        for seed in SEEDS
    ]
    answers = subject.ask_all(requests)
    assert [answer.reason for answer in answers.values()] == ["stop"] * 3, answers
    return [answer.text for answer in answers.values()]


def test_json_schema(subject: Any) -> None:
    for text in constrained(subject, "json_schema", json.dumps(SCHEMA)):
        assert jsonschema.Draft202012Validator(SCHEMA).is_valid(json.loads(text)), text


def test_regex(subject: Any) -> None:
    for text in constrained(subject, "regex", r"[a-c]{3}-\d{2,4}"):
        assert re.fullmatch(r"[a-c]{3}-\d{2,4}", text)


def test_choice(subject: Any) -> None:
    assert set(constrained(subject, "choice", json.dumps(CHOICES))) <= set(CHOICES)


def test_grammar(subject: Any) -> None:
    grammar = 'root ::= "(" sum ")"\nsum ::= [0-9] | [0-9] "+" [0-9]'
    for text in constrained(subject, "grammar", grammar):
        assert re.fullmatch(r"\(\d(\+\d)?\)", text)


def test_any_json_object(subject: Any) -> None:
    if "json_object" not in subject.facts.constraints:
        pytest.skip("no constraint json_object")
    answer = subject.ask(max_tokens=48, constraint=Constraint("json_object"))
    assert answer.text.startswith("{")
    if answer.reason == "stop":
        assert isinstance(json.loads(answer.text), dict)


def test_a_constraint_binds_its_own_request_only(subject: Any) -> None:
    free = subject.ask()
    answers = subject.ask_all(
        [
            subject.request("bound", constraint=Constraint("choice", json.dumps(CHOICES))),
            subject.request("free"),
        ]
    )
    assert answers["free"].tokens == free.tokens
    assert answers["bound"].text in CHOICES


@pytest.mark.parametrize(
    ("kind", "value"),
    [("json_schema", '{"type": "wrong"}'), ("regex", "(unclosed"), ("grammar", "root ::= ")],
)
def test_a_wrong_constraint_is_an_error_of_its_request(subject: Any, kind: str, value: str) -> None:
    if kind not in subject.facts.constraints:
        pytest.skip(f"{subject.name} has no constraint {kind}")
    answer = subject.ask(constraint=Constraint(kind, value))  # type: ignore[arg-type]
    assert answer.reason == "error"
    assert answer.error
    assert subject.engine.health().ready
    assert len(subject.ask(max_tokens=2).tokens) == 2
