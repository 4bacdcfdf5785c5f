"""All ranks of a run, ended together: by success, by a signal, or because one of them died."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from swift.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, SwiftError
from swift.parallel.launch.environment import free_port, rank_environment
from swift.parallel.launch.rank import Rank

POLL_SECONDS = 0.05
AFTER_FAILURE_SECONDS = 2.0  # the others learn of the death through the network and say so
AFTER_SIGNAL_SECONDS = 60.0  # between the first rank's orderly end and the last one's
AFTER_SECOND_SIGNAL_SECONDS = 10.0


class RankError(SwiftError):
    """A rank that died; the command ends with its exit status."""

    def __init__(self, problem: str, remedy: str = "", exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(problem, remedy)
        self.exit_code = exit_code


def launch_ranks(worker: Sequence[str], world_size: int) -> int:
    """Run a command once per rank on this machine and wait for all of them.

    SIGINT and SIGTERM are passed on to every rank, once each, and the ranks have time to save; after a second
    one, ranks that do not end within 10 s are killed. When a rank dies, the others end within 2 s.

    Args:
        worker: command line; each rank learns who it is from RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
            MASTER_ADDR and MASTER_PORT.

    Returns:
        0; 128 + signal number when a signal ended the run; 130 when the ranks stopped in order by themselves.

    Raises:
        RankError: a rank died; names it, its exit status and its last words.
    """
    logs = Path(tempfile.mkdtemp(prefix="swift-ranks-"))
    ranks: list[Rank] = []
    keep_logs = False
    try:
        with _forwarding(ranks) as signals:
            port = free_port()
            for number in range(world_size):
                ranks.append(
                    Rank(number, worker, rank_environment(os.environ, number, world_size, port), logs)
                )
            if signals:  # nothing has been trained yet
                return 128 + signals[0]
            failed = _wait(ranks, signals)
        if signals:
            return _interrupted_status(ranks, signals[0])
        if all(rank.status() == EXIT_INTERRUPTED for rank in ranks):  # at a time limit
            return EXIT_INTERRUPTED
        if failed is not None:
            keep_logs = failed.log is not None
            raise _failure(failed, world_size)
        return 0
    finally:
        for rank in ranks:
            rank.kill()
        if not keep_logs:
            shutil.rmtree(logs, ignore_errors=True)


@contextmanager
def _forwarding(ranks: list[Rank]) -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to the ranks; yields the list of signals received so far."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for rank in list(ranks):
            rank.signal(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[Rank], signals: Sequence[int]) -> Rank | None:
    """Until every rank has ended, or the time they have for it is over; the rank to blame, if any.

    That is the first that died, unless one was killed: nobody is killed for having lost its peer.
    """
    failed: Rank | None = None
    ended: float | None = None  # when the first rank died or, after a signal, ended in order
    insisted: float | None = None
    while any(rank.status() is None for rank in ranks):
        now = time.monotonic()
        if ended is None and (failed := first_failure(ranks)) is not None:
            ended = now
        if insisted is None and len(signals) > 1:
            insisted = now
        in_order = bool(signals) or (failed is not None and failed.status() == EXIT_INTERRUPTED)
        patience = AFTER_SIGNAL_SECONDS if in_order else AFTER_FAILURE_SECONDS
        if _over(ended, patience, now) or _over(insisted, AFTER_SECOND_SIGNAL_SECONDS, now):
            break
        time.sleep(POLL_SECONDS)
    killed = [rank for rank in ranks if rank.status() == -signal.SIGKILL]
    return killed[0] if killed else failed or first_failure(ranks)


def _over(since: float | None, seconds: float, now: float) -> bool:
    return since is not None and now - since > seconds


def first_failure(ranks: Sequence[Rank]) -> Rank | None:
    """A rank that has died, if any has."""
    return next((rank for rank in ranks if rank.status() not in (None, 0)), None)


def _interrupted_status(ranks: Sequence[Rank], number: int) -> int:
    statuses = {rank.status() for rank in ranks}
    return 0 if statuses == {0} else 128 + number  # the run may have ended before the signal mattered


def _failure(rank: Rank, world_size: int) -> RankError:
    status = rank.status() or EXIT_FAILURE
    ended = f"ended with exit status {status}" if status > 0 else f"was killed by {_signal_name(-status)}"
    problem = f"rank {rank.number} of {world_size} {ended}; the other ranks were stopped"
    words = rank.last_words()
    if words:
        problem += f". Its last words:\n{words}\n"
    elif rank.number == 0:
        problem += "; what it said is above"
    remedy = "checkpoints written before are whole: mend the cause, then set train.resume=true"
    if rank.log is not None:
        remedy += f" (all it said: {rank.log})"
    return RankError(problem, remedy, status if status > 0 else 128 - status)


def _signal_name(number: int) -> str:
    names = {member.value: member.name for member in signal.Signals}
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"signal {number}, {names.get(number, 'unknown')}{hint}"
