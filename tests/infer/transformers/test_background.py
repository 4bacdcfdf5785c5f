"""Work beside the decoding loop: its results, its errors, its time limit."""

from __future__ import annotations

import operator
import threading
from functools import partial

import pytest

from swift.core.errors import EngineError
from swift.infer.engines.transformers.background import Workers


def test_results_and_errors_reach_the_one_who_waits() -> None:
    workers: Workers[int] = Workers(2, 30.0)
    futures = [workers.submit(partial(operator.floordiv, 10, number), "dividing") for number in (1, 0, 5)]
    assert futures[0].result() == 10 and futures[2].result() == 2
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    workers.close()


def test_work_that_hangs_fails_in_time_and_leaves_the_other_thread_free() -> None:
    workers: Workers[bool] = Workers(2, 0.2)
    release = threading.Event()
    stuck = workers.submit(release.wait, "the stuck work")
    with pytest.raises(EngineError, match=r"the stuck work took more than 0\.2 seconds"):
        stuck.result(timeout=10)
    assert workers.submit(lambda: True, "the other work").result(timeout=10)
    release.set()
    workers.close()
