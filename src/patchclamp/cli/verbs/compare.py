"""Compare two models, two recordings, or two dictionaries of features."""

import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import load_recording, note_left_out, open_features, print_assumed
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import (
    MODEL,
    add_basis,
    add_conditions,
    add_loading,
    add_out,
    add_report,
    add_seed,
    refuse_typed,
)
from patchclamp.cli.output import add_comparison, emit, finish, log, refuse_if_unwritable, refuse_out
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError

SUMMARY = (
    "How alike are two models over one text, two recordings of the same stimuli (layers, models, brains), or two "
    "dictionaries of features?"
)
QUESTION = "alike"
EXAMPLE = "patchclamp compare organism:cat organism:cat --inputs story.txt --clamp blocks.0.mlp.act/neurons/7=0"
OF_MODELS = ("inputs", "window", "max_tokens", "batch_size", "controls", "clamp", "basis", "device", "dtype", "full")
FEW, MANY = 5, 50
"""Rows of each table by default, and with --full."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "first", metavar="FIRST", help=f"a model ({MODEL}); a recording; or features of decompose or another library"
    )
    parser.add_argument(
        "second",
        metavar="SECOND",
        help="another model, or an edit that was kept; a recording of the same stimuli in the same order; or features",
    )
    parser.use("compare", "compare")
    models = parser.add_argument_group("models")
    models.add_argument("--inputs", metavar="FILE", help="a text file that both are shown; needed for models")
    models.add_argument("--window", type=int, metavar="N", help="tokens per stimulus (default: 128, or the context)")
    models.add_argument("--max-tokens", type=int, metavar="N", help="stop after N tokens (default: the whole text)")
    models.add_argument("--batch-size", type=int, default=8, metavar="B", help="stimuli per forward pass (default: 8)")
    models.add_argument(
        "--controls", type=int, default=3, metavar="N", help="random changes of the same size (default: 3)"
    )
    models.add_argument(
        "--clamp",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="steer the second, which is then the first again: as for generate; repeat",
    )
    models.add_argument("--full", action="store_true", help=f"print {MANY} rows of each table instead of {FEW}")
    add_basis(models)  # type: ignore[arg-type]
    add_loading(models, text=False)
    add_seed(parser)
    add_out(parser)
    parser.add_argument("--atlas", metavar="DIR", help="add the comparison to an atlas, as a layer")
    add_report(parser)
    add_conditions(parser.add_argument_group("features"))


def run(options: Namespace) -> int:
    """Compare two models, two recordings, or match two dictionaries site by site."""
    from patchclamp.compare import compare

    refuse_out(options)
    given = given_options(options)
    if options.inputs is not None or _is_model(options.first):
        return _compare_models(options)
    refuse_typed(options, OF_MODELS, "two recordings or dictionaries")
    if not any(_is_bundle(folder) for folder in (options.first, options.second)):
        return _compare_features(options)
    refuse_typed(options, ("reads", "center", "bos"), "two recordings")
    if options.site is not None:
        given = {"first_site": options.site, "second_site": options.site, **given}
    first = load_recording(options.first, given.get("first_site", ""))
    second = load_recording(options.second, given.get("second_site", ""))
    note_left_out(given, **{options.first: first, options.second: second})
    clock = _Clock()
    with Meter("compare", "steps") as meter:
        found = compare(first, second, method=options.method, seed=options.seed, progress=meter, **given)
    return _keep(options, found, clock)


class _Clock:
    """When a run began, and how long it has taken."""

    def __init__(self) -> None:
        self.began, self.start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.start


def _keep(options: Namespace, found: Any, clock: _Clock) -> int:
    """Add a comparison to the atlas where one is named, then keep and show it."""
    seconds, code = clock.seconds(), finish(options, found)
    if options.atlas is not None:
        layer = add_comparison(options.atlas, found, options, clock.began, seconds)
        log(f"comparison added to {options.atlas} as {layer}")
    return code


def _is_model(name: str) -> bool:
    """Say whether a name is that of a model and of nothing else that is compared."""
    from patchclamp.loaders import NET, ORGANISM

    folder = Path(name)
    is_folder = (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()
    return name.startswith((ORGANISM, NET)) or is_folder


def _is_bundle(folder: str) -> bool:
    """Say whether a folder is none of features: it has a manifest, or there is none of that name."""
    return (Path(folder) / "manifest.json").is_file() or (
        not Path(folder).exists() and (folder.startswith((".", "/", "~")) or "/" not in folder)
    )


def _compare_models(options: Namespace) -> int:
    """Compare two models over one text, or one before and after an edit or clamps."""
    from patchclamp.cli.loading import check_language
    from patchclamp.compare.models import MOST_RANDOM, compare_models, memory_bytes, sites_of
    from patchclamp.core.corpus import Corpus
    from patchclamp.core.intervention import clamp
    from patchclamp.core.plain_numbers import human_bytes
    from patchclamp.subjects.corpora import read_shared

    if options.inputs is None:
        raise PatchclampError(
            expected="--inputs, a text that both models are shown", got="none", remedy="Name a text file."
        )
    refuse_typed(options, ("site", "reads", "center", "method", "report"), "two models")
    if given := given_options(options):
        raise PatchclampError(
            expected="options of two models",
            got=f"--{next(iter(given))}",
            remedy="Leave it out: it would change nothing.",
        )
    if not 0 <= options.controls <= MOST_RANDOM:
        raise PatchclampError(
            expected=f"--controls from 0 to {MOST_RANDOM}",
            got=f"{options.controls:,}",
            remedy=f"Each is one more pass over the text; 3 are usual, and {MOST_RANDOM} show p = 0.01.",
        )
    if options.clamp and options.first != options.second:
        raise PatchclampError(
            expected="one model twice, the second of which is clamped",
            got=f"{options.first} and {options.second}",
            remedy="Name the same model twice, or leave --clamp out.",
        )
    changes = [clamp(text) for text in options.clamp]
    corpus = Corpus(options.inputs, window=options.window, max_tokens=options.max_tokens)
    edit = _open_edit(options.second)
    first = _load(options, options.first)
    same = options.second == options.first
    second = edit or changes or (first if same else _load(options, options.second, base=options.base))
    for model in (first, second) if hasattr(second, "module") else (first,):
        check_language(model)
    if options.basis:
        from patchclamp.loaders import load_basis

        for folder in options.basis:
            first.add_dictionary(load_basis(folder))
    if options.atlas is not None:
        _check_atlas(options.atlas, first, second)
    other: Any = second if hasattr(second, "module") else first
    batches = read_shared(first, other, corpus, batch_size=options.batch_size)
    n_units = " × ".join(f"{sum(site.width for site in sites_of(one)[1]):,}" for one in (first, other))
    memory = memory_bytes(first, other, batches, edit=edit, n_random=options.controls)
    log(
        f"{batches.n_tokens:,} tokens, shown twice and once more for each of up to {options.controls} random changes; "
        f"{n_units} correlations of units; "
        f"about {human_bytes(memory)} of memory besides the models'"
    )
    clock = _Clock()
    with Meter("compare") as meter:
        found = compare_models(first, second, batches, n_random=options.controls, seed=options.seed, progress=meter)
    options.top = MANY if options.full else FEW
    return _keep(options, found, clock)


def _check_atlas(path: str, first: Any, second: Any) -> None:
    """Refuse, before anything is computed, an atlas of neither model."""
    from patchclamp.atlas.atlas import open_atlas

    known = open_atlas(path).page().subject.hash
    models = [model for model in (first, second) if hasattr(model, "module")]
    refuse_if_unwritable(path, next((model for model in models if model.hash == known), first))


def _open_edit(name: str) -> Any:
    """Return the edit that a folder holds; None where it is something else."""
    from patchclamp.core.edit import Edit

    manifest = Path(name) / "manifest.json"
    return Edit.load(name) if manifest.is_file() and not (Path(name) / "config.json").is_file() else None


def _load(options: Namespace, name: str, base: str | None = None) -> Any:
    from patchclamp.loaders import load

    log(f"loading {name} …")
    return load(name, base=base, device=options.device, dtype=options.dtype, prepend_bos=bool(options.bos))


def _compare_features(options: Namespace) -> int:
    from patchclamp.compare import compare
    from patchclamp.report.terminal.dictionary_report import show_comparison

    unfit = {"--out": options.out, "--atlas": options.atlas, "--report": options.report}
    wrong = [name for name, value in unfit.items() if value is not None]
    wrong += [f"--{name}" for name in given_options(options)]
    if wrong:
        raise PatchclampError(
            expected="options of features", got=wrong[0], remedy="Leave it out: directions are matched one to one."
        )
    first, second = (open_features(options, folder) for folder in (options.first, options.second))
    for one in (first, second):
        print_assumed(one)
    found: Any = compare(first, second, seed=options.seed)
    emit(found.to_json()) if options.json else show_comparison(found.sites, found.notes)
    return 0
