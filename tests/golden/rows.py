"""From what a command wrote to rows (quantity, key, value): one function a verb, so that a renamed field changes one.

A quantity is written ``measure:name``. All of one measure are of one unit and are compared on one scale:

| measure | what |
|---|---|
| m | the metric and effects on it, in logits |
| share | an effect as a share of m(clean) − m(baseline) |
| probability | of a token, or p of a test |
| r | a correlation or a slope |
| n | a number of things |
| activation | values of units |
| variance | of those |

Names that begin with ``random`` rest on draws of random sets. Times, paths, hashes, versions and words stay out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Rows = dict[tuple[str, str], float | None]
Found = Iterator[tuple[str, str, float | None]]

MOST = 160
"""Keys of one quantity: of longer lists as many are taken, evenly spaced in the list's own order."""
UNITS, EXEMPLARS = 8, 3
"""Units of a surveyed site, evenly spaced, the first and last among them; exemplars of each kind."""
STRONGEST = 12
"""Cells of a patching whose interval and p are kept."""
RANKED = ("m:predicted", "m:opposing", "probability:likeliest")
DRAWN = ("m:check.predicted",)
"""Quantities whose keys are the first of an order, so that ties at its end are free; and some from anywhere in it."""


def rows_of(verb: str, document: Any, folder: Path) -> Rows:
    """Return the rows of a command's result.

    Args:
        verb: the command's first words.
        document: what ``--json`` printed.
        folder: what ``--out`` wrote, where it takes one.
    """
    rows: Rows = {}
    for quantity, key, value in VERBS[verb](document, folder):
        assert (quantity, key) not in rows, f"{quantity} of {key} stands twice"
        rows[quantity, key] = None if value is None else float(value)
    return rows


def even(n: int, most: int) -> list[int]:
    """Return at most ``most`` of ``n`` places, evenly spaced, the first and last among them."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, most)).round()}) if n else []


def _each(quantity: str, values: Mapping[Any, float | None] | Iterable[float | None]) -> Found:
    named = values if isinstance(values, Mapping) else dict(enumerate(values))
    for key, value in named.items():
        yield quantity, str(key), value


def _one(**named: float | None) -> Found:
    """Yield values without a key; the first underscore of a name parts its measure, others are points."""
    for name, value in named.items():
        measure, _, rest = name.partition("_")
        yield f"{measure}:{rest.replace('__', '.')}", "", value


def _interval(quantity: str, key: str, interval: Any) -> Found:
    low, high = (interval["low"], interval["high"]) if isinstance(interval, Mapping) else interval
    yield f"{quantity}.low", key, low
    yield f"{quantity}.high", key, high


def _explain(document: Any, _: Path) -> Found:
    receipts, normal = document["receipts"], document["normalised"]
    randoms, kept, agreement = receipts["randoms"], receipts["kept"], receipts["agreement"]
    yield from _one(
        m_clean=document["metric_clean"], m_baseline=document["metric_baseline"], m_total=document["total"],
        m_gap=document["gap"],
        m_predicted__all=document["predicted"], m_together=receipts["together"], share_predicted=normal["predicted"],
        share_measured=normal["measured"], probability_target=document["probability"], n_units=kept["nodes"],
    )  # fmt: skip
    yield from _each("probability:likeliest", dict(document["likeliest"]))
    yield from _each("m:token", [token["predicted"] for token in document["tokens"]])
    for kind, quantity in (("causes", "predicted"), ("opposing", "opposing")):
        for cause in document[kind]:
            yield f"m:{quantity}", cause["key"], cause["predicted"]
            yield f"m:{quantity}.measured", cause["key"], cause["measured"]
            yield f"activation:{quantity}", cause["key"], cause["activation"]
    for check in agreement["checks"]:
        yield "m:check.predicted", check["key"], check["predicted"]
        yield "m:check.measured", check["key"], check["measured"]
    # The rank correlation hangs on the order of checks that are nothing but rounding; both of its sides stand above.
    yield from _one(r_slope=agreement["slope"])
    yield from _interval("r:slope", "", agreement["slope_interval"])
    for rival in receipts["rivals"]:
        yield "m:rival", rival["name"], rival["measured"]
        yield "n:rival.shared", rival["name"], rival["shared"]
    yield from _each("m:kept", dict(zip(kept["sizes"], kept["measured"], strict=True)))
    for name in ("random", "random_low", "random_high"):
        yield from _each(f"m:{name.replace('_', '.')}.kept", dict(zip(kept["sizes"], kept[name], strict=True)))
    yield from _each("m:random", randoms["measured"])
    yield from _interval("m:random", "", randoms["interval"])
    yield from _one(
        m_random__mean=randoms["mean"], probability_random=randoms["p"], n_random__size=randoms["size"],
        n_random__distinct=randoms["different"], n_random__asked=randoms["asked"],
        share_random__elsewhere=randoms["outside"], share_random__idle=randoms["idle"],
    )  # fmt: skip


def _find(document: Any, folder: Path) -> Found:
    from patchclamp.core.circuit import load_circuit

    found, about, receipt = load_circuit(folder), document["about"], document["receipt"]
    names = found.names()
    yield from _one(
        m_clean=about["m_clean"], m_corrupt=about["m_corrupted"], m_score__sum=found.values.sum(),
        m_score__magnitude=np.abs(found.values).sum(), n_parts=document["n_parts"], n_pairs=len(about["pairs"]),
    )  # fmt: skip
    yield from _each("n:aside", about["aside"])
    yield from _each("m:score", {names[i]: found.values[i] for i in even(len(names), MOST)})
    measured = set(receipt["parts"])
    for part in document["parts"]:
        if part["part"] in measured:
            yield from _interval("m:score", part["part"], (part["low"], part["high"]))
    yield from _each("m:alone", dict(zip(receipt["parts"], receipt["alone"], strict=True)))
    yield from _one(
        m_predicted__all=receipt["predicted"], m_together=receipt["measured"], share_measured=receipt["measured_share"]
    )
    yield from _interval("m:together", "", receipt["interval"])
    agreement = receipt["agreement"] or {}
    yield from _one(**{f"r_{name}": value for name, value in agreement.items()})
    yield from _each("m:random", receipt["randoms"])
    yield from _interval("m:random", "", receipt["random_interval"])
    yield from _one(
        m_random__mean=receipt["random_mean"], m_random__predicted=receipt["random_predicted"],
        share_random=receipt["random_share"], probability_random=receipt["p"], n_random__size=receipt["size"],
        n_random__distinct=receipt["distinct"], n_random__asked=receipt["asked"],
    )  # fmt: skip


GROWN = ("kept", "rest", "random", "random_rest", "ahead")
"""Of a circuit that grows; what is ahead is ahead of random ones."""


def _grown(where: str, key: str, told: Mapping[str, Any]) -> Found:
    for name in GROWN:
        quantity = f"share:{'random.ahead' if name == 'ahead' else name.replace('_', '.')}{where}"
        if told[name] is not None:
            yield quantity, key, told[name]["value"]
            yield from _interval(quantity, key, told[name])


def _evaluate(document: Any, _: Path) -> Found:
    each, area = document["each"], document["area"]
    yield from _one(
        m_model=document["m"]["model"], m_empty=document["m"]["empty"], n_pairs=document["pairs"],
        n_parts=document["circuit"]["parts"], n_found_on=document["found_on"], n_seen=document["seen"],
        n_random__subsets=document["about"]["subsets"], n_random__asked=document["about"]["random"],
    )  # fmt: skip
    yield from _each("n:left out", document["left_out"])
    for point in document["points"]:
        key = str(point["size"])
        yield "share:of parts", key, point["share"]
        yield "n:random.sets", key, point["n_random"]
        yield from _grown("", key, point)
    for name in ("m_kept", "m_rest", "m_random_mean"):
        quantity = "m:random.kept" if "random" in name else f"m:{name[2:]}"
        for point, values in zip(document["points"], each[name], strict=True):
            yield from _each(quantity, {f"{point['size']} {pair}": value for pair, value in enumerate(values)})
    yield from _grown(".area", "", area)
    yield from _one(
        share_area__distance=area["distance"]["value"], probability_random__pairs=area["p_pairs"],
        probability_random__sets=area["p_random"], share_area__from=area["low"], share_area__to=area["high"],
    )  # fmt: skip
    yield from _interval("share:area.distance", "", area["distance"])
    if least := document.get("minimality"):
        yield from _one(n_minimality__size=least["size"], share_minimality__needed=least["needed"])
        for part in least["parts"]:
            yield "share:minimality", part["part"], part["value"]
            yield from _interval("share:minimality", part["part"], part)
        yield from _each("share:random.minimality", least["random"])


def _patch(document: Any, _: Path) -> Found:
    yield from _one(
        m_clean=document["metric_clean"], m_corrupt=document["metric_baseline"], n_pairs=document["n_cases"],
        n_cells=document["n"], n_run=document["run"], n_agree=document["agree"],
        probability_least=document["least_p"],
    )  # fmt: skip
    yield from _each("n:aside", document["provenance"]["extra"]["skipped"])
    named = {cell["key"]: cell for cell in document["scores"]}
    yield from _each("share:cell", {key: cell["score"] for key, cell in named.items()})
    yield from _each("n:cell", {key: cell["n"] for key, cell in named.items()})
    for key in list(named)[: STRONGEST if document["n_cases"] > 1 else 0]:
        yield from _interval("share:cell", key, named[key])
        yield "probability:cell", key, named[key]["p"]


def _calibrate(document: Any, _: Path) -> Found:
    for kind, of in (("findings", "unit"), ("edges", "edge")):
        for told in document.get(kind, ()):
            key = f"{told['organism']} {told['method']}"
            for name in ("true", "found", "worst", "nodes"):
                yield f"n:{of}.{name}", key, told[name]
            yield f"r:{of}.pearson", key, told["pearson"]
    for kind, of in (("summary", "unit"), ("edges_summary", "edge")):
        for method, told in document.get(kind, {}).items():
            yield f"share:{of}.found", method, told["mean"]
            yield from _interval(f"share:{of}.found", method, told["interval"])
    for told in document.get("joint", ()):
        yield "m:joint.clean", told["organism"], told["m"]
        yield "m:joint.together", told["organism"], told["together"]
        yield from _each(
            "m:joint.alone",
            {f"{told['organism']} {node}": m for node, m in zip(told["nodes"], told["alone"], strict=True)},
        )
    for told in document.get("tasks", ()):
        key = f"{told['organism']} {told['task']} {told['method']}"
        yield "n:pairs", key, told["pairs"]
        for name, quantity in (
            ("spearman", "r:spearman"), ("receipt", "share:receipt"), ("control", "share:random.control"),
        ):  # fmt: skip
            yield quantity, key, told[name]
            yield from _interval(quantity, key, told[f"{name}_interval"])
        yield "share:random.ahead", key, told["ahead"]


def _survey(document: Any, folder: Path) -> Found:
    from patchclamp.core.survey import PROBABILITIES, StoredSurvey

    survey = StoredSurvey(folder)
    yield from _one(n_stimuli=document["stimuli"], n_tokens=document["tokens"], n_counted=survey.n_tokens)
    for path, site in survey.sites.items():
        yield "n:width", path, site.width
        told = survey.statistics(path)
        for unit in even(site.width, UNITS):
            key = f"{path}/{unit}"
            for name in ("mean", "minimum", "maximum"):
                yield f"activation:{name}", key, told[name][unit]
            yield "variance:variance", key, told["variance"][unit]
            yield "share:active", key, told["active"][unit]
            for p, value in zip(PROBABILITIES, told["quantiles"][unit], strict=True):
                yield "activation:quantile", f"{key} {p:g}", value
            for kind in ("top", "quantile", "random"):
                values = [one.value for one in survey.exemplars(path, unit, [kind])][:EXEMPLARS]
                yield from _each(f"activation:{kind}", {f"{key} {i}": value for i, value in enumerate(values)})


def _atlas(document: Any, _: Path) -> Found:
    corpus = document["corpus"]
    names = ("n_units", "n_described", "n_scored", "n_silent", "n_examples")
    yield from _one(**{name: document[name] for name in names}, n_layers=len(document["layers"]))
    yield from _each("n:corpus", {name: corpus[name] for name in ("stimuli", "tokens", "counted", "window")})
    for site in document["sites"]:
        for name in ("units", "described", "silent"):
            yield f"n:site.{name}", f"{site['site']}/{site['basis']}", site[name]


VERBS: Mapping[str, Callable[[Any, Path], Found]] = {
    "explain": _explain,
    "circuit find": _find,
    "evaluate": _evaluate,
    "patch": _patch,
    "calibrate": _calibrate,
    "survey": _survey,
    "atlas bake": _atlas,
    "atlas info": _atlas,
}
