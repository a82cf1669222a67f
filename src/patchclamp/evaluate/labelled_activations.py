"""Unit activations over labelled text, one site at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.evaluate.dictionary_baselines import label
from patchclamp.evaluate.labelled import Labelled
from patchclamp.subjects.bases import encode
from patchclamp.subjects.language import LanguageModel

BEFORE = "before φ"
SETS = (BEFORE, "neurons", "pca", "random")
LARGEST = 2 * 2**30
"""Bytes that one site's units may take over the text."""


def unit_values(
    model: LanguageModel, dictionary: Dictionary, labels: Labelled, name: str, *, batch_size: int = 32, seed: int = 0
) -> Iterator[tuple[str, Float[np.ndarray, "token unit"]]]:
    """Yield the activations of a set of units over labelled text, one site at a time.

    Args:
        model: the language model.
        dictionary: its sites are read; of a transcoder the site that it reads.
        labels: the text.
        name: the set: what ``label`` returns for the dictionary; ``before φ`` its units before their activation
            function, so that no unit is silenced by others; ``neurons`` the MLP neurons of every block up to its last
            one (the site's own columns if the model has none); ``pca`` all principal components of its sites, fitted on
            even documents; ``random`` as many random directions as it has units there.
        batch_size: documents per forward pass.
        seed: of the random directions.

    Yields:
        tuple: prefix of the units' keys, and ``(token, unit)`` activations.

    Raises:
        PatchclampError: units × tokens that memory should not hold.

    Source: 2406.04093, section 4.2, for one unit a concept; the other sets are ours.

    Cost: a forward pass over the text for each site; memory of one site's units over it.
    """
    if name == "neurons":
        for path in _neuron_sites(model, dictionary):
            yield f"{path}/neurons", torch.cat(list(_over(model, labels, path, batch_size))).numpy()
        return
    own = name == label(dictionary)
    for site, basis in dictionary.bases.items():
        path = basis.reads or site
        needed = basis.n_units * len(labels.true) * 4
        if needed > LARGEST:
            raise PatchclampError(
                expected=f"at most {LARGEST:,} bytes of units over the text",
                got=f"{needed:,}: {basis.n_units:,} units, {len(labels.true):,} tokens",
                remedy="Give a smaller --max-tokens.",
            )
        rows = _over(model, labels, path, batch_size)
        coded = replace(basis, activation="identity", k=None, threshold=None) if name == BEFORE else basis
        values = torch.cat([encode(coded, x) if own or coded is not basis else x for x in rows])
        if name == "pca":
            half = values[torch.from_numpy(labels.document % 2 == 0)]
            centred = (half - half.mean(0)).double()
            values = values @ torch.linalg.eigh(centred.T @ centred)[1].flip(1).float()
        elif name == "random":
            drawn = torch.randn(values.shape[1], basis.n_units, generator=torch.Generator().manual_seed(seed))
            values = values @ (drawn / drawn.norm(dim=0))
        yield f"{site}/{dictionary.name}" if own or coded is not basis else f"{path}/{name}", values.numpy()


def _over(model: LanguageModel, labels: Labelled, path: str, batch_size: int) -> Iterator[Tensor]:
    for first in range(0, len(labels.stimuli), batch_size):
        batch = labels.stimuli[first : first + batch_size]
        counted = torch.from_numpy(np.concatenate([s.counted for s in batch]))
        yield model.run(batch, record=path, logits=False).recording[path][counted].float().cpu()


def _neuron_sites(model: LanguageModel, dictionary: Dictionary) -> Sequence[str]:
    layers = [model.site(site).layer for site in dictionary.bases]
    last = max((layer for layer in layers if layer is not None), default=-1)
    paths = [s.path for s in model.sites() if s.kind == "mlp.act" and s.layer is not None and s.layer <= last]
    return paths or [basis.reads or site for site, basis in dictionary.bases.items()]
