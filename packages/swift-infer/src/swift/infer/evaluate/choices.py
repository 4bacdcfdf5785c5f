"""Own multiple-choice questions, as EvalScope's general_mcq reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swift.core.errors import DataError
from swift.infer.evaluate.rows import Questions, Row, convert

LETTERS = "ABCDEFGHIJ"  # as many as general_mcq knows
QUESTIONS = ("question", "query", "prompt", "problem", "input", "instruction")
LISTS = ("choices", "options", "candidates", "answers")
ANSWERS = ("answer", "target", "correct", "correct_answer", "answer_key", "answerkey", "solution")
NUMBERS = ("answer_index", "answer_idx", "label")  # from 0, as data sets of hubs count
ALONE = re.compile(r"(?:(?:choice|option|opa?)[ _-]?)?([A-Ja-j]|10|[1-9])")
LETTER = re.compile(r"\(?([A-Ja-j])[.):]?")


def read_choices(path: Path, *, skip: bool = False) -> Questions:
    """Rows with a question, choices (a list, or a column each) and an answer (letter, text or number).

    An answer that is a list, or letters joined by commas, makes the question one with several right choices.

    Raises:
        DataError: a row from which no question with a right choice can be read, with its line.
    """
    found = convert(path, _choice_question, skip=skip)
    if any(len(row["answer"]) > 1 for row in found.rows):
        return found
    return Questions([{**row, "answer": row["answer"][0]} for row in found.rows], found.skipped)


def several_right(questions: Questions) -> bool:
    """Whether some question has several right choices; then all answers are lists."""
    return isinstance(questions.rows[0]["answer"], list)


def _choice_question(row: Row, origin: str) -> Row:
    lowered = {str(name).strip().lower(): value for name, value in row.items()}
    question = next((lowered[name] for name in QUESTIONS if lowered.get(name)), None)
    if not isinstance(question, str):
        raise DataError(f"{origin}: the row has no question", f"in a column {' or '.join(QUESTIONS[:3])}")
    choices = _choices(lowered, origin)
    right = _right(lowered, choices, origin)
    return {"question": question, **dict(zip(LETTERS, choices, strict=False)), "answer": right}


def _choices(row: Row, origin: str) -> list[str]:
    listed = next((row[name] for name in LISTS if row.get(name)), None)
    choices = _listed(listed) if listed is not None else _columns(row)
    if not 2 <= len(choices) <= len(LETTERS):
        raise DataError(
            f"{origin}: the row has {len(choices)} choices; a question has 2 to {len(LETTERS)}",
            'in a column "choices" (a list, or texts joined by |), or in columns A, B, C, ...',
        )
    return choices


def _listed(value: Any) -> list[str]:
    if isinstance(value, dict):  # {"text": [...], "label": [...]} of some hub data sets, or {"A": ..., ...}
        value = value.get("text") or list(value.values())
    if isinstance(value, str):
        value = _parsed(value)
    return [str(choice) for choice in value] if isinstance(value, Sequence) else []


def _parsed(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, list) else [choice.strip() for choice in text.split("|")]


def _columns(row: Row) -> list[str]:
    """Choices in columns A, B, ... or choice_1, option b, ...; they end with the first that is missing."""
    by_place = {
        _place(found[1]): str(value) for name, value in row.items() if (found := ALONE.fullmatch(name))
    }
    return [by_place[place] for place in range(len(LETTERS)) if set(range(place + 1)) <= by_place.keys()]


def _place(mark: str) -> int:
    return int(mark) - 1 if mark.isdigit() else LETTERS.index(mark.upper())


def _right(row: Row, choices: list[str], origin: str) -> list[str]:
    numbered = next((row[name] for name in NUMBERS if row.get(name) is not None), None)
    answer = next((row[name] for name in ANSWERS if row.get(name) not in (None, "", [])), None)
    if answer is None:
        if numbered is None:
            raise DataError(
                f"{origin}: the row has no answer", 'in a column "answer": its letter or its text'
            )
        return [_numbered(numbered, choices, origin)]
    answers = answer if isinstance(answer, list) else _apart(str(answer), choices)
    return sorted({_letter(str(one), choices, origin) for one in answers})


def _apart(answer: str, choices: list[str]) -> list[str]:
    """The answer, or several letters joined by commas."""
    parts = [part.strip() for part in answer.split(",")]
    lettered = len(parts) > 1 and answer not in choices and all(LETTER.fullmatch(part) for part in parts)
    return parts if lettered else [answer]


def _letter(answer: str, choices: list[str], origin: str) -> str:
    """The letter of a choice that is named by its letter or by its text."""
    named = LETTER.fullmatch(answer.strip())
    places = {LETTERS.index(named[1].upper())} if named else set()
    places |= {place for place, choice in enumerate(choices) if choice.strip() == answer.strip()}
    if len(places) != 1 or max(places) >= len(choices):
        which = "more than one" if len(places) > 1 else "none"
        raise DataError(
            f"{origin}: the answer {answer!r} names {which} of the {len(choices)} choices",
            "give its letter (A is the first) or its whole text; numbers from 0 go in a column answer_index",
        )
    return LETTERS[places.pop()]


def _numbered(value: Any, choices: list[str], origin: str) -> str:
    try:
        place = int(value)
    except (TypeError, ValueError):
        return _letter(str(value), choices, origin)
    if not 0 <= place < len(choices):
        raise DataError(f"{origin}: answer number {place} of {len(choices)} choices; the first is 0")
    return LETTERS[place]
