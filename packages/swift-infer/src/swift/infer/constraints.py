"""What an answer may be made to match: refused here, before anything is queued, when it cannot be enforced.

xgrammar turns every kind into a grammar. It passes over some keywords of JSON Schema without a word; those
are refused, because an answer that was promised to match would not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import xgrammar

from swift.core.errors import DataError
from swift.core.types import Constraint

MAX_CHARS = 131_072
MAX_DEPTH = 64  # conversion takes time with the cube of the depth
MAX_PROPERTIES = 512  # of one object: compilation takes time with the cube of the optional ones
MAX_CHOICES = 10_000
MAX_GRAMMAR = 4_000_000  # characters after conversion
WHITESPACE = 24  # most between two parts of JSON text, so that an answer cannot consist of nothing else
ANY_OBJECT = '{"type": "object"}'

NOT_ENFORCED = frozenset(
    {"not", "if", "then", "else", "uniqueItems", "multipleOf", "contains", "minContains", "maxContains"}
    | {"dependentRequired", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"}
)
CHOOSERS = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
"""Keywords that decide alone: what stands beside them is passed over."""
RULES = frozenset(
    {"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}
    | {"minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "pattern"}
    | {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"enum", "const"}
)
NEED_TYPE = RULES - {"properties", "required", "additionalProperties", "patternProperties", "enum", "const"}
"""Keywords that are passed over where no type stands beside them."""
NAMED = ("properties", "patternProperties", "$defs", "definitions")
LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties")

LOOSE, STRICT = r"[^\"\\\r\n]", r"[^\0-\x1f\"\\]"
ORIGIN = re.compile(r"^\[[\d:]+\] \S+: (Check failed: .*? is false: )?")
DOT = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\.", re.DOTALL)


def check(constraint: Constraint) -> None:
    """Refuse what cannot be enforced.

    Raises:
        DataError: it is invalid, too large, or holds what no grammar here expresses.
    """
    to_grammar(constraint)


def to_grammar(constraint: Constraint) -> xgrammar.Grammar:
    """The grammar of everything that matches. oneOf is read as anyOf; properties that an object's schema
    does not name are not written.

    Raises:
        DataError: it is invalid, too large, or holds what no grammar here expresses.
    """
    kind, value = constraint.kind, constraint.value
    if kind not in CONVERTERS:
        raise DataError(f"unknown kind of constraint {kind!r}", f"use one of {', '.join(CONVERTERS)}")
    if len(value) > MAX_CHARS:
        raise DataError(
            f"the {NOUNS[kind]} has {len(value):,} characters, more than {MAX_CHARS:,}", "make it smaller"
        )
    try:
        grammar = CONVERTERS[kind](value)
    except (RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"the {NOUNS[kind]} cannot be used: {_plain(error)}", "correct it") from None
    if len(str(grammar)) > MAX_GRAMMAR:
        raise DataError(f"the {NOUNS[kind]} is too large: its grammar passes {MAX_GRAMMAR:,} characters")
    return grammar


def _plain(error: Exception) -> str:
    return ORIGIN.sub("", str(error)).strip().partition("The JSON string is:")[0].strip()


def _from_schema(value: str) -> xgrammar.Grammar:
    schema = _parsed(value, "json_schema")
    for place, part in _subschemas(schema):
        _check_part(place, part)
    grammar = xgrammar.Grammar.from_json_schema(value, max_whitespace_cnt=WHITESPACE)
    text = str(grammar)
    # texts of limited length may hold control characters to xgrammar, which JSON forbids
    return xgrammar.Grammar.from_ebnf(text.replace(LOOSE, STRICT)) if LOOSE in text else grammar


def _any_object(value: str) -> xgrammar.Grammar:
    return xgrammar.Grammar.from_json_schema(ANY_OBJECT, strict_mode=False, max_whitespace_cnt=WHITESPACE)


def _from_regex(value: str) -> xgrammar.Grammar:
    # to xgrammar a dot is a line break too, to everybody else it is not
    return xgrammar.Grammar.from_regex(DOT.sub(lambda found: found[1] or r"[^\n\r]", value))


def _from_choice(value: str) -> xgrammar.Grammar:
    texts = _parsed(value, "choice")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError("the choice is not a JSON list of texts, or empty", 'write ["yes", "no"]')
    if len(texts) > MAX_CHOICES:
        raise DataError(f"the choice has {len(texts):,} texts, more than {MAX_CHOICES:,}", "offer fewer")
    return xgrammar.Grammar.from_ebnf("root ::= " + " | ".join(_literal(text) for text in texts))


def _literal(text: str) -> str:
    """A text as EBNF writes it."""
    plain = all(32 <= ord(letter) < 127 and letter not in '"\\' for letter in text)
    return f'"{text}"' if plain else '"' + "".join(f"\\U{ord(letter):08x}" for letter in text) + '"'


def _parsed(value: str, kind: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the {NOUNS[kind]} is not valid JSON: {error}", "correct it") from None


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """(place, schema) of a schema and all its parts; names of properties are no keywords.

    Raises:
        DataError: a part is no schema, or they are nested too deeply.
    """
    waiting = [("$", schema, 0)]
    while waiting:
        place, part, depth = waiting.pop()
        if isinstance(part, bool):
            continue
        if not isinstance(part, dict):
            raise DataError(f"{place} of the JSON schema is {part!r:.40}, not an object", "correct it")
        if depth > MAX_DEPTH:
            raise DataError(f"the JSON schema is nested more than {MAX_DEPTH} deep", "use $defs and $ref")
        waiting += [(f"{place}.{step}", child, depth + 1) for step, child in _children(place, part)]
        yield place, part


def _children(place: str, part: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in NAMED:
        named = part.get(key, {})
        if not isinstance(named, dict):
            raise DataError(f"{place}.{key} of the JSON schema is not an object", "correct it")
        yield from ((f"{key}.{name}", child) for name, child in named.items())
    for key in LISTED:
        listed = part.get(key, [])
        if not isinstance(listed, list):
            raise DataError(f"{place}.{key} of the JSON schema is not a list", "correct it")
        yield from ((f"{key}[{number}]", child) for number, child in enumerate(listed))
    yield from ((key, part[key]) for key in SINGLE if key in part)


def _check_part(place: str, part: dict[str, Any]) -> None:
    strange = sorted(NOT_ENFORCED & part.keys())
    if strange:
        raise DataError(
            f"{place} of the JSON schema uses {strange[0]!r}, which is not enforced", "leave it out"
        )
    choosers, rules = sorted(CHOOSERS & part.keys()), sorted(RULES & part.keys())
    if choosers and (rules or len(choosers) > 1):
        raise DataError(
            f"{place} of the JSON schema has {choosers[0]!r} beside {(*choosers[1:], *rules)[0]!r}, "
            "only one of which would be enforced",
            "write what belongs together into one schema",
        )
    untyped = sorted(NEED_TYPE & part.keys()) if "type" not in part else []
    if untyped:
        raise DataError(
            f"{place} of the JSON schema has {untyped[0]!r} without a type, which is not enforced", "add type"
        )
    if len(part.get("allOf", ())) > 1:
        raise DataError(f"{place} of the JSON schema has allOf of several schemas", "merge them into one")
    if "pattern" in part and ("minLength" in part or "maxLength" in part):
        raise DataError(
            f"{place} of the JSON schema has pattern beside a length, which is not enforced",
            "write the length into the pattern",
        )
    _check_object(place, part)


def _check_object(place: str, part: dict[str, Any]) -> None:
    properties = part.get("properties", {})
    if len(properties) > MAX_PROPERTIES:
        raise DataError(
            f"{place} of the JSON schema has {len(properties)} properties, more than {MAX_PROPERTIES}",
            "split the object",
        )
    required = part.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise DataError(f"{place}.required of the JSON schema is not a list of names", "correct it")
    unknown = [name for name in required if name not in properties]
    if unknown:
        raise DataError(
            f"{place} of the JSON schema requires {unknown[0]!r}, which is none of its properties",
            "describe it under properties",
        )


NOUNS = {
    "json_schema": "JSON schema",
    "json_object": "JSON object",
    "regex": "regular expression",
    "choice": "choice",
    "grammar": "grammar",
}
CONVERTERS: dict[str, Callable[[str], xgrammar.Grammar]] = {
    "json_schema": _from_schema,
    "json_object": _any_object,
    "regex": _from_regex,
    "choice": _from_choice,
    "grammar": xgrammar.Grammar.from_ebnf,
}
KINDS = frozenset(CONVERTERS)
