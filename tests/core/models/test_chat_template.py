"""The shipped ChatML template: what it renders, and what counts as written by the assistant."""

import jinja2
import pytest

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.load import load_tokenizer
from swift.core.models.tiny.family import tiny_tokenizer

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def render(messages, **options):
    return tiny_tokenizer().apply_chat_template(messages, tokenize=False, **options)


def test_plain_turns():
    text = render(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " Hi \n"}],
        add_generation_prompt=True,
    )
    assert text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi \n<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_calls_and_responses():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "é"}}}
    quoted = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    text = render(
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "tool_calls": [call, quoted]},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "Done."},
        ],
        tools=[TOOL],
    )
    assert text.startswith("<|im_start|>system\n")
    assert '<tools>\n{"type": "function", "function": {"name": "add"' in text
    assert text.endswith(
        "<|im_start|>assistant\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nDone.<|im_end|>\n"
    )


def test_media_parts_and_unknown_parts():
    content = [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "video"}]
    assert (
        "user\n<|vision_start|><|image_pad|><|vision_end|>What?<|vision_start|><|video_pad|><|vision_end|><|im_end|>"
    ) in render([{"role": "user", "content": content}])
    with pytest.raises(jinja2.TemplateError, match="smell"):
        render([{"role": "user", "content": [{"type": "smell"}]}])
    with pytest.raises(jinja2.TemplateError, match="narrator"):
        render([{"role": "narrator", "content": "x"}])


def test_generation_blocks_hold_what_the_assistant_writes():
    tokenizer = tiny_tokenizer()
    encoded = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b 1", "reasoning_content": "hm"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
        ],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    learned = [
        token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask
    ]
    assert tokenizer.decode(learned) == "<think>\nhm\n</think>\n\nb 1<|im_end|>d<|im_end|>"


def test_chat_template_option(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text("{{ messages[0].content }}!")
    tokenizer = load_tokenizer(ModelConfig(chat_template=str(path)))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hey"}], tokenize=False) == "hey!"
    with pytest.raises(ModelError, match="does not exist"):
        load_tokenizer(ModelConfig(chat_template=str(tmp_path / "none.jinja")))
    with pytest.raises(ModelError, match="unknown chat template 'no_such_template'"):
        load_tokenizer(ModelConfig(chat_template="no_such_template"))
