"""Which sentences make a feature active, beside random directions, and which tokens it promotes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.language import LanguageModel


@dataclass(frozen=True)
class Detection:
    """Hold what concept each direction was given on one half of the sentences, and how it does on the other.

    Args:
        concepts: per direction the number of its concept.
        scores: per direction S_CD; None where it is undefined.
        n_activating: per direction how many sentences held its concept.
        n_neutral: per direction how many did not.
    """

    concepts: tuple[int, ...]
    scores: tuple[float | None, ...]
    n_activating: tuple[int, ...]
    n_neutral: tuple[int, ...]

    @property
    def share_positive(self) -> float:
        """Share of all directions with S_CD > 0; one whose score is undefined does not count as such."""
        return sum(score is not None and score > 0 for score in self.scores) / len(self.scores)

    @property
    def n_undefined(self) -> int:
        """How many directions have no score."""
        return sum(score is None for score in self.scores)


def sentence_scores(
    values: Float[np.ndarray, "token width"],
    directions: Float[np.ndarray, "feature width"],
    sentences: Int[np.ndarray, " token"],
) -> Float[np.ndarray, "sentence feature"]:
    """Return the activation of every direction in every sentence: the largest cosine(x, z) over its tokens.

    Args:
        values: ``(token, width)`` activations x.
        directions: ``(feature, width)`` z.
        sentences: the number of each token's sentence, from 0; −1 for tokens that are left out (bos, padding).

    Returns:
        ``(sentence, feature)`` cosines; −1 for a sentence without tokens and for a direction of length zero.

    Raises:
        PatchclampError: no token is left.

    Source: 2506.10920, the scores of concept detection.

    Example:
        >>> sentence_scores(np.eye(2)[[0, 1, 1]], np.eye(2), np.array([0, 0, 1])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    counted = sentences >= 0
    if not counted.any() or len(sentences) != len(values):
        raise PatchclampError(
            expected="the number of a sentence for every row, at least one of them not left out",
            got=f"{len(values)} rows, {len(sentences)} numbers, {int(counted.sum())} of them counted",
            remedy="Number sentences from 0; leave out bos and padding with -1.",
        )
    cosines = _unit(values[counted]) @ _unit(directions).T
    scores = np.full((int(sentences.max()) + 1, len(directions)), -1.0)
    np.maximum.at(scores, sentences[counted], cosines)
    return np.where(np.linalg.norm(directions, axis=1) > 0, scores, -1.0)


def detection_score(activating: Float[np.ndarray, " n"], neutral: Float[np.ndarray, " m"]) -> float | None:
    """Return S_CD = log(mean activating / mean neutral); None where a mean is not above zero or a side is empty.

    Example:
        >>> detection_score(np.array([0.6, 0.2]), np.array([0.1, 0.3])), detection_score(np.ones(1), -np.ones(1))
        (0.693..., None)
    """
    if not len(activating) or not len(neutral):
        return None
    a, b = float(activating.mean()), float(neutral.mean())
    return math.log(a / b) if a > 0 and b > 0 else None


def detect_concepts(
    values: Float[np.ndarray, "token width"],
    directions: Float[np.ndarray, "feature width"],
    truth: Bool[np.ndarray, "token concept"],
    sentences: Int[np.ndarray, " token"],
    *,
    top: int = 25,
) -> Detection:
    """Name every direction by the labels of its top tokens, and score it on sentences that had no part in the naming.

    On sentences of even number a direction gets the concept whose share among its ``top`` tokens by cosine exceeds most
    the share among all tokens. Of those of odd number, sentences with a token of that concept are activating, the
    others neutral. In the paper a language model does both, from the top contexts, with five sentences of each kind.

    Args:
        values: activations.
        directions: z, one per row; features, or random directions as their control.
        truth: which concepts are true of which token.
        sentences: the number of each token's sentence; −1 for tokens that are left out.
        top: tokens that name a direction.

    Returns:
        Detection: of every direction.

    Raises:
        PatchclampError: no token, no concept, or no sentence of one of the halves.

    Source: 2506.10920, concept detection. Departs from it in labels instead of a language model, and in all sentences
    instead of five of each kind.
    """
    naming = (sentences >= 0) & (sentences % 2 == 0)
    scoring = (sentences >= 0) & (sentences % 2 == 1)
    if not naming.any() or not scoring.any() or len(truth) != len(values) or not truth.shape[1]:
        raise PatchclampError(
            expected="labelled tokens of at least two sentences, one of even and one of odd number",
            got=f"{int(naming.sum())} and {int(scoring.sum())} tokens, {truth.shape[1]} concepts",
            remedy="Give more text.",
        )
    cosines = _unit(values[naming]) @ _unit(directions).T
    best = np.argsort(-cosines, axis=0, kind="stable")[:top]
    excess = truth[naming][best].mean(axis=0) - truth[naming].mean(axis=0)
    concepts = excess.argmax(axis=1)
    numbers, place = np.unique(sentences[scoring], return_inverse=True)
    scores = sentence_scores(values[scoring], directions, place.astype(np.int64))
    holds = np.zeros((len(numbers), truth.shape[1]), dtype=bool)
    np.logical_or.at(holds, place, truth[scoring])
    activating = holds[:, concepts]
    detected = [detection_score(s[a], s[~a]) for s, a in zip(scores.T, activating.T, strict=True)]
    n_activating = activating.sum(axis=0)
    return Detection(
        tuple(map(int, concepts)),
        tuple(detected),
        tuple(map(int, n_activating)),
        tuple(int(n) for n in len(numbers) - n_activating),
    )


def random_directions(n: int, width: int, sparsity: float, *, seed: int) -> Float[np.ndarray, "n width"]:
    """Draw random directions as sparse as features: normal weights on ⌈p d⌉ neurons, of length 1.

    Args:
        n: how many.
        width: of the site.
        sparsity: p, the share of neurons that are not zero.
        seed: of the draw.

    Returns:
        ``(n, width)`` directions of length 1.

    Source: ours: the random control of 2506.10920's features.

    Example:
        >>> (random_directions(3, 8, 0.25, seed=0) != 0).sum(1).tolist()
        [2, 2, 2]
    """
    rng = np.random.default_rng(seed)
    directions = np.zeros((n, width), dtype=np.float32)
    for row in directions:
        chosen = rng.choice(width, math.ceil(sparsity * width), replace=False)
        row[chosen] = rng.normal(size=len(chosen))
    return _unit(directions)


def describe_outputs(
    model: LanguageModel, site: str, directions: Float[np.ndarray, "feature width"], *, top: int = 25
) -> list[tuple[list[str], list[str]]]:
    """Return the tokens that every direction promotes most, and least: W_U · norm(W_down z).

    Args:
        model: a language model that a family covers.
        site: an ``mlp.act`` site.
        directions: ``(feature, width)`` z.
        top: tokens of each sign; the paper shows 25 to 75.

    Returns:
        list: per direction the most promoted tokens, and the least.

    Raises:
        PatchclampError: no family covers the model.

    Source: 2506.10920, the tokens that a feature promotes.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> [(most, least)] = describe_outputs(cat, "blocks.0.mlp.act", np.eye(16, dtype=np.float32)[[7]], top=1)
        >>> most, least
        ([' sat'], [' ran'])
    """
    like = next(model.module.parameters())
    promoted = model.promoted_logits(site, torch.from_numpy(np.ascontiguousarray(directions)).to(like))
    assert promoted is not None, "units of an mlp.act site write to the stream"
    k = min(top, promoted.shape[1])
    best, worst = promoted.topk(k).indices.tolist(), (-promoted).topk(k).indices.tolist()

    def names(ids: Sequence[int]) -> list[str]:
        return [model.answer_name(i) for i in ids]

    return [(names(up), names(down)) for up, down in zip(best, worst, strict=True)]


def _unit(rows: np.ndarray) -> Any:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
