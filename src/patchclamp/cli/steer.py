"""The verb ``steer``: fit a direction to texts of two kinds, and apply it to a prompt."""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.markup import escape

from patchclamp.cli.loading import check_kind, load_model, load_words, note_unknown
from patchclamp.cli.method_options import given_options
from patchclamp.cli.noun_tables import sentence
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.cli.tables import _console, _fixed, _signed
from patchclamp.cli.text_tables import generation
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Task

POSITIVE, NEGATIVE = "positive", "negative"


def steer(options: Namespace) -> int:
    """Do what the word after ``steer`` says."""
    return {"fit": _fit, "apply": _apply}[options.what](options)


def read_lines(path: str) -> list[str]:
    """Return the lines of a UTF-8 text file that are not empty.

    Raises:
        PatchclampError: no such file, no text, or nothing in it.
    """
    try:
        lines = [line.rstrip("\r") for line in Path(path).read_bytes().decode("utf-8").split("\n")]
    except (OSError, ValueError) as problem:
        raise PatchclampError(
            expected="a UTF-8 text file, one text a line", got=f"{path}: {problem}"[:200], remedy="Check the path."
        ) from problem
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise PatchclampError(expected="at least one line of text", got=f"none in {path}", remedy="Write some.")
    return kept


def _fit(options: Namespace) -> int:
    from patchclamp.control import steer as run

    refuse_occupied(Path(options.out))
    texts = {POSITIVE: read_lines(options.positive), NEGATIVE: read_lines(options.negative)}
    model = load_model(options)
    check_kind(model, images=False)
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
    out, extra = _console(), basis.provenance.extra
    directions = f"{basis.n_units} direction{'s' * (basis.n_units != 1)}"
    out.print(f"{directions} at [bold]{escape(str(basis.site))}[/], kept in {escape(options.out)}")
    if "distance" in extra:
        out.print(
            f"towards {escape(str(extra['wanted']))}: distance between the labels' means {_fixed(extra['distance'])}, "
            f"over {sum(extra['tokens'].values()):,} tokens"
        )
    words = ["patchclamp", "steer", "apply", options.model, "PROMPT", "--vector", options.out, *load_words(options)]
    out.print(f"Does it move text? {shlex.join(words)}", markup=False, soft_wrap=True)
    return 0


def _apply(options: Namespace) -> int:
    from patchclamp.control import continue_steered
    from patchclamp.loaders import load_basis

    if options.unit < 0 or options.n < 2 or options.controls < 1 or options.max_new_tokens < 1:
        raise PatchclampError(
            expected="--unit from 0 on, --n from 2 on, --controls and --max-new-tokens from 1 on",
            got=f"{options.unit}, {options.n}, {options.controls}, {options.max_new_tokens}",
            remedy="Leave them out for the defaults.",
        )
    dictionary = load_basis(options.vector)
    model = load_model(options)
    check_kind(model, images=False)
    model.add_dictionary(dictionary)
    for shown in model.stimuli(options.prompt, answered=True):
        note_unknown(model, shown)
    rows = (2 + options.controls) * options.n
    log(f"{rows:,} continuations of up to {options.max_new_tokens} tokens, {options.controls:,} directions at random")
    with Meter("steer apply", "continuations") as meter:
        found = continue_steered(
            model, dictionary.single(), options.prompt, options.strength, nats=options.nats,
            at=",".join(options.at) if options.at else None, unit=options.unit, n=options.n,
            n_random=options.controls, max_new_tokens=options.max_new_tokens, seed=options.seed, progress=meter,
        )  # fmt: skip
    if options.json:
        emit(found.to_json())
    else:
        _show(found, auto=options.strength is None, nats=options.nats)
    return 0


def _show(found: Any, *, auto: bool, nats: float) -> None:
    out, receipt = _console(), found.receipt
    chosen = f", which moves next-token predictions by {nats:g} nats" if auto else ""
    label = f"{found.site} + {found.strength:.3g} · direction"
    generation(found.prompt, found.without, found.steered, [label], None, word="steered")
    out.print(f"\nstrength {found.strength:.3g}{chosen}\n", style="dim")
    out.print(f"[bold]Verdict[/]: {escape(receipt.summary)}")
    out.print(
        f"Sampled text, read without the direction, moves along it by {escape(str(receipt.measured))}; "
        f"{receipt.controls.n_different} {receipt.controls.rule}: {_signed(receipt.controls.mean)} on average"
    )
    out.print(
        f"Side effect: {escape(sentence(found.perplexity, bare=True))} without, "
        f"{escape(sentence(found.perplexity_steered, bare=True))} with the direction, under the model as it is"
    )
