"""An order comes in as a line of JSON, a reply goes out as one; what libraries print goes to the log."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any

from swift.core.errors import RAISED_BY_PLUGINS, EngineError, SwiftError, in_one_line


def main() -> None:
    """Answer orders until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        replies.write(json.dumps(_reply(json.loads(line))) + "\n")
        replies.flush()


def _reply(order: dict[str, Any]) -> dict[str, Any]:
    """The result, or what went wrong: anything may be raised by a benchmark."""
    try:
        return {"result": _do(order)}
    except SwiftError as error:
        problem, remedy = error.problem, error.remedy
    except RAISED_BY_PLUGINS as error:
        traceback.print_exc()
        problem, remedy = in_one_line(error), ""
    return {"problem": problem, "remedy": remedy}


def _do(order: dict[str, Any]) -> Any:
    """Only an order that is known imports EvalScope, which takes seconds."""
    what = order["do"]
    if what == "load_test":
        from swift.infer.evaluate.worker.load_test import load_test

        return load_test(order)
    if what not in ("check", "grade"):
        raise EngineError(f"the worker knows no order {what!r}")
    from swift.infer.evaluate.worker.benchmark import check, grade

    return check(order) if what == "check" else grade(order)


def _end_with(parent: int) -> None:
    """End this process when the one that gives orders is gone, however it ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
