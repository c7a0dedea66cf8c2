"""`hf/causal-lm` against transformers itself, on tiny real models."""

from __future__ import annotations

import json
import math
import shutil
import threading

import pytest

pytest.importorskip("torch")
pytest.importorskip("tao_generate_hf")

import torch
from tao_generate_hf import loading
from tao_generate_hf.batching import Row, batches, branch, common_prefix, contexts, prefix_groups
from tao_generate_hf.decode import choose, uniforms
from tao_generate_hf.generator import CausalLM
from tao_generate_hf.packing import pack
from tiny import make_tiny_llama

from tao_hub import Message, Prompt, Request, Sampling, UsageError

SYSTEM = "You answer with one JSON record and nothing else. " * 3
MESSAGES = (
    "Hello",
    "My order A-1024 of 3 red lamps arrived broken.",
    "The kettle is late, where is it? Please send two more on Monday, thank you.",
    "Hello, Anna",
)


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    """A tiny model whose answers are long, varied, and sometimes end: random weights, made ten times larger."""
    from transformers import AutoModelForCausalLM

    folder = make_tiny_llama(tmp_path_factory.mktemp("model"), seed=1)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers" in name and "norm" not in name:
                weight.mul_(12)
            elif "embed" in name:
                weight.mul_(6)
    model.save_pretrained(folder)
    return folder


def generator(folder, dtype="float32", **options):
    return CausalLM(CausalLM.Options(model=str(folder), dtype=dtype, **options))


def request(text, n=1, seed=0, system=SYSTEM):
    return Request(Prompt((Message("system", system), Message("user", text))), n, seed)


def chat_ids(tokenizer, asked):
    turns = [{"role": m.role, "content": m.content} for m in asked.prompt.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


def texts(found):
    return {index: [answer.text for answer in answers] for index, answers in found.items()}


def reference(model, ids, **options):
    """Greedy `generate`. The mask is given, because it would be guessed from padding ids, which are eos ids here."""
    return model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **options)


@pytest.mark.parametrize("counts", [(2, 2, 2, 2), (1, 3, 2, 1)], ids=["even", "uneven"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared prefix", "padded"])
def test_greedy_equals_transformers_token_by_token(lively, shared, counts):
    ours = generator(lively)
    model, tokenizer = ours._load()
    assert model.config._attn_implementation == "tao_shared_prefix"
    if not shared:
        model.set_attn_implementation("sdpa")
    requests = [request(text, n) for text, n in zip(MESSAGES, counts)]
    found = dict(ours.generate(requests, Sampling(0.0, 40)))
    plain, _ = loading.load(lively, None, "float32", "cpu")
    for index, asked in enumerate(requests):
        ids = chat_ids(tokenizer, asked)
        expected = reference(plain, ids, max_new_tokens=40)[0, ids.shape[1] :]
        assert len(set(expected.tolist())) > 5, "the model must say something"
        assert len(found[index]) == asked.n
        for answer in found[index]:
            assert answer.text == tokenizer.decode(expected, skip_special_tokens=True)
            assert answer.output_tokens == len(expected)
            assert answer.prompt_tokens == ids.shape[1]


def test_logprobs_equal_a_teacher_forced_forward_pass(lively):
    ours = generator(lively)
    _, tokenizer = ours._load()
    plain, _ = loading.load(lively, None, "float32", "cpu")
    requests = [request(text, 2, seed) for seed, text in enumerate(MESSAGES)]
    for index, answers in ours.generate(requests, Sampling(0.0, 30)):  # greedy tokens are known from transformers
        prompt = chat_ids(tokenizer, requests[index])
        whole = reference(plain, prompt, max_new_tokens=30)
        with torch.inference_mode():
            logits = plain(whole).logits[0, prompt.shape[1] - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, whole[0, prompt.shape[1] :, None])[:, 0]
        assert torch.allclose(torch.tensor(answers[0].logprobs), expected, atol=1e-3)


def test_logprobs_of_samples_are_those_at_temperature_1(lively, monkeypatch):
    from tao_generate_hf import generator as module

    sampled = {}
    answers = module._answers

    def keep(tokenizer, rows, stops):
        sampled[rows[0].request] = rows
        return answers(tokenizer, rows, stops)

    monkeypatch.setattr(module, "_answers", keep)
    ours = generator(lively)
    requests = [request(text, 2, seed) for seed, text in enumerate(MESSAGES)]
    found = dict(ours.generate(requests, Sampling(0.7, 30, top_p=0.9)))
    plain, tokenizer = loading.load(lively, None, "float32", "cpu")
    for index, rows in sampled.items():
        prompt = chat_ids(tokenizer, requests[index])
        for row, answer in zip(rows, found[index]):
            with torch.inference_mode():
                logits = plain(torch.cat([prompt, torch.tensor([row.tokens])], 1)).logits[0, prompt.shape[1] - 1 : -1]
            expected = logits.log_softmax(-1).gather(-1, torch.tensor(row.tokens)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(answer.logprobs), expected, atol=1e-3)
    assert len(sampled) == len(MESSAGES)


def test_samples_depend_on_the_seeds_and_not_on_the_batch(lively):
    ours = generator(lively)
    requests = [request(text, 3, seed) for seed, text in enumerate(MESSAGES)]
    sampling = Sampling(1.0, 20, seed=5)
    together = dict(ours.generate(requests, sampling))
    every = [text for answers in texts(together).values() for text in answers]
    assert len(set(every)) == len(every)
    for index in (2, 0):
        ((_, alone),) = ours.generate([requests[index]], sampling)
        assert [a.text for a in alone] == [a.text for a in together[index]]
    small = dict(generator(lively, batch_tokens=1).generate(requests, sampling))  # every row alone
    assert texts(small) == texts(together)
    other = dict(ours.generate(requests, Sampling(1.0, 20, seed=6)))
    assert other[0][0].text != together[0][0].text


def test_samples_that_have_written_the_same_are_computed_once_and_stay_what_they_are(lively, monkeypatch):
    from tao_generate_hf import decode, memory

    computed, written_late = [], []
    step, few = memory.SharedMemory.step, decode._few

    def counted(self, tokens):
        computed.append(len(tokens))
        return step(self, tokens)

    def late(nodes, rows, prefix):
        found = few(nodes, rows, prefix)
        written_late.extend([None] * (found and sum(map(len, nodes))))
        return found

    requests = [request(text, 12, seed) for seed, text in enumerate(MESSAGES * 4)]
    sampling = Sampling(0.15, 60, seed=7)
    ours = generator(lively, lanes=1)
    ours.stops = frozenset(range(5, 60))  # most answers end soon, a few go on: these are written together
    ours._load()
    monkeypatch.setattr("tao_generate_hf.generator.WORK", 0)  # more than one batch
    single = generator(lively, lanes=1, batch_tokens=1)  # every row alone
    single.stops = ours.stops
    alone = dict(single.generate(requests, sampling))
    monkeypatch.setattr(memory.SharedMemory, "step", counted)
    monkeypatch.setattr(decode, "_few", late)
    found = dict(ours.generate(requests, sampling))
    assert texts(found) == texts(alone)
    answers = [(a, b) for index in found for a, b in zip(found[index], alone[index])]
    assert all(a.logprobs == pytest.approx(b.logprobs, abs=1e-3) for a, b in answers)
    assert len({a.text for a, _ in answers}) > 40
    assert 0 < sum(computed) < 0.8 * sum(a.output_tokens for a, _ in answers)
    assert written_late


def test_rows_part_where_they_write_different_tokens_and_fill_the_places_of_those_that_end():
    def row(*tokens, finished=""):
        return Row(0, 0, (1,), 9, tokens=list(tokens), finish_reason=finished)

    nodes = [[row(1, 5), row(1, 6), row(1, 5)], [row(2, 5, finished="stop")], [row(3, 5)], [row(4, 5, finished="stop")]]
    first, other = [nodes[0][0], nodes[0][2]], [nodes[0][1]]
    parents, made = branch(nodes, apart=False)
    assert dict(zip(parents, made))[2] == nodes[2]
    assert [(p, n) for p, n in zip(parents, made) if p == 0] == [(0, first), (0, other)]
    assert parents[:3:2] == [0, 2]
    assert len(made) == 3
    parents, made = branch([[node[0]] for node in nodes], apart=True)
    assert (parents, made) == ([0, 2], [[nodes[0][0]], nodes[2]])
    assert branch([[row(1, finished="stop")]], apart=False) == ([], [])


def test_the_same_call_gives_the_same_completions(lively):
    requests = [request(text, 2, seed) for seed, text in enumerate(MESSAGES)]
    runs = [list(generator(lively).generate(requests, Sampling(1.0, 15))) for _ in range(2)]
    first, second = ([(i, [(a.text, a.logprobs) for a in answers]) for i, answers in run] for run in runs)
    assert first == second


def test_lanes_give_the_same_completions_and_stop_when_told(lively):
    requests = [request(text, 5, seed) for seed, text in enumerate(MESSAGES * 4)]
    sampling = Sampling(1.0, 12, seed=3)
    before = torch.get_num_threads()
    alone = dict(generator(lively, lanes=1).generate(requests, sampling))
    ours = generator(lively, lanes=3)
    assert texts(dict(ours.generate(requests, sampling))) == texts(alone)
    stream = ours.generate(requests, sampling)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name == "tao-hub lane"]
    assert torch.get_num_threads() == before


def test_a_failure_in_one_lane_ends_the_call(lively, monkeypatch):
    from tao_generate_hf import memory

    def fails(*_: object) -> None:
        raise RuntimeError("the disk is on fire")

    ours = generator(lively, lanes=2)
    ours._load()
    monkeypatch.setattr(memory.SharedMemory, "step", fails)
    with pytest.raises(RuntimeError, match="on fire"):
        list(ours.generate([request(text, 8, 1) for text in MESSAGES], Sampling(1.0, 12)))
    assert not [t for t in threading.enumerate() if t.name == "tao-hub lane"]


def test_packed_weights_compute_the_same_numbers(lively):
    packed = generator(lively, dtype="bfloat16", lanes=1)
    asked, sampling = [request(f"message {i}", n=2, seed=i) for i in range(6)], Sampling(0.9, 12, seed=3)

    def drawn():
        return {i: [(a.text, a.logprobs) for a in answers] for i, answers in packed.generate(asked, sampling)}

    found = drawn()
    layers = [m for m in packed._loaded[0].modules() if isinstance(m, torch.nn.Linear)]
    if not all("forward" in vars(layer) for layer in layers):
        pytest.skip("this processor or build of torch packs no bfloat16 weights")
    for layer in layers:
        del layer.forward  # as they came
    assert drawn() == found
    assert not pack(generator(lively, dtype="float32")._load()[0])


def test_an_answer_ends_at_eos_even_where_eos_is_the_padding(lively):
    ours = generator(lively)
    _, tokenizer = ours._load()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    ids = chat_ids(tokenizer, request("Hello"))
    plain, _ = loading.load(lively, None, "float32", "cpu")
    free = reference(plain, ids, max_new_tokens=12, eos_token_id=10**6)[0, ids.shape[1] :].tolist()
    third = free[2]
    ours.stops = frozenset({third})
    ((_, (stopped,)),) = ours.generate([request("Hello")], Sampling(0.0, 12))
    length = free.index(third) + 1
    assert (stopped.finish_reason, stopped.output_tokens, len(stopped.logprobs)) == ("stop", length, length)
    assert stopped.text == tokenizer.decode(free[: length - 1], skip_special_tokens=True)
    ours.stops = frozenset()
    ((_, (cut,)),) = ours.generate([request("Hello")], Sampling(0.0, 12))
    assert (cut.finish_reason, cut.output_tokens) == ("length", 12)
    assert cut.seconds > 0


def test_a_prompt_longer_than_the_context_fails_alone(lively):
    requests = [request("Hello"), request("lamp " * 600), request("kettle"), Request(requests_prompt(), n=0)]
    found = dict(generator(lively).generate(requests, Sampling(0.0, 5)))
    assert isinstance(found[1], ValueError)
    assert "511" in str(found[1])
    assert len(found[0]) == len(found[2]) == 1
    assert found[3] == []


def requests_prompt():
    return Prompt((Message("user", "Hello"),))


def test_an_answer_is_cut_where_the_context_ends(lively):
    ours = generator(lively)
    _, tokenizer = ours._load()
    asked = request("lamp " * 50)
    while chat_ids(tokenizer, asked).shape[1] < 500:
        asked = request(asked.prompt.text + "lamp ")
    left = 512 - chat_ids(tokenizer, asked).shape[1]
    ours.stops = frozenset()
    found = dict(ours.generate([asked, request("Hello")], Sampling(0.0, 40)))
    assert [(a.finish_reason, a.output_tokens) for a in found[0] + found[1]] == [("length", left), ("length", 40)]


def test_a_batch_that_does_not_fit_in_memory_is_halved(lively, monkeypatch):
    from tao_generate_hf import memory

    whole = memory.SharedMemory.step

    def step(self, tokens):
        if len(tokens) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate too much")
        return whole(self, tokens)

    ours = generator(lively)
    requests = [request(text, 2, seed) for seed, text in enumerate(MESSAGES)]
    expected = dict(ours.generate(requests, Sampling(1.0, 10)))
    monkeypatch.setattr(memory.SharedMemory, "step", step)
    found = dict(ours.generate(requests, Sampling(1.0, 10)))
    assert texts(found) == texts(expected)
    monkeypatch.setattr(memory.SharedMemory, "step", lambda self, tokens: step(self, [0] * 3))
    found = dict(ours.generate(requests, Sampling(1.0, 10)))
    assert {type(answer) for answer in found.values()} == {MemoryError}


def test_another_error_of_the_model_is_not_swallowed(lively, monkeypatch):
    from tao_generate_hf import memory

    def step(self, tokens):
        raise RuntimeError("shapes do not match")

    ours = generator(lively)
    ours._load()
    monkeypatch.setattr(memory.SharedMemory, "step", step)
    with pytest.raises(RuntimeError, match="shapes"):
        list(ours.generate([request("Hello")], Sampling(0.0, 5)))


def test_a_model_with_sliding_windows_runs_on_its_own_attention(tmp_path):
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    folder = make_tiny_llama(tmp_path / "model")
    vocabulary = len(AutoTokenizer.from_pretrained(folder))
    config = MistralConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=16, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MistralForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)
    model.save_pretrained(folder)
    ours = generator(folder)
    loaded, tokenizer = ours._load()
    assert loaded.config._attn_implementation == "sdpa"
    requests = [request(text, 2) for text in MESSAGES]
    ours.stops = frozenset()
    found = dict(ours.generate(requests, Sampling(0.0, 12)))
    for index, asked in enumerate(requests):
        ids = chat_ids(tokenizer, asked)
        expected = reference(loaded, ids, max_new_tokens=12, eos_token_id=10**6)[0, ids.shape[1] :]
        assert found[index][1].text == tokenizer.decode(expected, skip_special_tokens=True)


def test_a_folder_without_chat_template_gets_the_messages_plainly(lively, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(lively, folder)
    (folder / "chat_template.jinja").unlink()
    ours = generator(folder)
    _, tokenizer = ours._load()
    ((_, (answer,)),) = ours.generate([request("Hello", system="Be brief.")], Sampling(0.0, 5))
    assert answer.prompt_tokens == len(tokenizer("Be brief.\n\nHello\n\n")["input_ids"])


def test_sampling_follows_the_distribution():
    torch.manual_seed(0)
    logits = torch.randn(1, 1000) * 2
    draws = torch.from_numpy(uniforms(0, 1, 2, 20_000))
    tokens, logprobs = choose(logits.expand(20_000, -1), 0.8, 1.0, draws)
    expected = (logits[0] / 0.8).softmax(-1)
    counts = torch.bincount(tokens, minlength=1000) / 20_000
    assert (counts - expected).abs().sum() < 2 * math.sqrt(1000 / 20_000)
    assert torch.allclose(logprobs, logits[0].log_softmax(-1)[tokens], atol=1e-5)


def test_top_p_keeps_the_smallest_set_that_holds_p():
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]])).expand(2000, -1)
    draws = torch.from_numpy(uniforms(0, 0, 0, 2000))
    tokens, _ = choose(logits, 1.0, 0.7, draws)
    assert set(tokens.tolist()) == {1, 3}
    assert abs((tokens == 1).float().mean() - 2 / 3) < 0.04
    wide = torch.zeros(50, 3000)  # flat: more tokens than are looked at first
    tokens, _ = choose(wide, 1.0, 0.5, torch.from_numpy(uniforms(0, 0, 0, 50)))
    assert int(tokens.max()) >= 512


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_the_extreme_draws_give_tokens_that_have_weight(draw):
    logits = torch.full((3, 777), -math.inf)
    logits[:, 300:303] = 0
    tokens, _ = choose(logits, 1.0, 1.0, torch.full((3,), draw, dtype=torch.float64))
    assert tokens.tolist() == [300 if draw == 0 else 302] * 3


def test_rows_are_grouped_by_their_prefix_and_their_length():
    first, second = tuple(range(100)), tuple(range(200, 300))
    rows = [Row(i, 0, (first if i % 2 else second) + (500 + i, 7) * (i % 5 + 1), 10) for i in range(40)]
    groups = prefix_groups(rows)
    assert sorted(prefix for prefix, _ in groups) == [first, second]
    assert sorted(row.request for _, members in groups for row in members) == list(range(40))
    for prefix, members in groups:
        for batch in batches(members, len(prefix), 10**6, 7):
            assert len(batch) <= 7
            lengths = [len(row.prompt) for row in batch]
            assert lengths == sorted(lengths, reverse=True)
    same = [Row(i, s, first, 10) for i in range(3) for s in range(4)]
    ((prefix, members),) = prefix_groups(same)
    assert prefix == first[:-1]
    assert contexts(members, len(prefix)) == ([(99,)], [members])
    assert common_prefix((1, 2, 3), (1, 2)) == 2


def test_the_digest_names_the_content(lively, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(lively, folder)
    base = generator(lively).policy_digest()
    assert len(base) == 32
    assert int(base, 16) >= 0
    assert generator(folder).policy_digest() == base
    assert CausalLM(CausalLM.Options(model=str(folder), dtype="bfloat16")).policy_digest() == base
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "9.9", "dtype": "float16"}))
    assert generator(folder).policy_digest() == base
    seen = {base}
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.add(generator(folder).policy_digest())
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).write_text((folder / name).read_text() + " ")
        seen.add(generator(folder).policy_digest())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    seen.add(generator(folder).policy_digest())
    assert len(seen) == 5


def test_an_adapter_changes_the_answers_and_the_digest(lively, tmp_path):
    from peft import LoraConfig, get_peft_model

    model, _ = loading.load(lively, None, "float32", "cpu")
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.peft_config["default"].base_model_name_or_path = str(lively)
    tuned.save_pretrained(tmp_path / "adapter")
    with_option = generator(lively, adapter=str(tmp_path / "adapter"))
    by_itself = generator(tmp_path / "adapter")  # the adapter names its base
    base = generator(lively)
    assert with_option.policy_digest() == by_itself.policy_digest() != base.policy_digest()
    answers = [
        dict(g.generate([request("Hello")], Sampling(0.0, 10)))[0][0].text for g in (with_option, by_itself, base)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_bad_models_and_adapters_are_named(tmp_path, lively, monkeypatch):
    monkeypatch.setenv("TAO_HUB_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="models add"):
        generator("no-such-model")
    with pytest.raises(UsageError, match=r"no adapter_config\.json"):
        generator(lively, adapter=str(tmp_path))
    monkeypatch.setenv("TAO_HUB_DTYPE", "int4")
    with pytest.raises(UsageError, match="TAO_HUB_DTYPE"):
        loading.choose_dtype("auto", "cpu")
    monkeypatch.setenv("TAO_HUB_DTYPE", "float16")
    assert loading.choose_dtype("auto", "cpu") == "float16"
    assert loading.choose_dtype("float32", "cpu") == "float32"
