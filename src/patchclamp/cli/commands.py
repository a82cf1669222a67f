"""Commands: each takes the parsed options, calls one verb and shows what it gave."""

import json
import shlex
import sys
import time
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli import calibrate_tables, tables
from patchclamp.cli.atlas import add_graph, refuse_if_unwritable
from patchclamp.cli.atlas import atlas as atlas
from patchclamp.cli.basis import basis as basis
from patchclamp.cli.circuit import circuit as circuit
from patchclamp.cli.decompose import decompose as decompose
from patchclamp.cli.explain_checks import check_writable, means_of, state_cost
from patchclamp.cli.main import Outputs, emit
from patchclamp.cli.patch import patch as patch
from patchclamp.cli.progress import Meter, human_bytes, human_s
from patchclamp.cli.verbs import add_bases, load_model
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import Damaged, PatchclampError

FAMILY = "family:"
MOST_ITEMS = 1_000_000
"""They are held in memory."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    from patchclamp.subjects import verifying
    from patchclamp.subjects.grids import vision_family_names

    if options.model.startswith(FAMILY):
        name = options.model.removeprefix(FAMILY)
        about = f"the tiny model of family {name}, float32"
        with Meter("verify", "checks") as meter:
            verdicts = verifying.verify_family(name, progress=meter)
    else:
        model = load_model(options)
        with Meter("verify", "checks") as meter:
            verdicts = verifying.verify(model, progress=meter)
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
    from patchclamp.subjects.standing import IMAGES, standing

    text, images = standing(), standing(IMAGES)
    if options.json:
        emit({**text, "images": images})
    else:
        tables.families(text)
        tables.families(images)
    return 0


def record(options: Namespace) -> int:
    """Record to disk."""
    from patchclamp.record import record_shown
    from patchclamp.record.stream import SHARD_BYTES, disk_bytes, recordable, refuse_if_too_large, storable

    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = recordable(model, options.sites)
    kind = storable(options.store, model)
    showing = _showing(model, options)
    refuse_if_too_large(options.out, disk_bytes(chosen, showing.plan, kind))
    disk, memory = disk_bytes(chosen, showing.plan, kind), 3 * SHARD_BYTES
    _state_cost(model, showing, chosen, f"{human_bytes(disk)} on disk, about {human_bytes(memory)} of memory")
    with Meter("record", _counted(options)) as meter:
        stored = record_shown(
            model, showing, [s.path for s in chosen], options.out, store=options.store, resume=options.resume,
            progress=meter,
        )  # fmt: skip
    return _tell(stored.bundle, options)


def survey(options: Namespace) -> int:
    """Survey a text or images without storing activations, or a recorded brain."""
    from patchclamp.subjects.neural_layout import is_recording

    if is_recording(options.model) and not Path(options.model).is_dir():
        from patchclamp.cli import brains

        return brains.survey(options)
    needed = {"--text or --images": options.text or options.images, "--sites": options.sites}
    missing = " and ".join(name for name, value in needed.items() if value is None)
    if missing:
        raise PatchclampError(
            expected="--text or --images, and --sites for a model, or the file of a recorded brain in its place",
            got=f"{options.model!r} without {missing}",
            remedy=f"Add {missing}; `patchclamp sites MODEL` lists sites, files of recordings end in .csv, .mat, .nwb, "
            ".npy or .npz.",
        )
    from patchclamp.record import survey_shown
    from patchclamp.record.stream import recordable
    from patchclamp.record.survey import memory_bytes

    refuse_occupied(Path(options.out), begun=("manifest.json",), resume=options.resume)
    model = load_model(options)
    chosen = recordable(model, options.sites)
    showing = _showing(model, options)
    memory, disk = human_bytes(memory_bytes(chosen)), human_bytes(2 * memory_bytes(chosen))
    _state_cost(model, showing, chosen, f"{memory} of memory, up to {disk} on disk while it runs")
    with Meter("survey", _counted(options)) as meter:
        stored = survey_shown(
            model, showing, [s.path for s in chosen], options.out, resume=options.resume, progress=meter
        )
    return _tell(stored.bundle, options)


def _counted(options: Namespace) -> str:
    return "tokens" if options.images is None else "images"


def _showing(model: Any, options: Namespace) -> Any:
    """Return what is shown: the text or the images, which the model must be made for."""
    from patchclamp.record import show_images, show_text

    _check_kind(model, images=options.images is not None)
    if options.images is not None:
        return show_images(
            model, options.images, max_images=options.max_images, batch_size=options.batch_size, seed=options.seed
        )
    return show_text(
        model, options.text, window=options.window, max_tokens=options.max_tokens, batch_size=options.batch_size,
        chat=options.chat, bos=not options.no_bos, seed=options.seed, skip_first=options.skip_first,
    )  # fmt: skip


def _check_kind(model: Any, *, images: bool) -> None:
    """Refuse text for a model of images, and images for a model of text."""
    from patchclamp.subjects.vision import VisionModel

    if isinstance(model, VisionModel) != images:
        raise PatchclampError(
            expected="an image" if not images else "a model of images",
            got=f"text for {model.name}" if not images else f"{model.name}, a model of text",
            remedy="Give it images: --images PATH, or `patchclamp classify`."
            if not images
            else "Give it text: --text FILE, or `patchclamp generate`.",
        )


def _state_cost(model: Any, showing: Any, chosen: list[Any], space: str) -> None:
    """Say what the run will cost, its time measured on the first batch."""
    plan, first = showing.plan, next(iter(showing.batches(0)))
    model.run(first, record=[s.path for s in chosen], logits=False)  # the first run pays for set-up
    began = time.monotonic()
    model.run(first, record=[s.path for s in chosen], logits=False)
    seconds = (time.monotonic() - began) * plan.n_stimuli / len(first)
    what = (
        f"{plan.n_stimuli:,} stimuli, {plan.n_tokens:,} tokens"
        if hasattr(plan, "text")
        else f"{plan.n_stimuli:,} images"
    )
    _say(f"{what}, {len(chosen)} sites: {space}, {human_s(seconds)} of computing")


def explain(options: Namespace) -> int:
    """Explain an answer."""
    from patchclamp.explain import ask, explain_answer
    from patchclamp.explain.answer import check_counts

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
    prompt, corrupt = (_asked(model, words, options.chat) for words in (options.prompt, options.corrupt))
    if not seen:
        ask(model, prompt, options.target, contrast=options.contrast, corrupt=corrupt)
    state_cost(model, options, prompt, levels)
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with Meter("explain", "replacements") as meter:
        found = explain_answer(
            model, prompt, options.target, contrast=options.contrast, corrupt=corrupt, means=means,
            method=options.method, levels=levels, top=options.top,
            n_controls=options.controls, seed=options.seed, progress=meter,
        )  # fmt: skip
    if (n := len(found.causes)) < options.top:
        _say(
            f"note: --top {options.top}, and {n} cause{'s' * (n != 1)}: no more units push towards the answer, or no "
            "others would be left at their sites to draw random sets from"
        )
    if options.prompt.endswith(" ") and not seen and not options.chat:
        _say("note: the prompt ends in a space, which most vocabularies put before the next word instead")
    for answer in () if seen or options.chat else filter(None, (options.target, options.contrast)):
        if not answer.startswith(" "):
            _say(f"note: {answer!r} was taken as it stands, without a space before it; is {' ' + answer!r} meant?")
    seconds, outputs = time.monotonic() - clock, Outputs()
    if options.out:
        with outputs.attempt("the graph"):
            found.graph().save(options.out)
            _say(f"graph written to {options.out}")
    if options.atlas is not None:
        with outputs.attempt("the atlas layer"):
            layer = add_graph(options.atlas, found, options, began, seconds)
            _say(f"graph added to {options.atlas} as {layer}")
    if options.report:
        with outputs.attempt("the report"):
            found.save_report(options.report, command=shlex.join(["patchclamp", *options.words]))
            _say(f"report written to {options.report}")
    if options.json:
        emit(found.to_json())
    else:
        tables.explanation(found, options.model, options.basis)
    return outputs.code


def _asked(model: Any, words: str | None, chat: bool) -> Any:
    """Return a prompt as it is shown: its words, or a chat that ends where the model answers."""
    if words is None or not chat:
        return words
    _check_kind(model, images=False)
    return model.tokenize(words, chat=True, answered=True)


def generate(options: Namespace) -> int:
    """Continue a prompt with units clamped."""
    from patchclamp.core.intervention import clamp

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    model = load_model(options)
    _check_kind(model, images=False)
    add_bases(model, options)
    how: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed
    }  # fmt: skip
    prompt = _asked(model, options.prompt, options.chat)
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
                "baseline": {"text": bare.text, "ids": bare.ids.tolist()},
                "clamped": None if changed is None else {"text": changed.text, "ids": changed.ids.tolist()},
            }
        )
    else:
        tables.generation(options.prompt, bare, changed, options.clamp, at)
    return 0


def classify(options: Namespace) -> int:
    """Classify an image with units clamped."""
    from patchclamp.core.intervention import clamp

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    if options.top < 1:
        raise PatchclampError(expected="at least 1 class", got=str(options.top), remedy="Give another --top.")
    model = load_model(options)
    _check_kind(model, images=True)
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
        from patchclamp.cli import brains

        return brains.info(options)
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
    bundle = Bundle.open(options.folder)
    if bundle.manifest["kind"] == "patching":
        from patchclamp.cli import patch as patching

        return patching.info(options)
    if bundle.manifest["kind"] == "circuit":
        from patchclamp.cli import circuit as circuits

        return circuits.info(options)
    return _tell(bundle, options)


def _tell(bundle: Any, options: Namespace) -> int:
    from patchclamp.core.recording import check_shapes

    damaged = bundle.damaged()
    if not damaged:
        check_shapes(bundle)
    if options.json and not damaged:
        emit(tables.bundle_facts(bundle))
    elif not options.json:
        tables.bundle(bundle)
    if damaged:
        raise Damaged(
            expected=f"the pieces of {bundle.path} as they were committed",
            got=f"damaged or missing: {', '.join(damaged[:8])}",
            remedy="Restore them from a copy, or record again; the other pieces are whole.",
        )
    return 0


def organism(options: Namespace) -> int:
    """List the organisms, show one's card, or train, evaluate and read a language organism."""
    from patchclamp import organisms

    if (options.what == "list") != (options.name is None):
        raise PatchclampError(
            expected="`organism list`, or `organism card|train|evaluate|text NAME`",
            got=f"`organism {options.what}`{'' if options.name is None else ' with a name'}",
            remedy=f"Names: {', '.join(organisms.names())}.",
        )
    if options.n is not None and not 1 <= options.n <= MOST_ITEMS:
        raise PatchclampError(
            expected=f"1 to {MOST_ITEMS:,} documents or items", got=f"{options.n:,}", remedy="Give another --n."
        )
    name = "" if options.name is None else options.name.removeprefix("organism:")
    if options.what == "list":
        cards = [organisms.card(name) for name in organisms.names()]
        emit(cards) if options.json else tables.organisms(cards)
    elif options.what == "card":
        card = organisms.card(name)
        emit(card) if options.json else tables.card(card)
    elif options.what == "train":
        _train(options, name)
    elif options.what == "evaluate":
        _evaluate(options, name)
    else:
        _text(options, name)
    return 0


def _train(options: Namespace, name: str) -> None:
    from patchclamp.organisms import digits, language
    from patchclamp.organisms.language.recipe import STEPS

    seen = name in digits.names()
    if not seen:
        language.folder(name)  # an unknown name is refused first
    own = digits.STEPS[name] if seen else STEPS[name]
    steps = own if options.steps is None else options.steps
    folder = Path(options.out or "")
    if not options.out or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))) or steps < 1:
        raise PatchclampError(
            expected="--out with a new or empty folder, and at least 1 step",
            got=f"--out {options.out!r}, {steps} steps",
            remedy="Give another folder.",
        )
    if seen:
        _say(f"{steps:,} steps: a minute or two of one core")
        with Meter(f"train {name}", "steps") as meter:
            digits.train(digits.Recipe(name, seed=options.seed, steps=steps), folder, progress=meter)
        card = digits.write_card(folder, name)
    else:
        card = _train_language(options, name, folder, steps)
    emit(card) if options.json else tables.card(card)


def _train_language(options: Namespace, name: str, folder: Path, steps: int) -> Any:
    from patchclamp.organisms.language.cards import write_card
    from patchclamp.organisms.language.recipe import Recipe, train

    minutes = f"some {steps / 800:.0f} minutes of one core, after two that write the text"
    _say(f"{steps:,} steps: {minutes}; about 1 GB of memory")
    with Meter("write the text", "documents") as writing, Meter(f"train {name}", "steps") as meter:
        recipe = Recipe(name, steps, seed=options.seed)
        train(recipe, folder, device=options.device, progress=lambda p: meter(p.step, p.steps), writing=writing)
    return write_card(folder, name, n=options.n or 500)


def _evaluate(options: Namespace, name: str) -> None:
    from patchclamp.opening import load
    from patchclamp.organisms import digits, language
    from patchclamp.subjects.vision import VisionModel

    model: Any
    if name in digits.names():
        model = digits.build(name, device=options.device)
    elif name not in language.names() and Path(name).is_dir():
        model = load(name, device=options.device, dtype="float32")
    else:
        model = language.build(name, device=options.device)
    found = digits.evaluate(model) if isinstance(model, VisionModel) else language.evaluate(model, n=options.n or 500)
    emit(found) if options.json else tables.measured(found)


def _text(options: Namespace, name: str) -> None:
    from patchclamp.organisms import language

    documents = language.text(options.n or 1000, seed=options.seed, name=name)
    if options.json or options.labels:
        token = language.build(name).tokenizer.token
        found = [
            {
                "text": one.stimulus.text,
                "tokens": [token(int(i)) for i in one.stimulus.ids],
                "concepts": [sorted(true) for true in one.concepts],
            }
            for one in documents
        ]
        if options.json:
            emit(found)
        else:
            for line in found:
                print(json.dumps(line, ensure_ascii=False))
    else:
        for one in documents:
            print(one.stimulus.text)


def calibrate(options: Namespace) -> int:
    """Score planted circuits by every method, and hold predictions against replacements in language organisms."""
    from patchclamp import organisms
    from patchclamp.calibrate import (
        MAIN_TASKS,
        PAIRS,
        calibrate_circuits,
        calibrate_edges,
        calibrate_tasks,
        joint,
        summary,
    )
    from patchclamp.calibrate.tasks import check_tasks
    from patchclamp.organisms import language

    names = [name.removeprefix("organism:") for name in options.names]
    trained = [name for name in names if name in language.names()]
    planted = [name for name in names if name not in trained]
    if not trained and (options.tasks is not None or options.pairs is not None):
        raise PatchclampError(
            expected=f"--tasks and --pairs with {' or '.join(language.names())}",
            got=", ".join(names) or "no organism",
            remedy="Name a language organism, or leave them out.",
        )
    tasks = MAIN_TASKS if options.tasks is None else [task.strip() for task in options.tasks.split(",")]
    pairs = PAIRS if options.pairs is None else options.pairs
    check_tasks(tasks, pairs)
    strange = [name for name in planted if name not in organisms.planted.names()]
    if strange:
        raise PatchclampError(
            expected="organisms with a planted circuit, or language organisms",
            got=", ".join(strange),
            remedy=f"Choose among {', '.join([*organisms.planted.names(), *language.names()])}.",
        )
    document: dict[str, Any] = {}
    if planted or not trained:
        with Meter("calibrate", "organisms") as meter:
            found = calibrate_circuits(planted or None, progress=meter)
        with Meter("calibrate edges", "organisms") as meter:
            edges = calibrate_edges(planted or None, progress=meter)
        pairs_of_two = [told for told in map(joint, dict.fromkeys(f.organism for f in found)) if told]
        overall, of_edges = summary(found), summary(edges)
        document |= {
            "findings": [asdict(f) for f in found], "summary": _summed(overall),
            "edges": [asdict(f) for f in edges], "edges_summary": _summed(of_edges), "joint": pairs_of_two,
        }  # fmt: skip
        if not options.json:
            calibrate_tables.calibration(found, overall)
            calibrate_tables.calibrated_edges(edges, of_edges)
            calibrate_tables.joint(pairs_of_two)
    if trained:
        with Meter("calibrate", "pairs") as meter:
            held = calibrate_tasks(trained, tasks=tasks, pairs=pairs, seed=options.seed, progress=meter)
        document["tasks"] = [asdict(h) for h in held]
        if not options.json:
            calibrate_tables.holdings(held)
    if options.json:
        emit(document)
    return 0


def _summed(overall: Any) -> dict[str, Any]:
    return {method: {"mean": mean, "interval": asdict(interval)} for method, (mean, interval) in overall.items()}
