"""Commands: each takes the parsed options, calls one verb and shows what it gave."""

import json
import shlex
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from patchclamp.cli import tables
from patchclamp.cli.atlas import add_graph, refuse_if_unwritable
from patchclamp.cli.atlas import atlas as atlas
from patchclamp.cli.main import emit
from patchclamp.cli.progress import Meter, human_bytes, human_s
from patchclamp.core.errors import Damaged, PatchclampError

FAMILY = "family:"
MANY_NODES = 10**6


def _load(options: Namespace) -> Any:
    from patchclamp.opening import load

    return load(options.model, device=options.device, dtype=options.dtype)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def sites(options: Namespace) -> int:
    """List sites."""
    model = _load(options)
    found = model.sites(modules=options.modules)
    capabilities = asdict(model.capabilities)
    if options.json:
        emit(
            {
                "subject": {"slug": model.name, "hash": model.hash},
                "capabilities": capabilities,
                "sites": list(map(asdict, found)),
            }
        )
    else:
        tables.sites(model, found)
    return 0


def verify(options: Namespace) -> int:
    """Prove equality with the bare network."""
    from patchclamp.subjects import contract

    if options.model.startswith(FAMILY):
        name = options.model.removeprefix(FAMILY)
        about = f"the tiny model of family {name}, float32"
        with Meter("verify", "checks") as meter:
            verdicts = contract.verify_family(name, progress=meter)
    else:
        model = _load(options)
        with Meter("verify", "checks") as meter:
            verdicts = contract.verify(model, progress=meter)
        about = f"{model.name} ({type(model.module).__name__}, {str(model.dtype).removeprefix('torch.')})"
    passed = all(v.passed for v in verdicts)
    if options.json:
        emit({"subject": about, "passed": passed, "verdicts": [{**asdict(v), "passed": v.passed} for v in verdicts]})
    else:
        tables.verdicts(verdicts, about, passed)
    return 0 if passed else 1


def record(options: Namespace) -> int:
    """Record to disk."""
    from patchclamp.record import record_text
    from patchclamp.record.stream import SHARD_BYTES, disk_bytes, recordable

    model = _load(options)
    chosen = recordable(model, options.sites)
    plan = _plan(model, options)
    kind = options.store or str(model.dtype).removeprefix("torch.")
    disk, memory = disk_bytes(chosen, plan, kind), 3 * SHARD_BYTES
    _state_cost(model, options, plan, chosen, f"{human_bytes(disk)} on disk, about {human_bytes(memory)} of memory")
    with Meter("record") as meter:
        stored = record_text(
            model, options.text, [s.path for s in chosen], options.out, store=options.store, resume=options.resume,
            plan=plan, progress=meter,
        )  # fmt: skip
    return _tell(stored.bundle, options)


def survey(options: Namespace) -> int:
    """Survey without storing activations."""
    from patchclamp.record import survey_text
    from patchclamp.record.stream import recordable
    from patchclamp.record.survey import memory_bytes

    model = _load(options)
    chosen = recordable(model, options.sites)
    plan = _plan(model, options)
    memory = human_bytes(memory_bytes(chosen))
    _state_cost(model, options, plan, chosen, f"{memory} of memory, up to {memory} on disk while it runs")
    with Meter("survey") as meter:
        stored = survey_text(
            model, options.text, [s.path for s in chosen], options.out, resume=options.resume, plan=plan, progress=meter
        )
    return _tell(stored.bundle, options)


def _plan(model: Any, options: Namespace) -> Any:
    from patchclamp.record import make_plan

    return make_plan(
        model, options.text, window=options.window, max_tokens=options.max_tokens, batch_size=options.batch_size,
        chat=options.chat, bos=not options.no_bos, seed=options.seed,
    )  # fmt: skip


def _state_cost(model: Any, options: Namespace, plan: Any, chosen: list[Any], space: str) -> None:
    """Say what the run will cost, its time measured on the first batch."""
    from patchclamp.record.plan import batches

    first = next(iter(batches(model, options.text, plan)))
    model.run(first, record=[s.path for s in chosen], logits=False)  # the first run pays for set-up
    began = time.monotonic()
    model.run(first, record=[s.path for s in chosen], logits=False)
    seconds = (time.monotonic() - began) * plan.n_stimuli / len(first)
    _say(
        f"{plan.n_stimuli:,} stimuli, {plan.n_tokens:,} tokens, {len(chosen)} sites: {space}, {human_s(seconds)} "
        "of computing"
    )


def explain(options: Namespace) -> int:
    """Explain an answer."""
    from patchclamp.explain import explain_answer

    files = {f"--{name}": getattr(options, name) for name in ("out", "report") if getattr(options, name) is not None}
    for option, name in files.items():
        _check_writable(name, option)
    if len({Path(name).resolve() for name in files.values()}) < len(files):
        raise PatchclampError(
            expected="two files", got="one for --out and --report", remedy="Give the report a name of its own."
        )
    means = _means(options)
    model = _load(options)
    if options.atlas is not None:
        refuse_if_unwritable(options.atlas, model)
    levels = [level.strip() for level in options.level.split(",")]
    _state_nodes(model, options, levels)
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with Meter("explain", "replacements") as meter:
        found = explain_answer(
            model, options.prompt, options.target, contrast=options.contrast, corrupt=options.corrupt, means=means,
            method=options.method, levels=levels, top=options.top,
            n_controls=options.controls, seed=options.seed, progress=meter,
        )  # fmt: skip
    if options.prompt.endswith(" "):
        _say("note: the prompt ends in a space, which most vocabularies put before the next word instead")
    for answer in filter(None, (options.target, options.contrast)):
        if not answer.startswith(" "):
            _say(f"note: {answer!r} was taken as it stands, without a space before it; is {' ' + answer!r} meant?")
    if options.out:
        found.graph().save(options.out)
        _say(f"graph written to {options.out}")
    if options.atlas is not None:
        layer = add_graph(options.atlas, found, options, began, time.monotonic() - clock)
        _say(f"graph added to {options.atlas} as {layer}")
    if options.report:
        found.save_report(options.report, command=shlex.join(["patchclamp", *options.words]))
        _say(f"report written to {options.report}")
    if options.json:
        emit(found.to_json())
    else:
        tables.explanation(found, options.model)
    return 0


def _state_nodes(model: Any, options: Namespace, levels: list[str]) -> None:
    """Say how much there is to score, where it is much."""
    from patchclamp.attribute.nodes import BYTES_PER_NODE, count_nodes

    n_nodes = count_nodes(model, len(model.tokenize(options.prompt)), levels)
    if n_nodes >= MANY_NODES:
        rows = f"{n_nodes:,} rows of forwards" if options.method == "exact" else "about 250 rows of forwards"
        memory = human_bytes(n_nodes * BYTES_PER_NODE)
        _say(f"{n_nodes:,} neurons and heads at all positions: {memory} of memory besides the model's, {rows}")


def _means(options: Namespace) -> Any:
    """Return the survey whose means are the reference, or None."""
    if options.reference is not None and options.corrupt is not None:
        raise PatchclampError(
            expected="one reference", got="--reference and --corrupt", remedy="Leave one of them out."
        )
    if options.reference in (None, "zero"):
        return None
    from patchclamp.core.survey import StoredSurvey

    return StoredSurvey(options.reference)


def _check_writable(name: str, option: str) -> None:
    """Refuse, before anything is computed, a file that cannot be written."""
    path = Path(name)
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


def generate(options: Namespace) -> int:
    """Continue a prompt with units clamped."""
    from patchclamp.core.intervention import clamp

    at = ",".join(options.at) if options.at else None
    clamps = [clamp(text, at=at) for text in options.clamp]
    model = _load(options)
    how: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens, "temperature": options.temperature, "seed": options.seed
    }  # fmt: skip
    with Meter("without clamps") as meter:
        [bare] = model.generate(options.prompt, progress=meter, **how)
    changed = None
    if clamps:
        with Meter("clamped") as meter:
            [changed] = model.generate(options.prompt, interventions=clamps, progress=meter, **how)
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


def info(options: Namespace) -> int:
    """Say what a folder (or a graph's file) holds and whether it is whole."""
    from patchclamp.core.bundle import Bundle

    if Path(options.folder).is_file():
        from patchclamp.core.graph import Graph

        graph = Graph.load(options.folder)
        if options.json:
            emit(graph.to_json())
        else:
            tables.graph(graph)
        return 0
    return _tell(Bundle.open(options.folder), options)


def _tell(bundle: Any, options: Namespace) -> int:
    damaged = bundle.damaged()
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
    from patchclamp.organisms import language
    from patchclamp.organisms.language.cards import write_card
    from patchclamp.organisms.language.recipe import Recipe, train

    language.folder(name)  # an unknown name is refused first
    steps = Recipe(name).steps if options.steps is None else options.steps
    folder = Path(options.out or "")
    if not options.out or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))) or steps < 1:
        raise PatchclampError(
            expected="--out with a new or empty folder, and at least 1 step",
            got=f"--out {options.out!r}, {steps} steps",
            remedy="Give another folder.",
        )
    minutes = f"some {steps / 400:.0f} minutes of one core, after five that write the text"
    _say(f"{steps:,} steps: {minutes}; about 1 GB of memory")
    with Meter(f"train {name}", "steps") as meter:
        recipe = Recipe(name, seed=options.seed, steps=steps)
        train(recipe, folder, device=options.device, progress=lambda p: meter(p.step, p.steps))
    card = write_card(folder, name, n=options.n or 500)
    emit(card) if options.json else tables.card(card)


def _evaluate(options: Namespace, name: str) -> None:
    from patchclamp.opening import load
    from patchclamp.organisms import language

    model = (
        load(name, device=options.device, dtype="float32")
        if name not in language.names() and Path(name).is_dir()
        else language.build(name, device=options.device)
    )
    found = language.evaluate(model, n=options.n or 500)
    emit(found) if options.json else tables.measured(found)


def _text(options: Namespace, name: str) -> None:
    from patchclamp.organisms import language

    if options.n is not None and options.n < 1:
        raise PatchclampError(expected="at least 1 document", got=str(options.n), remedy="Give another --n.")
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
    from patchclamp.calibrate import MAIN_TASKS, PAIRS, calibrate_circuits, calibrate_tasks, summary
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
    document: dict[str, Any] = {}
    if planted or not trained:
        with Meter("calibrate", "organisms") as meter:
            found = calibrate_circuits(planted or None, progress=meter)
        overall = summary(found)
        means = {method: {"mean": mean, "interval": asdict(interval)} for method, (mean, interval) in overall.items()}
        document |= {"findings": [asdict(f) for f in found], "summary": means}
        if not options.json:
            tables.calibration(found, overall)
    if trained:
        with Meter("calibrate", "pairs") as meter:
            held = calibrate_tasks(trained, tasks=tasks, pairs=pairs, seed=options.seed, progress=meter)
        document["tasks"] = [asdict(h) for h in held]
        if not options.json:
            tables.holdings(held)
    if options.json:
        emit(document)
    return 0
