"""Change weights so that the model answers one fact differently."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.loading import check_language, load_model, read_lines
from patchclamp.cli.method_options import MethodParser, given_options
from patchclamp.cli.options import MODEL, add_controls, add_loading, add_out, add_seed
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter
from patchclamp.core.disk import refuse_occupied
from patchclamp.core.errors import PatchclampError
from patchclamp.core.plain_numbers import human_bytes

SUMMARY = "Change a model's weights so that it answers one fact differently, and measure what else changed."
QUESTION = "change it"
EXAMPLE = (
    "patchclamp edit organism:language-gpt2 --prompt 'Arbon lies in' --subject Arbon --target ' Norland' "
    "--position last"
)

PER_NEURON, LEAST = 4, 2048
"""Tokens of ordinary text for each neuron of a block, and at least."""

WRITTEN = 8
"""Tokens that are written after the prompt, to be looked at."""


def add_options(parser: MethodParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="ends where the answer follows")
    parser.add_argument(
        "--subject", required=True, metavar="TEXT", help="what the fact is about, as the prompt writes it"
    )
    parser.add_argument("--target", required=True, metavar="ANSWER", help="the new answer, with its leading space")
    parser.add_argument("--inputs", metavar="FILE", help="ordinary text (default: what the model itself writes)")
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="of ordinary text (default: 2,048, or four for each neuron of a block)",
    )
    parser.add_argument(
        "--paraphrases",
        metavar="FILE",
        help="other prompts for the same fact, one a line (default: the prompt after other text)",
    )
    parser.add_argument(
        "--others",
        metavar="FILE",
        help="neighbours: prompts whose answer should stay, one a line (default: beginnings of the text)",
    )
    add_controls(parser, "random edits of the same size")
    parser.add_argument("--save-model", metavar="DIR", help="write the edited model to a new or empty folder")
    add_loading(parser)
    parser.use("control", "edit", gives="Edit")
    add_seed(parser)
    add_out(parser)


def run(options: Namespace) -> int:
    """Make an edit, measure it, keep it, and show what it does."""
    from patchclamp.control import edit as run
    from patchclamp.control import fact, key_site, measure_edit, neighbours, only_fact
    from patchclamp.core.method import Sizes
    from patchclamp.core.method_files import find_method
    from patchclamp.loaders import open_text
    from patchclamp.report.terminal.edit import show_effects

    _check(options)
    given = given_options(options)
    task = fact(options.prompt, options.subject, options.target)
    model = load_model(options)
    check_language(model)
    only_fact(model, task)
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
        text = open_text(model, site, n_tokens, source=options.inputs, seed=options.seed, progress=meter)
    with Meter("edit", "steps") as meter:
        made = run(model, task, text, method=options.method, seed=options.seed, progress=meter, **given)
    paraphrases, others = _neighbours(options, task, neighbours(task, text, skip=given.get("n_prefixes", 8)))
    with Meter("measure", "edits") as meter:
        effects = measure_edit(
            model, made, task, paraphrases, others, n_random=options.controls, seed=options.seed, progress=meter
        )
    texts = _write(model, options.prompt, None), _write(model, options.prompt, made)
    if options.out is not None:
        made.save(options.out)
    if options.save_model is not None:
        model.save_edited(made, options.save_model)
    if options.json:
        written = {"without": texts[0].text, "edited": texts[1].text}
        places = {"out": options.out, "saved_model": options.save_model}
        likeliest = {"answer_is_likeliest": effects.efficacy.value == 1}
        emit({**places, **made.to_json(), **likeliest, "effects": effects.to_json(), "text": written})
    else:
        show_effects(
            made, effects, texts, method=options.method, prompt=options.prompt, target=options.target,
            paraphrases=options.paraphrases, others=options.others,
        )  # fmt: skip
        for what, folder in (("the edit", options.out), ("the edited model", options.save_model)):
            if folder is not None:
                log(f"{what} kept in {folder}")
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


def _neighbours(options: Namespace, task: Any, default: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return paraphrases and other prompts: those of the files that were named, or the defaults."""
    from patchclamp.core.task import Case, Task

    found = []
    for path, usual, answers in ((options.paraphrases, default[0], True), (options.others, default[1], False)):
        if path is None:
            found.append(usual)
        else:
            cases = [Case(line, None, task.cases[0].targets if answers else ()) for line in read_lines(path)]
            found.append(Task(tuple(cases), task.measure))
    return found[0], found[1]


def _write(model: Any, prompt: str, made: Any) -> Any:
    """Return the likeliest continuation, with an edit in force where one is given."""
    if made is None:
        return model.generate(prompt, max_new_tokens=WRITTEN)[0]
    with model.edited(made):
        return model.generate(prompt, max_new_tokens=WRITTEN)[0]
