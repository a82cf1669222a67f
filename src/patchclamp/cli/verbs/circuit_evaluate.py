"""Evaluate a circuit: faithfulness, completeness and minimality on held-out pairs, beside random circuits."""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import add_bases, load_model, load_pairs, open_cases
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_basis, add_model, add_pairs
from patchclamp.cli.output import Outputs, emit, finite, is_kept, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError
from patchclamp.report.terminal.numbers import format_general, human_bytes

SUMMARY = "How much of the answers a circuit carries on other pairs, and what is left without it, beside random ones."
QUESTION = "is it true"
EXAMPLE = "patchclamp circuit evaluate organism:language-gpt2 ioi --pairs task:ioi"

ENDINGS = (".svg", ".html", ".json")

LEAST_RANDOM, MOST_RANDOM = 20, 10_000

ENOUGH, COARSE = 19, 0.1
"""Random circuits that can show p = 0.05; the smallest share of parts above which an area leaves most sizes out."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument("folder", metavar="DIR", help="what circuit find wrote")
    add_pairs(parser)
    parser.add_argument(
        "--sizes", metavar="SIZES", help="more sizes than 1 to 50%%, such as 12,7.5%% (parts, or a share)"
    )
    parser.add_argument(
        "--baseline",
        choices=("corrupted", "mean"),
        default="corrupted",
        help="what stands outside the circuit: each pair's corrupted prompt (default), or the mean over --train",
    )
    parser.add_argument("--train", metavar="PAIRS", help="--baseline mean: the pairs that the circuit was found on")
    parser.add_argument("--random", type=int, default=20, metavar="N", help="random circuits (default and least: 20)")
    parser.add_argument("--magnitude", action="store_true", help="take parts by magnitude, not from the highest down")
    parser.add_argument("--seen", action="store_true", help="ask the pairs that it was found on too, and say so")
    parser.add_argument(
        "--exact", metavar="DIR", help="a circuit of the same parts by --method activation_patching, to compare with"
    )
    add_basis(parser)
    parser.add_argument("--out", metavar="FILE", help="write the curve as .svg or .html, or everything as .json")


def run(options: Namespace) -> int:
    """Evaluate a circuit's folder on pairs, and show it."""
    from patchclamp.core.circuit import is_measured, load_circuit
    from patchclamp.evaluate import evaluate_circuit
    from patchclamp.evaluate.circuit_ablation import interchange
    from patchclamp.evaluate.circuit_curve import SHARES, sizes_of
    from patchclamp.evaluate.circuit_recovery import measure_recovery
    from patchclamp.evaluate.faithfulness import check_subject, choose_pairs, count_subsets
    from patchclamp.report.terminal.faithfulness import show_evaluation

    _check(options)
    circuit = load_circuit(options.folder)
    exact = None if options.exact is None else load_circuit(options.exact)
    if exact is not None and not is_measured(exact):
        raise PatchclampError(
            expected="--exact with a circuit that was found by --method activation_patching",
            got=f"{options.exact}, found by {exact.method}",
            remedy="patchclamp circuit find MODEL --method activation_patching --pairs PAIRS --out DIR",
        )
    recovery = None if exact is None else asdict(measure_recovery(circuit, exact, signed=not options.magnitude))
    shares, sizes = _sizes(options.sizes)
    grown = sizes_of(len(circuit), (*SHARES, *shares), sizes)
    model = load_model(options)
    add_bases(model, options)
    for one in (circuit, *([] if exact is None else [exact])):
        check_subject(model, one)
    kind = circuit.provenance.extra.get("metric")
    cases = load_pairs(model, options, kind=kind)
    means = None if options.train is None else open_cases(model, options.train, options, n=None, kind=kind)
    chosen = choose_pairs(circuit, cases, means=means, seen=options.seen)
    memory = interchange(model, circuit, chosen.cases, means=chosen.means).memory_bytes
    n_pairs, n_subsets = len(chosen.cases), count_subsets(len(grown), options.random)
    log(
        f"{n_pairs:,} pairs x {n_subsets:,} sets of parts, {n_pairs * n_subsets:,} prompts through the network"
        + (" (of edges several passes each)" if circuit.of_edges else "")
        + f"; about {human_bytes(memory)} of memory"
    )
    with Meter("evaluate", "sets") as meter:
        found = evaluate_circuit(
            model, circuit, cases, means=means, sizes=grown, n_random=options.random, signed=not options.magnitude,
            seen=options.seen, seed=options.seed, progress=meter,
        )  # fmt: skip
    document = _document(found, circuit)
    if recovery is not None:
        document["recovery"] = recovery
    outputs = Outputs()
    if options.out is not None:
        with outputs.attempt(options.out):
            _write(Path(options.out), document)
    emit(document) if options.json else show_evaluation(document)
    return outputs.code


def _check(options: Namespace) -> None:
    if (options.baseline == "mean") != (options.train is not None):
        raise PatchclampError(
            expected="--baseline mean together with --train PAIRS",
            got=f"--baseline {options.baseline}" + ("" if options.train is None else " and --train"),
            remedy="The mean is taken over the pairs that the circuit was found on: name them.",
        )
    if options.out is not None and not options.out.endswith(ENDINGS):
        raise PatchclampError(
            expected=f"--out with a name that ends in {', '.join(ENDINGS)}",
            got=options.out,
            remedy="svg and html are pictures of the curve, json is everything.",
        )
    if not LEAST_RANDOM <= options.random <= MOST_RANDOM:
        raise PatchclampError(
            expected=f"{LEAST_RANDOM} to {MOST_RANDOM:,} random circuits",
            got=str(options.random),
            remedy=f"{LEAST_RANDOM} are the usual number; fewer say nothing of their spread.",
        )
    if options.out is not None and Path(options.out).exists() and is_kept(Path(options.out).absolute().parent):
        raise PatchclampError(
            expected="--out with a new name in a folder that a model or patchclamp wrote",
            got=f"{options.out}, which is there",
            remedy="Choose another name or folder.",
        )
    folder = None if options.out is None else Path(options.out).absolute().parent
    if folder is not None and not folder.is_dir():
        raise PatchclampError(
            expected="--out in a folder that is there", got=str(folder), remedy="Make the folder first."
        )


def _sizes(text: str | None) -> tuple[list[float], list[int]]:
    """Read sizes: ``5%`` is a share of the parts, ``12`` a number of them."""
    shares, sizes = [], []
    for word in (part.strip() for part in text.split(",")) if text is not None else ():
        try:
            if word.endswith("%"):
                shares.append(float(word[:-1]) / 100)
            else:
                sizes.append(int(word))
        except ValueError:
            raise PatchclampError(
                expected="sizes such as 12 or 7.5%, joined by commas", got=repr(word), remedy="Give these."
            ) from None
    return shares, sizes


def _estimate(found: Any) -> dict[str, float]:
    return {"value": found.value, "low": found.interval.low, "high": found.interval.high}


def _document(found: Any, circuit: Any) -> dict[str, Any]:
    """Return an evaluation as data; every pair's m stays with it."""
    area = found.area
    names = ("kept", "rest", "random", "random_rest", "ahead")
    m = (float(found.m_model.mean()), float(found.m_empty.mean()))
    title = f"{found.circuit['method']} circuit of {found.circuit['parts']:,} {found.circuit['level']}s in " + str(
        found.circuit["subject"].get("slug", "")
    )
    held = "pairs, SOME OF WHICH IT WAS FOUND ON" if found.seen else "held-out pairs"
    told = (
        f"{len(found.cases)} {held}; outside the circuit stands {found.baseline}; "
        f"m {format_general(m[0])}, with no part kept {format_general(m[1])}"
    )
    document: dict[str, Any] = {
        "title": title, "told": told, "circuit": found.circuit,
        "found_on": len(circuit.provenance.extra.get("cases", ())), "pairs": len(found.cases),
        "left_out": dict(found.left_out), "seen": found.seen, "baseline": found.baseline, "signed": found.signed,
        "m": {"model": m[0], "empty": m[1]},
        "points": [
            {
                "size": p.size, "share": p.share, "n_random": p.n_random,
                **{name: _estimate(getattr(p, name)) for name in names},
            }
            for p in found.points
        ],
        "area": {
            "low": area.low, "high": area.high, "distance": _estimate(area.distance),
            **{name: _estimate(getattr(area, name)) for name in names},
            "p_pairs": area.p_pairs, "p_random": area.p_random,
        },
        "about": dict(found.about), "notes": _notes(found),
        "each": {
            "pairs": list(found.cases), "m_model": found.m_model.tolist(), "m_empty": found.m_empty.tolist(),
            "m_kept": found.m_kept.tolist(), "m_rest": found.m_rest.tolist(),
            "m_random_mean": found.m_random.mean(0).tolist(),
        },
    }  # fmt: skip
    if found.minimality is not None:
        document["minimality"] = {
            "size": found.minimality.size, "needed": found.minimality.needed,
            "parts": [
                {"part": _name(part), **_estimate(change)}
                for part, change in zip(found.minimality.parts, found.minimality.changes, strict=True)
            ],
            "random": list(found.minimality.random),
        }  # fmt: skip
    return document


def _notes(found: Any) -> list[str]:
    """Return what so few parts cannot show: an area over most shares, and chance at small sizes."""
    from patchclamp.core.caution import caution

    n_parts, n_random, area, notes = found.circuit["parts"], found.about["random"], found.area, []
    if area.low > COARSE:
        notes.append(
            f"{n_parts:,} parts are too few for an area from 1 to 50 %: it is over {area.low:.0%} to {area.high:.0%}, "
            f"and says little. Read single sizes; --sizes adds larger ones, up to {n_parts:,}."
        )
    few = [point for point in found.points if point.n_random < min(n_random, ENOUGH)]
    if few:
        told = ", ".join(f"{point.n_random} of {point.size:,}" for point in few)
        notes.append(f"Few random circuits differ at small sizes: {told} part{'s' * (few[-1].size != 1)}.")
    if n_random < ENOUGH:
        notes.append(f"No more than {n_random} random circuits differ: p by rank is {1 / (1 + n_random):.2g} at least.")
    if scarce := caution(len(found.cases), "pairs"):
        notes.append(scarce)
    return notes


def _name(part: Any) -> str:
    return part if isinstance(part, str) else " → ".join(part)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    from patchclamp.core.disk import write_file
    from patchclamp.report.html import page
    from patchclamp.report.size_curve import draw_sizes

    if path.suffix == ".json":
        text = json.dumps(finite(document), indent=1)
    else:
        text = draw_sizes(document)
        text = page(document["title"], [f"<section>{text}</section>"]) if path.suffix == ".html" else text
    write_file(path, text.encode())
