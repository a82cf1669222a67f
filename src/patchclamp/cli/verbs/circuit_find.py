"""Find the parts that carry answers over many pairs, write them to a folder, and measure the first of them."""

import shlex
import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import add_bases, load_model, load_pairs, print_scoring_cost
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_basis, add_controls, add_model, add_pairs
from patchclamp.cli.output import Outputs, emit, log, refuse_if_unwritable
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import list_names

SUMMARY = "Score every node, edge, neuron or feature over pairs, keep them in their order, and measure the first."
QUESTION = "why"
EXAMPLE = "patchclamp circuit find organism:copy-gpt2 --pairs planted --method activation_patching --out copy"
FUNCTION = "find_circuit"

METHODS = list_names("attribute", "unit", "edge", option="direction")
LEVELS = ("node", "edge", "neuron", "feature")


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
    parser.add_argument(
        "--direction",
        choices=("noise", "denoise"),
        default="noise",
        help="noise: values of the counterpart into the clean run (default); denoise: the reverse",
    )
    parser.add_argument(
        "--by-position", action="store_true", help="score every position by itself; pairs of one length only"
    )
    add_basis(parser)
    parser.add_argument(
        "--top",
        type=int,
        metavar="K",
        help="parts that are measured together (default: 10, or so many fewer that random sets can have as many)",
    )
    add_controls(parser, "random sets", least=20)
    parser.add_argument("--batch-size", type=int, default=16, metavar="B", help="pairs per forward pass (default: 16)")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--full", action="store_true", help="print everything that was measured, with keys")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--atlas", metavar="ATLAS", help="add the circuit to an atlas of the same model, as a layer")


def run(options: Namespace) -> int:
    """Score parts over pairs, measure the first, write the folder, and show it."""
    from patchclamp.core.circuit import PAGE, to_document
    from patchclamp.recipes import find_circuit
    from patchclamp.recipes.circuit import receipt_rows
    from patchclamp.report import draw
    from patchclamp.report.terminal.circuit import show_circuit

    how = _options(options)
    model = load_model(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    add_bases(model, options)
    cases = load_pairs(model, options)
    if options.pairs.startswith("task:") and not options.pairs.endswith("/train"):
        log(f"note: {options.pairs} is the held-out side; find on {options.pairs}/train to evaluate on it")
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    # The words that make the same folder again, however often it was gone on with.
    command = shlex.join(["patchclamp", *(word for word in options.words if word != "--resume")])
    outputs = Outputs()
    parts = "edges" if options.level == "edge" else "parts"

    def page(scores: Any) -> str | None:
        drawn: str | None = None
        with outputs.attempt("the page"):
            drawn = draw(scores, command=command)
        return drawn

    def state(cost: Any) -> None:
        n_rows = receipt_rows(model, cases, options.level, options.top, options.controls)
        print_scoring_cost(cost, parts, f", at most {n_rows:,} rows more for the receipt")

    with Meter("circuit find", "steps") as meter:
        found = find_circuit(
            model,
            cases,
            **how,
            out=options.out,
            resume=options.resume,
            page=page,
            state=state,
            note=lambda line: log(f"note: {line}"),
            progress=meter,
        )
    document, out = to_document(found), Path(options.out)
    log(f"circuit written to {out}" + (f", as a page to {out / PAGE}" if (out / PAGE).exists() else ""))
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            layer = _add_layer(found, model, cases, options, command, began, time.monotonic() - clock)
            log(f"circuit added to {options.atlas} as {layer}")
    if options.json:
        emit(document)
    else:
        show_circuit(found, document, full=options.full)
    return outputs.code


def _options(options: Namespace) -> dict[str, Any]:
    """Return what the search takes, and refuse before anything is loaded what does not go together.

    Raises:
        PatchclampError: a method of another level, options that it does not take, a folder that holds something.
    """
    from patchclamp.recipes.circuit import check_search
    from patchclamp.recipes.circuit_folder import check_folder

    rules = None if options.rules is None else [rule.strip() for rule in options.rules.split(",") if rule.strip()]
    how = {
        "rules": rules,
        "n_controls": options.controls,
        **{name: getattr(options, name) for name in ("level", "method", "steps", "by_position", "batch_size", "top")},
    }
    check_search(**how)
    wrong = {
        "a basis": options.basis and options.level != "feature",
        "none": options.level == "feature" and not options.basis,
    }
    for got in (name for name, is_wrong in wrong.items() if is_wrong):
        raise PatchclampError(
            expected="options that go together: --basis with --level feature",
            got=f"{got} with --level {options.level}",
            remedy="Give both, or neither.",
        )
    check_folder(options.out, resume=options.resume)
    return {**how, "direction": options.direction, "seed": options.seed}


def _add_layer(
    found: Any, model: Any, cases: Any, options: Namespace, command: str, began: str, duration_s: float
) -> str:
    """Add a circuit to an atlas and return the layer's id."""
    from patchclamp.atlas.store.layers import write_graph
    from patchclamp.atlas.store.provenance import Run, host, versions
    from patchclamp.recipes.circuit import graph_with_receipt

    named = options.by_position and hasattr(model, "tokenizer")
    tokens = [model.tokenizer.token(int(i)) for i in cases.clean[0].ids] if named else []
    graph = graph_with_receipt(found, tokens=tokens)
    made = f"a circuit of {found.level}s over {graph.about['n_pairs']} pairs of {options.pairs}"
    measured = found.provenance.extra["receipt"]["measured"]
    run = Run(
        verb="circuit find",
        command=command,
        made=made[:200],
        began=began,
        duration_s=round(duration_s, 3),
        host=host(),
        versions=versions("torch", "transformers"),
        seeds={"seed": options.seed},
        hashes={"model": found.provenance.subject_hash},
        options={
            name: str(value)
            for name in ("model", "pairs", "n", "method", "level", "basis", "top")
            if (value := getattr(options, name)) not in (None, [])
        },
        log=(f"{len(graph.nodes)} nodes, {len(graph.edges)} edges, measured {measured:+.4f}",),
        rebuild=command + "\n",
    )
    return write_graph(options.atlas, graph, run=run)
