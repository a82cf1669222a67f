"""Options of the verb ``circuit``."""

from typing import Any

from patchclamp.cli.options import BASIS, CHAT, Parser, verb
from patchclamp.core.method_index import list_names

METHODS = list_names("attribute", "unit", "edge", option="direction")
LEVELS = ("node", "edge", "neuron", "feature")


def add_circuit(verbs: Any) -> None:
    """Add ``circuit`` with what it can do."""
    made = verb(
        verbs,
        "circuit",
        "Which parts of a model carry answers over many pairs of prompts, and whether it is true.",
        "patchclamp circuit find organism:language-gpt2 --pairs task:ioi/train --out ioi",
        model=False,
    )
    whats = made.add_subparsers(dest="what", metavar="WHAT", parser_class=Parser, required=True)
    _find(whats)
    _evaluate(whats)


def pair_options(made: Parser) -> None:
    """Add what says which pairs: the same for everything that is asked of pairs."""
    made.add_argument(
        "--pairs",
        required=True,
        metavar="PAIRS",
        help="a CSV or JSONL file, task:NAME or task:NAME/train of a language organism, or planted",
    )
    made.add_argument("--layout", metavar="NAME", help="of the file: ioi, greater-than or agreement (default: found)")
    made.add_argument(
        "--n",
        type=int,
        metavar="N",
        help="take N pairs, set aside ones among them (default: all of a file, 64 of a task)",
    )
    made.add_argument("--chat", action="store_true", help=CHAT)


def _find(whats: Any) -> None:
    made = verb(
        whats,
        "find",
        "Score every node, edge, neuron or feature over pairs, keep them in their order, and measure the first.",
        "patchclamp circuit find organism:copy-gpt2 --pairs planted --method activation_patching --out copy",
    )
    pair_options(made)
    made.add_argument(
        "--method",
        choices=METHODS,
        help="how parts are scored (default: activation_patching up to 2,000 parts; of more nodes relp, of more "
        "neurons attribution_patching, of more edges eap_ig)",
    )
    made.add_argument("--level", choices=LEVELS, default="node", help="what the parts are (default: node)")
    made.add_argument("--rules", metavar="RULES", help="relp: others than ln,identity,half")
    made.add_argument("--steps", type=int, default=10, metavar="N", help="points of a path of gradients (default: 10)")
    made.add_argument("--denoise", action="store_true", help="clean values into the corrupted run, not the reverse")
    made.add_argument(
        "--by-position", action="store_true", help="score every position by itself; pairs of one length only"
    )
    made.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)
    made.add_argument(
        "--top", type=int, metavar="K",
        help="parts that are measured together (default: 10, or so many fewer that random sets can have as many)",
    )  # fmt: skip
    made.add_argument("--controls", type=int, default=99, metavar="N", help="random sets (default: 99, least: 20)")
    made.add_argument("--batch-size", type=int, default=16, metavar="B", help="pairs per forward pass (default: 16)")
    made.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    made.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    made.add_argument("--atlas", metavar="ATLAS", help="add the circuit to an atlas of the same model, as a layer")


def _evaluate(whats: Any) -> None:
    made = verb(
        whats,
        "evaluate",
        "How much of the answers a circuit carries on other pairs, and what is left without it, beside random ones.",
        "patchclamp circuit evaluate organism:language-gpt2 ioi --pairs task:ioi",
    )
    made.add_argument("folder", metavar="DIR", help="what circuit find wrote")
    pair_options(made)
    made.add_argument(
        "--sizes", metavar="SIZES", help="more sizes than 1 to 50%%, such as 12,7.5%% (parts, or a share)"
    )
    made.add_argument(
        "--baseline",
        choices=("corrupted", "mean"),
        default="corrupted",
        help="what stands outside the circuit: each pair's corrupted prompt (default), or the mean over --train",
    )
    made.add_argument("--train", metavar="PAIRS", help="--baseline mean: the pairs that the circuit was found on")
    made.add_argument("--random", type=int, default=20, metavar="N", help="random circuits (default and least: 20)")
    made.add_argument("--magnitude", action="store_true", help="take parts by magnitude, not from the highest down")
    made.add_argument("--seen", action="store_true", help="ask the pairs that it was found on too, and say so")
    made.add_argument(
        "--exact", metavar="DIR", help="a circuit of the same parts by --method activation_patching, to compare with"
    )
    made.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)
    made.add_argument("--out", metavar="FILE", help="write the curve as .svg or .html, or everything as .json")
