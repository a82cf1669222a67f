"""Read labels from a recording."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import load_recording, note_left_out, read_blocks
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import add_out, add_report, add_seed, add_split
from patchclamp.cli.output import finish, log, refuse_out
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = "Read the label of every stimulus from a recording, on stimuli that were not fitted on."
QUESTION = "brains"
EXAMPLE = "patchclamp decode brain-recording --labels labels.txt --split blocks:5:2 --out readout"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("recording", metavar="DIR", help="a recording of what is read")
    parser.add_argument(
        "--labels",
        required=True,
        metavar="FILE",
        help="a label a line, in the order of the recorded stimuli; or a Task of labelled cases as .json",
    )
    add_split(parser)
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many classes to list (default: 10)")
    parser.use("decode", "decode")
    add_seed(parser)
    add_out(parser)
    add_report(parser)


def run(options: Namespace) -> int:
    """Read labels from a recording."""
    from patchclamp.core.split import Split
    from patchclamp.decode import decode as run

    refuse_out(options)
    folds, gap = read_blocks(options.split)
    given = given_options(options)
    labels = _read_labels(options.labels)
    recording = load_recording(options.recording, given.get("site", ""))
    note_left_out(given, **{options.recording: recording})
    split = Split.blocks(len(recording.stimuli), folds=folds, gap=gap)
    if options.labels.endswith(".json"):
        log("note: labels are taken in their order; a recording keeps no text to compare the cases with")
    log(f"{len(recording.stimuli):,} stimuli of {len(labels.labels):,} classes, {split.rule}")
    with Meter("decode", "fits") as meter:
        found = run(recording, labels, split, method=options.method, seed=options.seed, progress=meter, **given)
    return finish(options, found)


def _read_labels(path: str) -> Any:
    """Return the task of a file of labels: a case for every line, known by its number."""
    from patchclamp.core.task import Case, Task

    if path.endswith(".json"):
        return Task.load(path)
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as problem:
        raise PatchclampError(
            expected="a UTF-8 file with a label a line",
            got=f"{path}: {problem}",
            remedy="Write one label for every stimulus, in the order of the recording.",
        ) from problem
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines) or not lines:
        raise PatchclampError(
            expected="a label on every line",
            got=f"none on line {lines.index('') + 1}" if lines else "an empty file",
            remedy="Write one label for every stimulus, in the order of the recording.",
        )
    return Task(tuple(Case((i,), label=label) for i, label in enumerate(lines)), name=Path(path).stem)
