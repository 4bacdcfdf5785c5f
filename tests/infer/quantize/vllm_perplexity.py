"""python vllm_perplexity.py ROWS.json FOLDER...: perplexity of each folder by vLLM, one JSON line each.

A program of its own: one start serves all folders, one after the other, and its imports cost no other test.
"""

from __future__ import annotations

import gc
import json
import math
import sys
from pathlib import Path

from vllm import LLM, SamplingParams


def main(rows: list[list[int]], folders: list[str]) -> None:
    """Print {folder, perplexity, answer} for each."""
    for folder in folders:
        # the kernel for 4-bit weights on CPU computes in bfloat16 only
        model = LLM(folder, enforce_eager=True, max_model_len=256, max_num_seqs=4, dtype="bfloat16")
        sampling = SamplingParams(max_tokens=8, temperature=0, prompt_logprobs=0, detokenize=False)
        outputs = model.generate([{"prompt_token_ids": row} for row in rows], sampling, use_tqdm=False)
        seen = [
            chances[token].logprob
            for row, output in zip(rows, outputs, strict=True)
            for token, chances in zip(row[1:], output.prompt_logprobs[1:], strict=True)
        ]
        answer = list(outputs[0].outputs[0].token_ids)
        found = {"folder": folder, "perplexity": math.exp(-sum(seen) / len(seen)), "answer": answer}
        print(json.dumps(found), flush=True)
        del model
        gc.collect()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:])
