"""BLEU of generated texts, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

from swift.core.metrics.scripts import has_han, has_other_unspaced


def bleu(
    predictions: Sequence[str], references: Sequence[str], tokenize: str = "auto", lowercase: bool = False
) -> float:
    """Corpus BLEU, 0 to 100 (Papineni et al., ACL 2002; tokenizers of sacrebleu, arXiv 1804.08771).

    It counts runs of up to four words: answers that are all shorter than that score 0.

    Args:
        tokenize: a tokenizer of sacrebleu. auto goes by the references: char where one holds kana, Thai, Lao,
            Burmese or Khmer, zh (Chinese characters one by one) where one holds Chinese, else 13a. 13a would
            take a Chinese sentence for one word, and score 0.
        lowercase: ignore case.
    """
    import sacrebleu

    chosen = chosen_tokenizer(references) if tokenize == "auto" else tokenize
    score = sacrebleu.corpus_bleu(
        list(predictions), [list(references)], tokenize=chosen, lowercase=lowercase, force=True
    )
    return float(score.score)


def chosen_tokenizer(references: Sequence[str]) -> str:
    """What auto means for these references."""
    if has_other_unspaced(references):
        return "char"
    return "zh" if has_han(references) else "13a"
