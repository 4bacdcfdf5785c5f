"""The queue before the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.queue import FairQueue


class Scene:
    """Requests that hold their place until they are let go."""

    def __init__(self, most_running: int, most_waiting: int = 1000) -> None:
        self.queue = FairQueue(most_running, most_waiting)
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.gates: dict[str, asyncio.Event] = {}

    async def come(self, name: str, client: str = "", answers: int = 1) -> None:
        self.gates[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, client or name, answers))
        await asyncio.sleep(0)

    async def go(self, name: str) -> None:
        self.gates[name].set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def leave_early(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)

    async def _hold(self, name: str, client: str, answers: int) -> None:
        async with self.queue.place(client, answers):
            self.order.append(name)
            await self.gates[name].wait()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_clients_take_turns_and_keep_their_own_order() -> None:
    async def scene() -> None:
        on = Scene(1)
        await on.come("first", "x")
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            await on.come(name, name[0])
        for name in ("first", "a1", "b1", "c1", "a2", "b2", "a3"):
            assert on.order[-1] == name
            await on.go(name)
        assert on.queue.running == on.queue.waiting == 0

    run(scene())


def test_a_full_queue_refuses_and_says_when() -> None:
    async def scene() -> None:
        on = Scene(1, most_waiting=2)
        for name in "abc":
            await on.come(name)
        with pytest.raises(ApiError, match="2 requests wait already") as error:
            async with on.queue.place("d"):
                pass
        assert error.value.status == 429 and error.value.headers is not None
        assert int(error.value.headers["Retry-After"]) >= 1
        await on.go("a")
        assert on.order == ["a", "b"]
        for task in on.tasks.values():
            task.cancel()

    run(scene())


def test_one_that_leaves_the_queue_frees_its_place_in_it() -> None:
    async def scene() -> None:
        on = Scene(2)
        await on.come("a")
        await on.come("large", answers=2)
        await on.come("small")
        assert on.order == ["a"]  # nobody overtakes
        await on.leave_early("large")
        await asyncio.sleep(0)
        assert on.order == ["a", "small"] and on.queue.waiting == 0
        await on.leave_early("a")
        assert on.queue.running == 1

    run(scene())


def test_leaving_at_the_moment_of_ones_turn_loses_no_place() -> None:
    async def scene() -> None:
        on = Scene(1)
        await on.come("a")
        await on.come("b")
        on.gates["a"].set()
        await asyncio.sleep(0)  # b has its turn, but has not run yet
        assert on.queue.running == 1 and on.order == ["a"]
        await on.leave_early("b")
        assert on.queue.running == 0
        await on.come("c")
        assert on.order == ["a", "c"]

    run(scene())


def test_leaving_while_another_goes_loses_no_place() -> None:
    async def scene() -> None:
        on = Scene(1)
        for name in "abc":
            await on.come(name)
        on.tasks["b"].cancel()  # told, but not run yet, when a goes
        on.gates["a"].set()
        on.tasks["a"].cancel()
        await asyncio.gather(on.tasks["a"], on.tasks["b"], return_exceptions=True)
        await asyncio.sleep(0)
        assert on.order == ["a", "c"] and on.queue.running == 1 and on.queue.waiting == 0
        await on.go("c")
        assert on.queue.running == 0

    run(scene())


def test_a_request_larger_than_the_engine_gets_all_of_it() -> None:
    async def scene() -> None:
        on = Scene(4)
        await on.come("huge", answers=100)
        await on.come("small")
        assert on.order == ["huge"] and on.queue.running == 4
        await on.go("huge")
        assert on.order == ["huge", "small"]
        await on.go("small")

    run(scene())


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from("abc"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["go", "leave"]), st.just(""), st.integers(0, 30)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(most=st.integers(1, 6), events=EVENTS)
def test_never_more_than_allowed_and_nobody_is_forgotten(most: int, events: list[Any]) -> None:
    async def scene() -> None:
        on = Scene(most)
        weights: dict[str, int] = {}
        for number, (what, client, value) in enumerate(events):
            if what == "come":
                weights[str(number)] = min(value, most)
                await on.come(str(number), client, value)
            elif what == "leave" and weights:
                await on.leave_early(list(weights)[value % len(weights)])
            elif weights:
                await on.go(list(weights)[value % len(weights)])
            inside = [name for name in on.order if not on.tasks[name].done()]
            assert sum(weights[name] for name in inside) <= on.queue.running <= most
        for _ in range(len(weights) + 2):
            for name in weights:
                await on.go(name)
        assert all(task.done() for task in on.tasks.values())
        assert on.queue.running == on.queue.waiting == 0

    run(scene())
