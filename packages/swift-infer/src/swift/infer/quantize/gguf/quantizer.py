"""GGUF as a method of export."""

from __future__ import annotations

from typing import Any

from swift.core.errors import ModelError
from swift.infer.quantize.gguf.config import GgufConfig
from swift.infer.quantize.gguf.tensors import EMBEDDINGS, architecture_of, as_type, head_width, named_tensors
from swift.infer.quantize.gguf.tokenizer import vocabulary
from swift.infer.quantize.job import Job

FILE = "model.gguf"
FILE_TYPES = {
    "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0",
    "q5_1": "MOSTLY_Q5_1", "q5_0": "MOSTLY_Q5_0", "q4_1": "MOSTLY_Q4_1", "q4_0": "MOSTLY_Q4_0",
}  # fmt: skip
ROPE_TYPES = ("default", "llama3")


def quantize(job: Job, config: GgufConfig) -> None:
    """Write one GGUF file with weights, configuration and tokenizer, and config.json beside it.

    Raises:
        ModelError: architecture, tokenizer or rotary embedding is none that is written here.
    """
    architecture: Any = described(job.model.config)
    writer = _writer(job)
    tokenizer = getattr(job.processor, "tokenizer", job.processor)
    _add_sizes(writer, architecture, config)
    _add_tokenizer(writer, tokenizer, architecture.vocab_size, config.tokenizer_pre)
    for name, array in named_tensors(job.model):
        data, kind = as_type(array, wanted_type(name, array.ndim, config))
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    described(architecture).save_pretrained(job.folder)  # sizes that readers guess, such as head_dim


def described(architecture: Any) -> Any:
    """The configuration under the name that GGUF has for it: Mistral without a window is a Llama.

    Raises:
        ModelError: it looks back through a window, which GGUF's Llama does not.
    """
    if architecture.model_type != "mistral":
        return architecture
    window = architecture.sliding_window
    if window is not None and window < architecture.max_position_embeddings:
        raise ModelError(
            f"attention through a window of {window} tokens is not written as GGUF",
            "choose another export.method",
        )
    from transformers import LlamaConfig

    values = architecture.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    return LlamaConfig.from_dict({key: value for key, value in values.items() if key != "model_type"})


def _writer(job: Job) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ModelError("the package gguf is missing", "pip install 'swift-infer[quant]'") from error
    return gguf.GGUFWriter(job.folder / FILE, architecture_of(job.model.config))


def wanted_type(name: str, dimensions: int, config: GgufConfig) -> Any:
    """GGUF's type of a tensor: vectors stay f32; embeddings lose more by few bits than other matrices."""
    from gguf import GGMLQuantizationType

    chosen: str = config.gguf_type
    if dimensions < 2:
        chosen = "f32"
    elif name in EMBEDDINGS:
        few = chosen.startswith(("q4", "q5"))
        chosen = config.gguf_embedding_type or ("q8_0" if few else chosen)
    return GGMLQuantizationType[chosen.upper()]


def _add_sizes(writer: Any, architecture: Any, config: GgufConfig) -> None:
    import gguf

    rope = architecture.rope_parameters
    if rope.get("rope_type", "default") not in ROPE_TYPES:
        raise ModelError(
            f"rotary embeddings of type {rope['rope_type']!r} are not written as GGUF",
            f"types that are: {', '.join(ROPE_TYPES)}",
        )
    width = head_width(architecture)
    writer.add_name(architecture_of(architecture))
    writer.add_context_length(architecture.max_position_embeddings)
    writer.add_embedding_length(architecture.hidden_size)
    writer.add_block_count(architecture.num_hidden_layers)
    writer.add_feed_forward_length(architecture.intermediate_size)
    writer.add_head_count(architecture.num_attention_heads)
    writer.add_head_count_kv(architecture.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(architecture.rms_norm_eps)
    writer.add_vocab_size(architecture.vocab_size)
    writer.add_file_type(int(gguf.LlamaFileType[FILE_TYPES[config.gguf_type]]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: Any, tokenizer: Any, size: int, pre: str | None) -> None:
    found = vocabulary(tokenizer, size, pre)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.scores is not None:
        writer.add_token_scores(found.scores)
    if found.merges is not None:
        writer.add_token_merges(found.merges)
    for name in ("bos", "eos", "pad"):
        index = getattr(tokenizer, f"{name}_token_id", None)
        if index is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    starts = tokenizer("")["input_ids"]
    writer.add_add_bos_token(bool(starts) and starts[0] == tokenizer.bos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
