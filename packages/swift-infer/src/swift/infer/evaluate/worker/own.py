"""Own questions as benchmarks: EvalScope's general_qa and general_vqa, with exact_match as their figure."""

from __future__ import annotations

import copy
from typing import Any

from evalscope.api.metric.semantics import MetricSelector
from evalscope.api.registry import BENCHMARK_REGISTRY, register_benchmark
from evalscope.benchmarks.general_qa.general_qa_adapter import GeneralQAAdapter
from evalscope.benchmarks.general_vqa.general_vqa_adapter import GeneralVQAAdapter

EXACT = "exact_match"


def same(answer: str, reference: str) -> bool:
    """Equal but for the case of letters and the amount of white space."""
    return answer.casefold().split() == reference.casefold().split()


class _Exact:
    """Adds exact_match to what the benchmark beside it measures."""

    def match_score(
        self, original_prediction: str, filtered_prediction: str, reference: str, task_state: Any
    ) -> Any:
        """BLEU, ROUGE and exact_match of one answer."""
        beside: Any = super()  # the benchmark's class, which comes after this one
        score = beside.match_score(original_prediction, filtered_prediction, reference, task_state)
        score.value = {EXACT: float(same(filtered_prediction, reference)), **score.value}
        score.main_score_name = EXACT
        return score


# evalscope has no types: to mypy its classes are Any, which strictness lets nobody subclass
class OwnQuestions(_Exact, GeneralQAAdapter):  # type: ignore[misc]
    """Questions in words."""


class OwnQuestionsWithImages(_Exact, GeneralVQAAdapter):  # type: ignore[misc]
    """Questions with images."""


def _offer(name: str, like: str, adapter: type) -> None:
    meta = copy.deepcopy(BENCHMARK_REGISTRY[like])
    meta.name, meta.dataset_id = name, name
    meta.metric_list = [EXACT, *meta.metric_list]
    meta.primary_metric = MetricSelector(name=EXACT)
    register_benchmark(meta)(adapter)


_offer("own_qa", "general_qa", OwnQuestions)
_offer("own_vqa", "general_vqa", OwnQuestionsWithImages)
