"""Load what a command line names: subjects, bases, prompts, texts and images; print what they cost and assume."""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from patchclamp.cli.options import refuse_typed
from patchclamp.cli.output import log
from patchclamp.core.disk import is_url
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.plain_numbers import human_bytes, human_s

OF_TEXT = ("window", "max_tokens", "chat", "bos", "skip_first")
"""How a text is cut; images are not."""
BOTH = 3
"""Tokens that are listed on each side of a metric."""


def check_files(options: Namespace) -> None:
    """Refuse, before a model is loaded, files that a command names and that are not there or not what they should be.

    Raises:
        PatchclampError: no such text, pairs, image, atlas or folder of features; what is wrong is named.
    """
    if is_url(getattr(options, "out", None)) and options.verb not in ("record", "survey"):
        raise PatchclampError(
            expected=f"a folder for --out of {options.verb}",
            got=options.out,
            remedy="Only recordings and surveys are written to URLs.",
        )
    if is_url(getattr(options, "out", None)) and options.out.partition("://")[0] in ("", "memory"):
        raise PatchclampError(
            expected="a store that outlives the command for --out",
            got=options.out,
            remedy="Name a bucket, such as s3://bucket/name, or a folder.",
        )
    if hasattr(options, "engine"):
        from patchclamp.engines.choose import refuse_engine

        refuse_engine(options.engine, address=options.address, workers=options.workers)
    inputs = getattr(options, "inputs", None)
    if isinstance(inputs, str):
        _check_inputs(inputs, images=hasattr(options, "max_images") or options.verb == "evaluate")
    for source in (getattr(options, name, None) for name in ("pairs", "train")):
        if isinstance(source, str) and source != "planted" and not source.startswith("task:"):
            from patchclamp.core.task_files import read_task

            read_task(source, getattr(options, "layout", None))
    if options.verb in ("explain", "circuit find", "attribute") and isinstance(getattr(options, "atlas", None), str):
        from patchclamp.atlas.atlas import open_atlas

        open_atlas(options.atlas)
    folders = getattr(options, "basis", None) or ()
    for folder in [folders] if isinstance(folders, str) else folders:
        # OWNER/REPOSITORY/FOLDER is one of the hub.
        if folder.startswith((".", "/", "~")) and not Path(folder).is_dir():
            raise PatchclampError(
                expected="a folder of features", got=f"{folder}, which is not there", remedy="Check the path."
            )


def _check_inputs(source: str, *, images: bool) -> None:
    """Refuse inputs that are not there; ``images`` where a command may take these too."""
    from patchclamp.subjects.images import gallery, names_images

    if images and names_images(source):
        gallery(source)
    elif not Path(source).is_file():
        what = "a folder" if Path(source).is_dir() else "not there"
        also = " or images" if images else ""
        raise PatchclampError(expected=f"a text file{also}", got=f"{source}, which is {what}", remedy="Check the path.")


def _takes_images(options: Namespace) -> bool:
    from patchclamp.subjects.images import names_images

    return hasattr(options, "max_images") and names_images(options.inputs)


def state_loading(options: Namespace) -> None:
    """Print on standard error what is loaded, before the libraries are that take seconds themselves."""
    name = getattr(options, "model", None)
    if isinstance(name, str):
        log(f"loading {name} …")


def load_model(options: Namespace) -> Any:
    """Load the model that a command names, as its options say."""
    return _loader(options)()


def _loader(options: Namespace) -> Callable[[], Any]:
    """Return what loads the model that a command names, wherever it is called."""
    from patchclamp.loaders import load

    name = os.path.abspath(options.model) if os.path.isdir(options.model) else options.model
    bos = bool(getattr(options, "bos", None))
    return partial(load, name, base=options.base, device=options.device, dtype=options.dtype, prepend_bos=bos)


def start_engine(options: Namespace, model: Any) -> Any:
    """Return the engine that a command names, whose workers load the model by themselves."""
    from patchclamp.engines import open_engine

    engine = open_engine(options.engine, address=options.address, workers=options.workers)
    engine.share(model, _loader(options))
    if options.engine != "serial":
        log(f"{options.engine}: {engine.workers} workers, each of which loads the model")
    return engine


def load_words(options: Namespace) -> list[str]:
    """Return the options under which a command loaded its model, as another command takes them."""
    words = ["--bos"] if getattr(options, "bos", None) else []
    words += [] if options.dtype is None else ["--dtype", options.dtype]
    words += [] if options.base is None else ["--base", options.base]
    return words + ([] if options.device == "cpu" else ["--device", options.device])


def print_conditions(model: Any, dictionary: Any, folder: str) -> None:
    """Print on standard error what is assumed of a dictionary's input, and in what the model's texts differ."""
    from patchclamp.subjects.site_names import unmet_conditions

    for line in unmet_conditions(model, dictionary):
        log(f"note: {folder}: {line}")
    if dictionary.about.get("assumed"):
        again = f"patchclamp decompose --convert {folder} --out NEW"
        log(f"note: `{again}` with these options keeps what is known of it")


def add_bases(model: Any, options: Namespace) -> None:
    """Make the features of every --basis known to the model, and print what is assumed of them."""
    from patchclamp.loaders import load_basis

    for folder in options.basis:
        dictionary = load_basis(folder)
        model.add_dictionary(dictionary)
        if not dictionary.subject.get("hash"):
            log(f"note: {folder} does not say which weights it was made on: only its widths were checked")
        if hasattr(model, "tokenize"):
            print_conditions(model, dictionary, folder)


def load_pairs(model: Any, options: Namespace, *, kind: Any = None) -> Any:
    """Open --pairs as the model reads them, and print what is measured on them.

    Args:
        kind: of metric; that of the pairs by default.
    """
    cases = open_cases(model, options.pairs, options, n=options.n, kind=kind)
    print_pairs(model, cases)
    return cases


def open_cases(model: Any, source: str, options: Namespace, *, n: int | None, kind: Any) -> Any:
    """Return the cases of --pairs or --train as the model reads them."""
    from patchclamp.loaders import open_task

    if options.chat and not hasattr(model, "tokenizer"):
        raise PatchclampError(expected="a language model, for --chat", got=model.name, remedy="Leave --chat out.")
    named = source != options.pairs and (source == "planted" or source.startswith("task:"))
    task = open_task(source, model, layout=None if named else options.layout, n=n, seed=options.seed, measure=kind)
    return model.read(task, chat=options.chat)


def print_pairs(model: Any, cases: Any) -> None:
    """Print on standard error the number of pairs, the tokens that m reads, and pairs whose m has the wrong sign."""
    from patchclamp.core.task import words_of

    n, aside = len(cases), ", ".join(f"{k} with {reason}" for reason, k in cases.count_skipped().items())
    lines = [f"{_pairs(n)} used, {len(cases.task.skipped)} set aside{': ' + aside if aside else ''}"]
    first = cases.read[0]
    sides = [
        ", ".join(map(repr, names[:BOTH])) + (", …" if len(names) > BOTH else "")
        for names in (first.target_names, first.contrast_names)
    ]
    what = "class" if hasattr(model, "class_index") else "token"
    lines.append(f"m reads the {what} {sides[0]} against {sides[1]} (first pair)")
    lines += [f"note: {line}" for line in cases.answer_notes()]
    lines += [f"set aside: {words_of(case.shown)!r}, {reason}" for case, reason in cases.task.skipped[:BOTH]]
    if (more := len(cases.task.skipped) - BOTH) > 0:
        lines.append(f"set aside: {more} more")
    if cases.n_reversed:
        lines.append(
            f"in {cases.n_reversed} of {_pairs(n)} m is lower on the clean prompt than on the corrupted one: the model "
            "does not do what they ask, or answer and wrong answer are the wrong way round"
        )
    log("\n".join(lines))


def _pairs(n: int) -> str:
    return f"{n:,} pair{'s' * (n != 1)}"


def corpus_of(options: Namespace) -> Any:
    """Return the corpus that --inputs names, cut as the options say."""
    from patchclamp.core.corpus import Corpus

    if _takes_images(options):
        return Corpus(options.inputs, "images", max_images=options.max_images)
    return Corpus(
        options.inputs, "chat" if options.chat else "text", window=options.window, bos=options.bos is not False,
        skip_first=options.skip_first, max_tokens=options.max_tokens,
    )  # fmt: skip


def read_stimuli(model: Any, options: Namespace) -> Any:
    """Return the stimuli of --inputs in batches; the model must take that kind."""
    from patchclamp.core.corpus import WINDOW
    from patchclamp.subjects.corpora import read_corpus

    images = _takes_images(options)
    if images != (model.stimulus_kind == "images"):
        raise PatchclampError(
            expected=f"{'images' if not images else 'text'} for {model.name}",
            got=f"{options.inputs}, {'images' if images else 'a text'}",
            remedy="Name what it takes with --inputs.",
        )
    refuse_typed(options, OF_TEXT if images else ("max_images",), "images" if images else "a text")
    context = getattr(model, "context", None)
    if not images and options.window is None and context is not None and context < WINDOW:
        log(f"note: windows of {context} tokens, the model's context; {WINDOW} are usual")
    return read_corpus(model, corpus_of(options), batch_size=options.batch_size)


def check_shown(model: Any) -> None:
    """Refuse a network of arrays where a prompt or an image is shown: no command line holds its inputs."""
    if model.stimulus_kind == "arrays":
        raise PatchclampError(
            expected="a model of text or images",
            got=f"{model.name}, a network of arrays",
            remedy="Show it arrays in Python: pc.explain and pc.attribute take them.",
        )


def check_language(model: Any) -> None:
    """Refuse a model of images, or of arrays, where text is written or read."""
    check_shown(model)
    if model.stimulus_kind == "images":
        raise PatchclampError(
            expected="a language model",
            got=f"{model.name}, a model of images",
            remedy="Name a language model; of images `patchclamp generate MODEL IMAGE --clamp KEY=VALUE` says what a "
            "change does.",
        )


def check_images(model: Any) -> None:
    """Refuse a language model where images are shown."""
    if model.stimulus_kind != "images":
        raise PatchclampError(
            expected="a model of images", got=f"{model.name}, a model of text", remedy="Name a model of images."
        )


def progress_unit(options: Namespace) -> str:
    """Return what a pass over --inputs counts."""
    return "images" if _takes_images(options) else "tokens"


def print_cost(model: Any, batches: Any, chosen: list[Any], space: str) -> None:
    """Print on standard error what a run costs, its time measured on the first batch."""
    first = next(iter(batches))
    model.run(first, record=[s.path for s in chosen], logits=False)  # the first run pays for set-up
    began = time.monotonic()
    model.run(first, record=[s.path for s in chosen], logits=False)
    seconds = (time.monotonic() - began) * batches.n_stimuli / len(first)
    what = (
        f"{batches.n_stimuli:,} stimul{'i' if batches.n_stimuli != 1 else 'us'}, {batches.n_tokens:,} tokens"
        if batches.kind == "text"
        else f"{batches.n_stimuli:,} image{'s' * (batches.n_stimuli != 1)}"
    )
    passes = f"{batches.n_stimuli:,} rows of forward passes"
    log(f"{what}, {len(chosen)} sites: {passes}, {space}, {human_s(seconds)} of computing")


def print_scoring_cost(cost: Any, parts: str, more: str = "") -> None:
    """Print on standard error what scoring takes.

    Args:
        cost: as ``attribute.pairs.cost_of`` counts it.
        parts: what is scored, in words.
        more: what follows.
    """
    passes = {"forward": cost.forward, "backward": cost.backward}
    rows = " and ".join(f"{n:,} row{'s' * (n != 1)} of {way} passes" for way, n in passes.items() if n)
    memory = human_bytes(cost.bytes)
    log(f"{cost.parts:,} {parts}, by {cost.method}: {rows}{more}, about {memory} of memory besides the model's")


def load_prompt(model: Any, words: str | None, chat: bool) -> Any:
    """Return a prompt as the model reads it: its words, or a chat that ends where the model answers."""
    if words is None or not chat:
        return words
    check_language(model)
    return model.tokenize(words, chat=True, answered=True)


def note_unknown(model: Any, shown: Any) -> None:
    """Print on standard error which words of a prompt the vocabulary lacks: the model reads none of them."""
    if words := model.unknown_words(shown):
        token = model.tokenizer.bare.unk_token
        log(f"note: the vocabulary lacks {', '.join(map(repr, words))}, and reads {token} instead")


def load_recording(folder: str, site: str) -> Any:
    """Return a recording in memory: the site that is named, or all of them."""
    from patchclamp.core.recording import StoredRecording

    recording = StoredRecording(folder)
    if broken := recording.bundle.find_damaged():
        raise Damaged(
            expected=f"the pieces of {folder} as they were committed",
            got=f"damaged or missing: {', '.join(broken[:8])}",
            remedy="Restore them from a copy, or record again.",
        )
    return recording.load([site] if site else None)


def note_left_out(given: dict[str, Any], **recordings: Any) -> None:
    """Print on standard error how many tokens the mean over each stimulus leaves out, such as BOS.

    Args:
        given: options of the method that were typed.
        recordings: by where they lie.
    """
    if given.get("pool", "mean") != "mean":
        return
    for name, one in recordings.items():
        masks = [mask for shown in one.stimuli if (mask := getattr(shown, "counted", None)) is not None]
        if left := sum(int((~mask).sum()) for mask in masks):
            n = sum(map(len, masks))
            log(
                f"note: {name}: the mean over each stimulus leaves out {left:,} of {n:,} tokens, BOS and others that "
                "no statistics count; --pool last takes each stimulus' last token"
            )


def read_blocks(rule: str) -> tuple[int, int]:
    """Read --split: the folds, and the gap beside each."""
    name, *numbers = rule.split(":")
    if name == "blocks" and 1 <= len(numbers) <= 2 and all(one.isascii() and one.isdigit() for one in numbers):
        folds, gap = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0
        if 2 <= folds < 10**6 and gap < 10**9:
            return folds, gap
    raise PatchclampError(
        expected="--split blocks:FOLDS or blocks:FOLDS:GAP, with at least 2 folds",
        got=repr(rule),
        remedy="For example blocks:5:2.",
    )


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


ENGINE_OPTIONS = ("engine", "address", "workers")
"""Options of what is shown to a model; a recorded brain was shown it already."""
BRAIN_OPTIONS = ("variable", "axes", "rate", "duration", "bin", "unit_of_measure", "labels")
"""Options that only the file of a recorded brain has."""


def open_brain(options: Namespace, path: str) -> Any:
    """Return the recording that the options describe."""
    from patchclamp.subjects.neural_layout import load_recording

    return load_recording(
        path, variable=options.variable, axes=options.axes, rate=options.rate, duration=options.duration,
        bin=options.bin, measure=options.unit_of_measure, labels=options.labels,
    )  # fmt: skip


def refuse_brain_options(options: Namespace, what: str) -> None:
    """Refuse options of a recorded brain for what is none; a list of them is in the help of info and survey.

    Raises:
        PatchclampError: names the options.
    """
    given = [f"--{name.replace('_', '-')}" for name in BRAIN_OPTIONS if getattr(options, name) is not None]
    if given:
        raise PatchclampError(
            expected="the file of a recorded brain (.csv, .mat, .nwb, .npy, .npz), which alone has these options",
            got=f"{what!r} with {', '.join(given)}",
            remedy=f"Leave {', '.join(given)} out, or name the recording's file.",
        )


def open_features(options: Namespace, folder: str, name: str | None = None) -> Any:
    """Return a dictionary, this or another library's, with what the options say of it."""
    from patchclamp.decompose.formats import open_dictionary

    given = {each: getattr(options, each, None) for each in ("site", "reads", "center")}
    given["prepend_bos"] = getattr(options, "bos", None)
    return open_dictionary(folder, name=name, **given)


def print_assumed(found: Any) -> None:
    """Print on standard error what a folder does not say of its input, and what is assumed instead."""
    for line in found.about.get("assumed") or ():
        log(f"note: {line}")
