"""Find a direction from texts of two kinds."""

import shlex
from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import check_language, load_model, load_words, read_lines
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import MODEL, add_loading, add_seed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.plain_numbers import format_fixed

SUMMARY = "Find a direction from texts of two kinds, and keep it in a folder."
QUESTION = "change it"
EXAMPLE = "patchclamp steer fit organism:language-gpt2 --positive java.txt --negative cpp.txt --out java"
FUNCTION = "steer"

POSITIVE, NEGATIVE = "positive", "negative"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--positive", required=True, metavar="FILE", help="texts to move towards, one a line")
    parser.add_argument("--negative", required=True, metavar="FILE", help="texts to move away from, one a line")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder to keep the direction in")
    add_loading(parser)
    parser.use("control", "steer", gives="Basis")
    add_seed(parser)


def run(options: Namespace) -> int:
    """Fit a direction, keep it, and show where it lies."""
    from rich.markup import escape

    from patchclamp.control import steer as run
    from patchclamp.core.dictionary import Dictionary
    from patchclamp.core.task import Task
    from patchclamp.report.terminal.table import open_console

    refuse_occupied(Path(options.out))
    texts = {POSITIVE: read_lines(options.positive), NEGATIVE: read_lines(options.negative)}
    model = load_model(options)
    check_language(model)
    log(f"{len(texts[POSITIVE]):,} + {len(texts[NEGATIVE]):,} texts, {options.method}: a forward pass each")
    with Meter("steer fit", "texts") as meter:
        basis = run(
            model, Task.of_labels(texts), method=options.method, seed=options.seed, progress=meter,
            **given_options(options),
        )  # fmt: skip
    Dictionary.of(basis).save(options.out)
    if options.json:
        emit({"out": options.out, **basis.to_json()})
        return 0
    out, extra = open_console(), basis.provenance.extra
    directions = f"{basis.n_units} direction{'s' * (basis.n_units != 1)}"
    out.print(f"{directions} at [bold]{escape(str(basis.site))}[/], kept in {escape(options.out)}")
    if "distance" in extra:
        out.print(
            f"towards {escape(str(extra['wanted']))}: distance between the labels' means "
            f"{format_fixed(extra['distance'])}, over {sum(extra['tokens'].values()):,} tokens"
        )
    words = ["patchclamp", "steer", "apply", options.model, "PROMPT", "--vector", options.out, *load_words(options)]
    out.print(f"Does it move text? {shlex.join(words)}", markup=False, soft_wrap=True)
    return 0
