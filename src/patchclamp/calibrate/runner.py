"""Run every card on every organism that it names, and keep what came out."""

import importlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.calibrate.figures import Figure
from patchclamp.calibrate.hashes import hash_method, hash_organisms
from patchclamp.calibrate.trials import Trial, list_places, make_trial
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.exemplars import Exemplars
from patchclamp.core.json_text import parse
from patchclamp.core.method import Method
from patchclamp.core.scores import Scores
from patchclamp.core.tier import read_calibration

VERSION = 1
Report = Callable[[str], None]
PUBLISHED = ("figure", "data", "published", "found", "tolerance", "script")


def run_row(method: Method, place: str, claim: str, *, seed: int = 0) -> dict[str, Any]:
    """Return what a method shows at one place, as it is stored.

    Args:
        method: which.
        place: ``ORGANISM`` or ``ORGANISM:TASK``.
        claim: ``show`` what is planted, or ``miss`` it.
        seed: of everything random.

    Returns:
        dict: the figures, whether the claim held, and the seconds that it took.

    Raises:
        PatchclampError: a place at which the method cannot be tried.
    """
    # The time of this process alone: what else the machine does must not change what is stored.
    begun = time.process_time()
    trial = make_trial(method, place, seed=seed)
    figures = measure(trial, trial.run())
    failed = any(figure.failure for figure in figures)
    return {
        "place": place,
        "claim": claim,
        "held": failed if claim == "miss" else not failed,
        "seed": seed,
        "seconds": round(time.process_time() - begun, 1),
        "figures": [figure.to_json() for figure in figures],
    }


def measure(trial: Trial, noun: Any) -> list[Figure]:
    """Return the figures of a noun: those of the file in ``measures`` that has its name.

    Raises:
        PatchclampError: a noun of which nothing is measured yet.
    """
    name = trial.method.gives.lower()
    if not (Path(__file__).parent / "measures" / f"{name}.py").is_file():
        raise PatchclampError(
            expected="a noun of which something is measured",
            got=trial.method.gives,
            remedy=f"Add calibrate/measures/{name}.py with measure(trial, noun).",
        )
    figures: list[Figure] = importlib.import_module(f"patchclamp.calibrate.measures.{name}").measure(trial, noun)
    return figures


def distance_from_oracle(oracle: Callable[..., Any], trial: Trial, noun: Any) -> float:
    """Return how far a noun is from that of a slow oracle, relative to the oracle's largest value.

    Args:
        oracle: takes the same inputs and options, and gives what ``comparable`` gives; of Scores a mapping from key to
            score.
        trial: what both are run on.
        noun: what the method gave.

    Returns:
        float: 0 where both agree; infinite for scores of other keys.
    """
    given = oracle(**trial.inputs, options=trial.method.make_options(trial.options))
    if isinstance(noun, Scores):
        if len(given) != len(noun):
            return float("inf")
        expected, actual = np.array(list(given.values())), np.array([noun.score(key) for key in given])
    else:
        expected, actual = np.ravel(given), np.ravel(comparable(noun))
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-30))
    return float(np.nanmax(np.abs(actual - expected))) / scale


def comparable(noun: Any) -> np.ndarray:
    """Return the numbers of a noun that an oracle gives too.

    Of a Similarity or an Estimate its value, of a Readout the held-out predictions, of a Basis the directions, of
    Descriptions their scores where they have such, else the weights of their terms, of Exemplars units, positions and
    values, of a Training the accuracies, of an Edit its deltas end to end.

    Raises:
        PatchclampError: a noun without numbers.
    """
    if isinstance(noun, Scores):
        return noun.values
    if isinstance(noun, Descriptions):
        scored = [column.value for column in noun.scores.values()]
        return np.concatenate(scored) if scored else noun.weights.ravel()
    if isinstance(noun, Exemplars):
        return np.concatenate([noun.unit, noun.position, noun.value])
    if getattr(noun, "deltas", None) is not None:
        return np.concatenate([delta.ravel() for delta in noun.deltas.values()])
    for name in ("decoder", "predicted", "estimate", "value", "accuracy"):
        attribute = getattr(noun, name, None)
        if attribute is not None:
            return np.ravel(getattr(attribute, "value", attribute))
    raise PatchclampError(
        expected="a noun with numbers that an oracle gives too",
        got=type(noun).__name__,
        remedy="See calibrate/runner.py, comparable.",
    )


def calibrate_method(
    method: Method, tests: Path, *, seed: int = 0, report: Report = lambda _line: None
) -> dict[str, Any]:
    """Return all that is stored of one method.

    Args:
        method: of the package.
        tests: folder in which ``oracles`` lies, on the path of imports.
        seed: of everything random.
        report: called with a line per place.

    Returns:
        dict[str, Any]: hashes, tier and rows, JSON-ready.

    Raises:
        PatchclampError: a card that names what there is not.
    """
    places = list_places(method)
    published = [_read_published(tests.parent / file) for file in method.reproduced]
    hashes, organisms = hash_method(method, tests), hash_organisms(method)
    module, _, function = method.oracle.partition(":")
    oracle = getattr(importlib.import_module(module), function)
    trial = make_trial(method, places[0][0], seed=seed)
    trial = replace(trial, options={**trial.options, **method.quick})
    apart = distance_from_oracle(oracle, trial, trial.run())
    rows = []
    for place, claim in places:
        row = run_row(method, place, claim, seed=seed)
        rows.append(row)
        words = "; ".join(figure["failure"] for figure in row["figures"] if figure["failure"]) or "all shown"
        report(f"  {place} must {claim}: {'holds' if row['held'] else 'DOES NOT HOLD'} ({words})")
    return {
        "hashes": hashes,
        "organisms": organisms,
        "options_at": _plain(method),
        "oracle": {"place": places[0][0], "apart": float(f"{apart:.1g}")},
        "rows": rows,
        "published": published,
    }


def calibrate_cards(
    methods: Iterable[Method], tests: Path, *, seed: int = 0, report: Report = lambda _line: None
) -> dict[str, Any]:
    """Run methods on every organism that their cards name.

    Args:
        methods: which.
        tests: folder in which ``oracles`` lies, on the path of imports.
        seed: of everything random.
        report: called with a line per method and place, with the time left as it can be estimated.

    Returns:
        dict: method → what is stored of it.

    Raises:
        PatchclampError: a card that names what there is not.

    Cost: ``expected_seconds``.
    """
    chosen: Sequence[Method] = list(methods)
    expected = [expected_seconds(method) for method in chosen]
    begun, rows = time.monotonic(), {}
    for i, method in enumerate(chosen):
        name, done = f"{method.room}/{method.name}", sum(expected[:i])
        # The machine may be slower than the one whose seconds are stored.
        pace = (time.monotonic() - begun) / done if done else 1.0
        report(f"{name}: {i + 1} of {len(chosen)}, about {pace * sum(expected[i:]):.0f} s left")
        rows[name] = calibrate_method(method, tests, seed=seed, report=report)
    return rows


def expected_seconds(method: Method) -> float:
    """Return how long a method took the last time; a second per place where nothing is stored."""
    stored = read_calibration().get(f"{method.room}/{method.name}")
    places = len(list_places(method))
    return float(places) if stored is None else 0.1 + sum(float(row["seconds"]) for row in stored["rows"])


def write_calibration(found: Mapping[str, Any]) -> str:
    """Return the text of ``calibration.json``, of what is stored of each method: a line per row."""
    parts = []
    for name, entry in sorted(found.items()):
        lines = [
            f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in entry.items() if key != "rows"
        ]
        rows = ",\n".join(f"   {json.dumps(row, allow_nan=False)}" for row in entry["rows"])
        parts.append(f"  {json.dumps(name)}: {{\n   " + ",\n   ".join(lines) + f',\n   "rows": [\n{rows}\n   ]\n  }}')
    return f'{{\n "version": {VERSION},\n "methods": {{\n' + ",\n".join(parts) + "\n }\n}\n"


def _plain(method: Method) -> dict[str, Any]:
    return {place: dict(options) for place, options in method.options_at.items()}


def _read_published(file: Path) -> dict[str, Any]:
    """Return a stored figure of a paper on real data: what was published, what was found, and how near it must be."""
    data = parse(file.read_text(encoding="utf-8")) if file.is_file() else None
    if not isinstance(data, dict) or any(part not in data for part in PUBLISHED):
        raise PatchclampError(
            expected=f"a stored figure with {', '.join(PUBLISHED)}",
            got=f"{file.name}, which {'lacks some of these' if data is not None else 'is not there'}",
            remedy="A script in benchmarks/ writes it; name it in the card's reproduced.",
        )
    return {part: data[part] for part in PUBLISHED}
