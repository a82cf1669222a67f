"""Laws that hold of every kind of stimulus alike."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from patchclamp.core.intervention import Source, change
from patchclamp.core.site import Site
from patchclamp.subjects.contract.part import AttentionRule, Probe
from patchclamp.subjects.contract.reference_hooks import add_by_hand, max_abs_difference
from patchclamp.subjects.hashing import module_hash
from patchclamp.subjects.model import Model

NOTICED = 1e-3
"""A change must move some logit by more than this."""


# -- equality with the bare network -----------------------------------------------------------------------------------


@contextmanager
def eager(model: Model) -> Iterator[None]:
    """Let the model compute attention by its own eager function; where its modules write it out, by its definition."""
    if model.engine.written_out:
        with model.engine.attach_visits([], tap=True):
            yield
        return
    before = model.module.config._attn_implementation
    if before == "eager":
        yield
        return
    model.module.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.module.set_attn_implementation(before)


def native_gap(probe: Probe) -> float:
    """Return max |Δlogit| between the bare network and a run with every untapped site recorded."""
    paths = [s.path for s in probe.model.sites() if not s.tapped and s.calls == 1]
    return max_abs_difference(probe.logits(record=paths), probe.bare())


def tap_gap(probe: Probe) -> float:
    """Return max |Δlogit| between the network with eager attention and a run with every site recorded by the tap."""
    with eager(probe.model):
        reference = probe.bare()
    return max_abs_difference(probe.logits(record="*", attention="tap"), reference)


def eager_gap(probe: Probe) -> float:
    """Return max |Δlogit| between the network's eager attention and the one it uses."""
    native = probe.bare()
    with eager(probe.model):
        return max_abs_difference(probe.bare(), native)


def native(probe: Probe) -> Iterator[float]:
    """An empty run is the bare network, to the bit."""
    yield native_gap(probe)


# -- what was recorded ------------------------------------------------------------------------------------------------


def unembeds(probe: Probe) -> Iterator[float]:
    """The logits follow from what was recorded at ``final``."""
    run = probe.run(record="final")
    with torch.no_grad():
        logits = probe.answer(run.recording["final"])
    yield max_abs_difference(logits, probe.rows(run.logits), relative=True)


def rows_sum(probe: Probe) -> Iterator[float]:
    """Every row of a pattern sums to 1."""
    r = probe.run(record="blocks.*.attn.pattern", logits=False).recording.values
    yield from (max_abs_difference(p.float().sum(-1), torch.ones_like(p[..., 0])) for p in r.values())


def attends(probe: Probe) -> Iterator[float]:
    """The pattern is the softmax of q · k, and z is pattern · v."""
    kinds = ("q", "k", "v", "pattern", "z")
    gated = any(site.kind == "attn.gate" for site in probe.model.sites())
    paths = [f"blocks.*.attn.{k}" for k in (*kinds, *(["gate"] if gated else []))]
    r = probe.run(record=paths, logits=False, attention="tap").recording
    for rule in probe.attention_rules():
        heads, gate = r.sites[f"blocks.{rule.layer}.attn.q"].n_heads, f"blocks.{rule.layer}.attn.gate"
        for s in range(len(probe.stimuli)):
            q, k, v, pattern, z = (r.of(f"blocks.{rule.layer}.attn.{n}", s).float() for n in kinds)
            passed = r.of(gate, s).float().sigmoid() if gate in r.sites else torch.ones_like(z)
            yield from attention_gaps(q, k, v, pattern, z, heads, rule, passed)


def attention_gaps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pattern: Tensor,
    z: Tensor,
    heads: int,
    rule: AttentionRule,
    passed: Tensor,
) -> list[float]:
    """Return how far softmax(scale · q kᵀ + bias + mask) is from the pattern, and pattern · v from z, for one stimulus.

    Args:
        q: ``(position, width)``, as ``k``, ``v`` and ``z``.
        k: keys.
        v: values.
        pattern: ``(position, head, source)``.
        z: what heads give.
        heads: number of query heads.
        rule: how the module makes its pattern.
        passed: the share of pattern · v that an output gate lets pass, 1 where there is none.

    Returns:
        list[float]: two numbers: of the pattern, and of z in its own scale.
    """
    n = len(q)
    d_head = q.shape[1] // heads
    n_kv = k.shape[1] // d_head  # values may be of another width than queries and keys
    q, k, v = (x.unflatten(1, (m, -1)).transpose(0, 1) for x, m in ((q, heads), (k, n_kv), (v, n_kv)))
    k, v = (x.repeat_interleave(heads // n_kv, dim=0) for x in (k, v))
    scores = rule.scale * q @ k.transpose(1, 2)
    if (bias := rule.bias(n)) is not None:
        scores = scores + bias.to(scores)
    if rule.cap is not None:
        scores = rule.cap * torch.tanh(scores / rule.cap)
    scores = scores.masked_fill(rule.hidden(n), -math.inf)
    if rule.sinks is not None:
        scores = torch.cat([scores, rule.sinks.float()[:, None, None].expand(-1, n, 1)], -1)
    expected = scores.softmax(-1)[..., :n]
    given = pattern[..., :n].transpose(0, 1)
    mixed = (given @ v).transpose(0, 1).flatten(1) * passed
    return [max_abs_difference(given, expected), max_abs_difference(mixed, z, relative=True)]


# -- what was changed -------------------------------------------------------------------------------------------------


def own_value(probe: Probe) -> Iterator[float]:
    """A site's own value, put back, changes nothing."""
    for tapped in (False, True):
        sites = [s for s in probe.model.sites() if s.writable and s.tapped == tapped]
        if not sites:
            continue
        how = "tap" if tapped else "native"
        base = probe.run(record=[s.path for s in sites], attention=how)
        reference = probe.rows(base.logits)
        for site in sites:
            own: list[Any]
            if site.width and not site.ragged:
                sources = [Source(base.recording, stimulus=i) for i in range(len(probe.stimuli))]
                own = [[change("patch", site.path, source=source)] for source in sources]
            else:
                own = [change("call", site.path, basis="neurons" if site.width else "heads", fn=lambda x: x + 0)]
            yield max_abs_difference(probe.logits(interventions=own, attention=how), reference)


class _Halt(Exception):
    """Raised on purpose in the middle of a forward pass."""


def restores(probe: Probe) -> Iterator[float]:
    """Runs leave nothing behind in the module, one that fails in the middle neither."""
    before = model_fingerprint(probe.model.module)
    probe.run(record="*", interventions=[change("scale", "embed", value=2.0)])

    def halt(_x: Tensor) -> Tensor:
        raise _Halt

    with suppress(_Halt):
        probe.run(record="*", interventions=[change("call", probe.inner_site, fn=halt)])
    after = model_fingerprint(probe.model.module)
    yield float(sum(before[k] != after.get(k) for k in before) + len(after.keys() - before.keys()))


def model_fingerprint(module: nn.Module) -> dict[str, Any]:
    """Return everything that a rig could leave behind in a model."""
    fingerprint: dict[str, Any] = {"weights": module_hash(module)}
    fingerprint["attention"] = getattr(getattr(module, "config", None), "_attn_implementation", None)
    for path, part in module.named_modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        fingerprint[path] = (*(len(h) for h in hooks), sorted(part.__dict__))
    fingerprint["grads"] = [p.requires_grad for p in module.parameters()]
    return fingerprint


def by_hand(probe: Probe) -> Iterator[float]:
    """δ added to a writable site at one position is the same by the rig and by a hook written by hand."""
    clean = {"native": probe.logits(attention="native")}
    for site in [site for site in probe.model.sites() if site.writable]:
        how = "tap" if site.tapped else "native"
        if how not in clean:
            clean[how] = probe.logits(attention=how)
        width = site.width or site.n_heads * probe.columns(site)
        delta = torch.randn(width, generator=torch.Generator().manual_seed(0)).to(probe.model.dtype)
        gaps: list[float] = []
        silent = True
        for stimulus, position in probe.places(site):
            own: list[list[Any]] = [[] for _ in probe.stimuli]
            own[stimulus] = [_add_delta(site, delta, position)]
            rig = probe.logits(interventions=own, attention=how)
            hand = add_by_hand(probe, site, stimulus, probe.column(stimulus, position), delta)
            moved = (rig - clean[how]).abs().amax(-1).cpu()
            unmoved = torch.tensor(probe.rows_unmoved(stimulus, position))
            others = float(moved[unmoved].max())
            allowed = probe.rounding(clean["native"])
            gaps += [max_abs_difference(rig, hand), 0.0 if others <= allowed else others]
            silent = not float(moved[~unmoved].max()) > NOTICED
            if not silent:
                break
        # max passes over NaN where another figure stands before it.
        yield math.inf if silent or any(map(math.isnan, gaps)) else max(gaps)


def _add_delta(site: Site, delta: Tensor, position: int) -> Any:
    if site.width:
        return change("add", site.path, value=delta.double().numpy(), at=position)
    return change("call", site.path, basis="heads", at=position, fn=partial(torch.add, delta))
