"""Telling: the values of every set of units over labelled text, site by site."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float

from patchclamp.core.dictionary import Dictionary
from patchclamp.evaluate.labelled import Labelled
from patchclamp.evaluate.rivals import label
from patchclamp.subjects.bases import encode
from patchclamp.subjects.language import LanguageModel


def unit_values(
    model: LanguageModel, dictionary: Dictionary, labels: Labelled, name: str, *, batch_size: int = 32, seed: int = 0
) -> Iterator[tuple[str, Float[np.ndarray, "token unit"]]]:
    """Yield a set of units over labelled text, a site at a time.

    Args:
        model: the language model.
        dictionary: its sites are read; of a transcoder the site that it reads.
        labels: the text.
        name: what ``label`` calls the dictionary; ``neurons`` the site's own numbers; ``pca`` all its principal
            components; ``random`` as many random directions as the dictionary has units there.
        batch_size: documents per forward pass.
        seed: of the random directions.

    Cost: a forward pass over the text for each site; memory of one site's units over it.
    """
    own = name == label(dictionary)
    for site, basis in dictionary.bases.items():
        path = basis.reads or site
        parts = []
        for first in range(0, len(labels.stimuli), batch_size):
            batch = labels.stimuli[first : first + batch_size]
            recording = model.run(batch, record=path, logits=False).recording
            counted = torch.from_numpy(np.concatenate([s.counted for s in batch]))
            x = recording[path][counted].float()
            parts.append((encode(basis, x) if own else x).cpu())
        values = torch.cat(parts)
        key = f"{site}/{dictionary.name}" if own else f"{path}/{name}"
        if name == "pca":
            half = values[torch.from_numpy(labels.document % 2 == 0)]
            centred = (half - half.mean(0)).double()
            values = values @ torch.linalg.eigh(centred.T @ centred)[1].flip(1).float()
        elif name == "random":
            drawn = torch.randn(values.shape[1], basis.n_units, generator=torch.Generator().manual_seed(seed))
            values = values @ (drawn / drawn.norm(dim=0))
        yield key, values.numpy()
