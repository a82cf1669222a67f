"""Contract of image families: the ten laws where rows are places, and a wrong mapping that each must reject."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Source, change
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Picture
from patchclamp.core.subject import Progress
from patchclamp.subjects.contract import Verdict, attention_gaps, eager, gap, run_checks, traces
from patchclamp.subjects.engine import Place, Tap
from patchclamp.subjects.grids import Grid, VisionFamily, vision_family
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.vision import VisionModel, answers

N_IMAGES = 3
NOTICED = 1e-3
"""A change must move some logit by more than this."""


@dataclass(frozen=True)
class Part:
    """One law, as in the contract of text families."""

    name: str
    check: Callable[[VisionModel, Sequence[Picture]], float]
    limit: float
    spoil: Callable[[VisionFamily], VisionFamily]


def probe_images(model: VisionModel, seed: int = 0) -> list[Picture]:
    """Return three random images of the shape that the model takes."""
    draw = np.random.default_rng(seed)
    return [Picture.of(draw.normal(size=model.prepare.shape).astype(np.float32)) for _ in range(N_IMAGES)]


def bare_logits(model: VisionModel, images: Sequence[Picture]) -> Tensor:
    """Return the bare network's logits, nothing of the rig attached."""
    with torch.no_grad():
        return answers(model.module(_pixels(model, images)))


def _pixels(model: VisionModel, images: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack([p.pixels for p in images if p.pixels is not None])).to(model.device, model.dtype)


def _family(model: VisionModel) -> VisionFamily:
    assert model.family is not None
    return model.family


def _block(model: VisionModel, i: int) -> Any:
    return _family(model).layers(model.module)[i]


def _n_blocks(model: VisionModel) -> int:
    return len(_family(model).block_paths(model.module))


def _map(model: VisionModel, path: str, rows: Tensor) -> Tensor:
    """Lay rows out as the module has them: ``(image, channel, y, x)``, or ``(image, token, unit)``."""
    places, x = model.site(path).places, rows.unflatten(0, (N_IMAGES, -1))
    return x.unflatten(1, places).permute(0, 3, 1, 2).contiguous() if len(places) == 2 else x


# -- the laws ---------------------------------------------------------------------------------------------------------


def native_gap(model: VisionModel, images: Sequence[Picture]) -> float:
    """Return max |Δlogit| between the bare network and a run with every untapped site recorded."""
    paths = [s.path for s in model.sites() if not s.tapped and s.calls == 1]
    return gap(model.run(list(images), record=paths).logits, bare_logits(model, images))


def tap_gap(model: VisionModel, images: Sequence[Picture]) -> float:
    """Return max |Δlogit| between the network with eager attention and a run with every site recorded by the tap."""
    with eager(model):
        reference = bare_logits(model, images)
    return gap(model.run(list(images), record="*", attention="tap").logits, reference)


def _residual(model: VisionModel, images: Sequence[Picture]) -> float:
    """The block's input (through its shortcut) plus what is written, through what follows the sum, is its output."""
    family, gaps = _family(model), []
    for i in range(_n_blocks(model)):
        names = ["resid_in", *family.summed, "resid_out", *(["resid_mid"] if "resid_mid" in family.block else [])]
        paths = {name: f"blocks.{i}.{name}" for name in names}
        r = model.run(list(images), record=list(paths.values()), logits=False).recording
        x = {name: _map(model, path, r[path]) for name, path in paths.items()}
        with torch.no_grad():
            total = _block(model, i).get_submodule(family.shortcut)(x["resid_in"]) if family.shortcut else x["resid_in"]
            for step, name in enumerate(family.summed, 1):
                total = total + x[name]
                if step == 1 and "resid_mid" in x:
                    gaps.append(gap(total, x["resid_mid"], relative=True))
            total = _block(model, i).get_submodule(family.after)(total) if family.after else total
        gaps.append(gap(total, x["resid_out"], relative=True))
    return max(gaps)


def _unembed(model: VisionModel, images: Sequence[Picture]) -> float:
    run = model.run(list(images), record="final")
    with torch.no_grad():
        final = run.recording["final"].unflatten(0, (N_IMAGES, -1))
        return gap(_family(model).answer(model.module, final), run.logits, relative=True)


def _rows_sum(model: VisionModel, images: Sequence[Picture]) -> float:
    r = model.run(list(images), record="blocks.*.attn.pattern", logits=False).recording.values
    return max(gap(p.float().sum(-1), torch.ones_like(p[..., 0])) for p in r.values())


def _own_value(model: VisionModel, images: Sequence[Picture]) -> float:
    gaps = []
    for how in ("native", "tap") if _family(model).attends else ("native",):
        sites = [s for s in model.sites() if s.tapped == (how == "tap") and s.width]
        base = model.run(list(images), record=[s.path for s in sites], attention=how)
        for site in sites:
            own = [
                [change("patch", site.path, source=Source(base.recording, stimulus=i))] for i in range(N_IMAGES)
            ]  # fmt: skip
            gaps.append(gap(model.run(list(images), interventions=own, attention=how).logits, base.logits))
    return max(gaps)


class _Halt(Exception):
    """Raised on purpose in the middle of a forward pass."""


def _restores(model: VisionModel, images: Sequence[Picture]) -> float:
    before = traces(model.module)
    model.run(list(images), record="*", interventions=[change("scale", "embed", value=2.0)])

    def halt(_x: Tensor) -> Tensor:
        raise _Halt

    with suppress(_Halt):
        model.run(list(images), record="*", interventions=[change("call", "blocks.1.resid_out", fn=halt)])
    after = traces(model.module)
    return float(sum(before[k] != after.get(k) for k in before) + len(after.keys() - before.keys()))


def _layout(model: VisionModel, images: Sequence[Picture]) -> float:
    """Row p of image i is the module's own tensor there: place y · X + x of a map, token p of a sequence."""
    sites = [s for s in model.sites() if not s.tapped]
    r = model.run(list(images), record=[s.path for s in sites], logits=False).recording
    raw: dict[str, Tensor] = {}
    handles = []
    for site in sites:
        place: Any = model._place(site.path)[1]
        module = model.module.get_submodule(place.module)

        def after(_m: Any, _a: Any, output: Any, path: str = site.path) -> None:
            raw[path] = (output[0] if isinstance(output, tuple) else output).clone()

        def before(_m: Any, args: Any, kwargs: Any, path: str = site.path) -> None:
            raw[path] = (args[0] if args else kwargs["hidden_states"]).clone()

        handles.append(
            module.register_forward_hook(after)
            if place.side == "out"
            else module.register_forward_pre_hook(before, with_kwargs=True)
        )
    try:
        bare_logits(model, images)
    finally:
        for handle in handles:
            handle.remove()
    wrong = 0.0
    for site in sites:
        x = r[site.path]
        wrong += x.shape != (N_IMAGES * site.n_places, site.width)
        for i in range(N_IMAGES):
            for p in range(site.n_places):
                wrong += not torch.equal(r.of(site.path, i)[p], _at(raw[site.path][i], model, site, p))
    return wrong


def _at(x: Tensor, model: VisionModel, site: Site, p: int) -> Tensor:
    """Return one image's values at a place, read from the module's own tensor."""
    if x.ndim == 3:
        y, column = p // site.places[1], p % site.places[1]
        return x[y, column] if getattr(model._place(site.path)[1], "last", False) else x[:, y, column]
    return x if x.ndim == 1 else x[p]


def _neurons(model: VisionModel, images: Sequence[Picture]) -> float:
    """φ(pre) = act, and what the branch makes of act is what it writes."""
    family, gaps = _family(model), []
    for i in range(_n_blocks(model)):
        sites = [s.path for s in model.sites() if s.layer == i]
        acts = [p for p in sites if p.endswith(".act")]
        write = f"blocks.{i}.{family.summed[-1]}"
        pres = [p.removesuffix("act") + "pre" for p in acts]
        r = model.run(list(images), record=[*acts, *pres, write], logits=False).recording
        block = _block(model, i)
        with torch.no_grad():
            for act, pre in zip(acts, pres, strict=True):
                phi = block.get_submodule(family.nonlinearity)
                gaps.append(gap(phi(r[pre]), r[act], relative=True))
                if gaps[-1] > 0.01:
                    return gaps[-1]
            written = family.finish(block, _map(model, acts[-1], r[acts[-1]]), acts[-1].rsplit(".", 2)[-2])
            gaps.append(gap(written, _map(model, write, r[write]), relative=True))
    return max(gaps)


def _attends(model: VisionModel, images: Sequence[Picture]) -> float:
    family, kinds = _family(model), ("q", "k", "v", "pattern", "z")
    paths = [f"blocks.*.attn.{k}" for k in kinds]
    r = model.run(list(images), record=paths, logits=False, attention="tap").recording
    gaps = []
    for i, block in enumerate(family.block_paths(model.module)):
        module = model.module.get_submodule(family.block["attn.q"].under(block).module)
        for s in range(N_IMAGES):
            q, k, v, pattern, z = (r.of(f"blocks.{i}.attn.{n}", s).float() for n in kinds)
            seen = torch.zeros(len(q), len(q), dtype=torch.bool)
            heads = r.sites[f"blocks.{i}.attn.q"].n_heads
            gaps += attention_gaps(q, k, v, pattern, z, heads, family.scale(module), None, seen)
    return max(gaps)


def _by_hand(model: VisionModel, images: Sequence[Picture]) -> float:
    """Add δ to every writable site at one place of one image, by the rig and by a hook written by hand."""
    hows = ("native", "tap") if _family(model).attends else ("native",)
    clean = {how: model.run(list(images), attention=how).logits for how in hows}  # type: ignore[arg-type]
    worst = 0.0
    for site in model.sites():
        how: Any = "tap" if site.tapped else "native"
        width = site.width or site.n_heads * site.n_places
        delta = torch.randn(width, generator=torch.Generator().manual_seed(0)).to(model.dtype)
        moved = math.nan
        # The last block's patches lead nowhere where a class token answers; the class token where the patches do.
        for place in range(min(2, site.n_places)):
            if site.width:
                edit = change("add", site.path, value=delta.double().numpy(), at=place)
            else:
                edit = change("call", site.path, basis="heads", at=place, fn=partial(torch.add, delta))
            rig = model.run(list(images), interventions=[[edit], [], []], attention=how).logits
            hand = _added_by_hand(model, site, images, place, delta)
            moved = float((rig - clean[how])[0].abs().max())
            worst = max(worst, gap(rig, hand), gap(rig[1:], clean[how][1:]))
            if moved > NOTICED:
                break
        worst = worst if moved > NOTICED else math.inf
    return worst


def _added_by_hand(model: VisionModel, site: Site, images: Sequence[Picture], p: int, delta: Tensor) -> Tensor:
    """Return the logits with δ added at place p of the first image, by a hook in plain PyTorch."""
    place: Any = model._place(site.path)[1]
    module = model.module.get_submodule(place.module)
    if isinstance(place, Tap):
        return _added_in_attention(model, module, place.slot, images, p, delta)

    def changed(x: Tensor) -> Tensor:
        # A shared tensor is changed in itself, so that the residual branch has the change too.
        y = x if place.shared else x.clone()
        if y.ndim == 4:
            row, column = p // site.places[1], p % site.places[1]
            part = y[0, row, column] if getattr(place, "last", False) else y[0, :, row, column]
        else:
            part = y[0] if y.ndim == 2 else y[0, p]
        part += delta
        return y

    def before(_m: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

    def after(_m: Any, _a: Any, output: Any) -> Any:
        return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

    handle = (
        module.register_forward_hook(after)
        if place.side == "out"
        else module.register_forward_pre_hook(before, with_kwargs=True)
    )
    try:
        return bare_logits(model, images)
    finally:
        handle.remove()


def _added_in_attention(
    model: VisionModel, module: nn.Module, slot: str, images: Sequence[Picture], p: int, delta: Tensor
) -> Tensor:
    """Add δ inside one attention module, through an attention function of our own."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    bare = sys.modules[type(module).__module__].eager_attention_forward

    def changed(x: Tensor) -> Tensor:
        y = x.clone()
        y[0, :, p] += delta.view(x.shape[1], -1)
        return y

    def attend(m: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **kwargs: Any) -> Any:
        if m is not module:
            return bare(m, q, k, v, mask, **kwargs)
        q, k, v = (changed(x) if slot == name else x for name, x in (("q", q), ("k", k), ("v", v)))
        z, pattern = bare(m, q, k, v, mask, **kwargs)
        if slot == "pattern":
            pattern = changed(pattern)
            z = torch.matmul(pattern, v).transpose(1, 2).contiguous()
        return z, pattern

    ALL_ATTENTION_FUNCTIONS.register("byhand", attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register("byhand", eager_mask)
    before = model.module.config._attn_implementation
    model.module.set_attn_implementation("byhand")
    try:
        return bare_logits(model, images)
    finally:
        model.module.set_attn_implementation(before)


# -- wrong mappings ---------------------------------------------------------------------------------------------------


class _Sideways(Grid):
    def take(self, raw: Tensor) -> Tensor:
        return super().take(raw.transpose(-1, -2) if raw.ndim == 4 else raw.flip(1))


class _Rounded(Grid):
    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        return super().give((new * 64).round() / 64, raw)


class _Deaf(Grid):
    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        return raw


class _Meddling(Grid):
    def take(self, raw: Tensor) -> Tensor:
        return super().take(raw.mul_(1.001))


class _Crossed(Tap):
    def take(self, raw: Tensor) -> Tensor:
        return super().take(raw.transpose(-1, -2))


class _Leaking(VisionFamily):
    def listed(self, model: nn.Module) -> Any:
        model.register_forward_hook(lambda *_: None)
        return super().listed(model)


def _act(f: VisionFamily) -> str:
    return next(name for name in f.block if name.endswith(".act"))


def _mapped(f: VisionFamily, changes: Mapping[str, Place | Tap]) -> VisionFamily:
    return replace(f, block={**f.block, **changes})


def _recast(kind: type[Grid], f: VisionFamily) -> VisionFamily:
    place: Any = f.block[_act(f)]
    return _mapped(f, {_act(f): kind(**place.__dict__)})


def _misread(f: VisionFamily) -> VisionFamily:
    """Take the nonlinearity's input for its output, or of a token model the neurons before it for those after."""
    return _mapped(f, {_act(f): f.block[_act(f).removesuffix("act") + "pre"]})


def _pattern_crossed(f: VisionFamily) -> VisionFamily:
    tap: Any = f.block["attn.pattern"]
    return _mapped(f, {"attn.pattern": _Crossed(tap.module, tap.slot)})


PARTS: tuple[Part, ...] = (
    Part("empty run = bare network, to the bit", native_gap, 0.0, partial(_recast, _Meddling)),
    Part("resid_in + writes = resid_out", _residual, 1e-5, lambda f: _mapped(f, {f.summed[-1]: Grid("", "in")})),
    Part("unembed(final) = logits", _unembed, 1e-5, lambda f: replace(f, last=f.stem)),
    Part("pattern rows sum to 1", _rows_sum, 1e-5, _pattern_crossed),
    Part("own value changes nothing", _own_value, 0.0, partial(_recast, _Rounded)),
    Part("leaving restores everything", _restores, 0.0, lambda f: _Leaking(**f.__dict__)),
    Part("row y·X + x = the module's own value there", _layout, 0.0, partial(_recast, _Sideways)),
    Part("φ(pre) = act, the rest of the branch = write", _neurons, 1e-5, _misread),
    Part("softmax(q·k) = pattern, pattern·v = z", _attends, 1e-5, lambda f: replace(f, scale=lambda m: 2 * f.scale(m))),
    Part("a change = the same by hand", _by_hand, 0.0, partial(_recast, _Deaf)),
)


# -- verify -----------------------------------------------------------------------------------------------------------


def deviation(part: Part, model: VisionModel) -> float:
    """Return how far a model is from a law; infinite where the check breaks."""
    try:
        found = part.check(model, probe_images(model))
    except (PatchclampError, RuntimeError, KeyError, ValueError, IndexError):
        return math.inf
    return math.inf if math.isnan(found) else found


def tiny(family: VisionFamily, module: nn.Module | None = None) -> VisionModel:
    """Return a family's tiny model (a new one by default) in the rig, for images of the family's own tiny shape."""
    return VisionModel(family.tiny() if module is None else module, Preparation(shape=family.tiny_shape), family=family)


def verify_vision_family(name: str, *, progress: Progress | None = None) -> list[Verdict]:
    """Run the ten-part contract on an image family's tiny model, and each part on its wrong mapping, in float32.

    Args:
        name: family name.
        progress: called with checks done and checks in all.

    Raises:
        PatchclampError: no such family.

    Cost: a few seconds on one core.
    """
    right = vision_family(name)
    model = tiny(right)

    def check(number: int, part: Part) -> Verdict:
        if number in right.excluded:
            return Verdict(f"{number}. {part.name}", math.nan, None, excluded=right.excluded[number])
        # A copy, for a wrong mapping may leave something behind in its module.
        wrong = deviation(part, tiny(part.spoil(right), deepcopy(model.module)))
        return Verdict(f"{number}. {part.name}", deviation(part, model), part.limit, wrong)

    parts = [partial(check, number, part) for number, part in enumerate(PARTS, 1)]
    return run_checks([*_equalities(model), *parts], progress)


def verify_vision(model: VisionModel, *, progress: Progress | None = None) -> list[Verdict]:
    """Prove that what the rig shows is the model: equalities, then the laws that need no change to it.

    Args:
        model: an image model.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: deviations in logits or relative units; limits scale with the dtype's precision.

    Cost: some twenty forward passes over three random images.
    """
    precision = torch.finfo(model.dtype).eps / torch.finfo(torch.float32).eps
    excluded = {} if model.family is None else model.family.excluded
    laws: list[Callable[[], Verdict]] = []
    for number in (2, 3, 4, 7, 8, 9) if model.family is not None else (7,):
        part = PARTS[number - 1]
        if number in excluded:
            laws.append(partial(Verdict, part.name, math.nan, None, excluded=excluded[number]))
        else:
            laws.append(partial(_verdict, part, model, precision))
    return run_checks([*_equalities(model), *laws], progress)


def _verdict(part: Part, model: VisionModel, precision: float) -> Verdict:
    return Verdict(part.name, deviation(part, model), part.limit * precision)


def _equalities(model: VisionModel) -> list[Callable[[], Verdict]]:
    images = probe_images(model)
    native = partial(lambda: Verdict("native, every site recorded", native_gap(model, images), 0.0))
    if not model.capabilities.attention:
        return [native]
    return [native, lambda: Verdict("tap against eager", tap_gap(model, images), 0.0)]
