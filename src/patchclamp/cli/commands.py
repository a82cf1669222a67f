"""The function of each verb: it takes the parsed options, calls the package and shows the result."""

import shlex
import time
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli import survey_tables, tables
from patchclamp.cli.atlas import atlas as atlas
from patchclamp.cli.atlas_layer import add_graph, refuse_if_unwritable
from patchclamp.cli.basis import basis as basis
from patchclamp.cli.brains import info as show_recording
from patchclamp.cli.brains import refuse_brain_options
from patchclamp.cli.brains import survey as survey_recording
from patchclamp.cli.calibrate import calibrate as calibrate
from patchclamp.cli.circuit import circuit as circuit
from patchclamp.cli.circuit import info as show_circuit
from patchclamp.cli.decode import decode as decode
from patchclamp.cli.decompose import decompose as decompose
from patchclamp.cli.describe import describe as describe
from patchclamp.cli.edit import edit as edit
from patchclamp.cli.evaluate import evaluate as evaluate
from patchclamp.cli.explain_checks import check_writable, means_of, state_cost
from patchclamp.cli.loading import (
    add_bases,
    check_kind,
    load_model,
    load_prompt,
    load_words,
    note_unknown,
    print_cost,
    progress_unit,
    read_stimuli,
)
from patchclamp.cli.methods import NOUNS
from patchclamp.cli.methods import attribute as attribute
from patchclamp.cli.methods import compare as compare
from patchclamp.cli.methods import encode as encode
from patchclamp.cli.methods import info as show_noun
from patchclamp.cli.methods import methods as methods
from patchclamp.cli.organism import organism as organism
from patchclamp.cli.output import Outputs, emit, log
from patchclamp.cli.patch import patch as patch
from patchclamp.cli.progress import Meter, human_bytes
from patchclamp.cli.steer import steer as steer
from patchclamp.cli.text_tables import generation
from patchclamp.core.circuit import holds_circuit
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import Damaged, PatchclampError

FAMILY = "family:"


def sites(options: Namespace) -> int:
    """List sites."""
    model = load_model(options)
    found = model.sites(modules=options.modules)
    capabilities = asdict(model.capabilities)
    if options.json:
        emit(
            {
                "subject": {"slug": model.name, "hash": model.hash},
                "capabilities": capabilities,
                "sites": [site.to_json() for site in found],
            }
        )
    else:
        tables.sites(model, found)
    return 0


def verify(options: Namespace) -> int:
    """Prove equality with the bare network."""
    from patchclamp.subjects.contract.verify import verify, verify_family
    from patchclamp.subjects.vision_sites import vision_family_names

    if options.model.startswith(FAMILY):
        name = options.model.removeprefix(FAMILY)
        about = f"the tiny model of family {name}, float32"
        with Meter("verify", "checks") as meter:
            verdicts = verify_family(name, progress=meter)
    else:
        model = load_model(options)
        with Meter("verify", "checks") as meter:
            verdicts = verify(model, progress=meter)
        about = f"{model.name} ({type(model.module).__name__}, {str(model.dtype).removeprefix('torch.')})"
    passed = all(v.passed for v in verdicts)
    seen = name in vision_family_names() if options.model.startswith(FAMILY) else not hasattr(model, "tokenize")
    if options.json:
        emit({"subject": about, "passed": passed, "verdicts": [{**asdict(v), "passed": v.passed} for v in verdicts]})
    else:
        tables.verdicts(verdicts, about, passed, images=seen)
    return 0 if passed else 1


def families(options: Namespace) -> int:
    """Show which families there are and which parts of the contract each keeps."""
    from patchclamp.subjects.contract.results import IMAGES, stored_results

    text, images = stored_results(), stored_results(IMAGES)
    if options.json:
        emit({**text, "images": images})
    else:
        tables.families(text)
        tables.families(images)
    return 0


def record(options: Namespace) -> int:
    """Record to disk."""
    from patchclamp.record import record_corpus
    from patchclamp.record.run import refuse_if_too_large
    from patchclamp.record.stream import SHARD_BYTES, disk_bytes, storable
    from patchclamp.subjects.recordable import is_recordable

    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = is_recordable(model, options.sites)
    kind = storable(options.store, model)
    batches = read_stimuli(model, options)
    refuse_if_too_large(options.out, disk_bytes(chosen, batches, kind))
    disk, memory = disk_bytes(chosen, batches, kind), 3 * SHARD_BYTES
    print_cost(model, batches, chosen, f"{human_bytes(disk)} on disk, about {human_bytes(memory)} of memory")
    with Meter("record", progress_unit(options)) as meter:
        stored = record_corpus(
            model, batches, [s.path for s in chosen], options.out, store=options.store, resume=options.resume,
            progress=meter,
        )  # fmt: skip
    return _show_bundle(stored.bundle, options)


def survey(options: Namespace) -> int:
    """Survey a text or images without storing activations, or a recorded brain."""
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.model) and not Path(options.model).is_dir():
        return survey_recording(options)
    refuse_brain_options(options, options.model)
    needed = {"--text or --images": options.text or options.images, "--sites": options.sites}
    missing = " and ".join(name for name, value in needed.items() if value is None)
    if missing:
        raise PatchclampError(
            expected="--text or --images, and --sites for a model, or the file of a recorded brain in its place",
            got=f"{options.model!r} without {missing}",
            remedy=f"Add {missing}; `patchclamp sites MODEL` lists sites, files of recordings end in .csv, .mat, .nwb, "
            ".npy or .npz.",
        )
    from patchclamp.record import survey_corpus
    from patchclamp.record.survey import memory_bytes
    from patchclamp.subjects.recordable import is_recordable

    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = is_recordable(model, options.sites)
    batches = read_stimuli(model, options)
    memory, disk = human_bytes(memory_bytes(chosen)), human_bytes(2 * memory_bytes(chosen))
    print_cost(model, batches, chosen, f"{memory} of memory, up to {disk} on disk while it runs")
    with Meter("survey", progress_unit(options)) as meter:
        stored = survey_corpus(
            model, batches, [s.path for s in chosen], options.out, resume=options.resume, seed=options.seed,
            progress=meter,
        )  # fmt: skip
    return _show_bundle(stored.bundle, options)


def explain(options: Namespace) -> int:
    """Explain an answer."""
    from patchclamp.recipes import explain as run
    from patchclamp.recipes.answer import check_counts
    from patchclamp.report import save_report

    files = {f"--{name}": getattr(options, name) for name in ("out", "report") if getattr(options, name) is not None}
    for option, name in files.items():
        check_writable(name, option)
    if len({Path(name).resolve() for name in files.values()}) < len(files):
        raise PatchclampError(
            expected="two files", got="one for --out and --report", remedy="Give the report a name of its own."
        )
    check_counts(options.top, options.controls)
    means = means_of(options)
    model = load_model(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    add_bases(model, options)
    levels = [*model.levels, *(["feature"] if options.basis else [])]
    if options.level is not None:
        levels = [level.strip() for level in options.level.split(",")]
    seen = not hasattr(model, "tokenize")
    prompt, corrupt = (load_prompt(model, words, options.chat) for words in (options.prompt, options.corrupt))
    contrasts = () if options.contrast is None else (options.contrast,)
    case = model.read_case(prompt, (options.target,), contrasts, counterpart=corrupt)
    for shown in () if seen else filter(None, (case.clean, case.counterpart)):
        note_unknown(model, shown)
    state_cost(model, options, prompt, levels)
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with Meter("explain", "replacements") as meter:
        found = run(
            model, prompt, options.target, contrast=options.contrast, corrupt=corrupt, means=means,
            method=options.method, levels=levels, top=options.top,
            n_controls=options.controls, seed=options.seed, progress=meter,
        )  # fmt: skip
    if (n := len(found.causes)) < options.top:
        log(
            f"note: --top {options.top}, and {n} cause{'s' * (n != 1)}: no more units push towards the answer, or no "
            "others of their kinds would be left to draw random sets from"
        )
    if options.prompt.endswith(" ") and not seen and not options.chat:
        log("note: the prompt ends in a space, which most vocabularies put before the next word instead")
    for answer in () if seen or options.chat else filter(None, (options.target, options.contrast)):
        if not answer.startswith(" "):
            log(f"note: {answer!r} was taken as it stands, without a space before it; is {' ' + answer!r} meant?")
    seconds, outputs = time.monotonic() - clock, Outputs()
    if options.out:
        with outputs.attempt("the graph"):
            found.graph().save(options.out)
            log(f"graph written to {options.out}")
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            measured = f", measured {found.measured:+.4f}"
            layer = add_graph(options.atlas, found.graph(), options, began, seconds, log=measured)
            log(f"graph added to {options.atlas} as {layer}")
    if options.report:
        with outputs.attempt("the report"):
            save_report(found, options.report, command=shlex.join(["patchclamp", *options.words]))
            log(f"report written to {options.report}")
    if options.json:
        emit(found.to_json())
    else:
        chat = options.prompt if options.chat else None
        tables.explanation(found, options.model, options.basis, chat, load_words(options))
    return outputs.code


def generate(options: Namespace) -> int:
    """Continue a prompt with units clamped."""
    from patchclamp.core.intervention import clamp

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    model = load_model(options)
    check_kind(model, images=False)
    add_bases(model, options)
    how: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed
    }  # fmt: skip
    prompt = load_prompt(model, options.prompt, options.chat)
    for shown in model.stimuli(prompt, answered=True):
        note_unknown(model, shown)
    changed = None
    if clamps:
        # First, so that a clamp that cannot be is refused before anything is written.
        with Meter("clamped") as meter:
            [changed] = model.generate(prompt, interventions=clamps, progress=meter, **how)
    with Meter("without clamps") as meter:
        [bare] = model.generate(prompt, progress=meter, **how)
    if options.json:
        emit(
            {
                "prompt": options.prompt,
                "interventions": [c.to_json() for c in clamps],
                "unclamped": {"text": bare.text, "ids": bare.ids.tolist()},
                "clamped": None if changed is None else {"text": changed.text, "ids": changed.ids.tolist()},
            }
        )
    else:
        generation(options.prompt, bare.text, changed and changed.text, options.clamp, at)
    return 0


def classify(options: Namespace) -> int:
    """Classify an image with units clamped."""
    from patchclamp.core.intervention import clamp

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    if options.top < 1:
        raise PatchclampError(expected="at least 1 class", got=str(options.top), remedy="Give another --top.")
    model = load_model(options)
    check_kind(model, images=True)
    shown = model.stimuli(options.image)
    if len(shown) != 1:
        raise PatchclampError(expected="one image", got=f"{len(shown):,}", remedy=f"Name one: {options.image}:0.")
    changed = model.run(shown, interventions=clamps).logits[0].double().softmax(-1) if clamps else None
    bare = model.run(shown).logits[0].double().softmax(-1)
    if not (bare if changed is None else bare + changed).isfinite().all():
        raise PatchclampError(
            expected="finite answers", got=f"NaN with {', '.join(options.clamp) or 'nothing clamped'}",
            remedy="Clamp to a value that the model's own numbers can hold.",
        )  # fmt: skip
    order = bare.argsort(descending=True, stable=True)[: options.top].tolist()
    if changed is not None:
        order = list(dict.fromkeys([*order, *changed.argsort(descending=True, stable=True)[: options.top].tolist()]))
    classes = [
        {"class": i, "name": model.answer_name(i), "probability": float(bare[i]),
         "clamped": None if changed is None else float(changed[i])}
        for i in order
    ]  # fmt: skip
    if options.json:
        found = {"image": shown[0].name, "id": shown[0].id, "interventions": [c.to_json() for c in clamps]}
        emit({**found, "classes": classes})
    else:
        tables.classes(shown[0].name, classes, options.clamp, at)
    return 0


def info(options: Namespace) -> int:
    """Say what a folder (or a graph's file) holds and whether it is whole."""
    from patchclamp.core.bundle import Bundle
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.folder) and not Path(options.folder).is_dir():
        return show_recording(options)
    refuse_brain_options(options, options.folder)
    if Path(options.folder).is_file():
        from patchclamp.core.graph import Graph

        graph = Graph.load(options.folder)
        if options.json:
            emit(graph.to_json())
        else:
            tables.graph(graph)
        return 0
    if (Path(options.folder) / "base" / "base.sqlite").is_file():
        raise PatchclampError(
            expected="a recording, a survey, a graph or a brain's file",
            got=f"{options.folder}, an atlas",
            remedy="Ask `patchclamp atlas info` about it.",
        )
    if (Path(options.folder) / "basis.json").is_file():
        raise PatchclampError(
            expected="a folder of anything but directions or features",
            got=f"{options.folder}, a basis",
            remedy=f"`patchclamp basis info {options.folder}` says what it holds.",
        )
    bundle = Bundle.open(options.folder)
    if holds_circuit(bundle):
        return show_circuit(options)
    if bundle.manifest["kind"] in NOUNS:
        return show_noun(options, bundle.manifest["kind"])
    return _show_bundle(bundle, options)


def _show_bundle(bundle: Any, options: Namespace) -> int:
    from patchclamp.core.recording import check_shapes

    damaged = bundle.find_damaged()
    if not damaged:
        check_shapes(bundle)
    if options.json and not damaged:
        emit(tables.bundle_facts(bundle))
    elif not options.json:
        tables.bundle(bundle)
        if bundle.manifest["kind"] == "survey" and bundle.whole and not damaged:
            from patchclamp.core.survey import StoredSurvey

            survey_tables.statistics(StoredSurvey(bundle.path))
    if damaged:
        raise Damaged(
            expected=f"the pieces of {bundle.path} as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or record again; the other pieces are whole.",
        )
    return 0
