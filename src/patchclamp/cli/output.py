"""What every verb writes: results as JSON, errors and notes as text, files beside the results."""

import argparse
import json
import os
import select
import shlex
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchclamp.cli.interrupts import INTERRUPTS
from patchclamp.cli.method_options import find_card
from patchclamp.cli.options import Parser
from patchclamp.core.errors import Damaged, PatchclampError, lacks_memory

TRACE = "PATCHCLAMP_TRACEBACK"
MOST_GOT = 300
"""Characters that an error repeats of what it got."""
SMALLER = {
    "--batch-size": "a smaller --batch-size",
    "--window": "a smaller --window",
    "prompt": "a shorter prompt",
    "--level": "fewer units (--level)",
    "--sites": "fewer --sites",
    "--n": "a smaller --n",
    "--n-features": "fewer features",
    "--buffer": "a smaller --buffer",
    "--dtype": "--dtype bfloat16",
}
"""What takes less memory, by the option or argument that a command must have for it."""

KEPT = ("manifest.json", "config.json", "basis.json", "atlas.json")
"""A folder with one of these is a model's, or one that patchclamp wrote: no file in it is replaced."""
ENDINGS = {"--report": (".html", ".htm"), "--out": (".json",)}
"""How the name of a file ends that an option may replace."""
GRAPH, CURVE = b"patchclamp-graph", b'{\n "title": '
"""What the beginning of a JSON file holds that ``explain`` or ``evaluate`` wrote."""


def memory_remedy(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Return what would take less memory, among what the command that was typed has."""
    for word in words:
        verbs = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if verbs is None:
            break
        parser = verbs.choices.get(word, parser)
    has = {name for action in parser._actions for name in (*action.option_strings, action.dest)}
    remedies = [remedy for name, remedy in SMALLER.items() if name in has]
    return " or ".join(filter(None, (", ".join(remedies), "a smaller model")))


def can_resume(words: Sequence[str], parser: Parser) -> bool:
    """Return whether a command can be resumed after an interruption."""
    try:
        options = parser.parse_args(words)
    except (PatchclampError, SystemExit):
        return False
    if options.verb == "decompose":
        return options.convert is None and bool(find_card(options.method, "decompose").data["resumable"])
    return hasattr(options, "resume")


def as_error(problem: BaseException, words: Sequence[str], build_parser: Callable[[], Parser]) -> PatchclampError:
    """Return any trouble as one with three parts.

    Args:
        problem: what was raised.
        words: what was typed.
        build_parser: makes the parser of all verbs, which says what the command has.
    """
    if isinstance(problem, PatchclampError):
        return problem
    if INTERRUPTS.seen or isinstance(problem, KeyboardInterrupt):
        return PatchclampError(
            expected="to finish",
            got="Ctrl-C",
            remedy="What was committed, if anything was, is kept: go on with --resume."
            if can_resume(words, build_parser())
            else "Run it again: nothing was left half written.",
        )
    if lacks_memory(problem):
        return PatchclampError(
            expected="memory enough",
            got=f"{problem}"[:200] or "none left",
            remedy=f"Use {memory_remedy(words, build_parser())}.",
        )
    # In Python 3.11 a path that leads round in a circle is no OSError.
    if isinstance(problem, OSError) or str(problem).startswith("Symlink loop"):
        return PatchclampError(
            expected="to read and write what was named",
            got=f"{problem}"[:300],
            remedy="Check the path, its permissions, and the space left.",
        )
    return PatchclampError(
        expected="this not to fail",
        got=f"{type(problem).__name__}: {problem}"[:300],
        remedy=f"This is a defect of patchclamp: report it with {TRACE}=1 set.",
    )


class Outputs:
    """Attempt what is made beside the results, and go on where it fails: what was computed is still to be shown."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Say on standard error that an output could not be made, and why; the exit code becomes 2."""
        try:
            yield
        except Exception as problem:
            if INTERRUPTS.seen:
                raise
            if os.environ.get(TRACE) and not isinstance(problem, PatchclampError):
                raise
            self.code = 2
            _print_always(f"patchclamp: {what} could not be made; what was computed follows")
            print_error(as_error(problem, (), Parser))


def log(text: str) -> None:
    """Print a line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def emit(data: Any) -> None:
    """Print one JSON document; NaN becomes null, for JSON has none."""
    print(json.dumps(finite(data), indent=1))


def finite(data: Any) -> Any:
    """Return data whose numbers JSON has: what is not finite becomes None."""
    if isinstance(data, dict):
        return {str(k): finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [finite(v) for v in data]
    if isinstance(data, float) and (data != data or data in (float("inf"), float("-inf"))):
        return None
    return data


def shorten(text: str) -> str:
    """Return the beginning and the end of a text that is longer than an error repeats.

    Example:
        >>> len(shorten("x" * 5000)), shorten("x" * 5000)[MOST_GOT // 2 :][:12]
        (301, '…xxxxxxxxxxx')
    """
    half = MOST_GOT // 2
    return text if len(text) <= MOST_GOT else f"{text[:half]}…{text[-half:]}"


def report_error(problem: PatchclampError, as_json: bool) -> int:
    """Print an error, as JSON on standard output or as three lines on standard error, and return exit code 2."""
    if not as_json:
        print_error(problem)
    try:
        if as_json:
            emit({"error": {**problem.to_json(), "got": shorten(problem.got)}})
        sys.stdout.flush()
    except OSError:
        # Standard output can be written no more; standard error may, and the exit code still tells.
        silence(sys.stdout)
        if as_json:
            print_error(problem)
    return 2


def print_error(problem: PatchclampError) -> None:
    """Print an error as three lines on standard error."""
    parts = (problem.expected, shorten(problem.got), problem.remedy)
    # A path may have a line end in it.
    expected, got, remedy = ("␤".join(part.splitlines()) for part in parts)
    _print_always(f"patchclamp: expected {expected}")
    _print_always(f"            got      {got}")
    _print_always(f"            to do    {remedy}")


def _print_always(text: str) -> None:
    """Print a line on standard error, with --quiet too."""
    getattr(sys.stderr, "write_always", sys.stderr.write)(f"{text}\n")


def is_unread(stream: Any) -> bool:
    """Say whether a stream is a pipe that nobody reads any more; another pipe may have broken."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except OSError:
        return False
    return bool(poll.poll(0))


def silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere, so that leaving Python does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_kept(folder: Path) -> bool:
    """Say whether a folder holds a model, or what patchclamp wrote."""
    return any((folder / name).exists() for name in KEPT)


def _begins_with(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return mark in file.read(400)
    except OSError:
        return False


def check_writable(name: str, option: str, *, endings: Sequence[str] = (), mark: bytes = GRAPH) -> None:
    """Refuse, before anything is computed, a file that cannot be written, or that holds something else.

    Args:
        name: of the file.
        option: that names it.
        endings: how the name of a file may end that is replaced; by default those of the option.
        mark: what the beginning of a JSON file that is replaced holds.
    """
    path, endings = Path(name), endings or ENDINGS[option]
    other = path.suffix == ".json" and not _begins_with(path, mark)
    other |= path.suffix != ".json" and option == "--out" and is_kept(path.absolute().parent)
    if path.is_file() and (path.name in KEPT or other or path.suffix.lower() not in endings):
        raise PatchclampError(
            expected=f"a new name for {option}, or an earlier file of its kind ({', '.join(endings)})",
            got=f"{name}, which is there and holds something else",
            remedy="Choose another name or folder.",
        )
    whole = (
        name and not name.endswith("/") and path.absolute().parent.is_dir() and (path.is_file() or not path.exists())
    )
    try:
        if whole:
            with tempfile.TemporaryFile(dir=path.absolute().parent):
                return
    except OSError:
        pass
    raise PatchclampError(
        expected="a file to write, in a folder that exists and can be written to",
        got=repr(name),
        remedy=f"Give another {option}.",
    )


def refuse_out(options: Namespace) -> None:
    """Refuse an occupied --out, a --report that cannot be written and a negative --top before any work."""
    from patchclamp.core.disk import refuse_occupied

    if getattr(options, "out", None) is not None:
        refuse_occupied(Path(options.out))
    if getattr(options, "report", None) is not None:
        check_writable(options.report, "--report")
    if getattr(options, "top", 0) < 0:
        raise PatchclampError(expected="at least 0 to list", got=str(options.top), remedy="Give another --top.")


def finish(options: Namespace, noun: Any) -> int:
    """Keep the noun where --out says, draw it where --report says, and show it."""
    from patchclamp.report.terminal import show

    out, report, outputs = getattr(options, "out", None), getattr(options, "report", None), Outputs()
    if out is not None:
        noun.save(out)
    if report is not None:
        from patchclamp.report import save_report

        with outputs.attempt("the report"):
            save_report(noun, report, command=shlex.join(["patchclamp", *options.words]))
            log(f"report written to {report}")
    if options.json:
        emit({"out": out, **noun.to_json(getattr(options, "top", 20))})
        return outputs.code
    show(noun, getattr(options, "top", 20))
    if out is not None:
        log(f"kept in {out}")
    return outputs.code


def show_bundle(bundle: Any, options: Namespace, spell: Callable[[int], str] | None = None) -> int:
    """Show what a folder of pieces holds, and refuse a damaged one.

    Args:
        bundle: the folder.
        options: what was typed.
        spell: token id → its text, where the model is at hand.

    Raises:
        Damaged: pieces that are not as they were committed.
    """
    from patchclamp.core.recording import check_shapes
    from patchclamp.report.terminal import bundle as terminal

    damaged = bundle.find_damaged()
    if not damaged:
        check_shapes(bundle)
    survey = None
    if bundle.manifest["kind"] == "survey" and bundle.whole and not damaged:
        from patchclamp.core.survey import StoredSurvey

        survey = StoredSurvey(bundle.path)
    if options.json and not damaged:
        units = {} if survey is None else {"units": survey.stand_out()}
        emit({**terminal.describe_bundle(bundle), **units})
    elif not options.json:
        terminal.show_bundle(bundle)
        if survey is not None:
            from patchclamp.report.terminal.survey import show_statistics, show_units

            show_statistics(survey)
            show_units(survey.stand_out(), spell)
    if damaged:
        raise Damaged(
            expected=f"the pieces of {bundle.path} as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or record again; the other pieces are whole.",
        )
    return 0


def print_atlas(path: str, as_json: bool, unit: str | None = None) -> int:
    """Show what an atlas holds, or what it knows of one unit."""
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.report.terminal.atlas import show_atlas, show_unit

    atlas = open_atlas(path)
    if unit is not None:
        about = atlas.unit(unit)
        emit(asdict(about)) if as_json else show_unit(about, atlas)
        return 0
    page = atlas.page()
    emit(asdict(page)) if as_json else show_atlas(page)
    return 0


LAYER_OPTIONS = ("model", "target", "contrast", "counterpart", "baseline", "method", "level", "basis", "top")
"""Options that an atlas keeps with a layer."""


def refuse_if_unwritable(path: str, model: Any) -> None:
    """Refuse, before anything is computed, an atlas that an explained answer cannot be added to.

    Raises:
        PatchclampError: no atlas there, one of another model, or a folder that cannot be written.
    """
    import tempfile

    from patchclamp.atlas.atlas import open_atlas

    subject = open_atlas(path).page().subject
    if subject.hash != model.hash:
        raise PatchclampError(
            expected=f"an atlas of {model.name}, the model in question",
            got=f"{path}, of {subject.slug} with other weights",
            remedy="Bake an atlas of this model, or leave --atlas out.",
        )
    try:
        layers = Path(path) / "layers"
        layers.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=layers):
            return
    except OSError as problem:
        raise PatchclampError(
            expected="an atlas that layers can be added to",
            got=f"{path}: {problem.strerror}",
            remedy="Check the folder's permissions.",
        ) from problem


def add_comparison(path: str, comparison: Any, options: Namespace, began: str, duration_s: float) -> str:
    """Add a comparison to an atlas and return the layer's id."""
    from patchclamp.atlas.store.layers import write_comparison
    from patchclamp.atlas.store.provenance import Run, host, versions

    command = shlex.join(["patchclamp", *options.words])
    run = Run(
        verb="compare", command=command, made=f"the comparison of {' and '.join(comparison.names)}"[:200],
        began=began, duration_s=round(duration_s, 3), host=host(), versions=versions("torch", "transformers"),
        seeds={"seed": options.seed}, hashes=dict(comparison.provenance.hashes),
        options={"first": str(options.first), "second": str(options.second)}, log=(comparison.sentence,),
        rebuild=command + "\n",
    )  # fmt: skip
    return write_comparison(path, comparison, run=run)


def add_graph(
    path: str, graph: Any, options: Namespace, began: str, duration_s: float, *, verb: str = "explain", log: str = ""
) -> str:
    """Add an explained answer to an atlas and return the layer's id."""
    from patchclamp.atlas.store.layers import write_graph
    from patchclamp.atlas.store.provenance import Run, host, versions

    command = shlex.join(["patchclamp", *options.words])
    run = Run(
        verb=verb, command=command, made=f"the graph of {options.target!r} after {options.prompt!r}"[:200],
        began=began, duration_s=round(duration_s, 3), host=host(), versions=versions("torch", "transformers"),
        seeds={"seed": options.seed}, hashes={"model": str(graph.subject.get("hash", ""))},
        options={
            name: str(value) for name in LAYER_OPTIONS if (value := getattr(options, name, None)) not in (None, [])
        },
        log=(f"{len(graph.nodes)} nodes{log}",), rebuild=command + "\n",
    )  # fmt: skip
    return write_graph(path, graph, run=run)
