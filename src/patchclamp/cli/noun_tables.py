"""Nouns that methods give, in a terminal: the finding in one sentence first, then a table."""

from itertools import islice
from typing import Any

from rich.markup import escape

from patchclamp.cli.patch_tables import show_patching
from patchclamp.cli.tables import ABSENT, _console, _fixed, _general, _grid, _print, _range, _shown, _signed
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.edit import Edit
from patchclamp.core.estimate import Estimate
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.method_index import is_measured
from patchclamp.core.readout import Readout
from patchclamp.core.score_maps import SHARES
from patchclamp.core.scores import Scores
from patchclamp.core.similarity import Similarity
from patchclamp.core.training import Training


def show(noun: Any, top: int) -> None:
    """Print a noun.

    Args:
        noun: what a method gave.
        top: rows at most.
    """
    if isinstance(noun, Scores) and noun.unit in SHARES.values():
        show_patching(noun, top)
    elif isinstance(noun, Scores):
        _scores(noun, top)
    elif isinstance(noun, Similarity):
        _similarity(noun)
    elif isinstance(noun, Readout):
        _readout(noun, top)
    elif isinstance(noun, Edit):
        _edit(noun)
    elif isinstance(noun, Exemplars):
        _exemplars(noun, top)
    elif isinstance(noun, Descriptions):
        _descriptions(noun, top)
    elif isinstance(noun, Training):
        _training(noun)
    if noun.provenance.tier == "experimental":
        _console().print(f"{escape(noun.provenance.method)} is [bold]experimental[/]: docs/howto/method.md says why")


def sentence(estimate: Estimate, *, bare: bool = False) -> str:
    """Return what an estimate says: the value between its null and its ceiling; ``bare`` where it can have none."""
    words = f"{estimate.unit} {_fixed(estimate.value, 3)}"
    if estimate.interval is not None:
        low, high = estimate.interval.low, estimate.interval.high
        words += f" (95 % interval {_range(low, high, lambda x: _fixed(x, 3))}, n = {estimate.n})"
    if estimate.null is not None:
        ends = _range(estimate.null.low, estimate.null.high, lambda x: _fixed(x, 3))
        words += f"; by chance {ends}, p = {ABSENT if estimate.p is None else format(estimate.p, '.2g')}"
    return (
        words
        if bare
        else words
        + (f"; ceiling {_fixed(estimate.ceiling, 3)}" if estimate.ceiling is not None else "; ceiling unknown")
    )


def _scores(scores: Scores, top: int) -> None:
    out = _console()
    ends = f"; m {_signed(scores.metric_clean)}" + (
        f", on the counterpart {_signed(scores.metric_baseline)}" if scores.baseline == "corrupted" else ""
    )
    out.print(f"{len(scores):,} keys scored by {escape(scores.provenance.label)}, in units of {scores.unit}{ends}")
    table = _grid("key", "score", *scores.measures, numbers=("score", *scores.measures))
    for i in scores.places(top, signed=False).tolist():
        more = [_signed(float(column[i])) for column in scores.measures.values()]
        table.add_row(escape(str(scores.key(i))), _signed(float(scores.values[i])), *more)
    _print(out, table)
    if str(scores.index[0]).partition("@")[0].rpartition("/")[0].rpartition("/")[2].startswith("grid-"):
        out.print(
            "each region by itself, rows from the top left; `patchclamp evaluate` says whether their order holds",
            style="dim",
        )
        return
    if is_measured(scores.provenance.method):
        out.print("measured: each by itself was replaced, and this is what m lost", style="dim")
        return
    out.print("predicted, not measured: `patchclamp explain` and `circuit find` replace what they name", style="dim")


def _similarity(similarity: Similarity) -> None:
    out = _console()
    first, second = similarity.names
    out.print(f"[bold]{escape(first)}[/] and [bold]{escape(second)}[/], over {similarity.over}")
    out.print(escape(sentence(similarity.estimate)))
    for name, rival in similarity.rivals.items():
        out.print(f"{escape(name)}: {escape(sentence(rival))}")


def _descriptions(found: Descriptions, top: int) -> None:
    out, first = _console(), next(iter(found.measures), "")
    order = f", the highest by {first} first" if first else ""
    out.print(f"{len(found):,} units described by {found.author}{order}; a description is a hypothesis, not yet tested")
    table = _grid("unit", *found.measures, "terms", numbers=tuple(found.measures))
    places = found.order(first) if first else range(len(found))
    for place in list(places[:top]):
        numbers = [_fixed(float(column[place]), 3) for column in found.measures.values()]
        terms = [escape(_shown(found.vocabulary[int(i)])) for i in found.terms[place] if i >= 0]
        table.add_row(escape(str(found.index.key(int(place)))), *numbers, " ".join(terms) or ABSENT)
    _print(out, table)


def _readout(readout: Readout, top: int) -> None:
    out = _console()
    (_, site), (name, _) = readout.features, readout.targets
    out.print(f"{len(readout.intercept):,} targets of [bold]{escape(name)}[/] from {len(readout.centre):,} of {site}")
    if readout.summary is not None:
        out.print(escape(sentence(readout.summary)))
    measure = readout.scores[0].unit.replace("Pearson ", "") if readout.scores else "score"
    table = _grid("target", measure, "95 % interval", "by chance", "p", "ceiling", numbers=(measure, "p", "ceiling"))
    order = sorted(range(len(readout.scores)), key=lambda t: -_known(readout.scores[t].value))
    for t in order[:top]:
        one = readout.scores[t]
        interval = ABSENT if one.interval is None else _range(one.interval.low, one.interval.high)
        null = ABSENT if one.null is None else _range(one.null.low, one.null.high)
        p = ABSENT if one.p is None else format(one.p, ".2g")
        table.add_row(escape(readout.names[t]), _signed(one.value), interval, null, p, _fixed(one.ceiling))
    _print(out, table)


def _edit(edit: Edit) -> None:
    out = _console()
    out.print(f"[bold]edit[/] {escape(edit.claim)}, by {escape(edit.provenance.method or 'hand')}")
    table = _grid("parameter", "shape", "norm of the change", numbers=("norm of the change",))
    for entry in edit.to_json()["parameters"]:
        table.add_row(escape(entry["name"]), "×".join(map(str, entry["shape"])), _fixed(entry["norm"]))
    _print(out, table)
    out.print(f"weights {edit.before[:12]} before, {edit.after[:12]} with it")


def _exemplars(exemplars: Exemplars, top: int) -> None:
    out = _console()
    said = exemplars.to_json(0)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in said["kinds"].items()) or "none"
    out.print(
        f"{len(exemplars):,} exemplars of {said['units']:,} units of [bold]{escape(exemplars.site.path)}[/] in "
        f"{said['stimuli']:,} stimuli: {kinds}"
    )
    table = _grid("unit", "kind", "value", "stimulus", "position", "tokens", numbers=("value", "stimulus", "position"))
    for one in islice(exemplars, top):
        key = f"{exemplars.site.path}/{exemplars.basis}/{one.unit}"
        shown = one.image or f"{len(one.ids):,}"
        number = ABSENT if one.stimulus < 0 else str(one.stimulus)
        table.add_row(escape(key), one.kind, _signed(one.value), number, str(one.position), escape(shown))
    _print(out, table)


def _training(training: Training) -> None:
    out = _console()
    kept = f"; the weights are those after step {training.kept:,}" if training.kept < training.steps else ""
    out.print(f"{training.steps:,} of {training.planned:,} steps were taken{kept}")
    for name, one in (("ACC", training.acc), ("BWT", training.bwt), ("FWT", training.fwt)):
        if one is not None:
            out.print(f"{name}: {escape(str(one))}")
    table = _grid("measure", "first", "last", "points", numbers=("first", "last", "points"))
    for name, points in training.curves.items():
        table.add_row(escape(name), _general(points[0][1]), _general(points[-1][1]), f"{len(points):,}")
    _print(out, table)


def _known(value: float) -> float:
    return value if value == value else float("-inf")
