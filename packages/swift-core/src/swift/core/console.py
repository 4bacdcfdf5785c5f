"""What a person reads while a command runs. Progress and notes go to stderr, results to stdout."""

from __future__ import annotations

import logging
import os
import sys


def is_main_process() -> bool:
    """Whether this process is the one that talks (rank 0, or the only one)."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """One line for the person, from the main process only."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)


def quiet_loggers() -> None:
    """Keep back what optional libraries say about themselves whenever transformers or peft looks for them."""
    for name in ("bitsandbytes", "torch.utils._pytree"):  # the latter: torchao registers its enumerations
        logging.getLogger(name).setLevel(logging.ERROR)


def no_bars_in_logs() -> None:
    """Keep the bars of tqdm, which most libraries draw, out of a stderr that is no terminal.

    Before any of them is imported: tqdm reads the environment then. Child processes inherit it.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


def quiet_libraries() -> None:
    """One progress bar is enough: switch off those that transformers draws while it loads and saves."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
