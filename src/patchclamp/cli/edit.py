"""The verb ``edit``: change weights so that one fact is told otherwise, and measure what else changed."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.markup import escape

from patchclamp.cli.loading import check_kind, load_model
from patchclamp.cli.method_options import given_options
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter, human_bytes
from patchclamp.cli.steer import read_lines
from patchclamp.cli.tables import ABSENT, _console, _fixed, _grid, _print, _range, _signed
from patchclamp.cli.text_tables import generation
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task

PER_NEURON, LEAST = 4, 2048
"""Tokens of ordinary text for each neuron of a block, and at least."""
WRITTEN = 8
"""Tokens that are written after the prompt, to be looked at."""


def edit(options: Namespace) -> int:
    """Make an edit, measure it, keep it, and show what it does."""
    from patchclamp.control import edit as run
    from patchclamp.control import fact, key_site, measure_edit, neighbours, only_fact
    from patchclamp.core.method import Sizes
    from patchclamp.core.method_files import find_method
    from patchclamp.loaders import open_text

    _check(options)
    given = given_options(options)
    asked = fact(options.prompt, options.subject, options.target)
    model = load_model(options)
    check_kind(model, images=False)
    only_fact(model, asked)
    site = key_site(model, given.get("layer"))
    width = model.site(site).width
    n_tokens = max(PER_NEURON * width, LEAST) if options.max_tokens is None else options.max_tokens
    method = find_method(options.method, "control")
    cost = method.cost(Sizes(units=width), method.make_options(given))
    log(
        f"{n_tokens:,} tokens of ordinary text at {site}; {cost.forward:,} forward and {cost.backward:,} backward "
        f"passes and {human_bytes(cost.bytes)} for the edit; {2 + options.controls} passes over all prompts measure it"
    )
    with Meter("ordinary text") as meter:
        text = open_text(model, site, n_tokens, source=options.text, seed=options.seed, progress=meter)
    with Meter("edit", "steps") as meter:
        made = run(model, asked, text, method=options.method, seed=options.seed, progress=meter, **given)
    paraphrases, others = _neighbours(options, asked, neighbours(asked, text, skip=given.get("n_prefixes", 8)))
    with Meter("measure", "edits") as meter:
        effects = measure_edit(
            model, made, asked, paraphrases, others, n_random=options.controls, seed=options.seed, progress=meter
        )
    texts = _write(model, options.prompt, None), _write(model, options.prompt, made)
    if options.out is not None:
        made.save(options.out)
    if options.save_model is not None:
        model.save_edited(made, options.save_model)
    if options.json:
        written = {"without": texts[0].text, "edited": texts[1].text}
        places = {"out": options.out, "saved_model": options.save_model}
        emit({**places, **made.to_json(), "effects": effects.to_json(), "text": written})
    else:
        _show(options, made, effects, texts)
    return 0


def _check(options: Namespace) -> None:
    """Refuse counts and folders that cannot be, before a model is loaded."""
    folders = [folder for folder in (options.out, options.save_model) if folder is not None]
    for folder in folders:
        refuse_occupied(Path(folder))
    if len(folders) == 2 and Path(folders[0]).resolve() == Path(folders[1]).resolve():
        raise PatchclampError(
            expected="two folders", got="one for --out and --save-model", remedy="Give the model a folder of its own."
        )
    if options.controls < 1 or (options.max_tokens is not None and options.max_tokens < 1):
        raise PatchclampError(
            expected="--controls and --max-tokens from 1 on",
            got=f"{options.controls} and {options.max_tokens}",
            remedy="Leave them out for the defaults.",
        )
    for path in (options.paraphrases, options.others):
        if path is not None:
            read_lines(path)


def _neighbours(options: Namespace, asked: Task, default: tuple[Task, Task]) -> tuple[Task, Task]:
    """Return paraphrases and other prompts: those of the files that were named, or the defaults."""
    found = []
    for path, usual, answers in ((options.paraphrases, default[0], True), (options.others, default[1], False)):
        if path is None:
            found.append(usual)
        else:
            cases = [Case(line, None, asked.cases[0].targets if answers else ()) for line in read_lines(path)]
            found.append(Task(tuple(cases), asked.measure))
    return found[0], found[1]


def _write(model: Any, prompt: str, made: Any) -> Any:
    """Return the likeliest continuation, with an edit in force where one is given."""
    if made is None:
        return model.generate(prompt, max_new_tokens=WRITTEN)[0]
    with model.edited(made):
        return model.generate(prompt, max_new_tokens=WRITTEN)[0]


def _show(options: Namespace, made: Any, effects: Any, texts: tuple[Any, Any]) -> None:
    out, receipt = _console(), effects.receipt
    generation(options.prompt, texts[0].text, texts[1].text, [f"{made.size:,} weights changed"], None, word="edited")
    for entry in made.to_json()["parameters"]:
        shape = "×".join(map(str, entry["shape"]))
        out.print(f"         {escape(entry['name'])} {shape}, norm of the change {_fixed(entry['norm'])}", style="dim")
    out.print(f"\n[bold]Verdict[/]: {escape(receipt.summary)}")
    out.print(
        f"log P({escape(repr(options.target))}) gains {escape(str(receipt.measured))}; {receipt.controls.n_different} "
        f"{receipt.controls.rule}: {_signed(receipt.controls.mean)} on average"
    )
    rows = {
        "the prompt": effects.efficacy,
        f"paraphrases: {options.paraphrases or 'the prompt after other text'}": effects.paraphrase,
        f"others, unchanged: {options.others or 'beginnings of ordinary text'}": effects.specificity,
    }
    table = _grid("", "share", "95 % interval", "random edits", "n", numbers=("share", "n"))
    for name, one in rows.items():
        ends = [ABSENT if i is None else _range(i.low, i.high) for i in (one.interval, one.null)]
        table.add_row(escape(name), _fixed(one.value), *ends, str(one.n))
    out.print("\nThe new answer is the likeliest on, and on other prompts the likeliest stays what it was on:")
    _print(out, table)
    if not effects.efficacy.value:
        out.print(
            f"The new answer is not the likeliest: try other options, `patchclamp methods control/{options.method}` "
            "lists them"
        )
    out.print(
        f"weights {made.before[:12]} before, {made.after[:12]} with the edit; taken away again, they are "
        + ("what they were, to the bit" if effects.undone else "NOT what they were")
    )
    for what, folder in (("the edit", options.out), ("the edited model", options.save_model)):
        if folder is not None:
            log(f"{what} kept in {folder}")
