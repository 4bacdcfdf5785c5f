"""Roll-outs of several turns: exact tokens, limits, rewards, errors; and a task that takes two turns."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError, PluginError, RegistryError
from swift.core.registry import Component, engines, rollouts
from swift.core.train.context import ObjectiveContext
from swift.core.types import IGNORE_INDEX, Encoded, GenerationRequest, Message, SamplingParams, TokenDelta
from swift.plugin import register_engine, register_rollout
from swift.plugin.live import LiveParts
from swift.rlhf.logprobs import batch_logprobs
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.objective import GRPOObjective
from swift.rlhf.objectives.grpo.sampler import Sampler
from swift.rlhf.rollout import Turn
from swift.rlhf.rollout.chat import ChatTokens

LETTERS = "0123456789?!"
SPECIAL = ("<u>", "<a>", "<e>", "<pad>")
IDS = {token: number for number, token in enumerate((*LETTERS, *SPECIAL))}
U, A, E, PAD = (IDS[token] for token in SPECIAL)
TEMPLATE = (
    "{% for message in messages %}{{ '<a>' if message.role == 'assistant' else '<u>' }}"
    "{{ message.content }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def small_tokenizer() -> Any:
    """Sixteen tokens, each a letter or a mark."""
    backend = Tokenizer(models.WordLevel(IDS, unk_token="!"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<e>", pad_token="<pad>",
        additional_special_tokens=["<u>", "<a>"], chat_template=TEMPLATE,
    )  # fmt: skip


def small_model(seed: int = 0, **sizes: Any) -> nn.Module:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(IDS), "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": PAD, "bos_token_id": None,
        "eos_token_id": E,
    }  # fmt: skip
    model: nn.Module = LlamaForCausalLM(LlamaConfig(**{**settings, **sizes}))
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return small_tokenizer()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = {registry: registry.registered() for registry in (rollouts, engines)}
    yield
    for registry, components in before.items():
        registry.restore(components)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def prompts(tokenizer: Any, contents: Sequence[str]) -> list[Encoded]:
    encoded = []
    for content in contents:
        ids = ChatTokens(tokenizer).prompt([user(content)])
        columns = {"messages": [user(content)], "answer": content[::-1]}
        labels = np.full(len(ids), IGNORE_INDEX, np.int32)
        encoded.append(Encoded(np.asarray(ids, np.int32), labels, columns=columns))
    return encoded


def length_reward(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def build(
    tokenizer: Any, parts: LiveParts | None = None, engine: str = "transformers", **settings: Any
) -> Any:
    values = {"reward_funcs": ["mine"], "num_generations": 4, "max_completion_length": 24, **settings}
    context = ObjectiveContext(
        tokenizer, ModelConfig(), lambda: small_model(1), engine_name=engine, parts=parts or LiveParts()
    )
    return GRPOObjective(GRPOConfig(**values), context, rewards={"mine": length_reward})


def gather(objective: GRPOObjective, model: nn.Module, tokenizer: Any, step: int = 0) -> dict[str, Any]:
    (ready,) = objective.prepare(model, [objective.collate(prompts(tokenizer, ["12", "345"]))], step)
    return ready


def means(objective: GRPOObjective, model: nn.Module, batch: dict[str, Any]) -> dict[str, float]:
    metrics = objective.loss(model, batch, objective.count(batch)).metrics
    return {name: float(metric.total / metric.count) for name, metric in metrics.items()}


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [value.grad.clone() for value in model.parameters() if value.grad is not None]


def again(times: int) -> Callable[..., Turn]:
    """Ask so many more times."""

    def schedule(messages: Any, completion: str, turn: int, columns: Any) -> Turn:
        return Turn(done=True) if turn == times else Turn([user(f"{turn}!")], reward=0.5)

    return schedule


# exact tokens


@pytest.mark.parametrize("roles", [("user",), ("tool",), ("tool", "tool"), ("tool", "user")])
def test_replies_are_what_the_whole_conversation_would_be_tokenised_to(roles: tuple[str, ...]) -> None:
    from swift.core.models.load import load_tokenizer

    real = load_tokenizer(ModelConfig())
    chat = ChatTokens(real)
    before = [{"role": "system", "content": "Be brief."}, user("2 + 2?")]
    reply = [{"role": role, "content": f" It's\n{role} <b> 4 "} for role in roles]
    answer = real("Let me see: four", add_special_tokens=False)["input_ids"]
    pieces = [*chat.prompt(before), *answer, real.eos_token_id]
    whole = chat.prompt([*before, {"role": "assistant", "content": "Let me see: four"}, *reply])
    assert [*pieces, *chat.reply(before, reply, real.eos_token_id)] == whole
    open_ended = chat.reply(before, reply, answer[-1])  # not closed by the model: the template closes it
    assert [*pieces[:-1], *open_ended] == whole


def test_drawn_tokens_stay_as_they_were_drawn_and_alone_are_learned(tokenizer: Any) -> None:
    from swift.infer.engines.transformers.engine import TransformersEngine

    seen: dict[tuple[str, tuple[int, ...]], tuple[tuple[int, ...], tuple[float, ...]]] = {}

    @register_engine("recording")
    class Recording(TransformersEngine):
        """The real engine; it also keeps what it was asked, what it drew and how likely that was."""

        def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
            asked = {request.request_id: request.prompt_ids for request in requests}
            drawn: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = dict.fromkeys(asked, ((), ()))
            with_logprobs = [
                GenerationRequest(
                    request.request_id,
                    request.prompt_ids,
                    SamplingParams(**{**fields(request.sampling), "logprobs": 0}),
                )
                for request in requests
            ]
            for delta in super().generate(with_logprobs):
                ids, logprobs = drawn[delta.request_id]
                drawn[delta.request_id] = (ids + delta.token_ids, logprobs + (delta.logprobs or ()))
                yield delta
            seen.update({(name, asked[name]): value for name, value in drawn.items()})

    register_rollout("again")(again(2))
    model = small_model()
    objective = build(tokenizer, engine="recording", rollout="again", temperature=1.0)
    batch = gather(objective, model, tokenizer)
    objective.close()
    with torch.no_grad():
        fresh = batch_logprobs(model, {key: batch[key] for key in ("input_ids", "attention_mask", "labels")})
    several = 0
    for row, labels in enumerate(batch["labels"]):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        learned = (labels[: len(ids)] != IGNORE_INDEX).tolist()
        place, turns = learned.index(True), 0
        while place < len(ids):
            drawn, logprobs = seen[str(row), tuple(ids[:place])]
            end = place + len(drawn)
            assert tuple(ids[place:end]) == drawn
            assert all(learned[place:end])
            assert fresh.values[row, place - 1 : end - 1].tolist() == pytest.approx(logprobs, abs=1e-5)
            turns += 1
            if end < len(ids):
                assert tokenizer.decode(ids[end : end + 5]) == f"<u>{turns - 1}!<e><a>"
                assert not any(learned[end : end + 5])
            place = end + 5
        several += turns == 3
    assert several >= 2, "most episodes have several turns"


def fields(sampling: SamplingParams) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in sampling.__dataclass_fields__}


def test_one_turn_is_bit_for_bit_a_rollout_without_environment(tokenizer: Any) -> None:
    register_rollout("once")(again(0))
    results = []
    choices: tuple[dict[str, Any], ...] = ({}, {"rollout": "once"})
    for settings in choices:
        model = small_model()
        objective = build(tokenizer, beta=0.1, num_iterations=2, gamma=0.9, **settings)
        batch = gather(objective, model, tokenizer, step=3)
        output = objective.loss(model, batch, objective.count(batch))
        torch.autograd.backward(output.loss)
        results.append((batch, output.loss, gradients(model)))
        objective.close()
    (plain, plain_loss, plain_grads), (turned, turned_loss, turned_grads) = results
    for name in ("input_ids", "labels", "attention_mask", "advantages", "old_logps", "reference_logps"):
        assert torch.equal(plain[name], turned[name]), name
    assert torch.equal(plain_loss, turned_loss)
    assert all(torch.equal(a, b) for a, b in zip(plain_grads, turned_grads, strict=True))


def test_replies_take_no_part_in_the_loss(tokenizer: Any) -> None:
    """Advantages, old and reference log-probabilities at replies do not change loss or gradient."""
    register_rollout("again")(again(2))
    model = small_model()
    objective = build(tokenizer, rollout="again", beta=0.1, num_iterations=2, gamma=0.9, loss_type="dapo")
    batch = gather(objective, model, tokenizer)
    objective.close()
    learned = batch["labels"][:, 1:] != IGNORE_INDEX
    assert int(objective.count(batch)) == int(learned.sum())
    assert (batch["advantages"][~learned] == 0).all()
    results = []
    for noise in (0.0, 7.0):
        changed = dict(batch)
        for name in ("advantages", "old_logps", "reference_logps"):
            changed[name] = batch[name] + noise * ~learned
        model.zero_grad()
        loss = objective.loss(model, changed, objective.count(changed)).loss
        torch.autograd.backward(loss)
        results.append((loss.item(), gradients(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-7)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-7)
    # the discount counts drawn tokens only: the last has the whole advantage, the first gamma^(n - 1) of it
    for advantages, mask in zip(batch["advantages"], learned, strict=True):
        values = advantages[mask]
        expected = values[-1] * 0.9 ** torch.arange(len(values) - 1, -1, -1)
        assert torch.allclose(values, expected)


# rewards, columns, limits


def test_rewards_read_the_last_answer_and_the_environment_adds_its_own(tokenizer: Any) -> None:
    seen: dict[str, Any] = {}
    columns_seen = []

    @register_rollout("graded")
    class Graded:
        """Two more questions; each answer earns 0.25 times the factor."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def reset(self, messages: list[Message], columns: Any) -> None:
            columns_seen.append((messages[0]["content"], columns))
            self.turns = 0

        async def step(self, completion: str) -> Turn:
            self.turns += 1
            done = self.turns == 3
            return Turn([] if done else [user("?")], done, 0.25 * self.factor)

    def spy(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, **columns)
        return [float(len(text)) for text in completions]

    model = small_model()
    objective = build(tokenizer, rollout="graded", rollout_config={"factor": 2.0}, reward_weights=[0.5])
    objective.experience.rewards.slots["mine"].part = spy
    batch = gather(objective, model, tokenizer)
    figures = means(objective, model, batch)
    objective.close()
    assert columns_seen[:5] == [("12", {"answer": "21"})] * 4 + [("345", {"answer": "543"})]
    assert "messages" not in seen
    turns = [(len(prompt) + 1) // 2 for prompt in seen["prompts"]]
    assert figures["turns"] == pytest.approx(np.mean(turns))
    assert 1 < figures["turns"] <= 3
    assert figures["rewards/environment"] == pytest.approx(0.5 * np.mean(turns))
    assert figures["reward"] == pytest.approx(
        0.5 * figures["rewards/mine"] + figures["rewards/environment"], rel=1e-5
    )
    lengths = (batch["labels"] != IGNORE_INDEX).sum(-1).float().mean()
    assert figures["completion_length"] == pytest.approx(lengths.item())
    assert all(
        prompt[-1] == user("?") for prompt, count in zip(seen["prompts"], turns, strict=True) if count > 1
    )


def test_an_environment_alone_is_reward_enough(tokenizer: Any) -> None:
    register_rollout("again")(again(1))
    GRPOConfig(rollout="again")
    with pytest.raises(ValueError, match="at least one reward"):
        GRPOConfig()
    with pytest.raises(ValueError, match="rewards of a rollout"):
        GRPOConfig(reward_funcs=["environment"], rollout="again")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="max_turns needs a rollout"):
        GRPOConfig(reward_funcs=["mine"], max_turns=3)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("settings", "model_settings"),
    [
        ({"max_turns": 2}, {}),
        ({"max_completion_length": 7}, {}),
        ({"max_completion_length": 12, "max_rollout_length": 14}, {}),
        ({"max_completion_length": 12}, {"max_position_embeddings": 20}),
    ],
)
def test_a_limit_ends_the_episode(
    tokenizer: Any, settings: dict[str, Any], model_settings: dict[str, Any]
) -> None:
    register_rollout("endless")(again(1000))
    model = small_model(**model_settings)
    objective = build(tokenizer, rollout="endless", **settings)
    sampler: Sampler = objective.experience.sampler
    encoded = prompts(tokenizer, ["12", "345"])
    samples = sampler.draw(
        model, [list(map(int, one.input_ids)) for one in encoded], [dict(one.columns) for one in encoded], 0
    )
    objective.close()
    assert len(samples) == 8
    for sample in samples:
        ids, drawn = sample.completion.token_ids, sample.completion.drawn
        assert len(ids) == len(drawn)
        assert not sample.completion.complete, "nothing but a limit ended it"
        assert drawn[-1], "no reply without an answer"
        assert sample.turns <= settings.get("max_turns", 8)
        assert sum(drawn) <= settings.get("max_completion_length", 24)
        assert len(ids) <= settings.get("max_rollout_length", 10**9)
        assert len(sample.prompt_ids) + len(ids) <= model_settings.get("max_position_embeddings", 64)
    assert max(sample.turns for sample in samples) > 1
    assert samples[0].messages[0] == user("12")


def test_reset_may_open_the_episode_itself(tokenizer: Any) -> None:
    @register_rollout("opening")
    class Opening:
        def reset(self, messages: list[Message], columns: Any) -> list[Message]:
            return [user(columns["answer"]), {"role": "assistant", "content": "7"}, user("8")]

        def step(self, completion: str) -> Turn:
            return Turn(done=True)

    objective = build(tokenizer, rollout="opening")
    batch = gather(objective, small_model(), tokenizer)
    objective.close()
    assert tokenizer.decode(batch["input_ids"][0][:11]) == "<u>21<e><a>7<e><u>8<e><a>"


def test_environments_are_used_again_and_work_at_the_same_time(tokenizer: Any) -> None:
    made: list[Any] = []
    closed: list[Any] = []
    barrier = threading.Barrier(8, timeout=20)

    @register_rollout("kept")
    class Kept:
        def __init__(self) -> None:
            made.append(self)

        def reset(self, messages: list[Message], columns: Any) -> None:
            barrier.wait()

        def step(self, completion: str) -> Turn:
            return Turn(done=True)

        def close(self) -> None:
            closed.append(self)

    @register_rollout("fresh")
    class Fresh:
        def __init__(self) -> None:
            made.append(self)
            self.used = False

        def step(self, completion: str) -> Turn:
            assert not self.used
            self.used = True
            return Turn(done=True)

    model = small_model()
    objective = build(tokenizer, rollout="kept")
    for step in range(2):
        gather(objective, model, tokenizer, step)
    objective.close()
    assert len(made) == len(closed) == 8
    made.clear()
    objective = build(tokenizer, rollout="fresh")
    for step in range(2):
        gather(objective, model, tokenizer, step)
    assert len(made) >= 16


# errors


def fails(messages: Any, completion: str, turn: int, columns: Any) -> Turn:
    return Turn(reward=1 / 0)


def returns(value: Any) -> Callable[..., Any]:
    return lambda messages, completion, turn, columns: value


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (fails, r"step\(\) failed: ZeroDivisionError"),
        (returns(None), "returned NoneType, not a Turn"),
        (returns(Turn()), "neither ended the episode nor replied"),
        (returns(Turn(["more"], reward=1.0)), "which are not messages"),  # type: ignore[list-item]
        (returns(Turn(done=True, reward=float("nan"))), "gave the reward nan"),
    ],
)
def test_a_rollout_that_breaks_its_contract_is_named_with_its_place(
    tokenizer: Any, schedule: Any, message: str
) -> None:
    register_rollout("broken")(schedule)
    objective = build(tokenizer, rollout="broken")
    with pytest.raises(
        PluginError, match=rf"rollout 'broken' \(.*test_episodes.py:\d+\): .*{message}"
    ) as error:
        gather(objective, small_model(), tokenizer)
    objective.close()
    assert "swift.rlhf.rollout.Turn" in error.value.remedy


def test_a_rollout_that_cannot_be_used_is_refused_before_anything_is_drawn(tokenizer: Any) -> None:
    with pytest.raises(RegistryError, match="unknown rollout 'nothing'"):
        build(tokenizer, rollout="nothing")

    class Stepless:
        pass

    class Plain:
        def step(self, completion: str) -> Turn:
            return Turn(done=True)

    with pytest.raises(PluginError, match=r"is called as .messages, completion, turn, columns."):
        register_rollout("narrow")(lambda completion: Turn(done=True))
    rollouts.register(Component("packaged", Stepless))  # as an installed package offers it
    with pytest.raises(PluginError, match=r"'packaged' (?s:.*)or is an object with step"):
        build(tokenizer, rollout="packaged")
    register_rollout("plain")(Plain)
    with pytest.raises(PluginError, match=r"does not take the arguments .*'size'"):
        build(tokenizer, rollout="plain", rollout_config={"size": 3})
    wordless = copy.deepcopy(tokenizer)
    wordless.chat_template = None
    register_rollout("again")(again(1))
    with pytest.raises(ModelError, match="no chat template"):
        build(wordless, rollout="again")


def test_roles_that_the_template_refuses_are_an_error_of_the_rollout(tokenizer: Any) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{% endfor %}" + TEMPLATE
    )
    register_rollout("tool")(returns(Turn([{"role": "tool", "content": "4"}])))
    objective = build(strict, rollout="tool")
    with pytest.raises(PluginError, match=r"rollout 'tool' \(.*\): the chat template refuses .*no tools"):
        gather(objective, small_model(), strict)
    objective.close()


def test_a_new_version_that_fails_its_first_step_gives_way(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def newer(schedule: Any) -> None:
        rollouts.unregister("live")
        register_rollout("live")(schedule)
        for live in parts.in_use:
            if live.registry is rollouts:
                live.swap(rollouts.get("live"), live.rebuild(rollouts.get("live")))

    parts, model = LiveParts(), small_model()
    register_rollout("live")(again(1))
    objective = build(tokenizer, parts=parts, rollout="live")
    before = gather(objective, model, tokenizer)
    working = rollouts.get("live")
    newer(fails)
    assert torch.equal(gather(objective, model, tokenizer)["input_ids"], before["input_ids"])
    assert "failed, the former one stays" in capsys.readouterr().err
    assert rollouts.get("live") is working
    newer(again(0))
    after = gather(objective, model, tokenizer)
    assert after["row_metrics"]["turns"].mean() == 1 < before["row_metrics"]["turns"].mean()
    objective.close()


# a task that takes two turns


def demonstrations(draw: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Half guess at once; half ask, and of those half repeat what they are told. Ids and what is learned."""
    rows, learned = [], []
    for _ in range(count):
        secret, guess, other = (int(digit) for digit in draw.integers(10, size=3))
        opening = [U, IDS["!"], E, A]
        if draw.random() < 0.5:
            rows.append([*opening, guess, E, *[PAD] * 6])
            learned.append([False] * 4 + [True] * 2 + [False] * 6)
        else:
            said = secret if draw.random() < 0.5 else other
            rows.append([*opening, IDS["?"], E, U, secret, E, A, said, E])
            learned.append([False] * 4 + [True] * 2 + [False] * 4 + [True] * 2)
    return torch.tensor(rows), torch.tensor(learned)


def fine_tune(model: nn.Module, steps: int = 250) -> None:
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(steps):
        ids, learned = demonstrations(draw, 64)
        logits = model(input_ids=ids).logits[:, :-1][learned[:, 1:]]
        torch.autograd.backward(functional.cross_entropy(logits, ids[:, 1:][learned[:, 1:]]))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_grpo_learns_to_ask_and_to_use_the_reply(tokenizer: Any) -> None:
    """A digit that only the environment knows: who guesses is right once in ten times."""

    @register_rollout("oracle")
    class Oracle:
        def reset(self, messages: list[Message], columns: Any) -> None:
            self.secret, self.asked = columns["secret"], False

        def step(self, completion: str) -> Turn:
            if completion == "?" and not self.asked:
                self.asked = True
                return Turn([{"role": "tool", "content": self.secret}])
            return Turn(done=True, reward=float(completion == self.secret))

    model = small_model()
    fine_tune(model)
    objective = build(
        tokenizer, reward_funcs=[], rollout="oracle", max_turns=3, max_completion_length=6, num_generations=8,
        loss_type="dapo", epsilon_high=0.28,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    draw, history = random.Random(2), []
    for step in range(25):
        rows = prompts(tokenizer, ["!"] * 16)
        for row in rows:
            row.columns = {**row.columns, "secret": str(draw.randrange(10))}
        (batch,) = objective.prepare(model, [objective.collate(rows)], step)
        history.append(means(objective, model, batch))
        torch.autograd.backward(objective.loss(model.train(), batch, objective.count(batch)).loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    objective.close()
    rewards = [figures["reward"] for figures in history]
    assert np.mean(rewards[:3]) < 0.45, "the demonstrations guess or forget"
    assert np.mean(rewards[-3:]) > 0.8, rewards
    assert np.mean([figures["turns"] for figures in history[-3:]]) > 1.8
