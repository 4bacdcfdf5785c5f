"""A template of the user's own, named in the data section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from swift.core.config.schema import DataConfig
from swift.core.errors import ConfigError, DataError, PluginError, RegistryError
from swift.core.registry import templates
from swift.core.template.build import build_template
from swift.core.types import Conversation, Encoded
from swift.plugin import register_template

ROWS = [
    Conversation(
        messages=[{"role": "assistant", "content": f"answer number {number} " * number}], origin=f"f:{number}"
    )
    for number in (1, 2, 3)
]


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    before = templates.registered()
    yield
    templates.restore(before)


class Upper:
    """The last turn in capitals, as Python lists."""

    def __init__(self, tokenizer: Any, ending: str = "", max_length: int = 0) -> None:
        self.tokenizer, self.ending, self.max_length = tokenizer, ending, max_length

    def encode(self, conversations: Any) -> list[Encoded]:
        ids = [
            self.tokenizer(row.messages[-1]["content"].upper() + self.ending)["input_ids"]
            for row in conversations
        ]
        return [Encoded(each, list(each)) for each in ids]  # type: ignore[arg-type]


def build(tokenizer: Any, name: str = "upper", task: Any = "causal_lm", **data: Any) -> Any:
    return build_template(DataConfig(template=name, **data), tokenizer, task, None)


def test_it_encodes_with_its_arguments_and_what_it_names(tokenizer: Any) -> None:
    register_template("upper")(Upper)
    template = build(tokenizer, template_config={"ending": "!"}, max_length=99)
    samples = template.encode(ROWS)
    assert tokenizer.decode(samples[0].input_ids) == "ANSWER NUMBER 1 !"
    assert samples[0].input_ids.dtype == np.int32 and template.inner.max_length == 99
    assert template.statistics.rows == 3


@pytest.mark.parametrize(("truncation", "pieces"), [("delete", 1), ("right", 3), ("left", 3), ("split", 6)])
def test_length_and_truncation_apply(truncation: Any, pieces: int, tokenizer: Any) -> None:
    register_template("upper")(Upper)
    longest = len(tokenizer("ANSWER NUMBER 1 ")["input_ids"])
    template = build(tokenizer, truncation=truncation, max_length=longest)
    samples = template.encode(ROWS)
    assert len(samples) == pieces and max(len(sample.input_ids) for sample in samples) == longest
    assert template.statistics.dropped == (2 if truncation == "delete" else 0)


def _sample(ids: Any = (1, 2), labels: Any = (1, 2), **more: Any) -> list[Any]:
    return [Encoded(ids, labels, **more)]


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (lambda: 7, "encode\\(\\) fails on rows from f:1: TypeError"),
        (lambda: ["text"], "returns a str for f:1"),
        (lambda: _sample(labels=(1,)), "gives 2 input_ids and 1 labels for f:1"),
        (lambda: _sample(ids=(), labels=()), "gives 0 input_ids"),
        (lambda: _sample(ids=(1.5, 2.0)), "gives input_ids of shape .* float64"),
        (lambda: _sample(ids=(1, 10**6)), "gives the token 1000000 in input_ids"),
        (lambda: _sample(ids=(-1, 2)), "gives the token -1 in input_ids"),
        (lambda: _sample(labels=(-100, -5), origin="f:9"), "gives the token -5 in labels for f:9"),
        (lambda: _sample(loss_weights=[1.0]), "gives loss_weights of shape"),
        (lambda: _sample(loss_weights=[1.0, float("nan")]), "gives loss_weights"),
    ],
)
def test_what_breaks_the_contract_is_named_with_its_place(result: Any, match: str, tokenizer: Any) -> None:
    class Broken(Upper):
        def encode(self, conversations: Any) -> Any:
            return result()

    register_template("broken")(Broken)
    with pytest.raises(PluginError, match=match) as raised:
        build(tokenizer, "broken").encode(ROWS)
    assert f"template 'broken' ({__file__}:" in str(raised.value)


def test_errors_about_rows_pass_through(tokenizer: Any) -> None:
    class Picky(Upper):
        def encode(self, conversations: Any) -> Any:
            raise DataError("f:1: no good")

    register_template("picky")(Picky)
    with pytest.raises(DataError, match="f:1: no good"):
        build(tokenizer, "picky").encode(ROWS)
    with pytest.raises(PluginError, match="gives a pair without rejected"):
        register_template("upper")(Upper)
        build(tokenizer, task="preference").encode(ROWS)


def test_settings_that_do_not_fit(tokenizer: Any) -> None:
    register_template("upper")(Upper)
    register_template("nothing")(lambda tokenizer: object())
    with pytest.raises(PluginError, match=r"(?s)template 'nothing'.*without encode\(\)"):
        build(tokenizer, "nothing")
    with pytest.raises(PluginError, match="does not take the arguments"):
        build(tokenizer, template_config={"colour": 1})
    with pytest.raises(ConfigError, match=r"data\.agent_format is set, but the template 'upper'"):
        build(tokenizer, agent_format="hermes")
    with pytest.raises(ConfigError, match=r"data\.template names no template"):
        build_template(DataConfig(template_config={"a": 1}), tokenizer, "causal_lm", None)
    with pytest.raises(RegistryError, match="unknown template 'uper'"):
        build(tokenizer, "uper")
