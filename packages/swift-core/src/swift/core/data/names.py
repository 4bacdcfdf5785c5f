"""Short names of well-known data sets, so that a YAML file can say `hh-rlhf`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Hub = Literal["huggingface", "modelscope"]


@dataclass(frozen=True)
class HubDataset:
    """Where a data set lies.

    Attributes:
        huggingface: id on Hugging Face.
        modelscope: id on ModelScope, or None when it has none that we know.
        config: the configuration (subset) to load, where there are several.
        splits: its own name of a standard split, where that differs.
    """

    huggingface: str
    modelscope: str | None = None
    config: str | None = None
    splits: tuple[tuple[str, str], ...] = ()

    def split(self, name: str) -> str:
        """The data set's own name of a split."""
        return dict(self.splits).get(name, name)


WELL_KNOWN: dict[str, HubDataset] = {
    "alpaca-en": HubDataset("tatsu-lab/alpaca", "AI-ModelScope/alpaca-gpt4-data-en"),
    "alpaca-zh": HubDataset("llm-wizard/alpaca-gpt4-data-zh", "AI-ModelScope/alpaca-gpt4-data-zh"),
    "capybara": HubDataset("trl-lib/Capybara"),
    "dolly": HubDataset("databricks/databricks-dolly-15k", "AI-ModelScope/databricks-dolly-15k"),
    "fineweb-edu": HubDataset("HuggingFaceFW/fineweb-edu", config="sample-10BT"),
    "gsm8k": HubDataset("openai/gsm8k", "modelscope/gsm8k", config="main"),
    "hh-rlhf": HubDataset("Anthropic/hh-rlhf", "AI-ModelScope/hh-rlhf"),
    "kto-mix": HubDataset("trl-lib/kto-mix-14k"),
    "metamath": HubDataset("meta-math/MetaMathQA"),
    "numina-math": HubDataset("AI-MO/NuminaMath-CoT", "AI-MO/NuminaMath-CoT"),
    "openhermes": HubDataset("teknium/OpenHermes-2.5", "AI-ModelScope/OpenHermes-2.5"),
    "orca-dpo": HubDataset("Intel/orca_dpo_pairs"),
    "slimorca": HubDataset("Open-Orca/SlimOrca"),
    "tinystories": HubDataset("roneneldan/TinyStories"),
    "ultrachat": HubDataset(
        "HuggingFaceH4/ultrachat_200k", splits=(("train", "train_sft"), ("test", "test_sft"))
    ),
    "ultrafeedback": HubDataset(
        "HuggingFaceH4/ultrafeedback_binarized", splits=(("train", "train_prefs"), ("test", "test_prefs"))
    ),
    "wikitext": HubDataset("Salesforce/wikitext", config="wikitext-2-raw-v1"),
}
