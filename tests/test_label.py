"""tao-hub label: the pairs a reward is least sure of, judged by a person, kept at once, and data to train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import read_rows, write_rows
from tao_reward_model.trained.label import label
from tao_reward_model.trained.unsure import least_sure

import tao_hub
from tao_hub import Candidate, Message, Prompt, Score


class Known(tao_hub.Reward):
    """Scores written beside the answer: VALUE[/STD], or an error."""

    def score_batch(self, pairs: list[tuple[Prompt, Candidate]]) -> list[Score]:  # type: ignore[override]
        return [self._score(candidate.response) for _, candidate in pairs]

    def _score(self, text: str) -> Score:
        if text == "broken":
            return Score.failed("no verdict")
        value, _, std = text.partition("/")
        return Score(float(value), parts={"std": float(std)} if std else {})


def prompt(text: str) -> Prompt:
    return Prompt((Message("user", text),))


def test_the_least_sure_pair_of_each_prompt_comes_first() -> None:
    asked = [(prompt("a"), ["0", "5", "2.0"]), (prompt("b"), ["1", "1.1"]), (prompt("c"), ["3", "broken", "3"])]
    found = least_sure(Known(), asked)
    assert [(p.prompt[0].content, p.answers) for p in found] == [("b", ("1", "1.1")), ("a", ("0", "2.0"))]
    assert found[0].sureness == pytest.approx(1 / (1 + 2.718281828 ** -0.1))


def test_an_ensembles_spread_says_how_sure_it_is() -> None:
    asked = [(prompt("agreed"), ["0/0.1", "1/0.1"]), (prompt("split"), ["0/3", "1/4"])]
    split, agreed = least_sure(Known(), asked)
    assert agreed.prompt[0].content == "agreed"
    assert split.sureness == pytest.approx(0.5793, abs=1e-4)  # Φ(1 / 5)
    assert agreed.sureness > 0.999


def run(folder: Path, keys: str, *more: str) -> Result:
    words = ["--reward", "rules/length", "-o", "target=4", "--who", "Ann"]
    words += ["--data", "answers.jsonl", "--out", "labels.jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(label, [*words, *more], input=keys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    answers = ["fine", "quite fine", "a much longer answer"]
    write_rows(tmp_path / "answers.jsonl", *({"prompt": f"Is {i} it?", "responses": answers} for i in range(4)))
    return tmp_path


def test_answers_are_kept_with_who_and_when_and_not_asked_again(folder: Path) -> None:
    done = run(folder, "1\nx\n2\nt\nq\n")
    assert done.exit_code == 0, done.output
    assert "3 judged" in done.output
    first, second, tie = read_rows(folder / "labels.jsonl")
    assert first["by"] == "Ann"
    assert first["at"].startswith("20")
    assert {first["chosen"], first["rejected"]} == {second["chosen"], second["rejected"]}
    assert (tie["scores"], len(tie["responses"])) == ([0.0, 0.0], 2)
    assert len({row["pair"] for row in (first, second, tie)}) == 3
    again = run(folder, "s\n")
    assert "1 of 1" in again.output
    assert "0 judged" in again.output
    assert len(read_rows(folder / "labels.jsonl")) == 3
    assert "1 judged" in run(folder, "1\n").output
    assert "no pair is left" in run(folder, "").output


def test_what_was_judged_is_data_to_train_on(folder: Path) -> None:
    from tao_reward_model.trained.command import train_reward

    run(folder, "1\n2\n1\nt\n")
    done = CliRunner().invoke(train_reward, ["--data", str(folder / "labels.jsonl"), "--check", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(next(line for line in done.output.splitlines() if line.startswith("{")))
    assert (told["rows"]["pairs"], told["problems"]) == (3, {"no order": 1})  # a tie of two orders nothing


def test_control_characters_of_an_answer_do_not_reach_the_terminal(folder: Path) -> None:
    write_rows(folder / "answers.jsonl", {"prompt": "Is it?", "responses": ["yes\x1b[2J", "no, not at all"]})
    assert "\x1b" not in run(folder, "q\n").output


def test_wrong_rows_name_their_line(folder: Path) -> None:
    write_rows(folder / "answers.jsonl", {"prompt": "a", "responses": ["x", "y"]}, {"prompt": "b", "responses": "x"})
    done = run(folder, "")
    assert isinstance(done.exception, tao_hub.UsageError)
    assert "answers.jsonl:2: expected" in str(done.exception)


def test_what_cannot_be_written_is_told_first_and_odd_separators_are_no_lines(folder: Path) -> None:
    told = run(folder, "1\n", "--out", "nowhere/labels.jsonl")
    assert told.exit_code == 2
    assert "mkdir -p nowhere" in told.output
    odd = {"prompt": "a", "responses": ["x\u2028y", "longer"]}
    (folder / "odd.jsonl").write_text(json.dumps(odd, ensure_ascii=False))
    assert run(folder, "1\n", "--data", "odd.jsonl").exit_code == 0
    assert run(folder, "1\n", "--data", "odd.jsonl").exit_code == 0  # what it wrote is read again
