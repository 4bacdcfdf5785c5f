"""LoRA fine-tuning of one small model on the same rows by this project and its peers, from the command line.

    uv run python benchmarks/sft_peers.py --data alpaca_en_demo.json \\
        --env llamafactory=ENV --env ms-swift=ENV --env trl=ENV

Every contender runs in an environment of its own (`--env NAME=FOLDER`, a virtual environment), as a process
of its own, with the same number of threads. A peer without an environment is left out; ours is the one that
runs this script unless `--env swift=ENV` names another. Measured from outside: seconds in all, seconds of
processor time, and the largest resident memory of the process and its children. Each one's own
`train_runtime` gives the seconds of training. One judge then takes the loss of every adapter on the rows that
it learned, so that different ways to order rows or to report losses do not matter.

Peers switch gradient checkpointing on unless told otherwise: `--checkpointing off` (the default here) turns
it off for all, which makes them faster; `default` leaves it as each has it, which needs less memory.
On a machine that does other work too, only the processor time with `--threads 1` can be compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers.contender import Contender
from peers.job import Job, make_job
from peers.judge import answer_loss
from peers.llamafactory import LlamaFactory
from peers.measure import run_measured
from peers.ms_swift import MsSwift
from peers.ours import Ours
from peers.trl_sft import Trl

OURS = Ours()
PEERS: tuple[Contender, ...] = (LlamaFactory(), MsSwift(), Trl())
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "USE_HF": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "DISABLE_VERSION_CHECK": "1",
}


@dataclass(frozen=True)
class Outcome:
    """Seconds in all, of training and of the processor; peak bytes; losses as reported and as judged."""

    seconds: float
    training: float
    processor: float
    peak_bytes: float
    first_loss: float
    mean_loss: float
    judged: float


def compete(contender: Contender, binaries: Path, job: Job, threads: int, folder: Path) -> Outcome:
    """Run one contender once."""
    output = Path(tempfile.mkdtemp(prefix=contender.name + "-", dir=folder))
    environment = {
        **os.environ,
        **OFFLINE,
        "OMP_NUM_THREADS": str(threads),
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HF_HOME": str(output / "cache"),
        "MODELSCOPE_CACHE": str(output / "cache"),
    }
    environment.pop("PYTHONPATH", None)
    log = output / "log.txt"
    usage = run_measured(contender.command(binaries, job, output), environment, log)
    report = contender.report(output, log)
    return Outcome(
        usage.seconds,
        report.seconds,
        usage.processor_seconds,
        usage.peak_bytes,
        report.losses[0],
        statistics.mean(report.losses),
        answer_loss(job, contender.adapter(output)),
    )


def typical(outcomes: list[Outcome]) -> Outcome:
    """The median of each figure."""
    names = Outcome.__dataclass_fields__
    return Outcome(*(statistics.median(getattr(outcome, name) for outcome in outcomes) for name in names))


def print_table(outcomes: dict[str, Outcome], base: float) -> None:
    """A row a contender; behind each cost how many times ours it is."""
    ours = outcomes[OURS.name]
    print(
        f"{'':<14}{'training s':>18}{'in all s':>18}{'processor s':>18}{'peak GB':>18}"
        f"{'first loss':>12}{'mean loss':>11}{'judged':>9}"
    )
    for name, one in outcomes.items():
        costs = (
            (one.training, ours.training),
            (one.seconds, ours.seconds),
            (one.processor, ours.processor),
            (one.peak_bytes / 1e9, ours.peak_bytes / 1e9),
        )
        cells = "".join(f"{value:>9.2f} ({value / own:>5.2f}x)" for value, own in costs)
        print(f"{name:<14}{cells}{one.first_loss:>12.4f}{one.mean_loss:>11.4f}{one.judged:>9.4f}")
    print(f"judged: loss of the adapter on the rows it learned; the base alone has {base:.4f}")


def contenders(environments: list[str]) -> dict[Contender, Path]:
    """Who runs, and the folder of their executables."""
    chosen = {OURS.name: sys.prefix, **dict(item.split("=", 1) for item in environments)}
    known = (OURS, *PEERS)
    unknown = set(chosen) - {contender.name for contender in known}
    if unknown:
        raise SystemExit(f"--env names {sorted(unknown)}; there are {[one.name for one in known]}")
    return {
        contender: Path(chosen[contender.name]).resolve() / "bin"
        for contender in known
        if contender.name in chosen
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="JSON list of instruction / input / output")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--checkpointing", choices=["off", "on", "default"], default="off")
    parser.add_argument("--keep", type=Path, help="folder for everything written; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        checkpointing = {"off": False, "on": True, "default": None}[arguments.checkpointing]
        job = make_job(arguments.data, folder, arguments.rows, arguments.steps, checkpointing)
        outcomes: dict[str, list[Outcome]] = {}
        for _ in range(arguments.repeats):
            for contender, binaries in contenders(arguments.env).items():
                outcome = compete(contender, binaries, job, arguments.threads, folder)
                print(contender.name, outcome, file=sys.stderr, flush=True)
                outcomes.setdefault(contender.name, []).append(outcome)
        print_table({name: typical(runs) for name, runs in outcomes.items()}, answer_loss(job, None))


if __name__ == "__main__":
    main()
