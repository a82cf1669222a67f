"""Embedding: does a description lie close to the windows in which the unit fires?"""

import numpy as np

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import NoOptions
from patchclamp.core.subject import Progress
from patchclamp.describe.judge import Encoder
from patchclamp.describe.readers import StateEncoder
from patchclamp.describe.scoring import Measured, score_units
from patchclamp.describe.window_intervals import WindowScore, area
from patchclamp.describe.windows import Named, ShownWindows, UnitRows


def embedding(
    subject: Named,
    exemplars: Exemplars,
    descriptions: Descriptions,
    options: NoOptions,
    encoder: Encoder | None = None,
    *,
    seed: int = 0,
    progress: Progress,
) -> Descriptions:
    """Score descriptions by how close they lie to the windows in which the unit fires.

    Score = AUROC of cos(e(description), e(x)), windows x in which the unit fires against those in which it does not.

    What encodes decides what the score is worth. By default it is the subject itself: the mean of its states at the
    middle of its stream, less the mean over the windows. It is the cheapest that there is, and weak: no model of this
    kind was trained to place texts. The paper takes an encoder of 400 million weights that was; give such a one as
    ``encoder``, with an instruction of its own for queries.

    Args:
        subject: whose tokens are named; it also encodes, where no encoder is given.
        exemplars: windows that the author of the descriptions was not shown.
        descriptions: to be scored.
        options: none.
        encoder: any object with ``name`` and ``encode(texts, query=…)``; the subject's states by default.
        seed: of intervals.
        progress: called with units done and in all.

    Returns:
        Descriptions: with the score ``embedding``.

    Raises:
        PatchclampError: exemplars without windows of both sorts or of other units; a subject that reads no text; an
            encoder that gives no vector per text.

    Source: 2410.13928, embedding scoring; the default encoder is ours.

    Cost: one encoding per window and per description.
    """
    who: Encoder = StateEncoder(subject) if encoder is None else encoder
    shown = ShownWindows(subject, exemplars)
    used = np.unique(exemplars.stimulus)
    vectors = _encode(who, shown.texts(used), query=False)
    directions = _unit(vectors)

    def score(text: str, rows: UnitRows) -> list[WindowScore]:
        [wanted] = _encode(who, [text], query=True)
        near = directions @ _unit(wanted[None])[0]
        active, silent = (near[np.searchsorted(used, exemplars.stimulus[of])] for of in (rows.active, rows.silent))
        return [WindowScore(*area(active, silent, rows.draw(seed)), len(active) + len(silent))]

    return score_units(exemplars, descriptions, (Measured("embedding", "AUROC"),), who.name, score, progress)


def _encode(encoder: Encoder, texts: list[str], *, query: bool) -> np.ndarray:
    vectors = np.asarray(encoder.encode(texts, query=query), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise PatchclampError(
            expected=f"{len(texts):,} vectors of finite numbers of {encoder.name}",
            got=f"an array of shape {vectors.shape}",
            remedy="An encoder returns one row per text.",
        )
    return vectors


def _unit(rows: np.ndarray) -> np.ndarray:
    sizes: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = rows / np.where(sizes > 0, sizes, 1.0)
    return unit


def _cost(_sizes: Sizes, _options: NoOptions) -> Cost:
    return Cost()


METHOD = Method(
    embedding,
    name="embedding",
    room="describe",
    kind="scorer",
    title="embedding: which windows lie close to the description",
    question="Does the description lie close to what the unit fires on?",
    papers=(Paper("2410.13928", equation="embedding scoring"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.scorers:embedding",
    calibrated_on=("language-gpt2:tokens",),
    must_show="to an encoder that counts words true rules score 0.9 at least, the same given to other units chance",
    must_miss={"language-gpt2:near": "a rule that leaves out the context lies as close to the hard windows"},
    sources=("describe/readers.py", "describe/scoring.py", "describe/window_intervals.py", "describe/windows.py"),
)
