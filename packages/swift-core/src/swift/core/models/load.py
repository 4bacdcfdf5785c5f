"""Configurations, tokenizers and models from a folder, a hub or tiny/NAME; and back to a plain folder."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoProcessor,
    AutoTokenizer,
)

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.attention import register_varlen_attention
from swift.core.models.chat_template import read_chat_template
from swift.core.models.heads import check_head, config_values, head_weights
from swift.core.models.hub import locate
from swift.core.models.own import OwnFamily, adopt, default_attention, own_family
from swift.core.models.stored import stored_options, unpack
from swift.core.registry import tiny_models
from swift.core.types import Head

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from swift.core.models.tiny.family import TinyFamily

TINY = "tiny/"

logger = logging.getLogger(__name__)


def load_config(config: ModelConfig) -> PreTrainedConfig:
    """Architecture and sizes, without weights.

    Raises:
        ModelError: not found, or its code is not part of transformers and trust_remote_code is off.
    """
    family = _family(config)
    if family is not None:
        return family.config
    with _readable(config):
        return AutoConfig.from_pretrained(_folder(config), **_trust(config))


def load_tokenizer(config: ModelConfig) -> Any:
    """The tokenizer, also of a multimodal model; model.chat_template replaces its template.

    Raises:
        ModelError: not found or unreadable.
    """
    family = _family(config)
    if family is not None:
        processor = family.processor()
        tokenizer = getattr(processor, "tokenizer", processor)
    elif config.tokenizer_id is not None:
        tokenizer = load_tokenizer(ModelConfig(model_id=config.tokenizer_id, hub=config.hub))
    else:
        with _readable(config):
            tokenizer = AutoTokenizer.from_pretrained(_tokenizer_folder(config), **_trust(config))
    return _completed(tokenizer, config)


def _tokenizer_folder(config: ModelConfig) -> Path:
    """An adapter's folder brings a tokenizer without a model."""
    folder = Path(config.model_id)
    return folder if (folder / "tokenizer_config.json").is_file() else _folder(config)


def load_processor(config: ModelConfig) -> Any:
    """What turns a row into model inputs: the processor of a multimodal model, else the tokenizer.

    Raises:
        ModelError: not found or unreadable.
    """
    family = _family(config)
    if family is not None:
        return _completed(family.processor(), config)
    if not is_multimodal(load_config(config)):
        return load_tokenizer(config)
    with _readable(config):
        return _completed(AutoProcessor.from_pretrained(_folder(config), **_trust(config)), config)


def is_multimodal(architecture: PreTrainedConfig) -> bool:
    """Whether the model reads images beside text."""
    return getattr(architecture, "vision_config", None) is not None


def load_model(
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int = 42,
    options: Mapping[str, Any] | None = None,
    head: Head | None = None,
) -> PreTrainedModel:
    """The model with its language-model head or another one, in evaluation mode.

    Args:
        dtype: precision of the weights; nothing else is chosen silently.
        device: where they end up; ignored when options hold a device_map.
        seed: of the random weights of tiny/NAME and of a new head; global random state is left as it was.
        options: more arguments of from_pretrained (quantization_config, ...).
        head: another output than next-token logits.

    Raises:
        ModelError: not found, weights are missing, or the requested attention is not supported.
    """
    register_varlen_attention()
    family = _family(config)
    folder = _folder(config) if family is None else None
    arguments = {
        "dtype": dtype,
        "attn_implementation": config.attn_implementation or default_attention(config, folder),
        **(options or {}),
    }
    with _readable(config):
        if family is None:
            assert folder is not None
            with _drawing(seed):
                model = _from_folder(folder, config, arguments, device, head=head)
        else:
            model = _from_family(family, config, arguments, device, seed, head)
    _check_attention(model, arguments["attn_implementation"], config)
    model.name_or_path = config.model_id  # adapters record it as their base
    return model if "device_map" in arguments or options_quantize(arguments) else model.to(device).eval()


def options_quantize(arguments: Mapping[str, Any]) -> bool:
    """Whether loading quantises, which places the weights itself."""
    return arguments.get("quantization_config") is not None


def save_model(
    model: PreTrainedModel, processor: Any, directory: Path | str, max_shard_size: str = "5GB"
) -> None:
    """Write a plain transformers folder: weights, configuration, tokenizer or processor, chat template."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    processor.save_pretrained(directory)


def _family(config: ModelConfig) -> TinyFamily | OwnFamily | None:
    own = own_family(config, load_tokenizer)
    if own is not None or not config.model_id.startswith(TINY):
        return own
    return cast("TinyFamily", tiny_models.build(config.model_id.removeprefix(TINY)))


def _folder(config: ModelConfig) -> Path:
    return adopt(locate(config.model_id, config.hub, config.revision))


def _trust(config: ModelConfig) -> dict[str, Any]:
    # The folder is local by now; only code that is trusted may name another repository.
    return {"trust_remote_code": config.trust_remote_code, "local_files_only": not config.trust_remote_code}


def _completed(processor: Any, config: ModelConfig) -> Any:
    tokenizer = getattr(processor, "tokenizer", processor)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # made up by transformers where files are missing
        raise ModelError(
            f"{config.model_id!r} has no tokenizer files (tokenizer.json, ...): its tokenizer knows no words",
            "copy the tokenizer's files beside config.json",
        )
    if tokenizer.pad_token is None:
        logger.info(
            "the tokenizer of %s has no padding token: padding with %r", config.model_id, tokenizer.eos_token
        )
        tokenizer.pad_token = tokenizer.eos_token
    if config.chat_template is not None:
        tokenizer.chat_template = processor.chat_template = read_chat_template(config.chat_template)
    return processor


AUTO_CLASSES = {"classification": AutoModelForSequenceClassification, "embedding": AutoModel}


def _auto_class(
    architecture: PreTrainedConfig, family: TinyFamily | OwnFamily | None, head: Head | None
) -> Any:
    if head is not None:
        return AUTO_CLASSES[head.kind]
    if family is not None and family.model_class is not None:
        return family.model_class
    return AutoModelForImageTextToText if is_multimodal(architecture) else AutoModelForCausalLM


def _from_folder(
    folder: Path,
    config: ModelConfig,
    arguments: dict[str, Any],
    device: torch.device | str,
    model_class: Any = None,
    head: Head | None = None,
) -> PreTrainedModel:
    if options_quantize(arguments):
        arguments.setdefault("device_map", {"": device})
    architecture = AutoConfig.from_pretrained(folder, **_trust(config))
    check_head(architecture, head, config.model_id)
    if not options_quantize(arguments):
        arguments.update(stored_options(folder, architecture, device))
    if model_class is None:
        model_class = _auto_class(architecture, None, head)
    model, report = model_class.from_pretrained(
        folder, output_loading_info=True, **_trust(config), **arguments, **config_values(head)
    )
    new = head_weights(model, architecture, head)
    absent = sorted(name for name in report["missing_keys"] if not name.startswith(new))
    if absent:
        raise ModelError(
            f"model {config.model_id!r} lacks {len(absent)} weights, among them {', '.join(absent[:3])}",
            f"its files are not those of a {type(model).__name__}, or incomplete: fetch or export it again",
        )
    unpack(model)
    return cast("PreTrainedModel", model)


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Random weights depend on the seed alone, and change nobody else's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's: torch.manual_seed would reach every device
        yield


def _from_family(
    family: TinyFamily | OwnFamily,
    config: ModelConfig,
    arguments: dict[str, Any],
    device: torch.device | str,
    seed: int,
    head: Head | None,
) -> PreTrainedModel:
    model_class = _auto_class(family.config, family, head)
    drawn = {key: arguments[key] for key in ("dtype", "attn_implementation")}
    for key, value in config_values(head).items():
        setattr(family.config, key, value)
    with _drawing(seed):
        build = getattr(model_class, "from_config", None) or model_class._from_config
        model = build(family.config, **drawn)
    if drawn.keys() == arguments.keys():
        return cast("PreTrainedModel", model)
    with tempfile.TemporaryDirectory() as folder:  # options such as quantisation apply to weights in files
        model.save_pretrained(folder)
        known = None if isinstance(family, OwnFamily) else model_class
        return _from_folder(adopt(Path(folder)), config, arguments, device, known, head)


def _check_attention(model: PreTrainedModel, wanted: str, config: ModelConfig) -> None:
    actual = model.config._attn_implementation
    if actual != wanted:
        raise ModelError(
            f"model {config.model_id!r} does not take attn_implementation {wanted!r}: it chose {actual!r}",
            f"set model.attn_implementation={actual}",
        )


@contextmanager
def _readable(config: ModelConfig) -> Iterator[None]:
    """What transformers raises while reading, as one error that names the model and the remedy."""
    try:
        yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        text = str(error).strip().partition("\n")[0]
        remedy = "check that its files are complete and fit this version of transformers"
        if "trust_remote_code" in str(error):
            remedy = "it brings its own code: read it, then set model.trust_remote_code=true"
        elif "does not recognize this architecture" in str(error):
            remedy = "list the plugin that registers this model_type under plugins:, or update transformers"
        elif "attention" in str(error) or "attn_implementation" in str(error):
            remedy = "set model.attn_implementation=eager, or one that this architecture supports"
        elif isinstance(error, ImportError):
            remedy = "install the package that it names"
        raise ModelError(f"model {config.model_id!r} cannot be loaded: {text}", remedy) from error
