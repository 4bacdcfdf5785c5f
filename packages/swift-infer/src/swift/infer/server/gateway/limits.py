"""Rate limits: requests and tokens a minute, of each client and of all together."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from swift.core.config.schema import ServerConfig
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.bucket import Clock, TokenBucket

MOST_CLIENTS = 10_000  # addresses are free: what is remembered of them must not be


@dataclass(slots=True, frozen=True)
class Limit:
    """One bucket that a request must pass, and how it is called."""

    unit: str
    whose: str
    bucket: TokenBucket


class RateLimits:
    """The buckets of everybody. A request takes from all that concern it, or from none.

    Args:
        config: the *_per_minute keys; None there: no limit.
        clock: seconds that never run back.
    """

    def __init__(self, config: ServerConfig, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._per_client = {
            "requests": config.key_requests_per_minute,
            "tokens": config.key_tokens_per_minute,
        }
        total = {"requests": config.requests_per_minute, "tokens": config.tokens_per_minute}
        self._total = self._buckets(total, "all clients together")
        self._clients: OrderedDict[str, tuple[Limit, ...]] = OrderedDict()

    def take(self, client: str, unit: str, amount: float) -> None:
        """Take requests or tokens of a client.

        Raises:
            ApiError: 429 with Retry-After, or 400 for more than a limit can ever give.
        """
        limits = list(self._of(client, unit))
        waits = [(limit.bucket.wait(amount), limit) for limit in limits]
        longest, limit = max(waits, key=lambda pair: pair[0], default=(0.0, None))
        if limit is not None and longest > 0:
            raise _refusal(limit, amount, longest)
        for limit in limits:
            limit.bucket.take(amount)

    def correct(self, client: str, reserved: float, used: float) -> None:
        """Give back tokens that were taken but not used, or take those that were used beyond."""
        for limit in self._of(client, "tokens"):
            limit.bucket.take(used - reserved)

    def headers(self, client: str) -> Mapping[str, str]:
        """x-ratelimit-{limit,remaining,reset}-{requests,tokens} of the limit that leaves least."""
        headers: dict[str, str] = {}
        for unit in ("requests", "tokens"):
            tightest = min((limit.bucket for limit in self._of(client, unit)), key=_left, default=None)
            if tightest is not None:
                missing = tightest.capacity - tightest.level
                headers[f"x-ratelimit-limit-{unit}"] = str(int(tightest.capacity))
                headers[f"x-ratelimit-remaining-{unit}"] = str(max(0, int(tightest.level)))
                headers[f"x-ratelimit-reset-{unit}"] = f"{missing * 60 / tightest.capacity:.3f}s"
        return headers

    def _of(self, client: str, unit: str) -> Iterator[Limit]:
        return (limit for limit in (*self._total, *self._own(client)) if limit.unit == unit)

    def _own(self, client: str) -> tuple[Limit, ...]:
        if not any(self._per_client.values()):
            return ()
        own = self._clients.get(client)
        if own is None:
            self._forget()
            own = self._clients[client] = self._buckets(self._per_client, f"{client!r}")
        self._clients.move_to_end(client)
        return own

    def _buckets(self, amounts: Mapping[str, int | None], whose: str) -> tuple[Limit, ...]:
        return tuple(
            Limit(unit, whose, TokenBucket(amount, self._clock)) for unit, amount in amounts.items() if amount
        )

    def _forget(self) -> None:
        """Make room for one more client: those with full buckets, else the one unseen for longest."""
        if len(self._clients) < MOST_CLIENTS:
            return
        full = [name for name, own in self._clients.items() if all(limit.bucket.full for limit in own)]
        for name in full or [next(iter(self._clients))]:
            del self._clients[name]


def _left(bucket: TokenBucket) -> float:
    return bucket.level / bucket.capacity


def _refusal(limit: Limit, amount: float, wait: float) -> ApiError:
    allowed = f"{limit.whose} may use {int(limit.bucket.capacity)} {limit.unit} per minute"
    if math.isinf(wait):
        return ApiError(
            f"this request may use {int(amount)} {limit.unit}, but {allowed}: shorten it or lower max_tokens",
            code="request_too_large",
        )
    return ApiError(
        f"{allowed}: try again in {wait:.1f} s",
        status=429,
        code="rate_limit_exceeded",
        headers=retry_after(wait),
    )


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when a request would pass, in whole seconds."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
