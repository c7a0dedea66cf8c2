"""Where a measurement's items come from: a preference suite, or the candidates that a workspace holds of any suite."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import tao_hub

from .items import Item, PreferenceSuite, spread
from .own import Candidates


def parse_ref(text: str, options: Mapping[str, Any]) -> tao_hub.Ref:
    """`NAME` or `NAME {"option": …}`; `options` are the defaults. Raises UsageError for what is no JSON object."""
    name, found, rest = text.strip().partition(" ")
    if not found:
        return tao_hub.Ref(name, dict(options))
    try:
        own = json.loads(rest)
    except ValueError as error:
        raise tao_hub.UsageError(f"{text!r}: after the name comes a JSON object of options ({error})") from None
    if not isinstance(own, dict):
        raise tao_hub.UsageError(f"{text!r}: after the name comes a JSON object of options, found {rest[:40]!r}")
    return tao_hub.Ref(name, {**options, **own})


def parse_suite(text: str, options: Mapping[str, Any]) -> tuple[tao_hub.Ref, str]:
    """`SUITE[:SPLIT]`, with options as `parse_ref` takes them; no split: ""."""
    name, space, rest = text.strip().partition(" ")
    suite, _, split = name.partition(":")
    return parse_ref(suite + space + rest, options), split


def load(
    hub: tao_hub.Hub, ref: tao_hub.Ref, split: str, store: Path, limit: int | None
) -> tuple[PreferenceSuite, str, list[Item]]:
    """The suite, the split that was meant and its items, `limit` of them spread over its subsets (`spread`).

    A suite without items of its own gives the candidates that `store` holds of its first `limit` prompts, ungraded.
    """
    ref = hub.resolve("suite", ref)
    suite = hub.suite(ref)
    try:
        splits = list(suite.splits())
        if not splits:
            raise tao_hub.UsageError(f"suite {ref.name} has no split: see `tao-hub suites show {ref.name}`")
        split = split or next((s for s in ("test", "dev", "all") if s in splits), splits[0])
        if isinstance(suite, PreferenceSuite):
            items = list(suite.items(split))
            items = items if limit is None else spread(items, limit)
        else:
            items = stored(hub, ref, split, store, limit)
    except (ValueError, OSError) as error:
        raise tao_hub.UsageError(f"suite {ref.name}{':' + split if split else ''}: {error}") from error
    if not items:
        raise tao_hub.UsageError(f"suite {ref.name}:{split} has nothing to score")
    names = [item.id for item in items]
    if len(set(names)) < len(names):  # ids that repeat would share credits
        items = [replace(i, id=f"{i.id}#{n}") for n, i in enumerate(items)]
    own = suite if isinstance(suite, PreferenceSuite) else Candidates(Candidates.Options(path=str(store)))
    return own, split, items


def remember(hub: tao_hub.Hub, suites: Sequence[tuple[tao_hub.Ref, str]], store: Path) -> list[str]:
    """Keep in the workspace what (Ref, split) rewards are measured on, so that `tao-hub train-reward` refuses its
    prompts. Returns what could not be kept, with the cure."""
    refs = []
    for ref, split in suites:
        suite = hub.suite(ref)
        seen = suite.seen(split) if isinstance(suite, PreferenceSuite) else [dict(ref.options)]
        refs += [tao_hub.Ref(ref.name, options) for options in seen]
    try:
        with tao_hub.Session(store, hub) as session:
            tao_hub.mark_measured(session, refs)
    except (tao_hub.StoreError, OSError) as error:
        asked = (" ".join([ref.name, *(shlex.quote(f"{k}={v}") for k, v in ref.options.items())]) for ref in refs)
        against = " ".join(f"--against {shlex.quote(text)}" for text in asked)
        return [f"train-reward will not know of this measurement ({error}); give it {against}"]
    return []


def stored(hub: tao_hub.Hub, ref: tao_hub.Ref, split: str, store: Path, limit: int | None) -> list[Item]:
    """The finished candidates of a workspace as items, one per prompt, with the references that the suite has."""
    if not store.exists():
        raise tao_hub.UsageError(
            f"{ref.name} is a suite of prompts, and there is no workspace {store} with candidates: "
            f"`tao-hub generate {ref.name}:{split} -n 16 --store {store}` draws some"
        )
    with tao_hub.Session(store, hub) as session:
        part = session.slice(ref, split, limit)
        whole = {prompt.digest: prompt for prompt in islice(session.prompts(ref, split), limit)}
        groups = [group for _, group in session.store.groups(part, session.store.members(part), {})]
    items = []
    for group in groups:
        said = tuple(c.response for c in group.candidates if not c.error and not c.truncated)
        if said:
            items.append(Item(group.prompt.id, whole.get(group.prompt.digest, group.prompt), said))
    if not items:
        raise tao_hub.UsageError(
            f"{store} holds no candidates of {ref.name}:{split}: `tao-hub generate {ref.name}:{split} -n 16` draws some"
        )
    return items
