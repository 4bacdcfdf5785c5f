"""ROUGE of generated texts, by rouge-score."""

from __future__ import annotations

from collections.abc import Sequence

from swift.core.metrics.scripts import words

KINDS = ("rouge1", "rouge2", "rougeL")


class Words:
    """The tokenizer of rouge-score: its own one drops everything but a to z and digits."""

    def tokenize(self, text: str) -> list[str]:
        """Words of any script; characters of scripts without spaces."""
        return words(text)


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """F1 of common words, pairs of words, and the longest common subsequence (Lin, ACL 2004), 0 to 1.

    For English the words are those of rouge-score, without stemming; see scripts.words() for other scripts.

    Returns:
        rouge1, rouge2 and rougeL, means over the texts.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), tokenizer=Words())
    scores = [scorer.score(truth, said) for said, truth in zip(predictions, references, strict=True)]
    return {kind: sum(score[kind].fmeasure for score in scores) / len(scores) for kind in KINDS}
