"""The words of the verbs that change what a model does: steer and edit."""

import argparse
from typing import Any

from patchclamp.cli.methods_parser import add_common, add_loading, add_method_verb
from patchclamp.cli.options import MODEL, Parser, number, verb


def add_control(verbs: Any) -> None:
    """Add ``steer`` and ``edit``."""
    _steer(verbs)
    _edit(verbs)


def _steer(verbs: Any) -> None:
    summary = "Find a direction that moves a model's text, and add it, beside random directions."
    made = verb(
        verbs, "steer", summary,
        "patchclamp steer fit organism:language-gpt2 --positive java.txt --negative cpp.txt --out java", model=False,
    )  # fmt: skip
    whats = made.add_subparsers(dest="what", metavar="WHAT", parser_class=Parser, required=True)
    fit = add_method_verb(
        whats, "fit", "Find a direction from texts of two kinds, and keep it in a folder.",
        "patchclamp steer fit organism:language-gpt2 --positive java.txt --negative cpp.txt --out java",
    )  # fmt: skip
    fit.add_argument("model", metavar="MODEL", help=MODEL)
    fit.add_argument("--positive", required=True, metavar="FILE", help="texts to move towards, one a line")
    fit.add_argument("--negative", required=True, metavar="FILE", help="texts to move away from, one a line")
    fit.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder to keep the direction in")
    add_loading(fit)
    fit.use("control", "steer", gives="Basis")
    add_common(fit, out=False)
    apply = verb(
        whats, "apply", "Continue a prompt without and with a direction, beside random directions.",
        "patchclamp steer apply organism:language-gpt2 'int x = 7;' --vector java",
    )  # fmt: skip
    apply.add_argument("prompt", metavar="PROMPT", help="the text to continue")
    apply.add_argument("--vector", required=True, metavar="DIR", help="what steer fit or decompose wrote")
    apply.add_argument("--unit", type=int, default=0, metavar="I", help="which direction of it (default: 0)")
    apply.add_argument(
        "--strength", type=_strength, metavar="S", default="auto",
        help="in the site's units of activation, below 0 the other way; or auto, by --nats (default: auto)",
    )  # fmt: skip
    apply.add_argument(
        "--nats", type=float, default=0.1, metavar="X",
        help="auto: how far next-token predictions are moved, mean KL divergence per token (default: 0.1)",
    )  # fmt: skip
    apply.add_argument(
        "--at", action="append", metavar="WHERE",
        help="positions 5, 5:9, -1 or generated steps +0:+3; repeat (default: everywhere)",
    )  # fmt: skip
    apply.add_argument("--max-new-tokens", type=int, default=24, metavar="N", help="most tokens to write (default: 24)")
    apply.add_argument("--n", type=int, default=20, metavar="N", help="continuations that are sampled (default: 20)")
    _add_controls(apply, "random directions")


def _edit(verbs: Any) -> None:
    made = add_method_verb(
        verbs, "edit", "Change a model's weights so that one fact is told otherwise, and measure what else changed.",
        "patchclamp edit organism:language-gpt2 --prompt 'Arbon lies in' --subject Arbon --target ' Norland' "
        "--position last",
    )  # fmt: skip
    made.add_argument("model", metavar="MODEL", help=MODEL)
    made.add_argument("--prompt", required=True, metavar="TEXT", help="ends where the answer follows")
    made.add_argument(
        "--subject", required=True, metavar="TEXT", help="whom the fact is about, as the prompt writes it"
    )
    made.add_argument("--target", required=True, metavar="ANSWER", help="the new answer, with its leading space")
    made.add_argument("--text", metavar="FILE", help="ordinary text (default: what the model itself writes)")
    made.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="of ordinary text (default: 2,048, or four for each neuron of a block)",
    )
    made.add_argument(
        "--paraphrases", metavar="FILE",
        help="other prompts for the same fact, one a line (default: the prompt after other text)",
    )  # fmt: skip
    made.add_argument(
        "--others", metavar="FILE",
        help="neighbours: prompts whose answer should stay, one a line (default: beginnings of the text)",
    )  # fmt: skip
    _add_controls(made, "random edits of the same size")
    made.add_argument("--save-model", metavar="DIR", help="write the edited model to a new or empty folder")
    add_loading(made)
    made.use("control", "edit", gives="Edit")
    add_common(made)


def _add_controls(made: Parser, what: str) -> None:
    made.add_argument("--controls", type=int, default=99, metavar="N", help=f"{what} (default: 99, least: 1)")


def _strength(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return number(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is neither auto nor a number") from problem
