"""Readers: whether MLPs read the stream that a family says, and heads write what is added to it."""

import math
from collections.abc import Sequence

from torch import Tensor

from patchclamp.core.errors import CannotIntervene
from patchclamp.core.intervention import Intervention
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.byhand import gap
from patchclamp.subjects.edges import edge_map, head_writes
from patchclamp.subjects.frames import Padding
from patchclamp.subjects.language import LanguageModel

SEEN = 1e-3
"""Least change of what an MLP writes, in its own scale, by which it is known to have read something else."""


def misread(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return how far a model's edges are from those of its family's map; infinite where an MLP reads another stream.

    Two runs give every block an input and a mixer's write (attention's, or a state space's) of its own. Exchanged, they
    have the same sum, to the bit: an MLP that reads the sum writes what it wrote, one that reads the block's input does
    not. With the input as it was and another write beside it, it is the other way round.

    What the heads write must be what is added, up to a bias, which belongs to no head.
    """
    family = model.covered()
    mixers = {}
    for layer in range(model.n_layers):
        kinds = family.sites_of(model.module, layer)
        found = [kind for kind in ("attn.write", "ssm.write") if kind in kinds]
        if found and "mlp.write" in kinds:
            mixers[layer] = f"blocks.{layer}.{found[0]}"
    inputs, mlps = ({layer: f"blocks.{layer}.{kind}" for layer in mixers} for kind in ("resid_in", "mlp.write"))
    paths = [*inputs.values(), *mixers.values(), *mlps.values()]
    own = model.run(list(stimuli), record=paths, padding=padding, logits=False).recording

    def moved(given: dict[str, str]) -> list[float]:
        """Return by how much each MLP's write changes where sites have the values of others."""
        changes = [_put(site, own[source]) for site, source in given.items()]
        r = model.run(
            list(stimuli), record=list(mlps.values()), interventions=changes, padding=padding, logits=False
        ).recording
        return [gap(r[path], own[path], relative=True) for path in mlps.values()]

    pairs = [(inputs[layer], mixers[layer]) for layer in mixers]
    exchanged = moved(dict(pairs) | {w: x for x, w in pairs})
    beside = moved({x: x for x, _ in pairs} | {w: x for x, w in pairs})
    still, other = (beside, exchanged) if family.parallel else (exchanged, beside)
    return max([*still, *(math.inf for change in other if change <= SEEN), _unwritten(model, stimuli, padding)])


def _put(site: str, values: Tensor) -> Intervention:
    return Intervention(site, "call", fn=lambda x: values.to(x))


def _unwritten(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return how far the sum of what heads write is from what is added, a bias aside; 0 where heads have no edges."""
    try:
        graph = edge_map(model)
    except CannotIntervene:
        return 0.0
    if not model.capabilities.differentiate:
        return 0.0  # a quantised projection rounds the sum otherwise than its parts
    kinds = ("attn.z", "attn.write")
    paths = [f"blocks.{layer}.{kind}" for layer in range(graph.n_layers) for kind in kinds]
    r = model.run(list(stimuli), record=paths, padding=padding, logits=False).recording
    gaps = []
    for layer in range(graph.n_layers):
        z, write = (r[f"blocks.{layer}.{kind}"] for kind in kinds)
        bias = write - head_writes(model, layer, z[None])[0].sum(0)
        gaps.append(gap(bias - bias.mean(0) + write, write, relative=True))
    return max(gaps)
