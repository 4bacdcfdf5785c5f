"""Token buckets and the limits made of them, with a clock of our own."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.config.schema import ServerConfig
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway import limits as limits_module
from swift.infer.server.gateway.bucket import TokenBucket
from swift.infer.server.gateway.limits import RateLimits


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=60
)  # (seconds that pass, units that are wanted)


@given(per_minute=st.integers(1, 200), steps=STEPS)
def test_no_window_gives_more_than_it_may(per_minute: int, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    taken: list[tuple[float, int]] = []
    for seconds, units in steps:
        clock.now += seconds
        if bucket.wait(units) == 0:
            bucket.take(units)
            taken.append((clock.now, units))
    assert bool(taken) == any(units <= per_minute for _, units in steps)  # a full one gives what it can hold
    for begin, (start, _) in enumerate(taken):
        total = 0
        for now, units in taken[begin:]:
            total += units
            assert total <= per_minute * (1 + (now - start) / 60) * (1 + 1e-6)


@given(per_minute=st.integers(1, 200), units=st.integers(1, 200), spent=st.integers(0, 200))
def test_the_wait_is_exact(per_minute: int, units: int, spent: int) -> None:
    clock = Clock()
    bucket = TokenBucket(per_minute, clock)
    bucket.take(min(spent, per_minute))
    wait = bucket.wait(units)
    if units > per_minute:
        assert math.isinf(wait)
        return
    if wait > 0.001:
        clock.now += wait * 0.99
        assert bucket.wait(units) > 0
        clock.now += wait * 0.01
    assert bucket.wait(units) == pytest.approx(0, abs=1e-6)


@given(steps=STEPS, back=st.integers(0, 1000))
def test_giving_back_never_fills_beyond_the_brim(steps: list[tuple[float, int]], back: int) -> None:
    clock = Clock()
    bucket = TokenBucket(100, clock)
    for seconds, units in steps:
        clock.now += seconds
        bucket.take(units)  # overdraws: a correction upwards
        bucket.take(-back)
        assert bucket.level <= bucket.capacity


def limits(clock: Clock, **keys: int) -> RateLimits:
    return RateLimits(ServerConfig.model_validate(keys), clock)


def test_each_key_has_its_own_limit_and_all_share_one() -> None:
    clock = Clock()
    rates = limits(clock, key_requests_per_minute=2, requests_per_minute=3)
    for client in ("a", "a", "b"):
        rates.take(client, "requests", 1)
    with pytest.raises(ApiError, match="'a' may use 2 requests per minute") as own:
        rates.take("a", "requests", 1)
    assert own.value.status == 429 and own.value.headers == {"Retry-After": "30"}
    with pytest.raises(ApiError, match="all clients together may use 3") as all_of_them:
        rates.take("c", "requests", 1)
    assert all_of_them.value.headers == {"Retry-After": "20"}
    clock.now += 20
    rates.take("c", "requests", 1)


def test_a_refused_request_takes_nothing() -> None:
    clock = Clock()
    rates = limits(clock, key_tokens_per_minute=100, tokens_per_minute=1000)
    rates.take("a", "tokens", 80)
    for _ in range(50):
        with pytest.raises(ApiError):
            rates.take("a", "tokens", 50)
    rates.take("b", "tokens", 100)
    headers = rates.headers("a")
    assert headers["x-ratelimit-remaining-tokens"] == "20" and headers["x-ratelimit-limit-tokens"] == "100"
    assert headers["x-ratelimit-reset-tokens"] == "48.000s"


def test_tokens_are_corrected_by_what_was_used() -> None:
    rates = limits(Clock(), key_tokens_per_minute=100)
    rates.take("a", "tokens", 90)
    rates.correct("a", reserved=90, used=30)
    assert rates.headers("a")["x-ratelimit-remaining-tokens"] == "70"
    rates.correct("a", reserved=0, used=200)  # more than was reserved: it is owed
    with pytest.raises(ApiError) as error:
        rates.take("a", "tokens", 1)
    assert error.value.headers == {"Retry-After": "79"}


def test_what_can_never_pass_is_no_429() -> None:
    with pytest.raises(ApiError, match="may use 101 tokens, but 'a' may use 100") as error:
        limits(Clock(), key_tokens_per_minute=100).take("a", "tokens", 101)
    assert error.value.status == 400 and error.value.code == "request_too_large"


def test_addresses_are_forgotten(monkeypatch: Any) -> None:
    monkeypatch.setattr(limits_module, "MOST_CLIENTS", 10)
    clock = Clock()
    rates = limits(clock, key_requests_per_minute=2)
    rates.take("spent", "requests", 2)
    for number in range(9):
        rates.take(str(number), "requests", 1)
    clock.now += 30  # the nine are full again, the first is not
    rates.take("another", "requests", 1)
    assert set(rates._clients) == {"spent", "another"}
    with pytest.raises(ApiError):
        rates.take("spent", "requests", 2)
