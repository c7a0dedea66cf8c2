"""Reward models: what is trained is what is saved, what is saved scores the same everywhere, and the card is honest."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, read_rows, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from tao_reward_model.trained import bases, folder
from tao_reward_model.trained.fit import _arguments
from tao_reward_model.trained.layout import Layout
from tao_reward_model.trained.options import TrainOptions
from tao_reward_model.trained.preference import Preference
from tao_reward_model.trained.scorer import Scorer
from tao_reward_model.trained.train import train
from tiny import make_tiny_llama
from tiny_bert import make_tiny_bert
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tao_hub
from tao_hub import Candidate, Message, Prompt, Ref, UsageError

ASK = (Message("user", "why is the sky blue?"),)


def politeness(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs whose better answer says yes and not no, at equal length."""
    draw = random.Random(seed)
    filler = ["the sky is blue", "it is not bad", "because of it", "a good question", "than to be"]
    rows = []
    for i in range(n):
        tail = " ".join(draw.sample(filler, 3))
        asked = f"question {i} {draw.random():.6f}"
        rows.append({"prompt": asked, "chosen": f"yes. {tail}", "rejected": f"nay. {tail}"})
    return rows


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert") / "base")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


def options(base: Path, **changes: Any) -> TrainOptions:
    given = {"base": str(base), "max_length": 48, "learning_rate": 3e-3, "epochs": 4, "batch_size": 16, "device": "cpu"}
    return TrainOptions.model_validate({**given, **changes})


def trained(folder: Path, base: Path, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    write_rows(folder / "p.jsonl", *rows)
    return train([str(folder / "p.jsonl")], options(base, **changes), folder / "rm", hub=tao_hub.Hub([]))


@pytest.fixture(scope="module")
def encoder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("encoder")
    return folder / "rm", trained(folder, bert, politeness(160))


@pytest.fixture(scope="module")
def decoder(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("decoder")
    return folder / "rm", trained(folder, llama, politeness(120), lora_rank=8, epochs=6, learning_rate=1e-2)


def test_a_small_encoder_learns_what_is_better_and_its_card_says_so(encoder: tuple[Path, dict[str, Any]]) -> None:
    folder, result = encoder
    metrics = result["metrics"]
    assert metrics["accuracy"]["value"] > 0.9
    assert metrics["length_only"]["value"] == 0.5  # equal lengths
    assert metrics["verdict"] == "better than length"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "**Held out: better than length.**" in card
    assert result["sources"][0]["digest"] in card
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == metrics
    assert result["rows"]["train"] + result["rows"]["held_out"] == 160


def test_the_adapters_and_the_head_of_a_decoder_are_in_the_saved_folder(decoder: tuple[Path, dict[str, Any]]) -> None:
    folder, result = decoder
    assert result["metrics"]["accuracy"]["value"] > 0.9  # measured on the saved folder: nothing was lost
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 1
    assert not list(folder.glob("adapter*"))


@pytest.mark.parametrize("which", ["encoder", "decoder"])
def test_transformers_alone_gives_the_same_logits(which: str, request: pytest.FixtureRequest) -> None:
    folder, _ = request.getfixturevalue(which)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    answers = ["yes. it is", "nay. it is"]
    if which == "encoder":
        batch = tokenizer([ASK[0].content] * 2, answers, return_tensors="pt", padding=True)
    else:
        turns = [[{"role": "user", "content": ASK[0].content}, {"role": "assistant", "content": a}] for a in answers]
        texts = tokenizer.apply_chat_template(turns, tokenize=False)
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    wanted = model.eval()(**batch).logits[:, 0].tolist()
    found = Scorer(folder, device="cpu").score([(ASK, a) for a in answers]).logits[:, 0].tolist()
    assert found == pytest.approx(wanted, abs=1e-5)
    assert found[0] != found[1]


@pytest.mark.parametrize("which", ["encoder", "decoder"])
def test_batch_order_and_padding_never_change_a_score(which: str, request: pytest.FixtureRequest) -> None:
    folder, _ = request.getfixturevalue(which)
    whole = Scorer(folder, device="cpu")
    single = Scorer(folder, device="cpu", batch_tokens=1)

    @settings(deadline=None, max_examples=15)
    @given(st.lists(st.text(max_size=120), min_size=2, max_size=12), st.randoms(use_true_random=False))
    def check(answers: list[str], draw: random.Random) -> None:
        texts = [(ASK, a.encode("utf-8", "replace").decode()) for a in answers]
        together = whole.score(texts).logits[:, 0]
        alone = single.score(texts).logits[:, 0]
        order = draw.sample(range(len(texts)), len(texts))
        mixed = whole.score([texts[i] for i in order]).logits[:, 0]
        assert np.abs(together - alone).max() <= 1e-5
        assert np.abs(together[order] - mixed).max() <= 1e-5

    check()


def test_the_pooling_layer_gives_the_mean_of_the_token_states(bert: Path) -> None:
    from transformers import AutoModel

    model, tokenizer = bases.load_base(str(bert), 0)
    body = AutoModel.from_pretrained(bert).eval()
    batch = tokenizer(["why is the sky blue", "it is not"], ["because of a question", "no"], return_tensors="pt",
                      padding=True)  # fmt: skip
    with torch.no_grad():
        states = body(**batch).last_hidden_state  # (B, T, H)
        mask = batch["attention_mask"][..., None]
        mean = (states * mask).sum(1) / mask.sum(1)
        wanted = torch.tanh(bases.NEAR_LINEAR * torch.nn.functional.layer_norm(mean, mean.shape[-1:]))
        found = model.eval().bert(**batch).pooler_output
    near = torch.nn.functional.cosine_similarity(found, wanted)
    assert near.min() > 0.99
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_hidden_layers == 3


def test_over_long_texts_keep_both_ends_and_say_how_much_went(llama: Path, bert: Path) -> None:
    for base, kind in ((llama, "chat"), (llama, "plain"), (bert, "segments")):
        tokenizer = bases.load_base(str(base), 0)[1]
        layout = Layout(kind, 40)
        prompt = (Message("system", "a b c " * 50), Message("user", "start " + "why " * 100 + "end"))
        full = Layout(kind, 10_000).encode(tokenizer, prompt, "first " + "it " * 200 + "last")
        made = layout.encode(tokenizer, prompt, "first " + "it " * 200 + "last")
        assert len(made.ids) == 40
        assert made.cut == len(full.ids) - 40
        assert made.ids[0] == full.ids[0]
        assert made.ids[-3:] == full.ids[-3:]
        short = layout.encode(tokenizer, ASK, "no")
        assert short.cut == 0
        huge = layout.encode(tokenizer, ASK, "x " * 500_000)
        assert len(huge.ids) == 40
        assert huge.cut > 200_000
        # a short answer leaves the rest to the prompt, a long one leaves it a quarter
        spare = layout.encode(tokenizer, prompt, "no")
        assert (len(spare.ids), spare.cut > 0) == (40, True)


@pytest.mark.parametrize(("which", "kind"), [("bert", "segments"), ("llama", "chat"), ("llama", "plain")])
def test_texts_tokenized_together_are_those_tokenized_one_by_one(
    which: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(which))
    monkeypatch.setattr("tao_reward_model.trained.layout.TOGETHER", 7)
    turns = (*ASK, Message("assistant", "because of it"), Message("user", "is it not good?"))
    long = (Message("user", "why is the sky blue? " * 30),)
    answers = ["yes", "", "a good answer about blue", "to be " * 60, "yes " * 700, "yes"]
    texts = [(prompt, answer) for prompt in (ASK, turns, long) for answer in answers]
    layout = Layout(kind, 40)
    one_by_one = [layout.encode(tokenizer, prompt, answer) for prompt, answer in texts]
    assert layout.encode_all(tokenizer, texts) == one_by_one
    assert 0 < sum(tokens.cut > 0 for tokens in one_by_one) < len(texts)
    assert layout.encode_all(tokenizer, []) == []


def test_an_ensemble_of_heads_saves_their_mean_as_the_plain_model(bert: Path, tmp_path: Path) -> None:
    result = trained(tmp_path, bert, politeness(100), frozen=True, ensemble=4, l2=0.1)
    folder = tmp_path / "rm"
    scorer = Scorer(folder, device="cpu")
    raw = scorer.score([(ASK, "yes. it is"), (ASK, "nay. it is")]).logits
    assert raw.shape == (2, 4)
    assert len({round(x, 6) for x in raw[0]}) == 4
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)(ASK[0].content, "yes. it is", return_tensors="pt")
    assert model(**batch).logits.item() == pytest.approx(raw[0].mean(), abs=1e-5)
    assert result["contract"]["heads"] is True
    reward = Preference(Preference.Options(model=str(folder), device="cpu"))
    (found,) = reward.score_batch([pair("yes. it is")])
    assert found.parts["std"] == pytest.approx(raw[0].std(ddof=1) / result["contract"]["temperature"], abs=1e-4)
    assert found.value == pytest.approx(raw[0].mean() / result["contract"]["temperature"], abs=1e-4)
    cautious = Preference(Preference.Options(model=str(folder), device="cpu", combine="uncertain", std_weight=2))
    (low,) = cautious.score_batch([pair("yes. it is")])
    temperature = result["contract"]["temperature"]
    assert low.value == pytest.approx((raw[0].mean() - 2 * raw[0].std(ddof=1)) / temperature, abs=1e-4)
    least = Preference(Preference.Options(model=str(folder), device="cpu", combine="min"))
    (worst,) = least.score_batch([pair("yes. it is")])
    assert worst.value == pytest.approx(raw[0].min() / temperature, abs=1e-4)


def test_trl_loads_the_folder_and_trains_on(encoder: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    folder, _ = encoder
    config = RewardConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_steps=1,
        gradient_checkpointing=False, per_device_train_batch_size=2, save_strategy="no", eos_token="[SEP]",
    )  # fmt: skip
    rows = Dataset.from_list([{"chosen": "yes. it is", "rejected": "nay. it is"}] * 2)
    trainer = RewardTrainer(model=str(folder), args=config, train_dataset=rows)
    assert trainer.model.config.num_labels == 1
    assert np.isfinite(trainer.train().training_loss)


def test_adapters_of_an_encoder_are_merged_with_its_head(bert: Path, tmp_path: Path) -> None:
    result = trained(tmp_path, bert, politeness(120), lora_rank=8, learning_rate=1e-2, accumulate=2)
    assert result["metrics"]["accuracy"]["value"] > 0.9
    assert result["architecture"] == "BertForSequenceClassification"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", output_loading_info=True)[1]
    assert not model["missing_keys"]
    assert not model["unexpected_keys"]


def test_domains_and_sources_have_lines_of_their_own_in_the_card(bert: Path, tmp_path: Path) -> None:
    rows = politeness(120)
    write_rows(tmp_path / "a.jsonl", *({**r, "domain": "chat"} for r in rows[:60]))
    write_rows(tmp_path / "b.jsonl", *rows[60:])
    sources = [f"{tmp_path}/a.jsonl,weight=2", f"{tmp_path}/b.jsonl,domain=mail,cap=50"]
    chosen = options(bert, held_out=0.3)
    result = train(sources, chosen, tmp_path / "rm", hub=tao_hub.Hub([]), licence="CC BY 4.0")
    assert set(result["metrics"]["domains"]) == {"chat", "mail"}
    assert result["problems"] == {"over the cap": 10}
    card = (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")
    assert "| chat |" in card
    of = {s["name"]: s for s in result["sources"]}
    assert (of["a"]["read"], of["a"]["kept"], of["a"]["per_epoch"]) == (60, 60, 2 * of["a"]["train"])
    assert (of["b"]["read"], of["b"]["capped"], of["b"]["kept"], of["b"]["per_epoch"]) == (60, 50, 50, of["b"]["train"])
    assert sum(s["train"] + s["held_out"] for s in of.values()) == 110
    assert f"| a | 60 | no cap | 60 | {of['a']['train']} | {of['a']['held_out']} | 2 | {2 * of['a']['train']} |" in card
    assert f"| b | 60 | 50 | 50 | {of['b']['train']} | {of['b']['held_out']} | 1 | {of['b']['train']} |" in card
    assert f"{result['rows']['per_epoch']} an epoch by the weights" in card
    assert "CC BY 4.0" in card
    assert len(read_rows(tmp_path / "rm" / "data-problems.jsonl")) == 10


def test_an_ensemble_of_seeds_has_members_of_its_own(bert: Path, tmp_path: Path) -> None:
    trained(tmp_path, bert, politeness(60), ensemble=2, epochs=1)
    raw = Scorer(tmp_path / "rm", device="cpu").score([(ASK, "yes.")]).logits
    assert raw.shape == (1, 2)
    assert raw[0, 0] != raw[0, 1]
    assert (tmp_path / "rm" / "members" / "1" / "model.safetensors").is_file()


@pytest.mark.parametrize("loss", ["plackett-luce", "regression", "bce"])
def test_lists_ratings_and_verdicts_are_learnt_too(loss: str, bert: Path, tmp_path: Path) -> None:
    rows = []
    for i, row in enumerate(politeness(120)):
        tail = row["chosen"].split(". ")[1]
        scores = [1.0, 0.0, 1.0 if loss == "bce" else 0.5]
        responses = [f"yes. {tail}", f"nay. {tail}", f"aye yes. {tail}"]
        rows.append({"prompt": f"question {i} {i * 31}", "responses": responses, "scores": scores})
    result = trained(tmp_path, bert, rows, loss=loss)
    assert result["metrics"]["ranking"]["best_of_n"]["value"] > 0.8
    assert result["metrics"]["accuracy"]["value"] > 0.8
    assert result["metrics"]["curve"]["verdict"] == "gains"
    assert result["digest"] == folder.digest(tmp_path / "rm")  # whatever the drawings look like
    (tmp_path / "rm" / "best-of-n.svg").unlink()
    assert result["digest"] == folder.digest(tmp_path / "rm")
    card = (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")
    assert "| best of n by the model |" in card
    assert "](calibration.svg)" in card
    assert (tmp_path / "rm" / "calibration.svg").is_file()
    if loss == "bce":
        reward = Preference(Preference.Options(model=str(tmp_path / "rm"), device="cpu", scale="probability"))
        good, bad = reward.score_batch([pair("yes. it is not bad"), pair("nay. it is not bad")])
        assert 0 < bad.value < good.value < 1


def test_same_rows_and_options_give_the_same_weights(bert: Path, tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        folder = tmp_path / name
        digests.append(trained(folder, bert, politeness(40), epochs=1)["digest"])
    assert digests[0] == digests[1]


def test_a_model_that_only_learns_length_is_called_not_better_than_length(bert: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = []
    for i in range(160):
        short, long = sorted((draw.randint(1, 9), draw.randint(10, 20)))
        asked = f"question {i} {draw.random()}"
        rows.append({"prompt": asked, "chosen": "it is " * long, "rejected": "it is " * short})
    result = trained(tmp_path, bert, rows)
    metrics = result["metrics"]
    assert metrics["length_only"]["value"] == 1.0
    assert metrics["length_only"]["rule"] == "longer wins"
    assert metrics["verdict"] == "not better than length"
    assert "**Held out: not better than length.**" in (tmp_path / "rm" / "README.md").read_text(encoding="utf-8")


def pair(response: str) -> tuple[Prompt, Candidate]:
    prompt = Prompt(ASK)
    return prompt, Candidate(prompt.digest, response)


def test_below_the_chosen_confidence_there_is_no_score(encoder: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = encoder
    sure = Preference(Preference.Options(model=str(folder), scale="probability", device="cpu"))
    values = [s.value for s in sure.score_batch([pair("yes. it is"), pair("nay. it is")])]
    assert values[0] > 0.5 > values[1]
    limit = (max(values[0], 1 - values[0]) + 1) / 2
    shy = Preference(Preference.Options(model=str(folder), confidence=limit, device="cpu"))
    (score,) = shy.score_batch([pair("yes. it is")])
    assert score.value is None
    assert score.error["type"] == "Abstained"


def test_folders_of_other_libraries_are_scored_and_those_without_a_head_refused(llama: Path, tmp_path: Path) -> None:
    model, tokenizer = bases.load_base(str(llama), 3)
    model.save_pretrained(tmp_path / "foreign")
    tokenizer.save_pretrained(tmp_path / "foreign")
    texts = [(ASK, "yes"), (ASK, "a longer answer than the other")]
    raw = Scorer(tmp_path / "foreign", device="cpu").score(texts).logits
    assert raw[0, 0] != raw[1, 0]
    with pytest.raises(UsageError, match=r"LlamaForCausalLM: its head would be random.*train-reward"):
        Preference(Preference.Options(model=str(llama)))
    lying = tmp_path / "lying"
    make_tiny_llama(lying)
    config = json.loads((lying / "config.json").read_text())
    (lying / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(UsageError, match=r"no weights for score.weight"):
        Scorer(lying)
    several = AutoModelForSequenceClassification.from_pretrained(tmp_path / "foreign", num_labels=3,
                                                                 ignore_mismatched_sizes=True)  # fmt: skip
    several.save_pretrained(tmp_path / "three")
    tokenizer.save_pretrained(tmp_path / "three")
    with pytest.raises(UsageError, match="choose with -o label="):
        Scorer(tmp_path / "three")
    labels = [Scorer(tmp_path / "three", device="cpu", label=f"LABEL_{i}") for i in range(3)]
    odds = [scorer.score([(ASK, "x")]).logits[0, 0] for scorer in labels]
    assert sum(1 / (1 + np.exp(-o)) for o in odds) == pytest.approx(1, abs=1e-5)


def test_the_command_trains_registers_and_scores(run: Run, bert: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "p.jsonl", *politeness(60))
    asked = ("train-reward", "--data", "p.jsonl", "--base", bert, "--frozen", "--max-length", 48, "--name", "manners")
    made = run(*asked, "--out", "rm", "--json").json
    assert made["name"] == "manners@1"
    again = run(*asked, "--out", "rm", "--json")
    assert (again.code, "there already" in again.err) == (2, True)
    assert run(*asked, "--out", "rm2", "--seed", 1, "--json").json["name"] == "manners@2"
    listed = {r["name"]: r["summary"] for r in run("rewards", "--json").json}
    assert {"model/preference", "model/manners@1", "model/manners@2"} <= set(listed)
    assert "held-out pairs" in listed["model/manners@1"]
    asked = [{"id": i, "prompt": "why?", "response": text} for i, text in enumerate(["yes", "nay"])]
    write_rows(tmp_path / "rows.jsonl", *asked)
    for name, out in (("model/manners@1", "a"), ("model/preference", "b")):
        more = ("-o", "model=manners@1") if name == "model/preference" else ()
        assert run("score", name, "--input", "rows.jsonl", "--output", f"{out}.jsonl", *more).code == 0
    assert read_rows(tmp_path / "a.jsonl") == read_rows(tmp_path / "b.jsonl")
    ambiguous = run("score", "model/preference", "--input", "rows.jsonl", "--output", "c.jsonl", "-o", "model=manners")
    assert "manners@1, manners@2" in ambiguous.err
    contract = tmp_path / "rm" / "tao_reward.json"
    contract.write_text(contract.read_text().replace('"temperature": ', '"temperature": 1'), encoding="utf-8")
    changed = run("score", "model/manners@1", "--input", "rows.jsonl", "--output", "c.jsonl")
    assert (changed.code, "its content has changed" in changed.err) == (2, True)


def test_a_reward_is_told_apart_by_its_content(encoder: tuple[Path, dict[str, Any]]) -> None:
    folder, result = encoder
    reward = Preference(Preference.Options(model=str(folder)))
    assert reward.content_digest() == result["digest"]
    with pytest.raises(UsageError, match="has changed"):
        Preference(Preference.Options(model=str(folder), digest="0" * 32))
    with pytest.raises(UsageError, match="neither a folder nor one of"):
        Preference(Preference.Options(model="nobody@3"))


def test_a_run_of_the_workspace_becomes_a_reward_model(run: Run, bert: Path, tmp_path: Path, site: Any) -> None:
    from learner import SOURCE

    site.add("learner", SOURCE)
    write_rows(tmp_path / "data" / "prompts.jsonl", *({"prompt": f"is {i} a {i % 7} question?"} for i in range(40)))
    write_rows(tmp_path / "data" / "test.jsonl", {"prompt": "is it?", "reference": "yes"})
    plan = {
        "suite": "core/jsonl", "suite_options": {"path": "data"}, "policy": "core/echo",
        "policy_options": {"replies": ["no it is", "yes it is", "yes", ""]},
        "candidates": [{"n": 6, "strategy": "direct"}],
        "rewards": [{"name": "rules/regex", "label": "says-yes", "options": {"pattern": "yes"}}],
        "train": {"name": "learner/majority"}, "eval": [{"split": "test"}],
    }  # fmt: skip
    with tao_hub.Session(tmp_path / "tao-hub.db") as session:
        name = tao_hub.tune(session, tao_hub.load_plan(plan))
        groups = list(tao_hub.run_groups(session, name))
    assert len(groups) == 40
    told = run("train-reward", "--from-run", name, "--base", bert, "--out", "rm", "--epochs", 3, "--reward", "says-yes",
               "--learning-rate", "3e-3", "--max-length", 48, "--json")  # fmt: skip
    assert told.code == 0, told.err
    result = told.json
    assert result["sources"][0]["name"] == f"{name}/says-yes"
    assert result["problems"].get("empty response", 0) > 0
    assert result["contamination"]["suites"]["core/jsonl:test"] == 1  # the workspace measures on it
    write_rows(tmp_path / "leak.jsonl", *politeness(20), {"prompt": "Is it?", "chosen": "yes", "rejected": "no"})
    assert "leak.jsonl:21 ~ core/jsonl:test" in run("train-reward", "--data", "leak.jsonl", "--check").err
    assert result["metrics"]["accuracy"]["value"] > 0.8
    missing = run("train-reward", "--from-run", name, "--reward", "nobody", "--check")
    assert "there are says-yes" in missing.err


def test_the_registered_reward_can_be_asked_by_name_only(encoder: tuple[Path, dict[str, Any]]) -> None:
    from tao_reward_model.trained import registry

    folder, result = encoder
    assert registry.register("polite", folder, result["digest"], "x") == "polite@1"
    assert registry.register("polite", folder, result["digest"], "x") == "polite@1"
    hub = tao_hub.Hub()
    reward = hub.reward(Ref("model/polite@1", {"device": "cpu"}))
    (score,) = reward.score_batch([pair("yes. it is")])
    assert score.value is not None
    with pytest.raises(UsageError, match="use model/preference"):
        hub.reward(Ref("model/polite@1", {"model": "other@1"}))


@pytest.mark.parametrize(("native", "asked", "fast"), [
    (True, None, True), (True, "auto", True), (True, "float32", False), (False, None, False),
    (False, "bfloat16", False),
])  # fmt: skip
def test_products_are_bfloat16_where_the_processor_has_them_and_nobody_forbids_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, native: bool, asked: str | None, fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.delenv("TAO_HUB_DTYPE", raising=False)
    if asked is not None:
        monkeypatch.setenv("TAO_HUB_DTYPE", asked)
    given = _arguments(TrainOptions(device="cpu"), 64, 1e-4, 0, tmp_path)
    assert (given.bf16, given.fp16, given.use_cpu) == (fast, False, True)
