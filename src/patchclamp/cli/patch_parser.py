"""Options of the verb ``patch``."""

from typing import Any

from patchclamp.cli.circuit_parser import pair_options
from patchclamp.cli.options import BASIS, verb


def add_patch(verbs: Any) -> None:
    """Add ``patch``."""
    made = verb(
        verbs,
        "patch",
        "Put a clean run's activations into the corrupted run, place by place, and see how much of the answer comes "
        "with them; or the other way round.",
        "patchclamp patch organism:language-gpt2 --pairs task:ioi --sites resid,attn,mlp --out ioi-patched",
    )
    pair_options(made)
    made.add_argument(
        "--sites",
        default="resid,attn,mlp",
        metavar="SITES",
        help="resid, attn, mlp, head, neuron, feature, or patterns of site paths (PATTERN/heads for each head), joined "
        "by commas (default: resid,attn,mlp)",
    )
    made.add_argument(
        "--positions",
        default="each",
        metavar="WHERE",
        help="each position by itself (default), all at once, or spans, each at once: --positions=-1,3:5",
    )
    ways = made.add_mutually_exclusive_group()
    ways.add_argument("--denoise", action="store_true", help="clean values into the corrupted run (default)")
    ways.add_argument("--noise", action="store_true", help="corrupted values into the clean run")
    made.add_argument(
        "--metric",
        choices=("logit_difference", "probability_difference"),
        help="m (default: logit_difference; probability_difference where a side has several answers)",
    )
    made.add_argument("--basis", action="append", default=[], metavar="DIR", help=BASIS)
    made.add_argument("--batch-size", type=int, default=64, metavar="B", help="cells per forward pass (default: 64)")
    made.add_argument("--top", type=int, default=10, metavar="K", help="how many cells to list (default: 10)")
    made.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    made.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")
