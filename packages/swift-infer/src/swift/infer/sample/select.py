"""Which answers to a prompt are kept, and the rows they become. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swift.core.config.schema import SampleConfig
from swift.infer.rows import Prompt

Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer with its reward; None where nothing is rewarded."""

    text: str
    reward: float | None = None


@dataclass(frozen=True)
class Kept:
    """Rows to write for a prompt; where there are none, why."""

    rows: list[Row]
    dropped: str = ""


def select(prompt: Prompt, answers: Sequence[Answer], config: SampleConfig) -> Kept:
    """Rows made of the distinct answers to one prompt, best first where there are rewards."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer.text.strip(), answer)
    distinct = [answer for text, answer in first.items() if text]
    if not distinct:
        return Kept([], "no usable answer")
    if config.sample_method == "distill":
        return Kept([_supervised(prompt, answer) for answer in distinct])
    ranked = sorted(distinct, key=_reward, reverse=True)  # stable: of equals, the first
    if config.sample_method == "pairs":
        return _pair(prompt, ranked, config.min_margin)
    bar = config.reward_threshold
    above = [answer for answer in ranked if bar is None or _reward(answer) >= bar]
    count = 1 if config.sample_method == "best_of_n" else config.keep_per_prompt
    rows = [_supervised(prompt, answer) for answer in above[:count]]
    return Kept(rows, "" if rows else "below the threshold")


def _pair(prompt: Prompt, ranked: Sequence[Answer], margin: float) -> Kept:
    best, worst = ranked[0], ranked[-1]
    gap = _reward(best) - _reward(worst)
    if gap <= 0 or gap < margin:
        return Kept([], "no difference")
    row = {
        **_asked(prompt),
        "chosen": best.text,
        "rejected": worst.text,
        "reward": best.reward,
        "rejected_reward": worst.reward,
    }
    return Kept([row])


def _supervised(prompt: Prompt, answer: Answer) -> Row:
    rewarded = {} if answer.reward is None else {"reward": answer.reward}
    if prompt.text is not None:
        return {"text": prompt.text + answer.text, **rewarded}
    turns = [*prompt.messages, {"role": "assistant", "content": answer.text}]
    return {**_asked(prompt), "messages": turns, **rewarded}


def _asked(prompt: Prompt) -> Row:
    tools = {"tools": prompt.tools} if prompt.tools else {}
    if prompt.text is not None:
        return {"prompt": prompt.text, **tools}
    images = {"images": list(prompt.image_names)} if prompt.image_names else {}
    return {"messages": list(prompt.messages), **images, **tools}


def _reward(answer: Answer) -> float:
    return answer.reward if answer.reward is not None else 0.0
