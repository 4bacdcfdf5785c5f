"""Everything that makes training lighter, as one list; loads neither torch nor transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swift.core.registry import Component, callbacks, optimizers, tuners

Kind = Literal["tuner", "optimizer", "callback", "setting"]


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: as YAML calls it.
        kind: what chooses it.
        trains: which parameters move, or how they do.
        paper: where it is described.
        source: who implements it.
        needs: packages or data beyond this package.
        switch: the key of a configuration that turns it on.
    """

    name: str
    kind: Kind
    trains: str
    paper: str
    source: str
    needs: str
    switch: str


ADAMW = "arXiv 1711.05101"
LION = "arXiv 2302.06675"
ADEMAMIX = "arXiv 2409.03137"
EIGHT_BITS = "arXiv 2110.02861"
GALORE = "arXiv 2403.03507"
APOLLO = "arXiv 2412.05270"
SCHEDULE_FREE = "arXiv 2405.15682"
ADAFACTOR = "arXiv 1804.04235"

LIBRARY_OPTIMIZERS: tuple[tuple[str, str, str, str, str], ...] = (
    ("adamw_torch", "all that trains, by AdamW", ADAMW, "torch", ""),
    ("adamw_torch_fused", "the same, in one kernel", ADAMW, "torch", ""),
    ("adamw_torch_xla", "the same, on TPUs", ADAMW, "torch_xla", "torch_xla"),
    ("adamw_torch_npu_fused", "the same, on Ascend", ADAMW, "torch_npu", "torch_npu"),
    ("adamw_torch_4bit", "AdamW with 4-bit moments", ADAMW, "torchao", "torchao"),
    ("adamw_torch_8bit", "AdamW with 8-bit moments", ADAMW, "torchao", "torchao"),
    ("adamw_anyprecision", "AdamW with Kahan summation", ADAMW, "torchdistx", "torchdistx"),
    ("adamw_8bit", "AdamW with 8-bit moments", EIGHT_BITS, "bitsandbytes", "bitsandbytes"),
    ("adamw_bnb_8bit", "another name of adamw_8bit", EIGHT_BITS, "bitsandbytes", "bitsandbytes"),
    ("paged_adamw_8bit", "adamw_8bit, moved to CPU when a GPU is full", EIGHT_BITS, "bitsandbytes",
     "bitsandbytes"),
    ("paged_adamw_32bit", "AdamW, moved to CPU when a GPU is full", ADAMW, "bitsandbytes", "bitsandbytes"),
    ("adafactor", "rows and columns of the second moment only", ADAFACTOR, "transformers", ""),
    ("ademamix", "AdamW with two first moments", ADEMAMIX, "bitsandbytes", "bitsandbytes"),
    ("ademamix_8bit", "ademamix in 8 bits", ADEMAMIX, "bitsandbytes", "bitsandbytes"),
    ("paged_ademamix_32bit", "ademamix, paged", ADEMAMIX, "bitsandbytes", "bitsandbytes"),
    ("paged_ademamix_8bit", "ademamix in 8 bits, paged", ADEMAMIX, "bitsandbytes", "bitsandbytes"),
    ("lion_32bit", "signs of the momentum, which is the only state", LION, "bitsandbytes", "bitsandbytes"),
    ("lion_8bit", "lion in 8 bits", LION, "bitsandbytes", "bitsandbytes"),
    ("paged_lion_32bit", "lion, paged", LION, "bitsandbytes", "bitsandbytes"),
    ("paged_lion_8bit", "lion in 8 bits, paged", LION, "bitsandbytes", "bitsandbytes"),
    ("sgd", "no state without momentum", "", "torch", ""),
    ("adagrad", "the sum of squared gradients as state", "Duchi et al. 2011", "torch", ""),
    ("rmsprop", "the second moment as state", "Hinton 2012", "torch", ""),
    ("rmsprop_bnb", "the same, in kernels of bitsandbytes", "Hinton 2012", "bitsandbytes", "bitsandbytes"),
    ("rmsprop_bnb_32bit", "the same", "Hinton 2012", "bitsandbytes", "bitsandbytes"),
    ("rmsprop_bnb_8bit", "the same in 8 bits", "Hinton 2012", "bitsandbytes", "bitsandbytes"),
    ("galore_adamw", "AdamW in a low-rank space; ours is galore", GALORE, "galore-torch", "galore-torch"),
    ("galore_adamw_8bit", "the same in 8 bits", GALORE, "galore-torch", "galore-torch, bitsandbytes"),
    ("galore_adafactor", "the same with Adafactor", GALORE, "galore-torch", "galore-torch"),
    ("galore_adamw_layerwise", "the same, a layer at a time", GALORE, "galore-torch", "galore-torch"),
    ("galore_adamw_8bit_layerwise", "the same in 8 bits, a layer at a time", GALORE, "galore-torch",
     "galore-torch, bitsandbytes"),
    ("galore_adafactor_layerwise", "the same with Adafactor, a layer at a time", GALORE, "galore-torch",
     "galore-torch"),
    ("lomo", "updates while gradients are computed; no state", "arXiv 2306.09782", "lomo-optim",
     "lomo-optim"),
    ("adalomo", "lomo with a factored second moment", "arXiv 2310.10195", "lomo-optim", "lomo-optim"),
    ("grokadamw", "AdamW with amplified slow gradients", "", "grokadamw", "grokadamw"),
    ("schedule_free_adamw", "AdamW without a schedule; ours is schedule-free", SCHEDULE_FREE, "schedulefree",
     "schedulefree"),
    ("schedule_free_radam", "RAdam without a schedule", SCHEDULE_FREE, "schedulefree", "schedulefree"),
    ("schedule_free_sgd", "SGD without a schedule", SCHEDULE_FREE, "schedulefree", "schedulefree"),
    ("apollo_adamw", "AdamW's scale in a random low-rank space; ours is apollo", APOLLO, "apollo-torch",
     "apollo-torch"),
    ("apollo_adamw_layerwise", "the same, a layer at a time", APOLLO, "apollo-torch", "apollo-torch"),
    ("stable_adamw", "AdamW with clipped updates", "arXiv 2304.13013", "torch-optimi", "torch-optimi"),
)  # fmt: skip
"""Name, what trains, paper, source and needs of the optimisers that transformers knows by name."""

PART_OF_TRAINING = (
    Method(
        "neftune", "setting", "as before, with noise on the embeddings of the input", "arXiv 2310.05914",
        "ours", "", "train.neftune_noise_alpha: 5",
    ),
)  # fmt: skip
"""What is a key of its own."""


def methods() -> list[Method]:
    """Tuners, optimisers (registered ones first, then those of libraries), callbacks, settings."""
    found = [_method(component, "tuner", "train.tuner_strategy: {}") for component in tuners.all()]
    found += [_method(component, "optimizer", "train.optim: {}") for component in optimizers.all()]
    for name, trains, paper, source, needs in LIBRARY_OPTIMIZERS:
        found.append(Method(name, "optimizer", trains, paper, source, needs, f"train.optim: {name}"))
    found += [_method(callbacks.get("lisa"), "callback", "train.callbacks: [{}]")]
    return [*found, *PART_OF_TRAINING]


def _method(component: Component, kind: Kind, switch: str) -> Method:
    facts = {"paper": "", "source": component.place or "ours", "needs": "", **dict(component.attributes)}
    return Method(
        component.name,
        kind,
        component.summary,
        str(facts["paper"]),
        str(facts["source"]),
        str(facts["needs"]),
        switch.format(component.name),
    )
