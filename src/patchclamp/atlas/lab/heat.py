"""A text as heat maps of blocks against tokens: logit lens, activation, attribution and patching."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.atlas.lab import messages
from patchclamp.atlas.lab.clamps import check_clamps, encode_site, interventions, known_unit, on_prompt, unit_values
from patchclamp.atlas.lab.explain_job import Meter
from patchclamp.atlas.lab.heat_messages import (
    MOST_CELLS,
    MOST_UNITS,
    HeatAsked,
    HeatPage,
    HeatRow,
    LensAsked,
    LensPage,
    LensRow,
    Part,
)
from patchclamp.atlas.lab.job_queue import Job
from patchclamp.atlas.lab.next_token import read_at
from patchclamp.atlas.lab.unit_ranking import answer_metric, attribute_units
from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none
from patchclamp.atlas.read.responses import Source
from patchclamp.attribute.patching import plan_patching
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.logit_lens import LogitLens
from patchclamp.core.method_index import find_title
from patchclamp.core.metric import Metric
from patchclamp.core.plain_names import name_site, name_unit
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import unit_activations
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.lens import along_stream, stream_sites

DIRECTION = "noise"
"""The other prompt's values are put into the text, as a clamp of the lab does."""
BATCH = 64
"""Cells of one forward pass; between two of these others use the model."""
LEAST_APART = 1e-6
"""Two prompts whose metrics differ by less have nothing to share out."""
_SCORED: dict[Part, tuple[tuple[str, str], ...]] = {
    "attn": (("attn.z", "heads"),),
    "mlp": (("mlp.act", "neurons"),),
    "all": (("attn.z", "heads"), ("mlp.act", "neurons")),
}
"""Part → kinds of sites whose scores are summed, and the units there."""
_NORMS: dict[Part, str] = {"resid": "residual stream", "attn": "attention's output", "mlp": "MLP's output"}
_NORMS["all"] = _NORMS["resid"]


# -- logit lens -------------------------------------------------------------------------------------------------------


def read_lens(lab: Any, atlas: Reading, asked: LensAsked) -> LensPage:
    """Return what the model would answer after every block, without clamps and with them.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the text, the clamps and a target.

    Returns:
        LensPage: a row for what the first block reads and for what each block leaves.

    Raises:
        NotFound: a clamp names a unit that the model has not.
        PatchclampError: a text that is too long, a target that is none, or a model without one residual stream.

    Cost: as ``LanguageModel.logit_lens``, twice with clamps.
    """
    model: LanguageModel = lab.model
    # A model of images refuses the text first: it has no stream of tokens to look for.
    stimulus = lab.cut(asked.text)
    sites = stream_sites(model)
    _refuse_if_long(len(sites), len(stimulus))
    _check_tokens(model, asked.target)
    with lab.turns.at_once():
        changes = _changes(lab, atlas, stimulus, asked.clamps, asked.other)
        target = asked.target
        if target is None:
            target = int(model.run(stimulus, logits=(-1,)).logits[0, 0].argmax())
        lenses = [
            model.logit_lens(stimulus, top=asked.top, target=target, interventions=on)
            for on in ([], *([changes] if changes else []))
        ]
    named = sorted({int(id) for lens in lenses for id in np.unique(lens.ids)})
    return LensPage(
        cut=lab.tokens(asked.text),
        rows=_lens_rows(lenses[0]),
        changed=_lens_rows(lenses[1]) if changes else [],
        words=[lab.spell(id) for id in named],
        target=lab.spell(target),
        source=_source(lab, atlas, f".logit_lens({asked.text!r}, top={asked.top}, target={target})"),
    )


def _lens_rows(lens: LogitLens) -> list[LensRow]:
    rows = []
    for row, site in enumerate(lens.sites):
        rows.append(
            LensRow(
                key=_whole(site),
                name=name_site(site),
                short=_short(site),
                layer=_layer(site),
                ids=lens.ids[row].tolist(),
                probabilities=[_numbers(cell) for cell in lens.probabilities[row]],
                ranks=lens.ranks[row].tolist(),
                target_probabilities=_numbers(np.exp(lens.log_probabilities[row])),
            )
        )
    return rows


# -- activation and attribution ---------------------------------------------------------------------------------------


def read_heat(lab: Any, atlas: Reading, asked: HeatAsked) -> HeatPage:
    """Return a heat map that is answered at once: activation or attribution.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        HeatPage: rows in forward order.

    Raises:
        NotFound: no such unit or site.
        PatchclampError: a text that is too long, tokens that are none, or a map that takes a while.

    Cost: activation a forward pass, two with clamps; attribution a forward and a backward pass.
    """
    stimulus = lab.cut(asked.text)
    match asked.of:
        case "activation":
            return _activation(lab, atlas, stimulus, asked)
        case "attribution":
            return _attribution(lab, atlas, stimulus, asked)
    raise PatchclampError(
        expected="activation or attribution", got=asked.of, remedy="Ask /api/lab/patching, which says how far it is."
    )


def _activation(lab: Any, atlas: Reading, stimulus: Stimulus, asked: HeatAsked) -> HeatPage:
    model: LanguageModel = lab.model
    if asked.unit:
        places = _named_units(model, atlas, asked.unit)
        paths = [encode_site(model, places.site, places.basis)]
        n_rows = 1
    else:
        paths = _part_sites(model, asked.part)
        n_rows = len(paths)
    _refuse_if_long(n_rows, len(stimulus))
    with lab.turns.at_once():
        changes = _changes(lab, atlas, stimulus, asked.clamps, asked.other)
        recordings = [
            model.run(stimulus, record=paths, interventions=on, logits=False).recording
            for on in ([], *([changes] if changes else []))
        ]
    python = f".run({asked.text!r}, record={paths!r}, logits=False).recording"
    if not asked.unit:
        norms = [
            [np.linalg.norm(upcast(recording[path]).cpu().double().numpy(), axis=1) for path in paths]
            for recording in recordings
        ]
        rows = [
            HeatRow([_whole(path)], name_site(path), _short(path), _layer_or_none(model, path), *_sides(norms, i))
            for i, path in enumerate(paths)
        ]
        quantity = f"norm of the {_NORMS[asked.part]}"
        return _page(lab, atlas, asked, quantity, rows, python, total=len(rows))
    acts = [
        unit_activations(unit_values(model, places.site, places.basis, recording[paths[0]])).T  # (unit, position)
        for recording in recordings
    ]
    if places.indices is None:
        largest = np.nan_to_num(np.abs(np.concatenate(acts, axis=1)), nan=np.inf).max(1)
        best = np.argsort(-largest, kind="stable")[: min(MOST_UNITS, max(MOST_CELLS // len(stimulus), 1))].tolist()
    else:
        best = list(places.indices)
    layer = model.site(places.site).layer
    rows = []
    for index in reversed(best):  # the first row stands lowest
        key = UnitKey(places.site, index, places.basis)
        both = [[one[index]] for one in acts]
        rows.append(HeatRow([str(key)], name_unit(key), str(index), layer, *_sides(both, 0)))
    total = len(acts[0]) if places.indices is None else len(rows)
    return _page(lab, atlas, asked, "activation", rows, python, total=total)


def _attribution(lab: Any, atlas: Reading, stimulus: Stimulus, asked: HeatAsked) -> HeatPage:
    model: LanguageModel = lab.model
    model.require("differentiate")
    kinds = _SCORED.get(asked.part, _SCORED["all"])
    units = {
        site.path: (basis, site)
        for site in model.sites()
        for kind, basis in kinds
        if site.kind == kind and site.width and not site.ragged
    }
    if not units:
        raise NotFound(
            expected="a model with attention heads or MLP neurons whose scores can be summed",
            got=model.name,
            remedy="See activation, or the lab's ranking.",
        )
    layers = sorted({site.layer for _, site in units.values() if site.layer is not None})
    _refuse_if_long(len(layers), len(stimulus))
    _check_tokens(model, asked.target, asked.contrast)
    sums: dict[int, Float[np.ndarray, " position"]] = {layer: np.zeros(len(stimulus)) for layer in layers}
    with lab.turns.at_once():
        metric = answer_metric(model, stimulus, asked.target, asked.contrast)
        scores = attribute_units(model, stimulus, metric, [f"{path}/{basis}" for path, (basis, _) in units.items()])
        for path, (basis, site) in units.items():
            sums[site.layer or 0] += scores.matrix(path, basis).sum(1)
    rows = [
        HeatRow(
            [_whole(path) for path, (_, site) in units.items() if site.layer == layer],
            f"Block {layer}",
            str(layer),
            layer,
            _numbers(sums[layer]),
            [],
        )
        for layer in layers
    ]
    words = {"attn": "heads", "mlp": "MLP neurons"}.get(asked.part, "heads and MLP neurons")
    return _page(
        lab,
        atlas,
        asked,
        f"sum of the scores of a block's {words} at a token, in logits",
        rows,
        "",
        metric=metric,
        values=(scores.metric_clean, None),
        method=find_title(scores.method, "attribute"),
        total=len(rows),
    )


# -- patching ---------------------------------------------------------------------------------------------------------


def prepare_patching(lab: Any, atlas: Reading, asked: HeatAsked) -> Callable[[Job], None]:
    """Check two prompts, and return what patches one into the other: ``progressed`` …, ``heatpage``, ``finished``.

    Args:
        lab: the model's lab.
        atlas: its atlas.
        asked: the question.

    Returns:
        Callable[[Job], None]: runs on the worker and sends its events to the job.

    Raises:
        PatchclampError: no other prompt, one of another length or the same one, or prompts that are too long.
    """
    model: LanguageModel = lab.model
    stimulus = lab.cut(asked.text)
    if not asked.other:
        raise PatchclampError(
            expected="another prompt, whose values are put in",
            got="none",
            remedy="Write one of as many tokens, with what decides the answer changed.",
        )
    other = lab.cut(asked.other)
    if len(other) != len(stimulus) or other.id == stimulus.id:
        raise PatchclampError(
            expected=f"another prompt of {len(stimulus)} tokens",
            got="the same prompt" if other.id == stimulus.id else f"one of {len(other)} tokens",
            remedy="Change a word of the prompt for another one of as many tokens.",
        )
    _check_tokens(model, asked.target, asked.contrast)
    paths = _part_sites(model, asked.part)
    _refuse_if_long(len(paths), len(stimulus))

    def work(job: Job) -> None:
        with job.long_turn(lab.words) as give_way:
            case, ends = _pair(model, stimulus, other, asked)
            task = Task.of(asked.text, model.answer_name(case.metric.target[0]), counterpart=asked.other)
            cases = ReadTask(task, (case,), *(np.array([end]) for end in ends))
            plan = plan_patching(model, cases, paths, direction=DIRECTION, batch_size=BATCH)
            [(effects, _)] = plan.parts(progress=Meter(job, give_way, [1.0]))
        rows = [
            HeatRow(
                [_whole(path)],
                name_site(path),
                _short(path),
                _layer_or_none(model, path),
                _numbers(effects[0, plan.index.grid(path, "whole")][:, 0]),
                [],
            )
            for path in paths
        ]
        names = [model.answer_name(token) for token in (case.metric.target[0], case.metric.contrast[0])]
        pair = f"pc.Task.of({asked.text!r}, {names[0]!r}, contrast={names[1]!r}, counterpart={asked.other!r})"
        page = _page(
            lab,
            atlas,
            asked,
            f"share of the logit difference that is lost where the other prompt's {_NORMS[asked.part]} is put in",
            rows,
            f"pc.patch(pc.load({lab.loading}), {pair}, {paths!r}, direction={DIRECTION!r})",
            metric=case.metric,
            values=ends,
            method="activation patching",
            total=len(rows),
        )
        job.tell(page)
        job.tell(messages.Finished("", job.seconds, "", ""))

    return work


def _pair(
    model: LanguageModel, stimulus: Stimulus, other: Stimulus, asked: HeatAsked
) -> tuple[ReadCase, tuple[float, float]]:
    """Return two prompts with the metric that tells them apart, and its value on both."""
    place = read_at(model, stimulus)
    if read_at(model, other) != place:
        raise PatchclampError(
            expected="the mask at the same token of both prompts", got="another token", remedy="Move it."
        )
    logits = [upcast(model.run(one, logits=(place,)).logits[0, 0]).double().cpu() for one in (stimulus, other)]
    target = int(logits[0].argmax()) if asked.target is None else asked.target
    contrast = int(logits[1].argmax()) if asked.contrast is None else asked.contrast
    if target == contrast:
        raise PatchclampError(
            expected="a target, and another token that it is compared with",
            got=f"{model.answer_name(target)!r} for both",
            remedy="Choose the tokens that the two prompts should answer with.",
        )
    ends = tuple(float(one[target] - one[contrast]) for one in logits)
    if not abs(ends[0] - ends[1]) > LEAST_APART:
        raise PatchclampError(
            expected="two prompts on which the logits of target and contrast differ by different amounts",
            got=f"{ends[0]:.3g} on both",
            remedy="Choose other tokens, or change what decides the answer.",
        )
    metric = Metric("logit_difference", (target,), (contrast,), positions=(place,))
    return ReadCase(stimulus, other, metric), (ends[0], ends[1])


# -- what all share ---------------------------------------------------------------------------------------------------


class _Named:
    """A site's units, or one of them."""

    def __init__(self, site: str, basis: str, indices: tuple[int, ...] | None) -> None:
        self.site, self.basis, self.indices = site, basis, indices


def _named_units(model: LanguageModel, atlas: Reading, text: str) -> _Named:
    """Return what a site, ``site/basis`` or a unit's key names."""
    if text.count("/") >= 2:
        key = known_unit(model, atlas, text)
        return _Named(key.site, key.basis, (key.index,))
    site, _, basis = text.partition("/")
    known = {row[1]: row[4] for row in atlas.sites}
    found = {one.path: "heads" if one.kind == "attn.z" else "neurons" for one in model.sites()} | known
    if site not in found:
        raise NotFound(
            expected="a site, or a unit's key", got=repr(text[:120]), remedy="The first page lists the sites."
        )
    basis = basis or found[site]
    first = known_unit(model, atlas, f"{site}/{basis}/0")
    return _Named(first.site, first.basis, None)


def _part_sites(model: LanguageModel, part: Part) -> list[str]:
    """Return the sites of a part of every block, in forward order."""
    model.covering_family()
    if part in ("resid", "all"):
        return along_stream(model)
    kind = f"{part}.write"
    paths = [site.path for site in model.sites() if site.kind == kind]
    if not paths:
        raise NotFound(expected=f"a model whose blocks have {kind}", got=model.name, remedy="See the residual stream.")
    return paths


def _changes(
    lab: Any, atlas: Reading, stimulus: Stimulus, clamps: Sequence[messages.ClampAsked], other: str
) -> list[Intervention]:
    """Return what clamps do to a text before anything is generated."""
    model = lab.model
    stand_in = lab.cut(other) if other else None
    check_clamps(model, atlas, clamps, len(stimulus), None if stand_in is None else len(stand_in))
    sites = list(dict.fromkeys(UnitKey.parse(clamp.key).site for clamp in clamps if clamp.mode == "patch"))
    recording = model.run(stand_in, record=sites, logits=False).recording if sites else None
    listed = interventions(model, atlas, clamps, recording)
    return [own for _, change in listed if (own := on_prompt(change)) is not None]


def _refuse_if_long(n_rows: int, n_tokens: int) -> None:
    if n_rows * n_tokens > MOST_CELLS:
        raise PatchclampError(
            expected=f"a map of at most {MOST_CELLS:,} cells, {MOST_CELLS // n_rows} tokens for {n_rows} rows",
            got=f"{n_tokens} tokens",
            remedy="Shorten the text; in Python model.logit_lens and patch_sites have no such limit.",
        )


def _check_tokens(model: LanguageModel, *tokens: int | None) -> None:
    strange = [token for token in tokens if token is not None and token >= model.n_answers]
    if strange:
        raise PatchclampError(
            expected=f"tokens below {model.n_answers}", got=str(strange[0]), remedy="Choose tokens from the page."
        )


def _page(
    lab: Any,
    atlas: Reading,
    asked: HeatAsked,
    quantity: str,
    rows: list[HeatRow],
    python: str,
    *,
    total: int,
    metric: Metric | None = None,
    values: tuple[float | None, float | None] = (None, None),
    method: str = "",
) -> HeatPage:
    return HeatPage(
        of=asked.of,
        cut=lab.tokens(asked.text),
        other=lab.tokens(asked.other) if asked.other and asked.of == "patching" else None,
        quantity=quantity,
        rows=rows,
        target=lab.spell(metric.target[0]) if metric else None,
        contrast=lab.spell(metric.contrast[0]) if metric and metric.contrast else None,
        metric=number_or_none(values[0]),
        other_metric=number_or_none(values[1]),
        method=method,
        total=total,
        source=_source(lab, atlas, python),
    )


def _source(lab: Any, atlas: Reading, python: str) -> Source:
    return replace(atlas.source(""), python=f"pc.load({lab.loading}){python}" if python.startswith(".") else python)


def _sides(both: Sequence[Sequence[Float[np.ndarray, " position"]]], i: int) -> tuple[list[Any], list[Any]]:
    return _numbers(both[0][i]), _numbers(both[1][i]) if len(both) > 1 else []


def _numbers(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [number_or_none(x) for x in values.tolist()]


def _whole(site: str) -> str:
    return str(UnitKey(site, 0, "whole"))


def _layer(site: str) -> int:
    return int(site.split(".")[1])


def _layer_or_none(model: LanguageModel, path: str) -> int | None:
    return model.site(path).layer


def _short(site: str) -> str:
    return "in" if site.endswith(".resid_in") else str(_layer(site))
