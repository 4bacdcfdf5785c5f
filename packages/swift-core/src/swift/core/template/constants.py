"""What a chat template's code asks of a message's content, read from its syntax tree.

Two contents that a template cannot tell apart are rendered alike, so rows need no rendering of their own
as long as none of them contains a string that the code compares, splits or searches with.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import TypeVar

from jinja2 import Environment, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

NodeT = TypeVar("NodeT", bound=nodes.Node)

STRIPPING = frozenset({"strip", "lstrip", "rstrip", "trim"})
HARMLESS_CALLS = frozenset({"raise_exception", "namespace", "range", "dict", "strftime_now"})
METHODS = STRIPPING | {
    "split", "rsplit", "partition", "startswith", "endswith", "replace", "find", "index", "count",
    "removeprefix", "removesuffix", "items", "keys", "values", "get", "append", "update", "join",
}  # fmt: skip
"""Methods whose result depends on the content only through their string arguments (or not at all)."""

MEASURING_FILTERS = frozenset({"length", "count", "first", "last", "list", "int", "float", "reverse"})
UNSAFE_FILTERS = frozenset({"random", "truncate", "wordcount", "wordwrap", "center", "indent", "hash"})
UNSAFE_TESTS = frozenset({"upper", "lower"})
_CLOCK = re.compile(r"%[-_]?[HIMSpcXfTsrR]")


@dataclass(frozen=True)
class Constants:
    """Conditions under which contents are exchangeable.

    Attributes:
        exchangeable: False when the code looks at contents in ways that no condition captures.
        parts: strings that a content must not contain.
        whole: strings that a content must not equal.
        ends: characters that a content must not begin or end with (beside white space).
        dated: the output depends on today's date.
    """

    exchangeable: bool
    parts: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    dated: bool = False


class _Generation(Extension):
    """The {% generation %} block of transformers, as its plain body."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@functools.lru_cache(maxsize=32)
def analyse(template: str) -> Constants:
    """Read the conditions off a template's syntax tree."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    tree = environment.parse(template)
    if not _is_exchangeable(tree) or ("strftime_now" in template and _CLOCK.search(template)):
        return Constants(exchangeable=False)
    parts: set[str] = set()
    whole: set[str] = set()
    ends: set[str] = set()
    for node in _deciding(tree):
        strings = _strings(_operands(node))
        if _method(node) in STRIPPING:
            ends.update("".join(strings))
        elif isinstance(node, nodes.Compare) and not _searches(node):
            whole.update(strings)
        else:
            parts.update(strings)
    searched, compared = _assigned_strings(tree)
    parts |= searched - {""}
    parts.discard("")
    whole |= compared
    return Constants(True, frozenset(parts), frozenset(whole), frozenset(ends), "strftime_now" in template)


def _deciding(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Nodes whose strings can decide how a content is rendered."""
    for node in tree.find_all((nodes.Call, nodes.Filter, nodes.Test, nodes.Compare, nodes.For)):
        called = node.node if isinstance(node, nodes.Call) else None
        if not (isinstance(called, nodes.Name) and called.name in HARMLESS_CALLS):
            yield node


def _operands(node: nodes.Node) -> list[nodes.Node]:
    """The parts of a deciding node that hold its strings: arguments, not the expression it works on."""
    if isinstance(node, nodes.Compare):
        return [node.expr, *(operand.expr for operand in node.ops)]
    if isinstance(node, nodes.For):
        return [node.iter]
    if isinstance(node, nodes.Call | nodes.Filter | nodes.Test):
        return [*node.args, *(keyword.value for keyword in node.kwargs)]
    return []


def _assigned_strings(tree: nodes.Node) -> tuple[set[str], set[str]]:
    """Strings that reach a deciding node through a variable: those searched for, those compared whole."""
    namespaces = {reference.name for reference in tree.find_all(nodes.NSRef)}
    deciding = list(_deciding(tree))
    judged = {id(item) for node in deciding for root in _operands(node) for item in _all(root, nodes.Const)}
    equality: list[nodes.Node] = [
        node for node in deciding if isinstance(node, nodes.Compare) and not _searches(node)
    ]
    search = [node for node in deciding if node not in equality]
    found: tuple[set[str], set[str]] = (set(), set())
    for strings, group in ((found[0], search), (found[1], equality)):
        read = {name for node in group for name in _names(_operands(node), namespaces)}
        for assignment in tree.find_all(nodes.Assign):
            if read & set(_names([assignment.target], namespaces)):
                strings.update(_strings([assignment.node], judged))
    return found


def _names(roots: list[nodes.Node], namespaces: set[str]) -> Iterator[str]:
    """Variables, and "space.attribute" of namespaces."""
    for root in roots:
        yield from (name.name for name in _all(root, nodes.Name))
        yield from (f"{reference.name}.{reference.attr}" for reference in _all(root, nodes.NSRef))
        for attribute in _all(root, nodes.Getattr):
            if isinstance(attribute.node, nodes.Name) and attribute.node.name in namespaces:
                yield f"{attribute.node.name}.{attribute.attr}"


def _strings(roots: list[nodes.Node], judged: Set[int] = frozenset()) -> list[str]:
    """String constants below these nodes, except keys such as message['role'] and those judged elsewhere."""
    skipped = judged | {id(item.arg) for root in roots for item in _all(root, nodes.Getitem)}
    constants = [item for root in roots for item in _all(root, nodes.Const) if id(item) not in skipped]
    return [constant.value for constant in constants if isinstance(constant.value, str)]


def _all(node: nodes.Node, kind: type[NodeT]) -> Iterator[NodeT]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def _searches(node: nodes.Compare) -> bool:
    """`'x' in content` looks for a part; `role in ['a', 'b']` and `==` compare whole strings."""
    return any(
        operand.op in ("in", "notin") and not isinstance(operand.expr, nodes.List | nodes.Tuple)
        for operand in node.ops
    )


def _method(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Filter):
        return node.name
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return node.node.attr
    return None


def _is_exchangeable(tree: nodes.Node) -> bool:
    """No operation in the code depends on a content by more than the strings it is given."""
    return all(_safe_call(node) for node in tree.find_all(nodes.Call)) and all(
        [
            *(_safe_filter(node) for node in tree.find_all(nodes.Filter)),
            *(node.name not in UNSAFE_TESTS for node in tree.find_all(nodes.Test)),
            *(_safe_item(node, tree) for node in tree.find_all(nodes.Getitem)),
        ]
    )


def _safe_call(node: nodes.Call) -> bool:
    if not isinstance(node.node, nodes.Getattr):
        return not (isinstance(node.node, nodes.Name) and node.node.name in ("lipsum", "cycler"))
    method = node.node.attr
    if method in ("split", "rsplit") and not node.args:
        return not _mentions_content(node.node.node)
    return method in METHODS


def _safe_filter(node: nodes.Filter) -> bool:
    if node.name in MEASURING_FILTERS:
        return node.node is None or not _mentions_content(node.node)
    return node.name not in UNSAFE_FILTERS


def _safe_item(node: nodes.Getitem, tree: nodes.Node) -> bool:
    """Characters cut out of a content; content[0].type belongs to lists of parts and is fine."""
    if not _mentions_content(node.node):
        return True
    if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        return True
    if isinstance(node.node, nodes.Call):
        return True  # content.split(...)[-1]: what it depends on is the argument
    attributes = [outer.node for outer in tree.find_all(nodes.Getattr)]
    items = [outer.node for outer in tree.find_all(nodes.Getitem)]
    return any(outer is node for outer in (*attributes, *items))


def _mentions_content(node: nodes.Node) -> bool:
    names = [name.name for name in _all(node, nodes.Name)]
    names += [attribute.attr for attribute in _all(node, nodes.Getattr)]
    names += [
        item.arg.value
        for item in _all(node, nodes.Getitem)
        if isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str)
    ]
    return any(word in name for name in names for word in ("content", "text", "answer", "value"))
