"""The files of a new plugin: a distribution with one reward and a test of it, which runs as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from .errors import UsageError

PYPROJECT = '''\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "tao-$name"
version = "0.1.0"
description = "A reward for TAO Hub"
requires-python = ">=3.10"
dependencies = ["tao-hub"]

[project.entry-points.tao_hub]
$name = "$package.plugin"

[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
pythonpath = ["src"]
'''
PACKAGE = '''\
"""Rewards for TAO Hub."""
'''
PLUGIN = '''\
import tao_hub


@tao_hub.hookimpl
def register_rewards(register):
    register("word", "$package.word:Word", summary="the answer holds a word")
'''
REWARD = '''\
import pydantic

import tao_hub


class Word(tao_hub.Reward):
    """1.0 where the answer holds the word, in upper or lower case, else 0.0."""

    class Options(tao_hub.Options):
        word: str = pydantic.Field("please", min_length=1, description="What to look for")

    def score_batch(self, pairs):
        for prompt, candidate in pairs:
            yield float(self.options.word.lower() in candidate.response.lower())
'''
TEST = '''\
import tao_hub
from $package.word import Word


def scores(reward, *answers):
    prompt = tao_hub.Prompt((tao_hub.Message("user", "Ask for the salt."),))
    pairs = [(prompt, tao_hub.Candidate(prompt.digest, answer)) for answer in answers]
    return [score.value for score in tao_hub.score_pairs(reward, pairs, timeout=10)]


def test_an_answer_with_the_word_scores_one_and_another_nothing():
    assert scores(Word(), "The salt, PLEASE.", "Salt!") == [1.0, 0.0]
    assert scores(Word(Word.Options(word="salt")), "Salt!") == [1.0]
'''
FILES = {
    "pyproject.toml": PYPROJECT, "src/$package/__init__.py": PACKAGE, "src/$package/plugin.py": PLUGIN,
    "src/$package/word.py": REWARD, "tests/test_word.py": TEST,
}  # fmt: skip


def write_plugin(name: str, folder: Path, taken: Iterable[str] = ()) -> list[Path]:
    """Write the files of plugin `name` (distribution `tao-NAME`) into `folder`, which must not exist; returns them.

    Raises UsageError for a name that cannot be one, or that is one of `taken`.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"plugin name {name!r}: use small letters, digits and single dashes, a letter first")
    if name in taken:
        raise UsageError(f"a plugin {name!r} is installed already, and names are known once: choose another")
    if folder.exists():
        raise UsageError(f"{folder} exists; remove it or choose another folder (--folder)")
    names = {"name": name, "package": f"tao_{name.replace('-', '_')}"}
    written = []
    for path, text in FILES.items():
        file = folder / Template(path).substitute(names)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(names), encoding="utf-8")
        written.append(file)
    return written
