"""The SQL in a model's reply."""

from __future__ import annotations

import re

MAX_CHARS = 100_000
_FENCE = re.compile(r"```[ \t]*(?:([A-Za-z0-9_+-]+)[ \t]*)?\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_START = re.compile(
    r"^[ \t]*(?:SQL(?:Query)?[ \t]*:[ \t]*)?((?:SELECT|WITH|VALUES)\b.*)", re.IGNORECASE | re.DOTALL | re.MULTILINE
)
_LABEL = re.compile(r"^\s*(?:the |final )?(?:sql|query|answer|sql query)\s*:\s*", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


def extract_sql(reply: str) -> str:
    """The query in a reply, without a trailing semicolon; the stripped reply where nothing looks like one.

    In order: the last fenced block marked as SQL, else the last fenced block, else the first line that starts with
    SELECT, WITH or VALUES (a label like "SQL:" before it is dropped) up to a blank line or to the first semicolon at a
    line's end. Nothing is mended: what is returned is a piece of the reply.
    """
    text = reply[:MAX_CHARS]
    blocks = [(label.casefold(), body) for label, body in _FENCE.findall(text)]
    marked = [body for label, body in blocks if "sql" in label]
    if marked or blocks:
        return _trim((marked or [body for _, body in blocks])[-1])
    found = _START.search(_LABEL.sub("", text, count=1))
    if found is None:
        return _trim(text)
    query = _BLANK_LINE.split(found.group(1), maxsplit=1)[0]
    return _trim(re.split(r";[ \t]*\r?(?:\n|\Z)", query, maxsplit=1)[0])


def _trim(text: str) -> str:
    return text.strip().rstrip("; \t\r\n").strip()
