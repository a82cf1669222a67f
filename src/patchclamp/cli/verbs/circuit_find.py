"""Find the parts that carry answers over many pairs, write them to a folder, and measure the first of them."""

import json
import shlex
import shutil
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import add_bases, load_model, load_pairs
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_basis, add_controls, add_model, add_pairs
from patchclamp.cli.output import Outputs, emit, log, refuse_if_unwritable
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import (
    hold_folder,
    put_in_place,
    refuse_interrupted,
    refuse_occupied,
    refuse_unwritable,
    refuse_write,
)
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import find_default, list_names
from patchclamp.report.terminal.numbers import human_bytes

SUMMARY = "Score every node, edge, neuron or feature over pairs, keep them in their order, and measure the first."
QUESTION = "why"
EXAMPLE = "patchclamp circuit find organism:copy-gpt2 --pairs planted --method activation_patching --out copy"

METHODS = list_names("attribute", "unit", "edge", option="direction")

LEVELS = ("node", "edge", "neuron", "feature")

OF_UNITS, OF_EDGES = (list_names("attribute", key, option="direction") for key in ("unit", "edge"))

IN_ATLAS = 1000
"""Parts that an atlas takes, at most."""

WITH_RULES = list_names("attribute", option="rules")

TOP = 10
"""Parts that are measured together by default, at most."""

LEAST_SETS, MOST_SETS, MOST_STEPS = 20, 10_000, 1000

NEAR = 0.01
"""Scores below one hundredth of the largest count as near zero."""

STATE, WHOLE = "state", "circuit"

DECIDES = ("level", "steps", "denoise", "by_position", "batch_size", "top", "controls", "seed")
"""Options that decide the bytes of a circuit's folder."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_pairs(parser)
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="how parts are scored (default: activation_patching up to 2,000 parts; of more nodes relp, of more "
        "neurons attribution_patching, of more edges eap_ig)",
    )
    parser.add_argument("--level", choices=LEVELS, default="node", help="what the parts are (default: node)")
    parser.add_argument("--rules", metavar="RULES", help="relp: others than ln,identity,half")
    parser.add_argument(
        "--steps", type=int, default=10, metavar="N", help="points of a path of gradients (default: 10)"
    )
    parser.add_argument("--denoise", action="store_true", help="clean values into the corrupted run, not the reverse")
    parser.add_argument(
        "--by-position", action="store_true", help="score every position by itself; pairs of one length only"
    )
    add_basis(parser)
    parser.add_argument(
        "--top", type=int, metavar="K",
        help="parts that are measured together (default: 10, or so many fewer that random sets can have as many)",
    )  # fmt: skip
    add_controls(parser, "random sets", least=20)
    parser.add_argument("--batch-size", type=int, default=16, metavar="B", help="pairs per forward pass (default: 16)")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--atlas", metavar="ATLAS", help="add the circuit to an atlas of the same model, as a layer")


def run(options: Namespace) -> int:
    """Score parts over pairs, measure the first, write the folder, and show it."""
    from patchclamp.core.circuit import PAGE, to_document
    from patchclamp.recipes import ablate_group
    from patchclamp.report import draw
    from patchclamp.report.terminal.circuit import show_circuit

    _check(options, options.method or (find_default("circuit", "attribute", key="rules") if options.rules else None))
    model = load_model(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    add_bases(model, options)
    cases = load_pairs(model, options)
    if options.pairs.startswith("task:") and not options.pairs.endswith("/train"):
        log(f"note: {options.pairs} is the held-out side; find on {options.pairs}/train to evaluate on it")
    refuse_unwritable(options.out)
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    # The words that make the same folder again, however often it was gone on with.
    command = shlex.join(["patchclamp", *(word for word in options.words if word != "--resume")])
    out, outputs = Path(options.out), Outputs()
    method = _method(model, cases, options)
    plan = plan_of(model, cases, method, _rules(options), options)
    found = found_before(out, plan)
    if found is None:
        with searching(out, plan, resume=options.resume) as kept:
            score = _edges if options.level == "edge" else _units
            found = score(model, cases, method, options, kept.once)
            found = with_extra(found, seed=options.seed, plan={**plan, "plan": kept.manifest["plan"]})
            places, n_sets = _measured_parts(found, options)
            with Meter("receipt", "sets") as meter:
                receipt = ablate_group(model, found, cases, places, n_sets=n_sets, seed=options.seed, progress=meter)
        found = with_extra(found, receipt=_receipt_data(found, receipt))
        page: bytes | None = None
        with outputs.attempt("the page"):
            page = draw(found, command=command).encode()
        keep_circuit(out, found, page)
    clear(out)
    document = to_document(found)
    log(f"circuit written to {out}" + (f", as a page to {out / PAGE}" if (out / PAGE).exists() else ""))
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            named = options.by_position and hasattr(model, "tokenizer")
            tokens = [model.tokenizer.token(int(i)) for i in cases.clean[0].ids] if named else []
            layer = _add_layer(found, tokens, options, command, began, time.monotonic() - clock)
            log(f"circuit added to {options.atlas} as {layer}")
    if options.json:
        emit(document)
    else:
        show_circuit(found, document)
    return outputs.code


def _measured_parts(found: Any, options: Namespace) -> tuple[list[int], int]:
    """Return which parts are measured together, and how many random sets beside them.

    Without --top so many, ten at most, that there are random sets of as many parts. Fewer than --top are measured where
    otherwise no other part of any of their kinds would be left to draw.
    """
    from patchclamp.recipes.group_ablation import count_matched, count_same_size

    places = _first(found, options.top or TOP)
    if options.top is None and (n := count_same_size(found.parts, places, options.controls)):
        if n < len(places):
            log(
                f"note: {n} part{'s are' if n > 1 else ' is'} measured together, not {len(places)}: with more there "
                f"would not be {options.controls} random sets of as many parts, or fewer still; --top takes another "
                "number"
            )
        return places[:n], options.controls
    n = count_matched(found.parts, places)
    if n == 0:
        log("note: the first part is all there is of its kind: no random sets are drawn")
        return places, 0
    if n < len(places):
        log(
            f"note: --top {options.top or TOP} leaves no other part of these kinds among {len(found):,} to draw "
            f"random sets from; {n} measured"
        )
    return places[:n], options.controls


def _first(found: Any, most: int) -> list[int]:
    """Return the parts that are measured together: the highest scores, those near zero and the embedding left out.

    To replace the embedding is to show the corrupted prompt: it takes all of m(x) − m(x′) in every model.
    """
    import numpy as np

    order = [int(i) for i in found.order() if found.of_edges or not str(found.parts[i]).startswith("embed/")]
    least = NEAR * float(np.abs(found.values).max())
    return [i for i in order if found.values[i] > least][:most] or order[:1]


def _check(options: Namespace, method: str | None) -> None:
    """Refuse, before anything is loaded, what does not go together.

    Raises:
        PatchclampError: a method of another level, options that it does not take, a folder that holds something.
    """
    from patchclamp.subjects.relevance_rules import check_rules

    fitting = OF_EDGES if options.level == "edge" else OF_UNITS
    if method is not None and method not in fitting:
        raise PatchclampError(
            expected=f"a method for {options.level}s: {', '.join(fitting)}",
            got=method,
            remedy="Choose one of these, or another --level.",
        )
    wrong = [
        (
            options.rules is not None and method not in WITH_RULES,
            f"--rules with {method}",
            f"They are of {WITH_RULES[0]}.",
        ),
        (options.by_position and options.level == "edge", "--by-position with edges", "Edges are of all positions."),
        (options.basis and options.level != "feature", f"--basis with {options.level}s", "Add --level feature."),
        (options.level == "feature" and not options.basis, "features without --basis", "Add --basis DIR."),
        (options.top is not None and options.top < 1, f"--top {options.top}", "Measure at least 1 part."),
        (options.controls > MOST_SETS, f"--controls {options.controls}", f"Take at most {MOST_SETS:,}."),
        (options.steps > MOST_STEPS, f"--steps {options.steps}", f"Take at most {MOST_STEPS:,}."),
        (options.controls < LEAST_SETS, f"--controls {options.controls}", f"Take at least {LEAST_SETS}."),
        (options.batch_size < 1, f"--batch-size {options.batch_size}", "Take at least 1."),
        (options.steps < 1, f"--steps {options.steps}", "Take at least 1."),
    ]
    for is_wrong, got, remedy in wrong:
        if is_wrong:
            raise PatchclampError(expected="options that go together", got=got, remedy=remedy)
    check_rules(_rules(options) or ())
    check_folder(options)


def _rules(options: Namespace) -> tuple[str, ...] | None:
    return None if options.rules is None else tuple(filter(None, (r.strip() for r in options.rules.split(","))))


def _method(model: Any, cases: Any, options: Namespace) -> str:
    """Return how parts are scored: as the options say, else as their number allows."""
    from patchclamp.attribute.pairs import cost_of, default_method
    from patchclamp.subjects.residual_edges import edge_map

    if options.method is not None:
        return str(options.method)
    if options.level == "edge":
        return default_method("edge", len(edge_map(model)), rules=_rules(options))
    how: dict[str, Any] = {"rules": _rules(options), "by_position": options.by_position}
    return cost_of(model, cases, level=options.level, **how).method


def _units(model: Any, cases: Any, method: str, options: Namespace, keep: Any) -> Any:
    from patchclamp.attribute.pairs import attribute_pairs, cost_of
    from patchclamp.attribute.rules import Replacement, find_rule

    asked: dict[str, Any] = {
        "level": options.level, "method": method, "rules": _rules(options), "steps": options.steps,
        "by_position": options.by_position, "batch_size": options.batch_size,
    }  # fmt: skip
    cost = cost_of(model, cases, **asked)
    backward = f" and {cost.backward:,} of backward ones" if cost.backward else ""
    log(
        f"{cost.parts:,} parts, by {cost.method}: {cost.forward:,} rows of forward passes{backward}, "
        f"{human_bytes(cost.bytes)} of memory"
    )
    replaces = isinstance(find_rule(method)[1], Replacement)
    with Meter("find", "pairs" if replaces else "batches") as meter:
        return attribute_pairs(model, cases, denoise=options.denoise, progress=meter, keep=keep, **asked)


def _edges(model: Any, cases: Any, method: str, options: Namespace, keep: Any) -> Any:
    from patchclamp.attribute.edges import edge_memory
    from patchclamp.attribute.engine import score_edges
    from patchclamp.attribute.rules import PathIntegral, Replacement, find_rule
    from patchclamp.subjects.residual_edges import edge_map

    n, n_pairs = len(edge_map(model)), len(cases)
    _, rule = find_rule(method, rules=_rules(options), steps=options.steps)
    passes = f"{n_pairs:,} rows of backward passes"
    if isinstance(rule, Replacement):
        passes = f"{n * n_pairs:,} rows of forward passes that begin at the reader's block"
    elif isinstance(rule, PathIntegral):
        passes = f"{n_pairs * rule.steps:,} rows of backward passes"
    log(f"{n:,} edges, by {method}: {passes}, {human_bytes(edge_memory(model, cases))} of memory")
    with Meter("find", "edges" if isinstance(rule, Replacement) else "passes") as meter:
        return score_edges(
            model, cases, method=method, rules=_rules(options), steps=options.steps,
            direction="denoise" if options.denoise else "noise", progress=meter, keep=keep,
        )  # fmt: skip


def _receipt_data(found: Any, receipt: Any) -> dict[str, Any]:
    """Return a receipt as JSON-ready data."""
    import numpy as np

    from patchclamp.core.circuit import is_measured

    predicted = found.values[list(receipt.places)]
    own = None if is_measured(found) else agreement(predicted, np.array(receipt.alone))
    r, controls = receipt.receipt, receipt.receipt.controls
    return {
        "verdict": r.verdict, "reasons": list(r.reasons), "summary": r.summary,
        "agreement": own, "random_predicted": _number(receipt.random_predicted),
        "parts": list(r.keys), "alone": list(receipt.alone), "predicted": r.predicted,
        "measured": receipt.measured, "measured_share": _number(receipt.share(receipt.measured)),
        "interval": _ends(r.measured.interval), "randoms": list(controls.measured),
        "random_mean": _number(controls.mean), "random_share": _number(receipt.share(controls.mean)),
        "random_interval": _ends(controls.interval), "rule": controls.rule, "step": controls.step,
        "outside": controls.outside, "idle": controls.idle, "size": controls.size, "distinct": controls.n_different,
        "asked": controls.asked, "p": _number(r.p), "seed": controls.seed, "rivals": dict(r.rivals),
    }  # fmt: skip


def agreement(predicted: Any, measured: Any) -> dict[str, float | None]:
    """Return how predicted effects of single parts agree with measured ones; None where there are too few to say.

    Returns:
        ``spearman`` of both, and ``ratio``, the median over parts of measured effect divided by predicted effect.
    """
    import numpy as np

    from patchclamp.core.stats import spearman

    order = spearman(predicted, measured) if len(predicted) > 2 else float("nan")
    return {"spearman": _number(order), "ratio": _number(float(np.median(measured / predicted)))}


def _ends(interval: Any) -> list[float | None]:
    """Return both ends of an interval; None where one pair gives none."""
    return [None, None] if interval is None else [_number(end) for end in (interval.low, interval.high)]


def _number(x: float) -> float | None:
    import numpy as np

    return x if np.isfinite(x) else None


def _add_layer(
    found: Any,
    tokens: list[str],
    options: Namespace,
    command: str,
    began: str,
    duration_s: float,
) -> str:
    """Add a circuit to an atlas and return the layer's id."""
    from patchclamp.atlas.store.layers import write_graph
    from patchclamp.atlas.store.provenance import Run, host, versions
    from patchclamp.core.circuit import draw_graph

    receipt = found.provenance.extra["receipt"]
    low, high = receipt["random_interval"]
    told = {
        "predicted": receipt["predicted"], "measured": receipt["measured"], "control_mean": receipt["random_mean"],
        "control_low": low, "control_high": high, "p": receipt["p"],
    }  # fmt: skip
    measures = {name: value for name, value in told.items() if value is not None}
    graph = draw_graph(found, IN_ATLAS, tokens=tokens, measures=measures)
    slug = found.provenance.subject
    alone = {f"{slug}/{name}": value for name, value in zip(receipt["parts"], receipt["alone"], strict=True)}
    nodes = tuple(
        replace(node, measures={"measured": alone[node.key]}) if node.key in alone else node for node in graph.nodes
    )
    graph = replace(graph, nodes=nodes)
    made = f"a circuit of {found.level}s over {graph.about['n_pairs']} pairs of {options.pairs}"
    run = Run(
        verb="circuit find", command=command, made=made[:200],
        began=began, duration_s=round(duration_s, 3), host=host(), versions=versions("torch", "transformers"),
        seeds={"seed": options.seed}, hashes={"model": found.provenance.subject_hash},
        options={
            name: str(value)
            for name in ("model", "pairs", "n", "method", "level", "basis", "top")
            if (value := getattr(options, name)) not in (None, [])
        },
        log=(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges, measured {receipt['measured']:+.4f}",),
        rebuild=command + "\n",
    )  # fmt: skip
    return write_graph(options.atlas, graph, run=run)


def staging(out: Path) -> Path:
    """Return where a circuit is found until it is whole."""
    return out.with_name(out.name + ".finding")


def check_folder(options: Namespace) -> None:
    """Refuse, before anything is loaded, a folder that holds something, or that a search was begun for.

    Raises:
        PatchclampError: it does, or was; it says whether ``--resume`` goes on.
    """
    out = Path(options.out)
    if out.name in ("", ".."):
        raise PatchclampError(expected="the name of a folder", got=options.out, remedy="Choose another --out.")
    refuse_occupied(out, begun=("manifest.json",), resume=options.resume)
    refuse_interrupted(staging(out), "a search", resume=options.resume)


def plan_of(model: Any, cases: Any, method: str, rules: Any, options: Namespace) -> dict[str, Any]:
    """Return everything that decides a circuit's folder, as JSON-ready data."""
    from patchclamp.core.provenance import read_versions

    torch_threads = _threads()
    bases = {key: basis.hash for key, basis in model.bases.items() if basis.kind == "directions"}
    return {
        "subject": {
            "slug": model.name, "hash": model.hash, "tokenizer": getattr(model, "tokenizer_hash", ""),
            "dtype": str(model.dtype).removeprefix("torch."), "device": model.device.type,
        },
        "plan": {
            "method": method, "rules": None if rules is None else list(rules),
            **{name: getattr(options, name) for name in DECIDES},
            "pairs": cases.ids, "metric": cases.metrics[0].kind, "bases": bases,
            "threads": torch_threads,
        },
        "versions": read_versions(),
    }  # fmt: skip


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def found_before(out: Path, plan: Mapping[str, Any]) -> Any | None:
    """Return the circuit of an earlier run that ended, where it is the one that is looked for; None where none is.

    Raises:
        PatchclampError: another circuit is there.
        Damaged: it is not what was written.
    """
    from patchclamp.core.circuit import load_circuit

    if not (out / "manifest.json").exists():
        return None
    found = load_circuit(out)
    same, kept = (json.loads(json.dumps(told)) for told in (plan, found.provenance.extra.get("plan", {})))
    for one in (same, kept):
        one.get("plan", {}).pop("threads", None)
    if same != kept:
        raise PatchclampError(
            expected=f"the model, pairs and options that {out} was found with",
            got="others",
            remedy="Resume with the same options, or choose a new --out.",
        )
    return found


@contextmanager
def searching(out: Path, plan: dict[str, Any], *, resume: bool) -> Iterator[Any]:
    """Hold the folder in which scores are kept while a circuit is found; it goes away where nothing was committed.

    Raises:
        PatchclampError: another search runs there, or one with other options was begun.
    """
    from patchclamp.core.resume import open_or_resume
    from patchclamp.record.run import pin_threads

    aside, what = staging(out), "model, pairs and plan"
    try:
        with (
            open_or_resume(aside / STATE, kind="finding", manifest=plan, resume=resume, what=what) as bundle,
            pin_threads(bundle),
        ):
            yield bundle
    except BaseException:
        if not list(aside.glob(f"{STATE}/*.safetensors")):
            shutil.rmtree(aside, ignore_errors=True)
        raise


def keep_circuit(out: Path, found: Any, page: bytes | None) -> None:
    """Write a circuit's folder beside its place and rename it: it is there whole, or not at all.

    Raises:
        PatchclampError: a full disk, no permission, or something that came to stand in its place.
    """
    from patchclamp.core.circuit import PAGE

    aside = staging(out)
    with hold_folder(aside):
        whole = aside / WHOLE
        shutil.rmtree(whole, ignore_errors=True)
        found.save(whole, files={} if page is None else {PAGE: page})
        try:
            put_in_place(whole, out)
        except OSError as problem:
            raise refuse_write(out, problem) from problem


def clear(out: Path) -> None:
    """Remove what a search left beside a circuit that is whole."""
    with suppress(OSError):
        shutil.rmtree(staging(out))


def with_extra(found: Any, *, seed: int | None = None, **extra: Any) -> Any:
    """Return a circuit that says more of what it was found with."""
    made = found.provenance
    own = replace(made, seed=made.seed if seed is None else seed, extra={**made.extra, **extra})
    return replace(found, provenance=own)
