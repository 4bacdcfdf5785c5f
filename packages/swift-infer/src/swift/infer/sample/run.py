"""From prompts to training data, a chunk of prompts at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.config.schema import SampleConfig
from swift.core.console import say
from swift.core.engines import facts_of
from swift.core.errors import ConfigError, DataError, EngineError
from swift.core.protocols import Engine
from swift.core.types import EngineFacts, GenerationRequest
from swift.infer.prompts import several
from swift.infer.rows import Prompt, read_prompts, request
from swift.infer.sample.ledger import Ledger
from swift.infer.sample.rewards import Scorer
from swift.infer.sample.select import Answer, select

REWARDED = ("best_of_n", "rejection", "pairs")


def check(config: SampleConfig, temperature: float) -> None:
    """Raises ConfigError for settings that cannot give what they ask for."""
    if config.sample_method in REWARDED and not config.reward_funcs:
        raise ConfigError(
            f"infer.sample_method={config.sample_method} needs a reward", "name one: --reward exact_match"
        )
    if config.sample_method == "rejection" and config.reward_threshold is None:
        raise ConfigError("infer.sample_method=rejection needs infer.reward_threshold", "set the bar")
    if config.answers_per_prompt > 1 and temperature == 0:
        raise ConfigError(
            f"{config.answers_per_prompt} answers a prompt at infer.temperature=0 are all the same",
            "set infer.temperature above 0, or infer.answers_per_prompt=1",
        )
    if config.sample_method == "pairs" and config.answers_per_prompt < 2:
        raise ConfigError("a pair needs two answers", "set infer.answers_per_prompt to 2 or more")


def sample(run: RunConfig, source: Path, output: Path) -> Counter[str]:
    """Write the rows; what became of prompts and answers.

    A run that was stopped goes on: rows that are there stay, and no prompt is asked twice.

    Raises:
        SwiftError: settings, prompts, rewards, output or model cannot be used. What was written stays.
    """
    from swift.infer.load import load_engine

    config = run.sample
    check(config, run.infer.temperature)
    prompts, unreadable = read_prompts(source, skip=run.data.on_error == "skip")
    scorer = Scorer(config, run.plugins.fallback)
    ledger = Ledger(output, fingerprint(run, prompts))
    ledger.open()
    if ledger.done:
        say(f"going on after {ledger.done} of {len(prompts)} prompts")
    if ledger.done < len(prompts):
        engine, tokenizer = load_engine(run)
        with contextlib.closing(engine):
            _all_chunks(prompts, engine, tokenizer, scorer, ledger, run)
    ledger.close()
    return ledger.counts + Counter({"unreadable rows": unreadable} if unreadable else {})


def fingerprint(run: RunConfig, prompts: Sequence[Prompt]) -> str:
    """Of all that decides the rows."""
    decides = {
        "model": [run.model.model_id, run.model.adapter, run.infer.engine, str(run.engine)],
        "sample": run.sample.model_dump(mode="json", exclude={"prompts_at_a_time"}),
        "infer": run.infer.model_dump(mode="json"),
        "seed": seed_of(run),
        "prompts": [prompt.row for prompt in prompts],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def seed_of(run: RunConfig) -> int:
    """infer.seed, or else train.seed: sampled data can be made again."""
    return run.loop.seed if run.infer.seed is None else run.infer.seed


def _all_chunks(
    prompts: Sequence[Prompt], engine: Engine, tokenizer: Any, scorer: Scorer, ledger: Ledger, run: RunConfig
) -> None:
    size = run.sample.prompts_at_a_time
    while ledger.done < len(prompts):
        start = ledger.done
        chunk = prompts[start : start + size]
        texts, counts = answers(chunk, start, engine, tokenizer, run)
        owners = [prompt for prompt, found in zip(chunk, texts, strict=True) for _ in found]
        scores = iter(scorer(owners, [text for found in texts for text in found]))
        rows = []
        for prompt, found in zip(chunk, texts, strict=True):
            kept = select(prompt, [Answer(text, next(scores)) for text in found], run.sample)
            rows += kept.rows
            counts["prompts dropped: " + kept.dropped if kept.dropped else "prompts kept"] += 1
        counts["rows"] += len(rows)
        ledger.add(len(chunk), rows, counts)
        say(f"{ledger.done}/{len(prompts)} prompts, {ledger.counts['rows']} rows")


def answers(
    prompts: Sequence[Prompt], first: int, engine: Engine, tokenizer: Any, run: RunConfig
) -> tuple[list[list[str]], Counter[str]]:
    """Usable answers to each prompt, in the order in which they were drawn, and counts of all of them.

    Args:
        first: number of the first prompt among all; its draws follow from it, in chunks of any size.

    Raises:
        EngineError: a request fails, unless data.on_error is skip.
    """
    facts = facts_of(engine)
    asked = {
        one.request_id: (place, one)
        for place, prompt in enumerate(prompts)
        for one in _requests(prompt, first + place, facts, tokenizer, run)
    }
    texts = dict.fromkeys(asked, "")
    ends: dict[str, str] = {}
    for delta in engine.generate([one for _, one in asked.values()]):
        texts[delta.request_id] += delta.text
        if delta.finish_reason is not None:
            ends[delta.request_id] = delta.finish_reason
        if delta.finish_reason == "error" and run.data.on_error == "raise":
            origin = prompts[asked[delta.request_id][0]].origin
            raise EngineError(
                f"{origin}: {delta.error}", "data.on_error=skip counts such answers and goes on"
            )
    usable: list[list[str]] = [[] for _ in prompts]
    for name, (place, _) in asked.items():
        if ends.get(name) == "stop" or (ends.get(name) == "length" and run.sample.keep_truncated):
            usable[place].append(texts[name])
    named = {"stop": "answers", "length": "answers cut off", "error": "answers failed"}
    return usable, Counter(named.get(end, "answers failed") for end in ends.values())


def _requests(
    prompt: Prompt, number: int, facts: EngineFacts, tokenizer: Any, run: RunConfig
) -> list[GenerationRequest]:
    """Equal requests that differ in their seeds; none for a row that cannot be asked and is skipped."""
    count = run.sample.answers_per_prompt
    try:
        one = request(number, prompt, tokenizer, run.infer, facts)
    except DataError:
        if run.data.on_error == "raise":
            raise
        return []
    seeded = dataclasses.replace(one.sampling, seed=seed_of(run) + number * count)
    return several(dataclasses.replace(one, sampling=seeded), count)
