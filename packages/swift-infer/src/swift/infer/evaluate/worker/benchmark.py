"""One benchmark in EvalScope: whether it can be run here, and what a model makes of it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from evalscope.api.registry import get_benchmark
from evalscope.config import TaskConfig
from evalscope.report import Report
from evalscope.run import run_task

from swift.core.errors import RAISED_BY_PLUGINS, ConfigError, DataError, EngineError, in_one_line
from swift.infer.evaluate.worker import own as own  # registers the benchmarks of own questions

Order = dict[str, Any]
TRIES = 3
SECONDS_BETWEEN = 2
LONGEST = 300  # characters of a failure that are quoted


def check(order: Order) -> int:
    """Load the data and see that answers can be graded; the number of questions.

    Raises:
        ConfigError: it needs a judge.
        DataError: its data cannot be had.
    """
    order["args"] = _settled(order)
    config = _config(order)
    benchmark = get_benchmark(order["benchmark"], config)
    if benchmark.use_llm_judge and not config.judge.models:
        raise ConfigError(
            f"a judge model grades the benchmark {order['benchmark']!r}, and eval.judge is not set",
            "name one: eval.judge={model: NAME, url: https://HOST/v1}",
        )
    benchmark.validate_judge_strategy()
    try:
        subsets = benchmark.load_dataset()
    except RAISED_BY_PLUGINS as error:
        raise _no_data(order, benchmark.dataset_id, error) from error
    return sum(len(questions) for questions in subsets.values())


def _settled(order: Order) -> dict[str, Any]:
    """The benchmark's settings; a local folder of plain files has no subsets but "default"."""
    args: dict[str, Any] = order["args"]
    place = Path(args.get("local_path", ""))
    if not order["local"] or "subset_list" in args or (place / "README.md").is_file():
        return args
    benchmark = get_benchmark(order["benchmark"], _config(order))
    if benchmark.reformat_subset or benchmark.split_as_subset:
        return args  # its subsets are found in the rows, or are splits
    return {**args, "subset_list": ["default"]}


def _no_data(order: Order, source: str, error: BaseException) -> DataError:
    name = order["benchmark"]
    if order["local"]:
        return DataError(
            f"the data of {name!r} in {source!r} cannot be used: {in_one_line(error)}",
            "correct eval.local_path, or choose other subsets with eval.subset",
        )
    return DataError(
        f"the data of {name!r} cannot be had from {order['hub']} ({source}): {in_one_line(error)}",
        f"without a network, name a folder that holds it: eval.local_path={{{name}: FOLDER}}",
    )


def grade(order: Order) -> dict[str, Any]:
    """Ask every question and grade the answers.

    Returns:
        metric and score, the one that counts; metrics and subsets, all of them; how many questions were
        asked, failed and too long for the model.

    Raises:
        EngineError: no answer could be graded.
    """
    order["args"] = _settled(order)
    folder = Path(order["folder"])
    if not order["resume"]:
        shutil.rmtree(folder, ignore_errors=True)  # EvalScope appends to answers that are there
    found = run_task(_config(order))
    report = found.get(order["benchmark"])
    if not isinstance(report, Report) or not report.metrics:
        raise EngineError(f"no answer could be graded{_why(folder)}")
    chosen = report.primary_metric_identity
    main = next((one for one in report.metrics if one.identity == chosen), report.metrics[0])
    summary = report.execution_summary
    return {
        "metric": _name(main),
        "score": main.score,
        "metrics": {_name(metric): metric.score for metric in report.metrics},
        "subsets": {
            subset.name: {"score": subset.score, "questions": subset.num}
            for category in main.categories
            for subset in category.subsets
        },
        "questions": summary.requested if summary else report.num,
        "failed": summary.errored if summary else 0,
        "too_long": _stopped(folder)["model_length"],
    }


def _why(folder: Path) -> str:
    """What EvalScope's log says of the first question that failed."""
    log = folder / "logs" / "eval_log.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = re.search(r"failed: (.*)", text)
    return f"; the first question failed: {found[1][:LONGEST]}" if found else ""


def _name(metric: Any) -> str:
    """A metric with what tells it from its relatives: rouge.variant=l.statistic=recall."""
    identity = metric.identity
    return ".".join([identity.name, *(f"{key}={value}" for key, value in identity.dimensions.items())])


def _stopped(folder: Path) -> Counter[str]:
    """How the answers ended; EvalScope grades the server's refusal of a long prompt like an answer."""
    reasons: Counter[str] = Counter()
    for file in folder.glob("predictions/**/*.jsonl"):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                choices = (json.loads(line).get("model_output") or {}).get("choices") or []
                reasons.update(str(choice.get("stop_reason")) for choice in choices)
    return reasons


def _config(order: Order) -> Any:
    judge = order["judge"]
    return TaskConfig(
        model=order["model"],
        api_url=order["url"],
        api_key=order["key"],
        eval_type="openai_api",
        datasets=[order["benchmark"]],
        dataset_args={order["benchmark"]: order["args"]},
        dataset_hub=order["hub"],
        limit=order["limit"],
        repeats=order["repeats"],
        eval_batch_size=order["concurrency"],
        generation_config={
            **order["sampling"],
            "timeout": order["stall_timeout"],
            "retries": TRIES,
            "retry_interval": SECONDS_BETWEEN,
        },
        judge=judge or {},
        seed=order["seed"],
        work_dir=order["folder"],
        no_timestamp=True,
        use_cache=order["folder"] if order["resume"] else None,
        ignore_errors=True,  # they are counted
        collect_perf=False,
    )
