"""A circuit's card and its graph, from what the circuit states."""

from typing import Any

from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.metric import Metric
from patchclamp.core.unit import UnitKey
from patchclamp.organisms.planted.circuit_spec import Circuit
from patchclamp.subjects.language import LanguageModel

ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
SCORES = "m(clean) − m(clean with this node alone replaced by 0; an input by the unknown word)"
WEIGHTS = "m(clean) − m(clean with the target as it is where the source alone is replaced)"


def card_of(circuit: Circuit, architecture: str) -> dict[str, Any]:
    """Return a planted circuit's card; see ``patchclamp.organisms.card``."""
    claims = (circuit.claims, *(claims for name, claims in circuit.claims_in.items() if name == architecture))
    card: dict[str, Any] = {
        "name": f"{circuit.name}-{architecture}",
        "circuit": circuit.name,
        "architecture": ARCHITECTURES[architecture],
        "what": circuit.what,
        "prompt": circuit.prompt,
        "corrupt": circuit.corrupt,
        "baseline": "zero",
        "target": circuit.target,
        "contrast": circuit.contrast,
        "logit_difference": circuit.logit_difference,
        "true": list(circuit.effects),
        "effects": dict(circuit.effects),
        "decoys": [{"unit": d.unit, "activation": d.activation, "why_inert": d.why_inert} for d in circuit.decoys],
        "must_find": [method for claim in claims for method in claim.find],
        "must_miss": {method: why for claim in claims for method, why in claim.miss.items()},
    }
    if circuit.either:
        card["either"] = {"nodes": list(circuit.either), "effect": circuit.logit_difference}
    return card


def graph_of(circuit: Circuit, subject: LanguageModel) -> Graph:
    """Return a planted circuit's graph; see ``patchclamp.organisms.truth``."""
    whole = circuit.logit_difference

    def full(key: str) -> str:
        return key if key == "output" or key.startswith("input@") else f"{subject.name}/{key}"

    units = []
    for key, effect in circuit.effects.items():
        measures = {"effect": effect}
        if key in circuit.either:
            measures["effect without the other"] = whole
        units.append(Node(full(key), "head" if UnitKey.parse(key).basis == "heads" else "neuron", effect, measures))
    [target], [contrast] = (subject.continuation(circuit.prompt, word) for word in (circuit.target, circuit.contrast))
    about = {
        "prompt": circuit.prompt,
        "corrupt": circuit.corrupt,
        "method": "planted",
        "baseline": "zero",
        "scores": SCORES,
        "weights": WEIGHTS + (", the other one of the pair being 0" if circuit.either else ""),
    }
    return Graph(
        subject={"slug": subject.name, "hash": subject.hash},
        metric=Metric("logit_difference", (target,), (contrast,)).to_json(),
        nodes=(
            *(Node(f"input@{i}", "input", effect, {"effect": effect}) for i, effect in circuit.inputs.items()),
            *units,
            Node("output", "output", whole),
        ),
        edges=tuple(Edge(full(source), full(to), weight) for (source, to), weight in circuit.edges.items()),
        measures={"metric": whole},
        about=about,
    )
