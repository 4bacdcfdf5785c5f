"""Token bucket: how often something may happen, on average and at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

Clock = Callable[[], float]
MINUTE = 60.0
ROUNDING = 1e-9  # share of the capacity that sums of floats may be off by


class TokenBucket:
    """Holds at most a minute's worth, fills at that rate, and may be overdrawn by corrections.

    Within any t seconds at most per_minute * (1 + t / 60) units can be taken, corrections aside.

    Args:
        per_minute: units, the capacity too.
        clock: seconds that never run back.
    """

    __slots__ = ("_clock", "_level", "_seen", "capacity")

    def __init__(self, per_minute: float, clock: Clock = time.monotonic) -> None:
        self.capacity = float(per_minute)
        self._clock = clock
        self._level = self.capacity
        self._seen = clock()

    @property
    def level(self) -> float:
        """Units there are now; below zero after a correction upwards."""
        now = self._clock()
        gained = (now - self._seen) * self.capacity / MINUTE
        self._level, self._seen = min(self.capacity, self._level + gained), now
        return self._level

    @property
    def full(self) -> bool:
        """Whether nothing would be lost by forgetting this bucket."""
        return self.level >= self.capacity

    def wait(self, units: float) -> float:
        """Seconds until so many units can be taken: 0 now, infinity for more than the bucket ever holds."""
        if units > self.capacity:
            return math.inf
        missing = units - self.level
        return missing * MINUTE / self.capacity if missing > self.capacity * ROUNDING else 0.0

    def take(self, units: float) -> None:
        """Take units that wait() says are there; a negative number gives back."""
        self._level = min(self.capacity, self.level - units)
