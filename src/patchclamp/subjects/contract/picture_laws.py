"""What blocks add up to, how rows lie, neurons."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.site import Site
from patchclamp.subjects.contract.part import Probe
from patchclamp.subjects.contract.reference_hooks import max_abs_difference
from patchclamp.subjects.vision import VisionModel


def _block(probe: Probe, i: int) -> Any:
    return probe.family.layers(probe.model.module)[i]


def _map(probe: Probe, path: str, rows: Tensor) -> Tensor:
    """Lay rows out as the module has them: ``(image, channel, y, x)``, or ``(image, token, unit)``."""
    places, x = probe.model.site(path).places, rows.unflatten(0, (len(probe.stimuli), -1))
    return x.unflatten(1, places).permute(0, 3, 1, 2).contiguous() if len(places) == 2 else x


def residual(probe: Probe) -> Iterator[float]:
    """The block's input (through its shortcut) plus what is written, through what follows the sum, is its output."""
    family, model, gaps = probe.family, probe.model, []
    for i in range(len(family.block_paths(model.module))):
        names = ["resid_in", *family.summed, "resid_out", *(["resid_mid"] if "resid_mid" in family.block else [])]
        paths = {name: f"blocks.{i}.{name}" for name in names}
        r = probe.run(record=list(paths.values()), logits=False).recording
        x = {name: _map(probe, path, r[path]) for name, path in paths.items()}
        with torch.no_grad():
            total = _block(probe, i).get_submodule(family.shortcut)(x["resid_in"]) if family.shortcut else x["resid_in"]
            for step, name in enumerate(family.summed, 1):
                total = total + x[name]
                if step == 1 and "resid_mid" in x:
                    gaps.append(max_abs_difference(total, x["resid_mid"], relative=True))
            total = _block(probe, i).get_submodule(family.after)(total) if family.after else total
        gaps.append(max_abs_difference(total, x["resid_out"], relative=True))
    yield max(gaps)


def layout(probe: Probe) -> Iterator[float]:
    """Row p of image i is the module's own tensor there: place y · X + x of a map, token p of a sequence."""
    model = probe.model
    sites = [s for s in model.sites() if not s.tapped]
    r = probe.run(record=[s.path for s in sites], logits=False).recording
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
        probe.bare()
    finally:
        for handle in handles:
            handle.remove()
    wrong = 0.0
    for site in sites:
        x = r[site.path]
        wrong += x.shape != (len(probe.stimuli) * site.n_places, site.width)
        for i in range(len(probe.stimuli)):
            for p in range(site.n_places):
                wrong += not torch.equal(r.of(site.path, i)[p], _at(raw[site.path][i], model, site, p))
    yield wrong


def _at(x: Tensor, model: VisionModel, site: Site, p: int) -> Tensor:
    """Return one image's values at a place, read from the module's own tensor."""
    if x.ndim == 3:
        y, column = p // site.places[1], p % site.places[1]
        return x[y, column] if getattr(model._place(site.path)[1], "last", False) else x[:, y, column]
    return x if x.ndim == 1 else x[p]


def neurons(probe: Probe) -> Iterator[float]:
    """φ(pre) = act, and what the branch makes of act is what it writes."""
    family, model, gaps = probe.family, probe.model, []
    for i in range(len(family.block_paths(model.module))):
        sites = [s.path for s in model.sites() if s.layer == i]
        acts = [p for p in sites if p.endswith(".act")]
        write = f"blocks.{i}.{family.summed[-1]}"
        pres = [p.removesuffix("act") + "pre" for p in acts]
        r = probe.run(record=[*acts, *pres, write], logits=False).recording
        block = _block(probe, i)
        with torch.no_grad():
            for act, pre in zip(acts, pres, strict=True):
                phi = block.get_submodule(family.nonlinearity)
                gaps.append(max_abs_difference(phi(r[pre]), r[act], relative=True))
                if gaps[-1] > 0.01:
                    yield gaps[-1]
                    return
            written = family.finish(block, _map(probe, acts[-1], r[acts[-1]]), acts[-1].rsplit(".", 2)[-2])
            gaps.append(max_abs_difference(written, _map(probe, write, r[write]), relative=True))
    yield max(gaps)
