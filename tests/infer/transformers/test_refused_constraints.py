"""Which constraints are refused before anything is generated, and what the others become."""

from __future__ import annotations

import json
import time

import pytest
from xgrammar.testing import _is_grammar_accept_string as accepts

from swift.core.errors import DataError
from swift.core.types import Constraint
from swift.infer.constraints import check, to_grammar


def deep(levels: int) -> str:
    return '{"type":"array","items":' * levels + "{}" + "}" * levels


@pytest.mark.parametrize(
    ("constraint", "named"),
    [
        (Constraint("json_schema", "{"), "not valid JSON"),
        (Constraint("json_schema", "[" * 100_000), "not valid JSON"),
        (Constraint("json_schema", "3"), "not an object"),
        (Constraint("json_schema", '{"type": "objekt"}'), "objekt"),
        (Constraint("json_schema", '{"$ref": "#/nowhere"}'), "nowhere"),
        (Constraint("json_schema", '{"type": "object", "required": ["a"]}'), "requires 'a'"),
        (Constraint("json_schema", '{"type": "array", "uniqueItems": true}'), "'uniqueItems'"),
        (Constraint("json_schema", '{"properties": {"a": {"not": {}}}}'), r"\$.properties.a .*'not'"),
        (Constraint("json_schema", '{"properties": {"a": 3}}'), "not an object"),
        (Constraint("json_schema", '{"properties": 3}'), "not an object"),
        (Constraint("json_schema", '{"minLength": 3}'), "without a type"),
        (Constraint("json_schema", '{"anyOf": [{"type": "null"}], "properties": {}}'), "beside"),
        (Constraint("json_schema", '{"allOf": [{"type": "null"}, {}]}'), "allOf"),
        (Constraint("json_schema", deep(100)), "64 deep"),
        (Constraint("json_schema", deep(10_000)), "characters"),
        (Constraint("json_schema", json.dumps({"properties": {f"p{n}": {} for n in range(5000)}})), "5000"),
        (Constraint("regex", "a(b"), "parenthesis"),
        (Constraint("regex", r"(a)\1"), "Backreference"),
        (Constraint("regex", "(" * 5000 + ")" * 5000), "regular expression"),
        (Constraint("regex", "a" * 200_000), "characters"),
        (Constraint("choice", "[]"), "list of texts"),
        (Constraint("choice", '"yes"'), "list of texts"),
        (Constraint("choice", "[1]"), "list of texts"),
        (Constraint("choice", json.dumps(["x"] * 20_000)), "20,000"),
        (Constraint("grammar", 'root ::= "a" other'), "other"),
        (Constraint("grammar", 'start ::= "a"'), "root"),
        (Constraint("poem", ""), "unknown kind"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_enforced_is_refused_at_once(constraint: Constraint, named: str) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError, match=named):
        check(constraint)
    assert time.perf_counter() - start < 5


def test_property_names_are_no_keywords_and_texts_hold_no_control_characters() -> None:
    check(Constraint("json_schema", '{"type": "object", "properties": {"not": {"type": "string"}}}'))
    grammar = to_grammar(Constraint("json_schema", '{"type": "string", "maxLength": 3}'))
    assert accepts(grammar, '"abc"')
    assert not accepts(grammar, '"abcd"') and not accepts(grammar, '"a\x11"')
    dots = to_grammar(Constraint("regex", r"a.\.[.]"))
    assert accepts(dots, "ab..") and not accepts(dots, "a\n..") and not accepts(dots, "abx.")
