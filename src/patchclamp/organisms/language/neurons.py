"""How well the best single neuron tells each labelled concept, on text it was not chosen on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.evaluate.concept_units import find_concept_units
from patchclamp.organisms.language.concepts import CONCEPTS
from patchclamp.organisms.language.labelled import Labelled
from patchclamp.subjects.language import LanguageModel

BATCH = 50
RESAMPLES = 500


def activations(
    model: LanguageModel, texts: Sequence[Labelled]
) -> tuple[Float[np.ndarray, "token neuron"], Bool[np.ndarray, "token concept"], Int[np.ndarray, " token"]]:
    """Record every neuron (``blocks.*.mlp.act``) on labelled text.

    Returns:
        tuple: activations, which concepts of ``CONCEPTS`` are true, and the number of each token's document; tokens
        of text only, without ``<bos>``.
    """
    layers = []
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        run = model.run([one.stimulus for one in some], record="blocks.*.mlp.act", logits=False)
        sites = [f"blocks.{layer}.mlp.act" for layer in range(model.n_layers)]
        layers.append(np.concatenate([np.asarray(run.recording[site]) for site in sites], axis=1))
    counted = np.concatenate([one.stimulus.counted for one in texts])
    documents = np.repeat(np.arange(len(texts)), [len(one.stimulus) for one in texts])
    truth = np.array([[name in true for name in CONCEPTS] for one in texts for true in one.concepts])
    return np.concatenate(layers)[counted], truth[counted], documents[counted]


def best_neurons(
    model: LanguageModel, texts: Sequence[Labelled], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Find the neuron that tells each concept best on one half of the documents, and score it on the other half.

    AUROC = P(activation where the concept is true > where it is not), ties counted half. Higher activation must mean
    the concept: a neuron that falls silent on it scores below 0.5.

    Args:
        model: the organism.
        texts: labelled documents.
        seed: of the bootstrap.
        resamples: how often the documents are drawn again for the interval.

    Returns:
        dict: per concept ``neuron``, ``auroc`` with ``interval`` (95 %, documents resampled), ``chosen_at`` (its AUROC
        on the half it was chosen on), and the number of ``positives`` in the scored half.

    Cost: ranks of every neuron once; one million token-neuron pairs take some 0.1 s.
    """
    values, truth, documents = activations(model, texts)
    width = values.shape[1] // model.n_layers
    layers = ((f"blocks.{i}.mlp.act/neurons", values[:, i * width : (i + 1) * width]) for i in range(model.n_layers))
    best = find_concept_units(layers, truth, list(CONCEPTS), documents, resamples=resamples, seed=seed)
    return {
        name: {
            "neuron": one.unit,
            "auroc": round(one.auroc.value, 4),
            "interval": [round(one.auroc.low, 4), round(one.auroc.high, 4)],
            "chosen_at": round(one.chosen_at, 4),
            "positives": one.positives,
        }
        for name, one in best.items()
    }
