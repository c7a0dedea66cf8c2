"""The suite core/jsonl: files to prompts, lazily, and errors that name file, line and what was found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tao_hub import Message, Ref
from tao_hub.builtin.suites import Jsonl


def suite(path: Path, **options: Any) -> Jsonl:
    return Jsonl(Jsonl.Options.model_validate({"path": str(path), **options}))


def write(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_file_is_one_split_and_a_folder_one_per_file(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl.gz", {"id": "t", "prompt": "q", "reference": {"a": 1}, "meta": {"k": 1}})
    train = write(tmp_path / "train.jsonl", {"prompt": "one"}, "", {"prompt": "two"})
    (tmp_path / "README.md").write_text("not a split")
    assert suite(tmp_path).splits() == ("test", "train")
    assert suite(train).splits() == ("train",)
    (row,) = suite(tmp_path).prompts("test")
    assert (row.id, row.text, row.reference, row.meta) == ("t", "q", {"a": 1}, {"k": 1})
    assert [(p.id, p.text, p.reference) for p in suite(train).prompts("train")] == [
        ("1", "one", None),
        ("3", "two", None),
    ]


def test_messages_keep_their_roles_and_a_system_prompt_is_added_where_none_is(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    path = write(tmp_path / "a.jsonl", {"prompt": chat}, {"prompt": "plain"})
    first, second = suite(path, system="mine").prompts("a")
    assert first.messages == (Message("system", "s"), Message("user", "u"))
    assert second.messages == (Message("system", "mine"), Message("user", "plain"))


def test_the_metric_and_examples_are_options(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "x"})
    assert suite(path).metric == Ref("rules/exact", {})
    examples = [{"input": "i", "output": "o"}]
    given = suite(path, metric={"name": "rules/regex", "options": {"pattern": "x"}}, examples=examples)
    assert given.metric == Ref("rules/regex", {"pattern": "x"})
    assert given.options_for("core/few-shot") == {"examples": examples}
    assert given.options_for("core/direct") == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("[1]", r"expected an object, found \[1\]"),
        ('{"promt": "x"}', "unknown key 'promt'"),
        ('{"id": "x"}', 'no "prompt", found the keys id'),
        ('{"prompt": 3}', '"prompt" must be a string or a list of messages, found 3'),
        ('{"prompt": []}', r"found \[\]"),
        ('{"prompt": [{"role": "robot", "content": "x"}]}', "robot"),
        ('{"prompt": [{"role": "user", "content": 3}]}', "a message is"),
        ('{"prompt": "x", "reference": NaN}', "NaN"),
        ('{"prompt": "x", "prompt": "y"}', "twice"),
        ('{"prompt": "x", "meta": [1]}', '"meta" must be an object'),
        ('{"prompt": "x", "id": 1.5}', '"id" must be'),
        ('{"prompt": "x", "id": 1}', '"id" "1" is that of line 1, too: give each row its own'),
        ('[{"prompt": "x"},', "one object a line, no array"),
    ],
)
def test_a_malformed_line_names_file_line_and_what_was_found(tmp_path: Path, line: str, what: str) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "fine"}, line)
    prompts = suite(path).prompts("a")
    assert next(prompts).text == "fine"
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: .*{what}"):
        next(prompts)


def test_bytes_that_are_no_text_or_no_gzip_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    (tmp_path / "b.jsonl.gz").write_bytes(b"plain")
    whole = gzip.compress(b'{"prompt": "x"}\n' * 1000)
    (tmp_path / "c.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.jsonl").write_text('{"prompt": "x"}\n', encoding="utf-16")
    for split, told in (("a", "byte 0xff at column 13.: save the file as UTF-8"), ("d", "UTF-16, expected UTF-8")):
        with pytest.raises(ValueError, match=told):
            list(suite(tmp_path).prompts(split))
    for split in "abcd":
        with pytest.raises(ValueError, match=rf"{split}\.jsonl"):
            list(suite(tmp_path).prompts(split))


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "x"}\r\n\r\n{"prompt": "y"}\r\n')
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf\r\n")
    assert [(p.id, p.text) for p in suite(tmp_path).prompts("a")] == [("1", "x"), ("3", "y")]
    assert list(suite(tmp_path).prompts("b")) == []


def test_missing_data_and_unknown_splits_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*--suite-option path="):
        suite(tmp_path / "nowhere").splits()
    with pytest.raises(FileNotFoundError, match=r"no \.jsonl"):
        suite(tmp_path).splits()
    write(tmp_path / "dev.jsonl", {"prompt": "x"})
    with pytest.raises(ValueError, match="no split 'test'; there are dev"):
        suite(tmp_path).prompts("test")
    write(tmp_path / "dev.jsonl.gz", {"prompt": "x"})
    with pytest.raises(ValueError, match="is in both"):
        suite(tmp_path).splits()


def test_rows_are_read_only_as_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[{"prompt": str(i)} for i in range(5000)], "broken")
    prompts = suite(path).prompts("a")
    assert [next(prompts).text for _ in range(3)] == ["0", "1", "2"]
