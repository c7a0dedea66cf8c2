"""model/fields: is each value the right one, in the eyes of a model that has learnt the round's own surest fields?"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pydantic

import tao_hub

from ..kinds import read_record
from .chosen import Chosen
from .copied import NULL, Copied, Described, Told

Model = Copied | Chosen
Shares = Mapping[Hashable, float]  # key of a value → its probability
UNKNOWN = 0.5  # value of a record of which no field is judged: the same for all, so it decides nothing
MOST_VALUES = 50  # of a field in one group


class Fields(tao_hub.Reward):
    """The probability of each field's value by a model that learns from the round itself, without labels.

    The plan's other rewards say which fields of the best candidates are sure (`min_parts`, as for the update). From
    these a linear model learns how inputs speak of the right values, and judges those that the others cannot tell:
    self-training on a second view of the data (Yarowsky 1995, P95-1026; co-training, Blum & Mitchell 1998). `copied`
    fields by the words around each value's places, among the values that the group's candidates hold and null;
    `chosen` ones, whose value is one of a few options, by the words of the input. An input that was learnt from is
    judged by a model that has not seen it (cross-fitting). Parts: probabilities, the value their mean; a field with
    fewer than `least` sure values, or nothing to tell apart, is not judged.
    """

    learns = True

    class Options(tao_hub.Options):
        copied: list[str] = pydantic.Field([], description="Fields whose value is copied from the input")
        chosen: list[str] = pydantic.Field([], description="Fields whose value is one of a few options")
        min_parts: dict[str, float] = pydantic.Field(
            {}, description="Reward's label, or label.field → least part of a field that is learnt from"
        )
        null_parts: dict[str, float] = pydantic.Field(
            {}, description="label.field → least part, in place of min_parts where the field says null"
        )
        least: int = pydantic.Field(30, ge=2, description="Sure values that a field needs to be judged")
        folds: int = pydantic.Field(6, ge=2, description="Models that judge what the others learnt from")
        strength: float = pydantic.Field(3.0, gt=0, description="Inverse regularisation of the places (C)")
        chosen_strength: float = pydantic.Field(100.0, gt=0, description="Inverse regularisation of the words (C)")

        @pydantic.model_validator(mode="after")
        def _something(self) -> Any:
            if not self.copied and not self.chosen:
                raise ValueError("name at least one field in copied or in chosen")
            if both := sorted({*self.copied} & {*self.chosen}):
                raise ValueError(f"{both[0]!r} is either copied or chosen")
            return self

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._told: dict[str, dict[str, Told]] = {}  # prompt's digest → field → what is told of it
        self._judged: dict[str, dict[str, Shares]] = {}
        self._models: dict[str, Model] = {}

    def learn(self, groups: Iterable[tao_hub.Group]) -> None:
        self._told = {group.prompt.digest: self._tell(group) for group in groups}
        self._judged = {prompt: {} for prompt in self._told}
        self._models = {}
        for field in [*self.options.copied, *self.options.chosen]:
            told = {prompt: fields[field] for prompt, fields in self._told.items()}
            sure = {prompt: t for prompt, t in told.items() if t.right is not None}
            folds = [{p for p in sure if int(p[:8], 16) % self.options.folds == i} for i in range(self.options.folds)]
            parts = [[t for p, t in sure.items() if p not in fold] for fold in folds if fold]
            described: Described = {}
            model = self._made(field, described)
            if len(sure) < self.options.least or not all(model.learnable(part) for part in [[*sure.values()], *parts]):
                continue
            self._models[field] = model.fit(list(sure.values()))
            self._keep(field, model, [p for p in told if p not in sure])
            for fold, part in zip((f for f in folds if f), parts):
                self._keep(field, self._made(field, described).fit(part), list(fold))
            if isinstance(model, Copied):
                model.forget()

    def _made(self, field: str, described: Described) -> Model:
        if field in self.options.chosen:
            return Chosen(self.options.chosen_strength)
        return Copied(self.options.strength, described)

    def _keep(self, field: str, model: Model, prompts: Sequence[str]) -> None:
        for prompt, shares in zip(prompts, model.judge([self._told[prompt][field] for prompt in prompts])):
            self._judged[prompt][field] = shares

    def _tell(self, group: tao_hub.Group) -> dict[str, Told]:
        """Per field the values that the candidates hold, and which is right where that is sure."""
        values: dict[str, dict[Hashable, Any]] = {field: {} for field in [*self.options.copied, *self.options.chosen]}
        for candidate in group.candidates:
            record = read_record(candidate.response)
            for field, held in values.items():
                if isinstance(record, dict) and record.get(field) is not None and len(held) < MOST_VALUES:
                    held.setdefault(tao_hub.value_key(record[field]), record[field])
        right: dict[str, Hashable] = {}
        best = group.best()
        record = read_record(group.candidates[best].response) if best is not None else ""
        if best is not None and isinstance(record, dict):
            null = [field for field in values if record.get(field) is None]
            bounds = (self.options.min_parts, null, self.options.null_parts)
            sure = tao_hub.sure_fields(group.scores[best], [f for f in values if f in record], *bounds)
            right = {field: tao_hub.value_key(record[field]) for field in sure}
        return {field: Told(group.prompt.text, held, right.get(field)) for field, held in values.items()}

    def score_batch(self, pairs: Sequence[tuple[tao_hub.Prompt, tao_hub.Candidate]]) -> Iterable[float | tao_hub.Score]:
        return [self._score(prompt, candidate.response) for prompt, candidate in pairs]

    def _score(self, prompt: tao_hub.Prompt, response: str) -> tao_hub.Score:
        record = read_record(response)
        if isinstance(record, str):
            return tao_hub.Score(0.0, why=record)
        parts, rather = {}, []
        for field in self._models:
            if field not in record:
                continue
            key = tao_hub.value_key(record[field])
            shares = self._shares(prompt, field, key, record[field])
            parts[field] = shares.get(key, 0.0)
            best = max(shares, key=lambda k: shares[k])
            if parts[field] < shares[best]:
                rather.append(f"{field}: rather {_said(best)}")
        if not parts:
            return tao_hub.Score(UNKNOWN, why="no field that could be learnt from this round")
        return tao_hub.Score(sum(parts.values()) / len(parts), why="; ".join(rather)[:300] or "words fit", parts=parts)

    def _shares(self, prompt: tao_hub.Prompt, field: str, key: Hashable, value: Any) -> Shares:
        """The probabilities of a field's values, this one among them."""
        known = self._judged.get(prompt.digest, {}).get(field)
        if known is not None and (key in known or field in self.options.chosen):
            return known
        told = self._told.get(prompt.digest, {}).get(field, Told(prompt.text, {}))
        values = {**told.values, **({key: value} if key != NULL else {})}
        return self._models[field].judge([replace(told, values=values)])[0]


def _said(key: Hashable) -> str:
    return "null" if key == NULL else str(key[1])[:60] if isinstance(key, tuple) else str(key)[:60]
