"""Contract: eleven laws that tie a family's sites to the bare network, and a wrong mapping that each must reject."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.subjects.byhand import added_by_hand, bare_inputs, gap
from patchclamp.subjects.engine import Expert, Place, Tap
from patchclamp.subjects.families.spec import Family, family
from patchclamp.subjects.identity import module_hash
from patchclamp.subjects.language import Attention, Batch, LanguageModel, Padding
from patchclamp.subjects.model import Model
from patchclamp.subjects.readers import misread

LENGTHS = (9, 5, 7)
GENTLE = (2, 3, 4, 7, 8, 9, 11)
"""Parts that `verify` checks on any model, its own weights and wiring."""
ROUNDING = 1e-6
"""What sums in another order may differ by, in the scale of the values."""
PADDINGS: tuple[Padding, ...] = ("right", "left")


@dataclass(frozen=True)
class Part:
    """One law of the contract.

    Args:
        name: the law in a few words.
        check: yields how far the subject is from the law, in its own scale; infinite where it breaks outright.
        limit: largest deviation that passes, in float32; other dtypes scale it by their precision.
        spoil: makes the wrong mapping that the law must reject.
    """

    name: str
    check: Callable[[LanguageModel, Sequence[Stimulus], Padding], Iterator[float]]
    limit: float
    spoil: Callable[[Family], Family]


@dataclass(frozen=True)
class Verdict:
    """What one check gave.

    Args:
        name: what was checked.
        deviation: how far from the law.
        limit: how far is allowed; None where the figure is stated, not judged.
        rejected: first deviation of the wrong mapping above the limit, else its worst; None where none was tried.
        excluded: why the check does not apply, where it does not; the deviation is then NaN.
    """

    name: str
    deviation: float
    limit: float | None
    rejected: float | None = None
    excluded: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law holds and the wrong mapping broke it, or the check does not apply."""
        if self.excluded:
            return True
        holds = self.limit is None or self.deviation <= self.limit
        return holds and (self.rejected is None or self.limit is None or not self.rejected <= self.limit)


# -- the bare network -------------------------------------------------------------------------------------------------


def bare_logits(model: LanguageModel, batch: Batch) -> Tensor:
    """Return the bare network's logits, called as its own documentation says, nothing of the rig attached."""
    with torch.no_grad():
        return batch.rows(model.module(**bare_inputs(model, batch)).logits)


@contextmanager
def eager(model: Model) -> Iterator[None]:
    """Let the model compute attention by its own eager function."""
    before = model.module.config._attn_implementation
    if before == "eager":
        yield
        return
    model.module.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.module.set_attn_implementation(before)


def _logits(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding, **options: Any) -> Tensor:
    run = model.run(list(stimuli), padding=padding, **options)
    return model.batch(stimuli).rows(run.logits)


def native_gap(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return max |Δlogit| between the bare network and a run with every untapped site recorded."""
    paths = [s.path for s in model.sites() if not s.tapped and s.calls == 1]
    return gap(_logits(model, stimuli, padding, record=paths), bare_logits(model, model.batch(stimuli, padding)))


def tap_gap(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return max |Δlogit| between the network with eager attention and a run with every site recorded by the tap."""
    with eager(model):
        reference = bare_logits(model, model.batch(stimuli, padding))
    return gap(_logits(model, stimuli, padding, record="*", attention="tap"), reference)


def eager_gap(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return max |Δlogit| between the network's eager attention and the one it uses."""
    native = bare_logits(model, model.batch(stimuli, padding))
    with eager(model):
        return gap(bare_logits(model, model.batch(stimuli, padding)), native)


# -- the laws ---------------------------------------------------------------------------------------------------------


def _native(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    yield native_gap(model, stimuli, padding)


def _readers(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    yield misread(model, stimuli, padding)


def _residual(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    """The stream plus what is written, and in post-norm families the norm of that sum."""
    family = _family(model)
    r = model.run(list(stimuli), record=_writes(model), padding=padding, logits=False).recording.values
    for i in range(model.n_layers):
        here = {path.removeprefix(f"blocks.{i}."): x for path, x in r.items() if path.startswith(f"blocks.{i}.")}
        mlp = here.pop("mlp.write")
        mixed = here["resid_in"] + sum(x for kind, x in here.items() if kind.endswith(".write"))
        norms = [model.module.get_submodule(f"{family.blocks}.{i}.{path}") for path in family.sum_norms]
        with torch.no_grad():
            mid = norms[0](mixed) if norms else mixed
            out = norms[1](here.get("resid_mid", mid) + mlp) if norms else mid + mlp
        if "resid_mid" in here:
            yield gap(mid, here["resid_mid"], relative=True)
        yield gap(out, here["resid_out"], relative=True)


def _writes(model: LanguageModel) -> list[str]:
    """Return the sites of the residual stream and of what is added to it."""
    return [s.path for s in model.sites() if s.kind.startswith("resid_") or s.kind.endswith(".write")]


def _family(model: LanguageModel) -> Family:
    assert model.family is not None
    return model.family


def _unembed(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    run = model.run(list(stimuli), record="final", padding=padding)
    with torch.no_grad():
        logits = model.unembed(run.recording["final"])
    yield gap(logits, model.batch(stimuli).rows(run.logits), relative=True)


def _rows_sum(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    r = model.run(list(stimuli), record="blocks.*.attn.pattern", padding=padding, logits=False).recording.values
    yield from (gap(p.float().sum(-1), torch.ones_like(p[..., 0])) for p in r.values())


def _own_value(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    for tapped in (False, True):
        how: Attention = "tap" if tapped else "native"
        sites = [s for s in model.sites() if s.writable and s.tapped == tapped]
        base = model.run(list(stimuli), record=[s.path for s in sites], padding=padding, attention=how)
        reference = model.batch(stimuli).rows(base.logits)
        for site in sites:
            if site.width and not site.ragged:
                own: list[Any] = [
                    [change("patch", site.path, source=_row(base.recording, i))] for i in range(len(stimuli))
                ]
            else:
                basis = "neurons" if site.width else "heads"
                own = [change("call", site.path, basis=basis, fn=lambda x: x + 0)]
            yield gap(_logits(model, stimuli, padding, interventions=own, attention=how), reference)


def _row(recording: Any, row: int) -> Any:
    from patchclamp.core.intervention import Source

    return Source(recording, stimulus=row)


class _Halt(Exception):
    """Raised on purpose in the middle of a forward pass."""


def _restores(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    before = traces(model.module)
    model.run(list(stimuli), record="*", padding=padding, interventions=[change("scale", "embed", value=2.0)])

    def halt(_x: Tensor) -> Tensor:
        raise _Halt

    with suppress(_Halt):
        model.run(list(stimuli), record="*", interventions=[change("call", _neurons_of(model)[-1], fn=halt)])
    after = traces(model.module)
    yield float(sum(before[k] != after.get(k) for k in before) + len(after.keys() - before.keys()))


def traces(module: nn.Module) -> dict[str, Any]:
    """Return everything that a rig could leave behind in a model."""
    found: dict[str, Any] = {"weights": module_hash(module)}
    found["attention"] = getattr(getattr(module, "config", None), "_attn_implementation", None)
    for path, part in module.named_modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        found[path] = (*(len(h) for h in hooks), sorted(part.__dict__))
    found["grads"] = [p.requires_grad for p in module.parameters()]
    return found


def _shapes(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    r = model.run(list(stimuli), record="*", padding=padding, logits=False).recording
    tokens, longest = sum(map(len, stimuli)), max(map(len, stimuli))
    wrong = 0
    for path, values in r.values.items():
        site = r.sites[path]
        n = len(r.rows[path]) if site.ragged else tokens
        wrong += tuple(values.shape) != ((n, site.width) if site.width else (n, site.n_heads, longest))
        wrong += len(site.axes) != values.ndim + 1
    yield float(wrong)


def _neurons(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    # One by one: a projection in whole numbers rounds by the largest values of all that it is given, padding too.
    yield _mixture(model, stimuli, padding)
    yield from (_dense(model, stimulus) for stimulus in stimuli)


def _dense(model: LanguageModel, stimulus: Stimulus) -> float:
    """Return how far φ(pre) · up is from act, and W · act from what a dense MLP gives."""
    family = _family(model)
    blocks = {i: family.sites_of(model.module, i) for i in range(model.n_layers)}
    dense = {i: places["mlp.act"].module for i, places in blocks.items() if "mlp.act" in places}
    paths = {i: [f"blocks.{i}.{n}" for n in ("mlp.pre", "mlp.up", "mlp.act") if n in blocks[i]] for i in dense}
    for i, down in dense.items():
        # Before a post-norm the MLP's output is that of the module which holds W.
        paths[i].append(f"module.{down.rpartition('.')[0]}.out" if family.exit_norms else f"blocks.{i}.mlp.write")
    r = model.run([stimulus], record=[path for each in paths.values() for path in each], logits=False).recording
    gaps = [0.0]
    for i, down in dense.items():
        pre, *up, neurons, whole = (r[path] for path in paths[i])
        phi = model.module.get_submodule(f"{family.blocks}.{i}.{family.nonlinearity}")
        with torch.no_grad():
            gaps.append(gap(phi(pre) * (up[0] if up else 1), neurons, relative=True))
            if gaps[-1] > 0.01:
                return gaps[-1]  # these are not the neurons, so the module they lie at is not W
            gaps.append(gap(model.module.get_submodule(down)(neurons), whole, relative=True))
    return max(gaps)


def _neurons_of(model: LanguageModel) -> list[str]:
    """Return the sites of dense MLPs' neurons."""
    return [site.path for site in model.sites() if site.kind == "mlp.act"]


def _mixture(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> float:
    """Return how far Σ_e p_e W_e · act_e is from a mixture's output; p: the router's largest, as its config has it.

    act_e = φ(gate) · up is made anew from what the mixture reads, which is the norm of ``resid_mid``.
    """
    family = _family(model)
    gaps = [0.0]
    for i in range(model.n_layers):
        found = {k: p for k, p in family.sites_of(model.module, i).items() if isinstance(p, Expert)}
        if not found:
            continue
        [(kind, place)] = found.items()
        module: Any = model.module.get_submodule(place.module)
        norm = model.module.get_submodule(f"{family.blocks}.{i}.{family.entry_norms[-1]}")
        paths = [f"blocks.{i}.{k}" for k in ("resid_mid", "mlp.router", "mlp.write", kind.format(e="*"))]
        r = model.run(list(stimuli), record=paths, padding=padding, logits=False).recording
        k = model.module.config.num_experts_per_tok
        with torch.no_grad():
            read, share = norm(r[paths[0]]), r[paths[1]].float().softmax(-1)
            best, which = share.topk(k)
            best = best / best.sum(-1, keepdim=True) if model.module.config.norm_topk_prob else best
            output = torch.zeros_like(r[paths[2]])
            for e in range(module.num_experts):
                path = f"blocks.{i}.{kind.format(e=e)}"
                tokens, slot = (which == e).nonzero(as_tuple=True)
                if tokens.tolist() != r.rows[path].tolist():
                    return math.inf
                gate, up = (read[tokens] @ module.gate_up_proj[e].T).chunk(2, -1)
                gaps.append(gap(module.act_fn(gate) * up, r[path], relative=True) if len(tokens) else 0.0)
                output[tokens] += best[tokens, slot, None] * (r[path] @ module.down_proj[e].T)
            gaps.append(gap(output, r[paths[2]], relative=True))
    return max(gaps)


def _attends(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    family = _family(model)
    kinds = ("q", "k", "v", "pattern", "z")
    paths = [f"blocks.*.attn.{k}" for k in kinds]
    r = model.run(list(stimuli), record=paths, padding=padding, logits=False, attention="tap").recording
    for i in [i for i in range(model.n_layers) if f"blocks.{i}.attn.q" in r.values]:
        module: Any = model.module.get_submodule(family.sites_of(model.module, i)["attn.q"].module)
        cap = getattr(model.module.config, family.score_cap, None) if family.score_cap else None
        hidden = partial(_hidden, window=family.window(module), causal=family.causal)
        heads = r.sites[f"blocks.{i}.attn.q"].n_heads
        for s in range(len(stimuli)):
            q, k, v, pattern, z = (r.of(f"blocks.{i}.attn.{n}", s).float() for n in kinds)
            yield from attention_gaps(q, k, v, pattern, z, heads, family.scale(module), cap, hidden(len(q)))


def _hidden(n: int, *, window: int | None, causal: bool) -> Tensor:
    """Return which of n positions (columns) each of them (rows) does not see."""
    back = torch.arange(n)[:, None] - torch.arange(n)[None]
    hidden = back < 0 if causal else torch.zeros_like(back, dtype=torch.bool)
    return hidden if window is None else hidden | (back >= window)


def attention_gaps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pattern: Tensor,
    z: Tensor,
    heads: int,
    scale: float,
    cap: float | None,
    hidden: Tensor,
) -> list[float]:
    """Return how far softmax(scale · q kᵀ + mask) is from the pattern, and pattern · v from z, for one stimulus."""
    n = len(q)
    d_head = q.shape[1] // heads
    q, k, v = (x.unflatten(1, (-1, d_head)).transpose(0, 1) for x in (q, k, v))
    k, v = (x.repeat_interleave(heads // x.shape[0], dim=0) for x in (k, v))
    scores = scale * q @ k.transpose(1, 2)
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    expected = scores.masked_fill(hidden, -math.inf).softmax(-1)
    given = pattern[..., :n].transpose(0, 1)
    mixed = (given @ v).transpose(0, 1).flatten(1)
    return [gap(given, expected), gap(mixed, z, relative=True)]


def _by_hand(model: LanguageModel, stimuli: Sequence[Stimulus], padding: Padding) -> Iterator[float]:
    """Add δ to every writable site at one position, by the rig and by a hook written by hand."""
    batch = model.batch(stimuli, padding)
    clean = {how: _logits(model, stimuli, padding, attention=how) for how in ("native", "tap")}
    # An expert multiplies all tokens that come by at once: one that comes or stays away puts the sums of the others in
    # another order.
    routed = any(site.ragged for site in model.sites())
    limit = ROUNDING * float(clean["native"].abs().max()) if routed else 0.0
    for site in [site for site in model.sites() if site.writable]:
        how: Attention = "tap" if site.tapped else "native"
        row, position = _somewhere(model, site, stimuli, padding)
        column = int((batch.logical[row] == position).nonzero())
        width = site.width or site.n_heads * batch.ids.shape[1]
        delta = torch.randn(width, generator=torch.Generator().manual_seed(0)).to(model.dtype)
        if site.width:
            edit = change("add", site.path, value=delta.double().numpy(), at=position)
        else:
            edit = change("call", site.path, basis="heads", at=position, fn=partial(torch.add, delta))
        own: list[list[Any]] = [[edit] if i == row else [] for i in range(len(stimuli))]
        rig = _logits(model, stimuli, padding, interventions=own, attention=how)
        hand = added_by_hand(model, site, batch, row, column, delta)
        moved = (rig - clean[how]).abs().amax(-1).cpu()
        # Whoever sees later tokens may answer otherwise at every place of the row, but in no other row.
        last = position if _family(model).causal else 0
        still = np.concatenate([[i != row or p < last for p in range(len(s))] for i, s in enumerate(stimuli)])
        silent = float(moved[~torch.from_numpy(still)].max()) <= 1e-3
        others = float(moved[torch.from_numpy(still)].max())
        if others <= limit:
            others = 0.0
        yield max(gap(rig, hand), others, math.inf if silent else 0.0)


def _somewhere(model: LanguageModel, site: Site, stimuli: Sequence[Stimulus], padding: Padding) -> tuple[int, int]:
    """Return a stimulus and a position where a site is to be changed: one that comes by, at a ragged site."""
    if not site.ragged:
        return 0, 3
    r = model.run(list(stimuli), record=site.path, padding=padding, logits=False).recording
    found = [(i, int(p)) for i in range(len(stimuli)) for p in r.positions(site.path, i)]
    if not found:
        raise PatchclampError(
            expected="probes that reach every expert", got=f"{site.path}: none", remedy="Draw tiny()'s router anew."
        )
    return found[0]


# -- wrong mappings ---------------------------------------------------------------------------------------------------


class _Transposed(Tap):
    def take(self, raw: Tensor) -> Tensor:
        return super().take(raw.transpose(-1, -2))


class _Rounded(Place):
    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        return (new * 64).round() / 64


class _Deaf(Place):
    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        return raw


class _Meddling(Place):
    def take(self, raw: Tensor) -> Tensor:
        return raw.mul_(2)


class _Leaking(Family):
    def places(self, model: Any) -> Any:
        model.register_forward_hook(lambda *_: None)
        return super().places(model)


def _mapped(changes: Callable[[Family], Mapping[str, Place | Tap]]) -> Callable[[Family], Family]:
    return lambda f: replace(f, block={**f.block, **changes(f)})


def _recast(kind: type, name: str) -> Callable[[Family], Family]:
    def spoil(f: Family) -> Family:
        place = f.block[name]
        return replace(f, block={**f.block, name: kind(**place.__dict__)})

    return spoil


PARTS: tuple[Part, ...] = (
    Part(
        "empty run = bare network, to the bit",
        _native,
        0.0,
        # Where there are no position ids to forget, a place that changes what it reads.
        lambda f: replace(f, positions=False) if f.positions else _recast(_Meddling, "mlp.act")(f),
    ),
    Part("resid_in + writes = resid_out", _residual, 1e-5, _mapped(lambda f: {"mlp.write": Place("", "out")})),
    Part("unembed(final) = logits", _unembed, 1e-5, lambda f: replace(f, final=f"{f.blocks}.0")),
    Part("pattern rows sum to 1", _rows_sum, 1e-5, _recast(_Transposed, "attn.pattern")),
    Part("own value changes nothing", _own_value, 0.0, _recast(_Rounded, "mlp.act")),
    Part("leaving restores everything", _restores, 0.0, lambda f: _Leaking(**f.__dict__)),
    Part("shapes match the axes", _shapes, 0.0, _mapped(lambda f: {"mlp.act": f.block["mlp.write"]})),
    Part("φ(pre)·up = act, W·act = MLP output", _neurons, 1e-5, _mapped(lambda f: {"mlp.act": f.block["mlp.pre"]})),
    Part("softmax(q·k) = pattern, pattern·v = z", _attends, 1e-5, lambda f: replace(f, scale=lambda m: 2 * f.scale(m))),
    Part("a change = the same by hand", _by_hand, 0.0, _recast(_Deaf, "mlp.act")),
    Part("readers read what the map says", _readers, 1e-5, lambda f: replace(f, parallel=not f.parallel)),
)


# -- verify -----------------------------------------------------------------------------------------------------------


def probe_stimuli(model: LanguageModel, seed: int = 0) -> list[Stimulus]:
    """Return three random stimuli, of unequal length where the context has room for that."""
    vocabulary = model.module.get_input_embeddings().num_embeddings
    short = max(0, LENGTHS[0] - (model.context or LENGTHS[0]))
    draw = np.random.default_rng(seed)
    return [Stimulus.of(draw.integers(0, vocabulary, max(1, n - short))) for n in LENGTHS]


def deviation(part: Part, model: LanguageModel, *, stop_above: float = math.inf) -> float:
    """Return a part's worst deviation over right- and left-padded batches; infinite where the check breaks.

    Args:
        part: the part to check.
        model: the subject.
        stop_above: return the first deviation above this one, without looking for a worse one.
    """
    stimuli, worst = probe_stimuli(model), -math.inf
    try:
        for padding in PADDINGS:
            for found in part.check(model, stimuli, padding):
                worst = max(worst, math.inf if math.isnan(found) else found)
                if worst > stop_above:
                    return worst
    except (PatchclampError, RuntimeError, KeyError, ValueError, IndexError):
        return math.inf
    # A check that compared nothing has not held.
    return worst if worst > -math.inf else math.inf


def verify_family(name: str, *, progress: Progress | None = None) -> list[Verdict]:
    """Run the contract on a family's tiny model, and each part on its wrong mapping, in float32.

    Args:
        name: family name.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: equalities, then one per part; ``rejected`` is what the wrong mapping gave.

    Raises:
        PatchclampError: no such family.

    Cost: one to two seconds on one core.
    """
    right = family(name)
    module = right.tiny()
    model = LanguageModel(module, family=right)

    def check(number: int, part: Part) -> Verdict:
        if number in right.excluded:
            return Verdict(f"{number}. {part.name}", math.nan, None, excluded=right.excluded[number])
        # A copy, for a wrong mapping may leave something behind in its module.
        spoiled = LanguageModel(deepcopy(module), family=part.spoil(right))
        wrong = deviation(part, spoiled, stop_above=part.limit)
        return Verdict(f"{number}. {part.name}", deviation(part, model), part.limit, wrong)

    parts = [lambda number=number, part=part: check(number, part) for number, part in enumerate(PARTS, 1)]
    return run_checks([*_equalities(model), *parts], progress)


def verify(model: LanguageModel, *, progress: Progress | None = None) -> list[Verdict]:
    """Prove that what the rig shows is the model: equalities, then the laws of its family on its own weights.

    Args:
        model: a language model.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: deviations in logits or relative units; limits scale with the dtype's precision.

    Cost: some twenty forward passes over three short random stimuli.

    Example:
        >>> from patchclamp.opening import load
        >>> verify(load("organism:cat"))[0].deviation
        0.0
    """
    precision = torch.finfo(model.dtype).eps / torch.finfo(torch.float32).eps
    excluded = {} if model.family is None else model.family.excluded
    gentle = [] if model.family is None else [n for n in GENTLE if n not in excluded]

    def check(number: int) -> Verdict:
        part = PARTS[number - 1]
        return Verdict(part.name, deviation(part, model), part.limit * precision)

    laws = [partial(check, number) for number in gentle]
    laws += [
        partial(Verdict, PARTS[n - 1].name, math.nan, None, excluded=why) for n, why in excluded.items() if n in GENTLE
    ]
    return run_checks([*_equalities(model), *laws], progress)


def _equalities(model: LanguageModel) -> list[Callable[[], Verdict]]:
    """Return the checks of max |Δlogit|: native and tap against the bare network, eager against native."""
    stimuli = probe_stimuli(model)

    def worst(gap: Callable[[LanguageModel, Sequence[Stimulus], Padding], float]) -> float:
        return max(gap(model, stimuli, padding) for padding in PADDINGS)

    native: list[Callable[[], Verdict]] = [lambda: Verdict("native, every site recorded", worst(native_gap), 0.0)]
    several = sum(site.calls > 1 for site in model.sites())
    if several:
        name, why = f"{several} sites of modules that run several times", "which run is meant would be a guess"
        native.append(lambda: Verdict(name, math.nan, None, excluded=why))
    if model.family is None:
        return native
    return [
        *native,
        lambda: Verdict("tap against eager", worst(tap_gap), 0.0),
        lambda: Verdict("eager against native", worst(eager_gap), None),
    ]


def run_checks(checks: Sequence[Callable[[], Verdict]], progress: Progress | None) -> list[Verdict]:
    """Make every check, and say how far it is."""
    verdicts: list[Verdict] = []
    for check in checks:
        verdicts.append(check())
        if progress is not None:
            progress(len(verdicts), len(checks))
    return verdicts
