"""What blocks add to the stream, shapes, neurons of dense and mixed MLPs, readers."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.intervention import change
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.contract.part import Probe
from patchclamp.subjects.contract.readers import misread
from patchclamp.subjects.contract.reference_hooks import max_abs_difference
from patchclamp.subjects.engine import Expert, Scaled
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.moe import project_in, project_out


def residual(probe: Probe) -> Iterator[float]:
    """The stream plus what is written, and in post-norm families the norm of that sum."""
    family, model = probe.family, probe.model
    r = probe.run(record=_writes(model), logits=False).recording.values
    for i in range(model.n_layers):
        here = {path.removeprefix(f"blocks.{i}."): x for path, x in r.items() if path.startswith(f"blocks.{i}.")}
        mlp = here.pop("mlp.write", torch.zeros(1).to(here["resid_in"]))
        mixed = here["resid_in"] + sum(x for kind, x in here.items() if kind.endswith(".write"))
        norms = [model.module.get_submodule(f"{family.blocks}.{i}.{path}") for path in family.sum_norms]
        with torch.no_grad():
            mid = norms[0](mixed) if norms else mixed
            out = norms[1](here.get("resid_mid", mid) + mlp) if norms else mid + mlp
        if "resid_mid" in here:
            yield max_abs_difference(mid, here["resid_mid"], relative=True)
        yield max_abs_difference(out, here["resid_out"], relative=True)


def _writes(model: LanguageModel) -> list[str]:
    """Return the sites of the residual stream and of what is added to it."""
    return [s.path for s in model.sites() if s.kind.startswith("resid_") or s.kind.endswith(".write")]


def shapes(probe: Probe) -> Iterator[float]:
    """Every site has the shape that its axes say."""
    r = probe.run(record="*", logits=False).recording
    tokens, longest = sum(map(len, probe.stimuli)), max(map(len, probe.stimuli))
    wrong = 0
    for path, values in r.values.items():
        site = r.sites[path]
        n = len(r.rows[path]) if site.ragged else tokens
        wrong += tuple(values.shape) != ((n, site.width) if site.width else (n, site.n_heads, longest))
        wrong += len(site.axes) != values.ndim + 1
    yield float(wrong)


def neurons(probe: Probe) -> Iterator[float]:
    """φ(pre) · up is act, and W · act what the MLP gives."""
    # One by one: a projection in whole numbers rounds by the largest values of all that it is given, padding too.
    yield _mixture(probe)
    yield from (_dense(probe, stimulus) for stimulus in probe.stimuli)
    yield from (_mixer(probe, stimulus) for stimulus in probe.stimuli)


def _dense(probe: Probe, stimulus: Stimulus) -> float:
    """Return how far φ(pre) · up is from act, and W · act from what a dense MLP gives."""
    family, model = probe.family, probe.model
    blocks = {i: family.sites_of(model.module, i) for i in range(model.n_layers)}
    dense = {i: places["mlp.act"].module for i, places in blocks.items() if "mlp.act" in places}
    paths = {i: [f"blocks.{i}.{n}" for n in ("mlp.pre", "mlp.up", "mlp.act") if n in blocks[i]] for i in dense}
    for i, down in dense.items():
        # Before a post-norm, or a number of the config, the MLP's output is that of the module which holds W.
        before = family.exit_norms or isinstance(blocks[i]["mlp.write"], Scaled)
        paths[i].append(f"module.{down.rpartition('.')[0]}.out" if before else f"blocks.{i}.mlp.write")
    r = model.run([stimulus], record=[path for each in paths.values() for path in each], logits=False).recording
    gaps = [0.0]
    for i, down in dense.items():
        pre, *up, act, whole = (r[path] for path in paths[i])
        phi = model.module.get_submodule(f"{family.blocks}.{i}.{family.nonlinearity}")
        with torch.no_grad():
            gaps.append(max_abs_difference(phi(pre) * (up[0] if up else 1), act, relative=True))
            if gaps[-1] > 0.01:
                return gaps[-1]  # these are not the neurons, so the module they lie at is not W
            gaps.append(max_abs_difference(model.module.get_submodule(down)(act), whole, relative=True))
    return max(gaps)


def _mixer(probe: Probe, stimulus: Stimulus) -> float:
    """Return how far W · z is from what a state-space mixer writes, and what comes by a gate that is shut."""
    family, model = probe.family, probe.model
    blocks = {i: family.sites_of(model.module, i) for i in range(model.n_layers)}
    mixing = {f"blocks.{i}.ssm": places for i, places in blocks.items() if "ssm.z" in places}
    r = model.run([stimulus], record=[f"{i}.{kind}" for i in mixing for kind in ("z", "write")], logits=False).recording
    gates = [change("set", f"{i}.gate", value=0.0) for i, places in mixing.items() if "ssm.gate" in places]
    shut = model.run([stimulus], record=[f"{i}.z" for i in mixing], interventions=gates, logits=False).recording
    gaps = [0.0]
    for i, places in mixing.items():
        with torch.no_grad():
            written = model.module.get_submodule(places["ssm.z"].module)(r[f"{i}.z"])
        gaps.append(max_abs_difference(written, r[f"{i}.write"], relative=True))
        if "ssm.gate" in places:
            gaps.append(float(shut[f"{i}.z"].abs().max() / r[f"{i}.z"].abs().max()))
    return max(gaps)


def _mixture(probe: Probe) -> float:
    """Return how far Σ_e p_e W_e · act_e is from a mixture's output, with its shared expert's; p as the family says.

    act_e = φ(gate) · up is made anew from what the mixture reads, which is the norm of ``resid_mid``.
    """
    family, model = probe.family, probe.model
    gaps = [0.0]
    for i in range(model.n_layers):
        places = family.sites_of(model.module, i)
        if "mlp.router" not in places:
            continue
        stream, router, write = (f"blocks.{i}.{k}" for k in ("resid_mid", "mlp.router", "mlp.write"))
        shared = [f"blocks.{i}.mlp.shared.{k}" for k in ("pre", "up", "act") if f"mlp.shared.{k}" in places]
        r = probe.run(record=[stream, router, write, f"blocks.{i}.mlp.*"], logits=False).recording
        with torch.no_grad():
            read = model.module.get_submodule(f"{family.blocks}.{i}.{family.entry_norms[-1]}")(r[stream])
            given: Any = 0
            if shared:
                gap, given = _shared_expert(model, i, read, *(r[path] for path in shared))
                gaps.append(gap)
            place = next((place for place in places.values() if isinstance(place, Expert)), None)
            if place is None:
                continue  # single experts are no sites here
            module: Any = model.module.get_submodule(place.module)
            share = family.shares(model.module.get_submodule(places["mlp.router"].module), r[router]).to(read.dtype)
            output = torch.zeros_like(r[write])
            for e in range(module.num_experts):
                path = f"blocks.{i}.mlp.experts.{e}.act"
                tokens = share[:, e].nonzero().flatten()
                if tokens.tolist() != r.rows[path].tolist():
                    return math.inf
                act = module._apply_gate(project_in(module, e, read[tokens]))
                gaps.append(max_abs_difference(act, r[path], relative=True) if len(tokens) else 0.0)
                output[tokens] += share[tokens, e, None] * project_out(module, e, r[path])
            gaps.append(max_abs_difference(output + given, r[write], relative=True))
    return max(gaps)


def _shared_expert(
    model: LanguageModel, layer: int, read: Tensor, pre: Tensor, up: Tensor, act: Tensor
) -> tuple[float, Tensor]:
    """Return how far φ(pre) · up is from the neurons of the expert that every token meets, and what it adds."""
    family = model.covering_family()
    down = family.sites_of(model.module, layer)["mlp.shared.act"].module
    phi = model.module.get_submodule(f"{down.rpartition('.')[0]}.{family.nonlinearity.rpartition('.')[2]}")
    gate = family.layers(model.module)[layer].get_submodule(family.shared_gate)
    passed = gate(read).sigmoid() if family.shared_gate else 1
    return max_abs_difference(phi(pre) * up, act, relative=True), passed * model.module.get_submodule(down)(act)


def readers(probe: Probe) -> Iterator[float]:
    """MLPs read and heads write what the family says."""
    yield misread(probe.model, probe.stimuli)
