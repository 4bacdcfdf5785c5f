"""JSON and JSON Lines, row by row with the line of each: one bad line names itself and loses only itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from swift.core.errors import DataError

_SPACE = re.compile(r"\s*")
_SEPARATOR = re.compile(r"\s*(,?)\s*")
_decode = json.JSONDecoder().raw_decode

Item = tuple[Any, int] | DataError
"""A parsed value and the line it starts on, or what is wrong with it."""


def read_json(path: Path) -> Iterator[Item]:
    """Values of one file: the elements of its array, or one value a line.

    Raises:
        DataError: the file cannot be read as UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
            while first and not first.strip():
                first = file.readline()
            file.seek(0)
            if first.lstrip().startswith("["):
                yield from _array(path, file.read())
            elif path.suffix == ".json" and not _is_value(first):
                yield from _values(path, file.read())
            else:
                yield from _lines(path, file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}", "convert the file to UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _is_value(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _lines(path: Path, lines: Iterator[str]) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield _parse(line), number
        except ValueError as error:
            yield _malformed(path, number, error, "one JSON object a line")


def _parse(line: str) -> Any:
    """orjson is faster; json also reads NaN and large integers, and knows where an error is."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _values(path: Path, text: str) -> Iterator[Item]:
    """Objects written over several lines, one after the other; after a bad one there is no way to go on."""
    position, line = _skip_space(text, 0), 1
    line += text.count("\n", 0, position)
    while position < len(text):
        try:
            value, end = _decode(text, position)
        except ValueError as error:
            yield _malformed(path, _error_line(error, line), error, "JSON objects, one after the other")
            return
        yield value, line
        after = _skip_space(text, end)
        line += text.count("\n", position, after)
        position = after


def _array(path: Path, text: str) -> Iterator[Item]:
    """Elements of a top-level array; an element that cannot be parsed costs the next line that starts one."""
    opening = text.index("[") + 1
    position = _skip_space(text, opening)
    line = 1 + text.count("\n", 0, position)
    while not text.startswith("]", position):
        try:
            value, end = _decode(text, position)
            separator = _SEPARATOR.match(text, end)
            assert separator is not None  # the pattern matches the empty string
            after = separator.end()
            if not separator[1] and not text.startswith("]", after):
                raise json.JSONDecodeError("expecting ',' or ']'", text, end)
            yield value, line
        except ValueError as error:
            yield _malformed(path, _error_line(error, line), error, "a JSON array of objects")
            after = _next_element(text, position)
            if after < 0:
                return
        line += text.count("\n", position, after)
        position = after


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _next_element(text: str, position: int) -> int:
    """The next line start that looks like the beginning of an object, as pretty-printers write it."""
    match = re.compile(r"(?<=\n)\s{0,8}\{").search(text, position + 1)
    return match.end() - 1 if match else -1


def _error_line(error: ValueError, line: int) -> int:
    return error.lineno if isinstance(error, json.JSONDecodeError) else line


def _malformed(path: Path, line: int, error: ValueError, rule: str) -> DataError:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(
        f"{path}:{line}: not valid JSON ({reason}); the file must hold {rule}",
        "correct the line, or set data.on_error=skip to count it and go on",
    )
