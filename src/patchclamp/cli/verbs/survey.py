"""Survey units without storing activations."""

from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import (
    ENGINE_OPTIONS,
    load_model,
    open_brain,
    print_cost,
    progress_unit,
    read_stimuli,
    refuse_brain_options,
    start_engine,
)
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_brain, add_model, add_shown, refuse_typed
from patchclamp.cli.output import emit, show_bundle
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import is_url, refuse_occupied
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Statistics and exemplars of every unit over a text or images, without storing activations."
QUESTION = "collect"
EXAMPLE = "patchclamp survey organism:cat --inputs story.txt --sites 'blocks.*.mlp.act' --out survey"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    # A recorded brain (a file in place of MODEL) needs neither text nor sites; ``run`` refuses a model without them.
    add_shown(parser, required=False)
    add_brain(parser)


def run(options: Namespace) -> int:
    """Survey a text or images without storing activations, or a recorded brain."""
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.model) and not Path(options.model).is_dir():
        return _survey_brain(options)
    refuse_brain_options(options, options.model)
    needed = {"--inputs": options.inputs, "--sites": options.sites}
    missing = " and ".join(name for name, value in needed.items() if value is None)
    if missing:
        raise PatchclampError(
            expected="--inputs and --sites for a model, or the file of a recorded brain in its place",
            got=f"{options.model!r} without {missing}",
            remedy=f"Add {missing}; `patchclamp info MODEL` lists sites, files of recordings end in .csv, .mat, .nwb, "
            ".npy or .npz.",
        )
    from patchclamp.record import survey_corpus
    from patchclamp.record.survey import disk_bytes, peak_bytes
    from patchclamp.subjects.recordable import select_recordable

    if not is_url(options.out):
        refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = select_recordable(model, options.sites)
    batches = read_stimuli(model, options)
    memory, disk = human_bytes(peak_bytes(model, chosen, batches)), human_bytes(disk_bytes(chosen))
    print_cost(model, batches, chosen, f"{memory} of memory, up to {disk} on disk while it runs")
    with start_engine(options, model) as engine, Meter("survey", progress_unit(options)) as meter:
        stored = survey_corpus(
            model, batches, [s.path for s in chosen], options.out, resume=options.resume, seed=options.seed,
            progress=meter, engine=engine,
        )  # fmt: skip
    words = getattr(model, "tokenizer", None)
    return show_bundle(stored.bundle, options, words and (lambda id: str(words.spelling(id)[0])))


def _survey_brain(options: Namespace) -> int:
    """Survey a recorded brain, and show its units."""
    from patchclamp.core.corpus import WINDOW
    from patchclamp.record import survey_recording
    from patchclamp.report.terminal.neural import describe_recording, describe_unit, show_survey

    refuse_typed(options, ENGINE_OPTIONS, "a recorded brain")
    brain = open_brain(options, options.model)
    stored = survey_recording(
        brain,
        options.out,
        window=WINDOW if options.window is None else options.window,
        seed=options.seed,
        resume=options.resume,
    )
    damaged = stored.bundle.find_damaged()
    if damaged:
        raise Damaged(
            expected=f"the pieces of {options.out} as they were committed",
            got=f"damaged or missing: {', '.join(damaged)}",
            remedy="Survey again into another folder.",
        )
    units = [describe_unit(brain, stored, unit) for unit in range(brain.n_units)]
    if options.json:
        facts = {"path": str(stored.bundle.path), "kind": "survey", "hash": stored.hash}
        emit({**facts, **describe_recording(brain), "survey": units})
    else:
        show_survey(brain, stored, units)
    return 0
