"""A field whose value is one of a few options: which, by the words of the input."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .copied import MAX_CHARS, Told


class Chosen:
    """P(option): multinomial logistic regression over an input's words and pairs of words (TF-IDF).

    An option that was never the right one among those learnt from has 0.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength

    @staticmethod
    def learnable(told: Sequence[Told]) -> bool:
        """Whether several options were right."""
        return len({t.right for t in told}) > 1

    def fit(self, told: Sequence[Told]) -> Chosen:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"[\w']+")
        self._options = list(dict.fromkeys(t.right for t in told))
        self._model = make_pipeline(words, LogisticRegression(C=self._strength, max_iter=2000))
        self._model.fit([t.text[:MAX_CHARS] for t in told], [self._options.index(t.right) for t in told])
        return self

    def judge(self, told: Sequence[Told]) -> list[dict[Hashable, float]]:
        """The probability of each option for each input; they add up to 1."""
        found = self._model.predict_proba([t.text[:MAX_CHARS] for t in told]) if told else []
        known = [self._options[number] for number in self._model.classes_]
        return [{**dict.fromkeys(t.values, 0.0), **dict(zip(known, map(float, row)))} for t, row in zip(told, found)]
