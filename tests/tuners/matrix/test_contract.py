"""What every tuner does alike on every architecture; what it does in the real trainer is in test_runs.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from swift.core.errors import ModelError

LENGTHS = [9, 4, 11]
TOKENS = torch.randint(0, 2000, (2, 12), generator=torch.Generator().manual_seed(0))


def logits(model: nn.Module, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=tokens, use_cache=False).logits
    return found.float()


def close(one: torch.Tensor, other: torch.Tensor, bound: float) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=bound)


def adapts(case: Any) -> bool:
    return bool(case.attributes["adapter"])


def test_start(case: Any) -> None:
    """A fresh adapter changes neither the function nor the weights it stands beside."""
    base = case.base()
    start = logits(base)
    weights = {name: (value, value.detach().clone()) for name, value in base.named_parameters()}
    fresh = case.applied(model=base)
    if case.starts_elsewhere:
        assert not torch.allclose(logits(fresh), start, atol=1e-4), "take it off STARTS_ELSEWHERE"
    else:
        close(logits(fresh), start, 1e-5)
    assert not [name for name, (value, before) in weights.items() if not torch.equal(value, before)]


def test_trainable_share(case: Any) -> None:
    from swift.tuners import trainable_share

    model = case.applied()
    found = trainable_share(model)
    assert found.trainable == sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert found.trainable > 0
    total = sum(value.numel() for value in model.parameters())
    packed_bits = any(hasattr(value, "quant_state") for value in model.parameters())
    assert found.total > total if packed_bits else found.total == total
    assert found.share == found.trainable / found.total


def test_save_and_load(case: Any, tmp_path: Path) -> None:
    from swift.tuners import load_tuner

    model = case.changed()
    expected = logits(model)
    assert not torch.allclose(expected, logits(case.applied()), atol=1e-3), "the noise must be seen"
    case.tuner().save(model, tmp_path)
    loaded = load_tuner(case.base(), tmp_path)
    close(logits(loaded), expected, case.load_bound)
    assert not any(value.requires_grad for value in loaded.parameters())
    going_on = case.tuner().load(case.base(), tmp_path, trainable=True)
    # To train on, weights in 4 bits are not repacked; loftq's adapter is on the original base all the same.
    close(logits(going_on), expected, 1e-5 if case.method == "qlora" else case.load_bound)
    assert any(value.requires_grad for value in going_on.parameters())


def test_peft_reads_it(case: Any, tmp_path: Path) -> None:
    import peft

    if case.attributes["source"] != "peft":
        return
    model = case.changed()
    case.tuner().save(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(case.base(), str(tmp_path))
    found = logits(model)
    # Before them peft leaves the virtual tokens' own logits.
    close(logits(theirs)[:, -found.shape[1] :], found, case.load_bound)


def test_merge(case: Any) -> None:
    from swift.tuners import merge_tuner

    model = case.changed()
    expected = logits(model)
    if not case.merges:
        with pytest.raises(ModelError):
            merge_tuner(model)
        close(logits(model), expected, 0)
        if not case.attributes["mergeable"]:
            return
        model = merge_tuner(model, dequantize=True)
    else:
        model = merge_tuner(model)
    close(logits(model), expected, case.merge_bound)
    assert type(model) is type(case.plain)
    if adapts(case):
        assert set(model.state_dict()) == set(case.plain.state_dict())


def test_merge_in_place_and_back(case: Any) -> None:
    from swift.tuners import merge_adapters, unmerge_adapters

    model = case.changed()
    expected = logits(model)
    if not adapts(case) or not case.merges:
        with pytest.raises(ModelError):
            merge_adapters(model)
        close(logits(model), expected, 0)
        return
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    merge_adapters(model)
    close(logits(model), expected, case.merge_bound)
    unmerge_adapters(model)
    close(logits(model), expected, case.merge_bound)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=case.merge_bound, msg=name)


def gradients(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model.train()(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), found


def test_gradient_checkpointing(case: Any) -> None:
    model: Any = case.changed()
    loss, expected = gradients(model)
    assert expected
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, found = gradients(model)
    close(again, loss, 1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def packed(samples: list[torch.Tensor]) -> dict[str, Any]:
    lengths = torch.tensor([len(sample) for sample in samples])
    boundaries = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).to(torch.int32)
    return {
        "input_ids": torch.cat(samples)[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": int(lengths.max()),
        "max_length_k": int(lengths.max()),
        "use_cache": False,
    }


def test_packing(case: Any) -> None:
    """Samples that share a row have the losses that they have alone."""
    if not case.attributes.get("packs", True):
        return  # runs refuse it: test_runs.py
    model = case.changed(model=case.base(attn_implementation="swift_varlen")).eval()
    generator = torch.Generator().manual_seed(3)
    samples = [torch.randint(0, 2000, (length,), generator=generator) for length in LENGTHS]
    with torch.no_grad():
        alone = [model(input_ids=sample[None], use_cache=False).logits[0] for sample in samples]
        together = model(**packed(samples)).logits[0].split(LENGTHS)
    for one, other, sample in zip(alone, together, samples, strict=True):
        close(cross_entropy(other[:-1], sample[1:]), cross_entropy(one[:-1], sample[1:]), 1e-5)


def test_two_adapters(case: Any) -> None:
    from swift.tuners import adapter_names, switch_adapter

    if not case.stands_beside:
        with pytest.raises(ModelError):
            case.applied(name="second", model=case.changed())
        return
    model = case.changed()
    first = logits(model)
    model = case.changed("second", model, seed=5)
    second = logits(model)
    assert adapter_names(model) == ["default", "second"]
    assert not torch.allclose(first, second, atol=1e-3)
    switch_adapter(model, "default")
    close(logits(model), first, 0)
    switch_adapter(model, "second")
    close(logits(model), second, 0)
    with pytest.raises(ModelError, match="third"):
        switch_adapter(model, "third")
