"""The schema of the store, step by step; each step is one transaction."""

from __future__ import annotations

from typing import Any

from .light_sqlite import Migrations

migrations = Migrations("tao_hub")

# Content is keyed by digests (hex text, or 16-byte blobs where there are millions), joined by integer row ids.
# References (gold) live in `items` only: nothing that generates, combines, or scores without labels reads that column.
FIRST = """
CREATE TABLE prompts (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, messages TEXT NOT NULL);
CREATE TABLE components (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, name TEXT NOT NULL,
    distribution TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL, options TEXT NOT NULL);
CREATE TABLE items (suite INTEGER NOT NULL REFERENCES components, split TEXT NOT NULL, position INTEGER NOT NULL,
    prompt INTEGER NOT NULL REFERENCES prompts, item TEXT NOT NULL, reference TEXT,
    reference_digest BLOB NOT NULL, meta TEXT NOT NULL, PRIMARY KEY (suite, split, position)) WITHOUT ROWID;
CREATE INDEX items_by_prompt ON items (prompt);
CREATE TABLE policies (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, ref TEXT NOT NULL);
CREATE TABLE sources (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, strategy INTEGER NOT NULL
    REFERENCES components, generator TEXT NOT NULL, sampling TEXT NOT NULL);
CREATE TABLE candidates (id INTEGER PRIMARY KEY, prompt INTEGER NOT NULL REFERENCES prompts,
    policy INTEGER NOT NULL REFERENCES policies, source INTEGER NOT NULL REFERENCES sources, slot INTEGER NOT NULL,
    response TEXT NOT NULL, response_digest BLOB NOT NULL, raw TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER, output_tokens INTEGER, logprobs BLOB, seconds REAL, parents TEXT, error TEXT,
    UNIQUE (prompt, policy, source, slot));
CREATE TABLE scores (reward INTEGER NOT NULL REFERENCES components, prompt INTEGER NOT NULL REFERENCES prompts,
    response BLOB NOT NULL, context BLOB NOT NULL, value REAL, error TEXT, why TEXT NOT NULL, parts TEXT NOT NULL,
    PRIMARY KEY (reward, prompt, response, context), CHECK ((value IS NULL) <> (error IS NULL))) WITHOUT ROWID;
CREATE TABLE environments (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, data TEXT NOT NULL);
CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, plan TEXT NOT NULL, command TEXT NOT NULL,
    environment INTEGER REFERENCES environments, created TEXT NOT NULL, finished TEXT);
CREATE TABLE rounds (run INTEGER NOT NULL REFERENCES runs, number INTEGER NOT NULL, plan TEXT NOT NULL,
    before INTEGER NOT NULL REFERENCES policies, after INTEGER REFERENCES policies, update_digest TEXT,
    stats TEXT NOT NULL, PRIMARY KEY (run, number));
CREATE TABLE chosen (run INTEGER NOT NULL, round INTEGER NOT NULL, prompt INTEGER NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidates, total REAL NOT NULL, PRIMARY KEY (run, round, prompt),
    FOREIGN KEY (run, round) REFERENCES rounds) WITHOUT ROWID;
CREATE TABLE evals (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs, label TEXT NOT NULL,
    suite INTEGER NOT NULL REFERENCES components, split TEXT NOT NULL, count INTEGER NOT NULL,
    policy INTEGER NOT NULL REFERENCES policies, source INTEGER NOT NULL REFERENCES sources,
    metric INTEGER NOT NULL REFERENCES components, round INTEGER NOT NULL, UNIQUE (run, label, suite, split));
CREATE TABLE eval_items (eval INTEGER NOT NULL REFERENCES evals, position INTEGER NOT NULL,
    candidate INTEGER REFERENCES candidates, value REAL, error TEXT, parts TEXT NOT NULL,
    PRIMARY KEY (eval, position)) WITHOUT ROWID;
CREATE TABLE deltas (run INTEGER NOT NULL REFERENCES runs, before TEXT NOT NULL, after TEXT NOT NULL,
    suite TEXT NOT NULL, split TEXT NOT NULL, metric TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (run, before, after, suite, split, metric)) WITHOUT ROWID;
CREATE TABLE timings (run INTEGER NOT NULL REFERENCES runs, round INTEGER NOT NULL, stage TEXT NOT NULL,
    seconds REAL NOT NULL, PRIMARY KEY (run, round, stage)) WITHOUT ROWID;
"""


@migrations()
def first_schema(db: Any) -> None:
    for statement in FIRST.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def owed_index(db: Any) -> None:
    """What is owed of a source is found in this index alone, prompt by prompt, without reading any response."""
    db.execute("CREATE INDEX candidates_owed ON candidates (policy, source, prompt, slot, response_digest, error)")


@migrations()
def gold_of_evals(db: Any) -> None:
    """By which reference an item was judged (its digest): a file's references may be corrected afterwards. Of evals
    from before this step it is the split's present one, where the same prompt still stands there."""
    db.execute("ALTER TABLE eval_items ADD COLUMN gold BLOB NOT NULL DEFAULT x''")
    db.execute(
        "UPDATE eval_items AS e SET gold = coalesce((SELECT i.reference_digest FROM items i JOIN evals v "
        "ON v.suite = i.suite AND v.split = i.split JOIN candidates c ON c.id = e.candidate "
        "WHERE v.id = e.eval AND i.position = e.position AND i.prompt = c.prompt), x'')"
    )
