"""Whether MLPs read the stream that a family says, and heads write what is added to it."""

from collections.abc import Sequence

from patchclamp.core.errors import CannotIntervene
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.contract.reference_hooks import max_abs_difference
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.residual_edges import edge_map, head_writes, set_rows


def misread(model: LanguageModel, stimuli: Sequence[Stimulus]) -> float:
    """Return how far a model's edges are from those of its family's map.

    A run gives every block another input and another write of its mixer (attention, or a state space). Where the map
    says that the MLP reads their sum, the two are exchanged, and the sum is the same to the bit; where it reads the
    block's input alone, the write alone is another. Either way it writes what it wrote, or has read something else.

    What the heads write must be what is added, up to a bias, which belongs to no head.
    """
    # One by one: a projection in whole numbers rounds by the largest values of all that it is given, padding too.
    return max(max(_misread(model, s), _unwritten(model, s)) for s in stimuli)


def _misread(model: LanguageModel, stimulus: Stimulus) -> float:
    family = model.covering_family()
    mixers = {}
    for layer in range(model.n_layers):
        kinds = family.sites_of(model.module, layer)
        writes = [kind for kind in ("attn.write", "ssm.write") if kind in kinds]
        if writes and "mlp.write" in kinds:
            mixers[layer] = f"blocks.{layer}.{writes[0]}"
    inputs, mlps = ({layer: f"blocks.{layer}.{kind}" for layer in mixers} for kind in ("resid_in", "mlp.write"))
    paths = [*inputs.values(), *mixers.values(), *mlps.values()]
    own = model.run([stimulus], record=paths, logits=False).recording
    changes = []
    for layer, mixer in mixers.items():
        entered = inputs[layer] if family.parallel else mixer
        changes += [set_rows(inputs[layer], own[entered]), set_rows(mixer, own[inputs[layer]])]
    r = model.run([stimulus], record=list(mlps.values()), interventions=changes, logits=False).recording
    return max([0.0, *(max_abs_difference(r[path], own[path], relative=True) for path in mlps.values())])


def _unwritten(model: LanguageModel, stimulus: Stimulus) -> float:
    """Return how far the sum of what heads write is from what is added, a bias aside; 0 where heads have no edges."""
    if model.quantised:
        return 0.0  # a quantised projection rounds the sum otherwise than its parts
    try:
        graph = edge_map(model)
    except CannotIntervene:
        return 0.0
    kinds = ("attn.z", "attn.write")
    paths = [f"blocks.{layer}.{kind}" for layer in range(graph.n_layers) for kind in kinds]
    r = model.run([stimulus], record=paths, logits=False).recording
    gaps = []
    for layer in range(graph.n_layers):
        z, write = (r[f"blocks.{layer}.{kind}"] for kind in kinds)
        bias = write - head_writes(model, layer, z[None])[0].sum(0)
        gaps.append(max_abs_difference(bias - bias.mean(0) + write, write, relative=True))
    return max(gaps)
