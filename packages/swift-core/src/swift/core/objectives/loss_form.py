"""What the losses of pairs, candidates and lists read.

A registered loss says it as an attribute: register_loss("mine", form="lists").
Shapes: P pairs, N anchors with a positive each, M candidates, G lists, K texts of the longest list.

| form | inputs | targets |
|---|---|---|
| pairs | a similarity or score each [P] | similarity or relevance [P] |
| candidates | cosines with every candidate [N, M] | int64 [N], the column of the positive |
| lists | scores [G, K], padded with EXCLUDED | relevances [G, K], padded with 0 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

from swift.core.config.named import Weighted
from swift.core.errors import ConfigError
from swift.core.registry import Component, losses

Form = Literal["pairs", "candidates", "lists"]

EXCLUDED = -1e4
"""Score of what is no candidate: its share of a softmax is 0, and it stays finite in any other loss."""


def form_of(terms: Sequence[Weighted], default: Form, allowed: Sequence[Form]) -> Form:
    """The form that all terms of a loss read.

    Args:
        default: of a loss that does not say.

    Raises:
        ConfigError: terms of different forms, or a form that the objective cannot give.
        RegistryError: a name that is not registered.
    """
    forms = {term.name: dict(losses.get(term.name).attributes).get("form", default) for term in terms}
    for name, form in forms.items():
        if form not in allowed:
            raise ConfigError(
                f"the loss {name!r} reads {form!r}, and this objective gives {' or '.join(allowed)}",
                f"a loss has one of the forms {', '.join(get_args(Form))}: register_loss(NAME, form=...)",
            )
    if len(set(forms.values())) > 1:
        raise ConfigError(
            f"losses of different forms cannot be added: {forms}", "choose losses that read the same inputs"
        )
    return cast("Form", next(iter(forms.values())))


ALSO_READS: dict[str, tuple[Form, ...]] = {"multi_label": ("pairs",), "regression": ("pairs",)}
"""Layouts of labels that a loss of pairs reads as well: inputs and targets have one shape."""

CLASS_TARGETS = ("tokens", "classes", "candidates")
"""Layouts whose targets are the numbers of classes: all that a loss with targets="classes" reads."""


def check_form(component: Component, layout: str) -> None:
    """Refuse a registered form that this layout of swift.plugin.contract.kinds does not have.

    Raises:
        ConfigError: the loss would compare what does not belong together.
    """
    facts = dict(component.attributes)
    form = facts.get("form")
    reads_targets = facts.get("targets") != "classes" or layout in CLASS_TARGETS
    if reads_targets and form in (None, layout, *ALSO_READS.get(layout, ())):
        return
    raise ConfigError(
        f"the {component.described('loss')} reads {form or 'classes'!r}, and this run gives {layout!r}",
        "leave train.loss_type out for the usual loss; swift plugin list --kind loss shows the others",
    )
