"""Split what sites do into features."""

from argparse import BooleanOptionalAction, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import corpus_of, load_model, start_engine
from patchclamp.cli.method_options import MethodParser, find_card, given_options
from patchclamp.cli.options import MODEL, add_cutting, add_loading, add_seed, refuse_typed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import methods
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Split what sites do into sparse features, or convert those of another library; other commands take them."
QUESTION = "what does it stand for"
EXAMPLE = "patchclamp decompose organism:language-gpt2 --sites blocks.2.mlp.act --inputs story.txt --out features"

LAYOUTS = ("saelens", "sparsify", "patchclamp")
CONVERT = frozenset({"convert", "to", "out", "site", "reads", "name", "center", "bos", "json"})
"""What --convert takes."""
OWN = ("n_features", "expansion", "name", "batch_size")
"""Options of every method that the verb has itself."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"{MODEL}; with --convert it decides names of places")
    add_loading(parser)
    add_seed(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--sites", dest="site", metavar="PATTERN", help="site paths or patterns, joined by commas")
    where.add_argument(
        "--transcode", metavar="LAYERS", help="instead: from what these blocks' MLPs read to what they write; or '*'"
    )
    parser.add_argument("--inputs", metavar="FILE", help="a UTF-8 text file")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--n-features",
        type=int,
        metavar="N",
        help="features per site (default: 100, or of a trained method 16 times the site's width)",
    )
    size.add_argument("--expansion", type=float, metavar="X", help="instead: features per unit of the site's width")
    parser.add_argument("--skip-connection", action="store_true", help="transcode: a linear path beside the features")
    parser.add_argument("--name", metavar="NAME", help="name of the basis in keys (default: METHOD-FEATURES)")
    parser.add_argument("--full", action="store_true", help="print everything that was measured")
    parser.use("decompose", "decompose", own=("site",))
    add_cutting(parser)
    convert = parser.add_argument_group(
        "features that exist; --sites names the one that they write, --bos and --no-bos say how their texts began"
    )
    convert.add_argument(
        "--convert",
        metavar="DIR",
        help="instead of a text: what decompose wrote, or a folder of SAELens, sparsify or Gemma Scope; also "
        "owner/repository/folder on the hub",
    )
    convert.add_argument("--to", choices=LAYOUTS, default="patchclamp", help="the library (default: patchclamp)")
    convert.add_argument("--reads", metavar="SITE", help="the site that a transcoder reads, where it does not tell")
    convert.add_argument(
        "--center",
        action=BooleanOptionalAction,
        default=None,
        help="the stream that it was trained on was centred (center_writing_weights), or not",
    )


def run(options: Namespace) -> int:
    """Train or factorise, or convert, write the folder, and show it."""
    if options.convert is not None:
        return _convert(options)
    lacking = {
        "MODEL": options.model,
        "--inputs": options.inputs,
        "--sites or --transcode": options.site or options.transcode,
    }
    if missing := [name for name, value in lacking.items() if value is None]:
        raise PatchclampError(
            expected="MODEL, --sites or --transcode, and --inputs; or --convert DIR",
            got=f"no {' and no '.join(missing)}",
            remedy="See `patchclamp decompose --help`.",
        )
    strange = [name for name in ("reads", "center") if getattr(options, name) is not None]
    if strange or options.to != "patchclamp":
        raise PatchclampError(
            expected="--to, --reads and --center with --convert",
            got=", ".join(f"--{name}" for name in strange) or f"--to {options.to}",
            remedy="Leave them out, or convert.",
        )
    return _decompose(options)


def _convert(options: Namespace) -> int:
    """Write features in another layout, and print the folders."""
    from patchclamp.decompose.formats import convert_basis
    from patchclamp.loaders import load

    refuse_typed(options, options.typed.keys() - CONVERT, "--convert, which trains nothing")
    folders = convert_basis(
        options.convert,
        options.out,
        options.to,
        model=None if options.model is None else load(options.model),
        note=lambda line: log(f"note: {line}"),
        site=options.site,
        reads=options.reads,
        name=options.name,
        center=options.center,
        prepend_bos=options.bos,
    )
    if options.json:
        emit({"layout": options.to, "folders": [str(folder) for folder in folders]})
    else:
        for folder in folders:
            print(folder)
    return 0


def _decompose(options: Namespace) -> int:
    """Train or factorise, write the folder, and show it."""
    from patchclamp.core.disk import refuse_occupied
    from patchclamp.core.method_files import find_method
    from patchclamp.decompose import decompose as run
    from patchclamp.decompose.training import BEGUN
    from patchclamp.report.terminal.dictionary import describe_decomposition, show_decomposition

    _check(options)
    given = _options(options)
    method = find_method(options.method, "decompose")
    method.make_options(given)
    refuse_occupied(Path(options.out), begun=BEGUN if method.resumable else (), resume=options.resume)
    model = load_model(options)
    with start_engine(options, model) as engine, Meter("decompose", "activations") as meter:
        made = run(
            model, corpus_of(options), site=options.site or "", transcode=options.transcode, method=method,
            out=options.out, resume=options.resume, seed=options.seed, progress=meter, state=_state, engine=engine,
            **given,
        )  # fmt: skip
    rows = [_row(site, basis, made.curves.get(site, {})) for site, basis in made.bases.items()]
    if options.json:
        emit(
            {
                "sentence": describe_decomposition(rows), "out": options.out, "name": made.name,
                "method": made.method, "subject": dict(made.subject),
                "bases": rows, "curves": dict(made.curves), "first_tokens": made.about.get("first_tokens", {}),
            }
        )  # fmt: skip
    else:
        show_decomposition(made, rows, options.out, options.model, full=options.full)
    return 0


def _options(options: Namespace) -> dict[str, Any]:
    """Return the method's options that were typed, those that the verb has itself among them."""
    from patchclamp.subjects.placement import is_shared

    given = {name: value for name in OWN if (value := getattr(options, name)) is not None}
    if options.skip_connection:
        given["skip_connection"] = True
    if not is_shared(options.device):
        given["device"] = options.device
    return {**given, **given_options(options)}


def _check(options: Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        PatchclampError: with the option.
    """
    card = find_card(options.method, "decompose")
    able = {"--resume": _has_resume, "--transcode": _has_reads}
    for name, given in (("--resume", options.resume), ("--transcode", options.transcode is not None)):
        if given and not able[name](card):
            others = " or ".join(one.name for one in methods("decompose") if able[name](one))
            raise PatchclampError(
                expected=f"{name} with --method {others}",
                got=f"--method {options.method}",
                remedy="Leave it out, or choose another method.",
            )
    if options.skip_connection and options.transcode is None:
        raise PatchclampError(
            expected="--skip-connection with --transcode", got="--sites", remedy="Leave it out, or transcode."
        )


def _has_resume(card: Any) -> bool:
    return bool(card.data["resumable"])


def _has_reads(card: Any) -> bool:
    """Return whether a method may read another site than it writes."""
    return "reads" in {entry["name"] for entry in card.data["options"]}


def _state(need: Any) -> None:
    disk = f", up to {human_bytes(need.disk)} on disk while it runs" if need.disk else ""
    passes = f"{need.forward:,} rows of forward passes, " if need.forward else ""
    log(f"{need.what}: {passes}about {human_bytes(need.memory)} of memory besides the model's{disk}")


def _row(site: str, basis: Any, curves: Mapping[str, Any]) -> dict[str, Any]:
    from patchclamp.report.terminal.dictionary import SHOWN

    last = {name: curves[name][-1][1] if curves.get(name) else None for name in SHOWN}
    return {
        "site": site, "reads": basis.reads, "units": basis.n_units, "activation": basis.activation, "k": basis.k, **last
    }  # fmt: skip
