"""The words of the verbs that run methods: methods, attribute, compare, encode."""

from typing import Any

from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import MODEL, Parser, add_prepend_bos, seed


def add_methods(verbs: Any) -> None:
    """Add ``methods``, ``attribute``, ``compare`` and ``encode``."""
    listing = verbs.add_parser(
        "methods",
        help="List the methods, by the question that they answer; describe one with its options.",
        description="List the methods, by the question that they answer; describe one with its options.",
        epilog="Example: patchclamp methods compare/rsa",
    )
    listing.add_argument("name", nargs="?", metavar="ROOM/NAME", help="one method, described whole")
    listing.add_argument("--room", metavar="ROOM", help="only those of one room, such as attribute or compare")
    add_json(listing)

    one = add_method_verb(
        verbs, "attribute", "Score the units or edges of a model over a prompt or over pairs of prompts.",
        "patchclamp attribute organism:cat 'the old cat' --target ' sat' --contrast ' ran'",
    )  # fmt: skip
    one.add_argument("model", metavar="MODEL", help=MODEL)
    one.add_argument("prompt", nargs="?", metavar="PROMPT", help="a text or an image; or give --pairs")
    one.add_argument("--target", metavar="ANSWER", help="the answer, with its leading space; of an image a class")
    one.add_argument("--contrast", metavar="ANSWER", help="the answer that it is compared with")
    one.add_argument(
        "--counterpart", metavar="PROMPT", help="a prompt of as many tokens under which the answer is lost"
    )
    one.add_argument(
        "--pairs", metavar="FILE", help="a CSV or JSONL file of pairs, or task:NAME of a language organism"
    )
    add_loading(one)
    one.add_argument("--top", type=int, default=10, metavar="K", help="how many keys to list (default: 10)")
    one.add_argument("--atlas", metavar="DIR", help="add the units of one prompt to an atlas of this model")
    one.use("attribute", "attribute")
    add_common(one, report=True)

    two = add_method_verb(
        verbs, "compare", "Compare two recordings of the same stimuli: layers, models, brains.",
        "patchclamp compare first-recording second-recording",
    )  # fmt: skip
    two.add_argument("first", metavar="DIR", help="a recording")
    two.add_argument("second", metavar="DIR", help="another, of the same stimuli in the same order")
    two.use("compare", "compare")
    add_common(two, out=False, report=True)

    three = add_method_verb(
        verbs, "encode", "Predict one recording from another, on stimuli that were not fitted on.",
        "patchclamp encode layer-recording brain-recording --split blocks:5:2 --out readout",
    )  # fmt: skip
    three.add_argument("features", metavar="DIR", help="a recording of what predicts")
    three.add_argument("targets", metavar="DIR", help="a recording of what is predicted, of the same stimuli")
    add_split(three)
    three.add_argument("--top", type=int, default=10, metavar="K", help="how many targets to list (default: 10)")
    three.use("decode", "encode")
    add_common(three, report=True)


def add_method_verb(verbs: Any, name: str, summary: str, example: str) -> MethodParser:
    """Add a verb whose options follow its method."""
    previous, verbs._parser_class = verbs._parser_class, MethodParser
    made: MethodParser = verbs.add_parser(name, help=summary, description=summary, epilog=f"Example: {example}")
    verbs._parser_class = previous
    return made


def add_split(verb: Parser) -> None:
    """Add --split."""
    verb.add_argument(
        "--split", default="blocks:5", metavar="RULE",
        help="blocks:FOLDS, or blocks:FOLDS:GAP with stimuli left out beside each block (default: blocks:5)",
    )  # fmt: skip


def add_common(verb: Parser, *, out: bool = True, report: bool = False) -> None:
    """Add --seed, --out, --report and --json."""
    verb.add_argument("--seed", type=seed, default=0, help="of everything random (default: 0)")
    if out:
        verb.add_argument("--out", metavar="DIR", help="a new or empty folder to keep the result in")
    if report:
        verb.add_argument("--report", metavar="FILE", help="write a page to look at, as one HTML file")
    add_json(verb)


def add_loading(verb: Parser) -> None:
    """Add what says how a model is loaded."""
    verb.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto (default: cpu)")
    verb.add_argument("--dtype", help="float32, bfloat16 or float16 (default: the checkpoint's own)")
    add_prepend_bos(verb)


def add_json(verb: Parser) -> None:
    """Add --json."""
    verb.add_argument("--json", action="store_true", help="print one JSON document on standard output")
