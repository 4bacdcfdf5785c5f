"""A language model's head that answers with losses where it is asked for them, and with logits otherwise.

The loss is computed inside of the head's forward, where FSDP2 and ZeRO-3 have gathered its weight. The
question lies at the head while the model runs; a forward hook hands the answer out in the place of the
logits, past what the model may do with them afterwards.

Shapes: B rows, K columns that the head sees, N supervised positions, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from swift.core.errors import ModelError

SOFTCAP = "final_logit_softcapping"
FACTORS = ("logit_scale", "lm_head_multiplier")  # of the logits
DIVISORS = ("logits_scaling",)
PROBE_TOKENS = 4
TOLERANCE = 0.05  # in nats: of bfloat16 logits; what a model does to its logits changes more


@dataclass
class Question:
    """What the head is asked.

    Attributes:
        wanted_BK: bool [B, K], the hidden states that predict a target.
        targets_N: int64 [N], in the order of wanted_BK.
        temperature: divides the logits.
        entropy: also compute each distribution's entropy.
        keep_logits: answer, and give the model its logits all the same.
        nll_N, entropy_N: the answer, float32 [N].
    """

    wanted_BK: Tensor
    targets_N: Tensor
    temperature: float = 1.0
    entropy: bool = False
    keep_logits: bool = False
    nll_N: Tensor | None = None
    entropy_N: Tensor | None = None


class FusedHead(nn.Linear):
    """nn.Linear over another one's parameters; asked a question, it computes losses without logits.

    Args:
        head: the layer whose place it takes; parameters stay the same objects, so that ties hold.
        logit_scale, softcap: what the model does to the logits afterwards.
    """

    def __init__(self, head: nn.Linear, logit_scale: float = 1.0, softcap: float | None = None) -> None:
        super().__init__(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
        self.weight, self.bias = head.weight, head.bias
        self.train(head.training)
        self.logit_scale, self.softcap = logit_scale, softcap
        self.question: Question | None = None

    @contextmanager
    def asked(self, question: Question) -> Iterator[Question]:
        """The next forward pass of the model answers."""
        self.question = question
        try:
            yield question
        finally:
            self.question = None

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [B, K, V]; or, asked, an answer in the question and losses [1, N, 1] instead."""
        if self.question is None:
            return super().forward(hidden)
        nll_N = self._answer(self.question, hidden)
        return super().forward(hidden) if self.question.keep_logits else nll_N[None, :, None]

    def _answer(self, question: Question, hidden: Tensor) -> Tensor:
        if hidden.shape[:2] != question.wanted_BK.shape:
            raise ModelError(
                f"the head was given hidden states {tuple(hidden.shape)}, and is asked for "
                f"{tuple(question.wanted_BK.shape)}: this model changes its sequence",
                "set train.fused_head=false",
            )
        from swift.kernels import linear_cross_entropy, linear_cross_entropy_and_entropy

        settings: dict[str, Any] = {
            "logit_scale": self.logit_scale,
            "softcap": self.softcap,
            "temperature": question.temperature,
        }
        inputs = (hidden[question.wanted_BK], self.weight, question.targets_N, self.bias)
        if question.entropy:
            question.nll_N, question.entropy_N = linear_cross_entropy_and_entropy(*inputs, **settings)
        else:
            question.nll_N = linear_cross_entropy(*inputs, **settings)
        return question.nll_N


def fuse_head(model: nn.Module) -> str | None:
    """Put a FusedHead in the place of the model's head, where that computes the same.

    Call it after the tuner and before anything that distributes the model.

    Returns:
        Why the head stays as it is; None where it was replaced.
    """
    owner = head_owner(model)
    head = owner.get_output_embeddings() if hasattr(owner, "get_output_embeddings") else None
    obstacle = _obstacle(head)
    if obstacle is not None or not isinstance(head, nn.Linear):
        return obstacle
    fused = FusedHead(head, *logit_factors(owner.config))
    owner.set_output_embeddings(fused)
    obstacle = _difference(owner, fused)
    if obstacle is not None:
        owner.set_output_embeddings(head)
        return obstacle
    owner.register_forward_hook(hand_out)
    return None


def fused_head(model: nn.Module) -> FusedHead | None:
    """The head under all wrappers, where it was replaced."""
    owner = head_owner(model)
    head = owner.get_output_embeddings() if hasattr(owner, "get_output_embeddings") else None
    return head if isinstance(head, FusedHead) else None


def head_owner(model: nn.Module) -> Any:
    """The language model under wrappers such as DDP and adapters."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def logit_factors(config: Any) -> tuple[float, float | None]:
    """logit_scale and softcap that a configuration tells of; whether the model heeds them is probed."""
    text = config.get_text_config()
    scale = 1.0
    for name in FACTORS:
        scale *= getattr(text, name, None) or 1.0
    for name in DIVISORS:
        scale /= getattr(text, name, None) or 1.0
    return scale, getattr(text, SOFTCAP, None)


def hand_out(module: Any, inputs: Any, output: Any) -> Any:
    """Forward hook of the head's owner: the losses in the place of the logits, where they were asked for."""
    head = module.get_output_embeddings()
    question = head.question if isinstance(head, FusedHead) else None
    if question is not None and not question.keep_logits:
        output["logits"] = question.nll_N
    return output


def _obstacle(head: nn.Module | None) -> str | None:
    """Why a layer cannot be replaced."""
    if find_spec("swift.kernels") is None:
        return "swift-kernels is not installed"
    if head is None:
        return "the model has no head for next tokens"
    if type(head) is not nn.Linear:
        return f"its head is a {type(head).__name__} (an adapter, quantised or tensor-parallel)"
    if isinstance(head.weight, DTensor):
        return "its head is tensor-parallel"
    if head._forward_hooks or head._forward_pre_hooks or hasattr(head, "_hf_hook"):
        return "its head has hooks"
    return None


@torch.no_grad()
def _difference(owner: Any, head: FusedHead) -> str | None:
    """What the model does to its logits that the head does not know of: a few tokens are tried."""
    device = head.weight.device
    tokens = torch.arange(1, PROBE_TOKENS + 1, device=device)[None] % head.out_features
    wanted = torch.ones_like(tokens, dtype=torch.bool)
    training = owner.training
    owner.eval()
    try:
        with head.asked(Question(wanted, tokens[0], keep_logits=True)) as question:
            logits = owner(input_ids=tokens, use_cache=False).logits[0].float()
    except (ModelError, TypeError, ValueError) as error:
        return f"it cannot be tried on plain tokens: {error}"
    finally:
        owner.train(training)
    expected = nn.functional.cross_entropy(logits, tokens[0], reduction="none")
    found = question.nll_N
    if found is None or not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        return "the model changes its logits in a way of its own"
    return None
