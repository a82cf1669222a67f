"""Record activations to disk."""

from argparse import Namespace
from pathlib import Path

from patchclamp.cli.loading import load_model, print_cost, progress_unit, read_stimuli, start_engine
from patchclamp.cli.method_options import MethodParser
from patchclamp.cli.options import add_model, add_shown
from patchclamp.cli.output import show_bundle
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import is_url, refuse_occupied
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Record what sites do over a text or images, to append-only shards on disk; resumable at every moment."
QUESTION = "collect"
EXAMPLE = "patchclamp record organism:cat --inputs story.txt --sites 'blocks.*.mlp.act' --out recording"


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_shown(parser)
    parser.add_argument(
        "--store", metavar="TYPE", help="float32, float16 or bfloat16 on disk (default: the model's own type)"
    )


def run(options: Namespace) -> int:
    """Record to disk."""
    from patchclamp.record import record_corpus
    from patchclamp.record.run import refuse_if_too_large
    from patchclamp.record.stream import disk_bytes, memory_bytes, storable
    from patchclamp.subjects.recordable import select_recordable

    if not is_url(options.out):
        refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = select_recordable(model, options.sites)
    kind = storable(options.store, model)
    batches = read_stimuli(model, options)
    refuse_if_too_large(options.out, disk_bytes(chosen, batches, kind))
    disk, memory = disk_bytes(chosen, batches, kind), memory_bytes(model, chosen, batches, kind)
    print_cost(model, batches, chosen, f"{human_bytes(disk)} on disk, about {human_bytes(memory)} of memory")
    with start_engine(options, model) as engine, Meter("record", progress_unit(options)) as meter:
        stored = record_corpus(
            model, batches, [s.path for s in chosen], options.out, store=options.store, resume=options.resume,
            progress=meter, engine=engine,
        )  # fmt: skip
    return show_bundle(stored.bundle, options)
