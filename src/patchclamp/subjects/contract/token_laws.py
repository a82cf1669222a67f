"""What blocks add to the stream, shapes, neurons of dense and mixed MLPs, readers."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

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
        mlp = here.pop("mlp.write")
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


def _mixture(probe: Probe) -> float:
    """Return how far Σ_e p_e W_e · act_e is from a mixture's output, with its shared expert's; p as the family says.

    act_e = φ(gate) · up is made anew from what the mixture reads, which is the norm of ``resid_mid``.
    """
    family, model = probe.family, probe.model
    gaps = [0.0]
    for i in range(model.n_layers):
        places = family.sites_of(model.module, i)
        found = [(kind, place) for kind, place in places.items() if isinstance(place, Expert)]
        if not found:
            continue
        [(kind, place)] = found
        module: Any = model.module.get_submodule(place.module)
        norm = model.module.get_submodule(f"{family.blocks}.{i}.{family.entry_norms[-1]}")
        stream, router, write = (f"blocks.{i}.{k}" for k in ("resid_mid", "mlp.router", "mlp.write"))
        shared = [f"blocks.{i}.mlp.shared.{k}" for k in ("pre", "up", "act") if f"mlp.shared.{k}" in places]
        paths = [stream, router, write, f"blocks.{i}.{kind.format(e='*')}", *shared]
        r = probe.run(record=paths, logits=False).recording
        with torch.no_grad():
            read = norm(r[stream])
            share = family.shares(model.module.get_submodule(places["mlp.router"].module), r[router]).to(read.dtype)
            output = torch.zeros_like(r[write])
            for e in range(module.num_experts):
                path = f"blocks.{i}.{kind.format(e=e)}"
                tokens = share[:, e].nonzero().flatten()
                if tokens.tolist() != r.rows[path].tolist():
                    return math.inf
                act = module._apply_gate(project_in(module, e, read[tokens]))
                gaps.append(max_abs_difference(act, r[path], relative=True) if len(tokens) else 0.0)
                output[tokens] += share[tokens, e, None] * project_out(module, e, r[path])
            if shared:
                gap, given = _shared_expert(model, i, read, *(r[path] for path in shared))
                gaps.append(gap)
                output += given
            gaps.append(max_abs_difference(output, r[write], relative=True))
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
