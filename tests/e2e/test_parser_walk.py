"""Every option of every verb, read from the parser, with bad values: an exit code and three parts, never a traceback.

A run of the suite takes some values of each verb; under PATCHCLAMP_SOAK=1 every option gets every value.
"""

import argparse
import functools
import random
import shlex
import shutil
from pathlib import Path

import pytest

import patchclamp as pc
from conftest import SOAK
from patchclamp.cli import build_parser, main
from patchclamp.cli.verbs import find_verb

SAMPLE = 6
"""ReadTask of each verb in a run of the suite."""
NUMBERS = ("0", "-1", str(10**12), "nan", "", "1_000", "٣")
TEXTS = ("", "\x1b[31m", "-", "--", "FOLDER", "BINARY", "NUL", "DEEP", "BELOW", "/proc/none")
ASKED = ("organism:cat", "the old cat", "--target", " sat", "--contrast", " ran")
SHOWN = ("--inputs", "STORY", "--sites", "blocks.0.mlp.act", "--max-tokens", "48", "--window", "8")
BASES = {
    "verify": ["organism:cat"],
    "record": ["organism:cat", *SHOWN, "--out", "NEW"],
    "survey": ["organism:cat", *SHOWN, "--out", "NEW"],
    "decompose": ["organism:cat", "--sites", "blocks.0.mlp.act", "--inputs", "STORY", "--method", "random",
                  "--n-features", "4", "--k", "2", "--max-tokens", "48", "--window", "8", "--out", "NEW"],
    "explain": [*ASKED, "--method", "attribution_patching", "--top", "2"],
    "generate": ["organism:cat", "the old cat", "--max-new-tokens", "2"],
    "info": ["RECORDING"],
    "calibrate": ["mover-gpt2"],
    "patch": ["organism:mover-gpt2", "--pairs", "planted", "--n", "2", "--sites", "resid", "--out", "NEW"],
    "circuit find": ["organism:mover-gpt2", "--pairs", "planted", "--n", "2", "--top", "2", "--out", "NEW"],
    "evaluate": ["organism:digits-cnn", "--inputs", "digits:3", "--controls", "19"],
    "compare": ["RECORDING", "RECORDING"],
    "encode": ["RECORDING", "RECORDING", "--split", "blocks:2"],
    "decode": ["RECORDING", "--labels", "LABELS", "--split", "blocks:2"],
    "steer fit": ["organism:cat", "--positive", "STORY", "--negative", "OTHER", "--out", "NEW"],
    "steer apply": ["organism:cat", "the old cat", "--vector", "VECTOR", "--n", "2", "--controls", "2",
                    "--max-new-tokens", "2"],
    "edit": ["organism:cat", "--prompt", "the old cat", "--subject", "cat", "--target", " ran", "--inputs", "STORY",
             "--max-tokens", "400", "--controls", "2", "--layer", "0", "--steps", "2"],
    "describe": ["organism:cat"],
    "learn": ["--n", "50", "--passes", "1"],
    "atlas bake": ["organism:cat", "--inputs", "STORY", "--max-tokens", "48", "--window", "8", "--out", "NEW"],
    "atlas add": ["ATLAS", "--basis", "BASIS", "--inputs", "STORY", "--max-tokens", "48", "--model", "organism:cat"],
    "atlas serve": ["ATLAS"],
    "atlas info": ["ATLAS"],
    "atlas export": ["ATLAS", "--format", "html", "--unit", "blocks.0.mlp.act/neurons/7", "--out", "NEW"],
}  # fmt: skip
"""Words with which a verb works in a moment; those in capitals are paths. Other verbs work as their EXAMPLE does."""
LONG = (
    "patchclamp.organisms.digits.train",
    "patchclamp.organisms.digits.evaluate",
    "patchclamp.organisms.language.evaluate",
    "patchclamp.organisms.language.train.train",
    "patchclamp.organisms.language.text",
    "patchclamp.calibrate.calibrate",
    "patchclamp.subjects.contract.verify.verify",
    "patchclamp.subjects.contract.verify.verify_family",
    "uvicorn.Server.run",
    "webbrowser.open",
)
"""What computes long, or without end, where a value is good: it is refused here once it begins."""


def verbs_of(parser, *words):
    """Yield the words of every verb with its parser."""
    below = next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)
    if below is None:
        yield " ".join(words), parser
        return
    for word, verb in below.choices.items():
        yield from verbs_of(verb, *words, word)


VERBS = dict(verbs_of(build_parser()))


def example_of(verb):
    """Return the words after the verb in its file's example."""
    return shlex.split(find_verb(verb).EXAMPLE)[1 + len(verb.split()) :]


def base_of(verb):
    """Return words with which a verb works: those above, or of its example."""
    return BASES[verb] if verb in BASES else example_of(verb)


def cases_of(verb):
    """Return every command of a verb with one bad value in it."""
    base = base_of(verb)
    parser = VERBS[verb]
    found = list(cases_of_parser(parser, base))
    if parser.room:
        for card in parser.cards:
            named = dict(verbs_of(build_parser()))[verb]
            named._add(card.name)
            own = [action for action in named._actions if action.dest.startswith("option_")]
            found += [[*base, "--method", card.name, word] for word in words_of(own)]
    return found


def cases_of_parser(parser, base):
    """Yield commands with one of the parser's own arguments replaced."""
    yield from ([*base, word] for word in words_of(parser._actions))
    places = [action for action in parser._actions if not action.option_strings]
    for i in range(min(len(places), next((k for k, word in enumerate(base) if word.startswith("--")), len(base)))):
        for value in TEXTS:
            yield [*base[:i], value, *base[i + 1 :]]


def words_of(actions):
    """Yield an option with each bad value of its type."""
    for action in actions:
        if action.option_strings and action.nargs != 0:
            for value in TEXTS if action.type is None else (*NUMBERS, "--"):
                yield f"{action.option_strings[0]}={value}"


@pytest.fixture(scope="module")
def places(tmp_path_factory, seeded_atlas):
    """The paths that the commands name, each made by patchclamp itself or bad in one way."""
    folder = tmp_path_factory.mktemp("walk")
    paths = {name: folder / name.lower() for name in (
        "STORY", "OTHER", "FOLDER", "BINARY", "NUL", "DEEP", "RECORDING", "BASIS", "CIRCUIT", "ATLAS", "VECTOR",
        "LABELS",
    )}  # fmt: skip
    paths["STORY"].write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 30)
    paths["OTHER"].write_text("the dog ran to the park.\n" * 4)
    paths["BELOW"] = paths["BINARY"] / "below"
    write_bad(paths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchclamp.loaders.load", functools.cache(pc.load))
        made_by = {"record": "RECORDING", "decompose": "BASIS", "circuit find": "CIRCUIT", "steer fit": "VECTOR"}
        for verb, made in made_by.items():
            assert main([*verb.split(), *paths_in(BASES[verb], paths, paths[made])]) == 0
        shutil.copytree(seeded_atlas, paths["ATLAS"])
        n = pc.StoredRecording(paths["RECORDING"]).n_stimuli
        paths["LABELS"].write_text("\n".join(("one", "other")[i % 2] for i in range(n)))
        yield paths


def write_bad(places):
    """Make the paths of which each is bad in one way."""
    places["FOLDER"].mkdir(exist_ok=True)
    places["BINARY"].write_bytes(random.Random(0).randbytes(999))
    places["NUL"].write_bytes(b"\0")
    places["DEEP"].write_text("[" * 100_000)


def paths_in(words, places, new):
    """Return words with the paths that they name."""
    named = {**places, "NEW": new}
    return [
        before + mark + str(named.get(last, last)) for before, mark, last in (word.rpartition("=") for word in words)
    ]


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Refuse long work where it begins, in a folder in which nothing lies."""

    def refuse(*_words, **_options):
        raise pc.PatchclampError(expected="no long work here", got="its beginning", remedy="Nothing.")

    for name in LONG:
        monkeypatch.setattr(name, refuse)
    monkeypatch.chdir(tmp_path)


def test_words_belong_to_verbs_and_are_not_those_of_the_example():
    assert set(BASES) <= set(VERBS)
    assert [verb for verb, words in BASES.items() if words == example_of(verb)] == []


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in BASES])
def test_an_example_works(verb, quick, capfd):
    assert main([*verb.split(), *base_of(verb)]) == 0, capfd.readouterr().err


@pytest.mark.soak
@pytest.mark.parametrize("verb", VERBS)
def test_a_bad_value_is_refused_in_three_parts(verb, places, quick, tmp_path, capfd):
    cases = cases_of(verb)
    if not SOAK:
        cases = random.Random(verb).sample(cases, min(SAMPLE, len(cases)))
    wrong = []
    for i, case in enumerate(cases):
        write_bad(places)  # a file that is named with --out is written over
        words = [*verb.split(), *paths_in(case, places, tmp_path / f"new{i}")]
        try:
            code = main(words)
        except BaseException as problem:
            wrong.append((case, repr(problem)))
            continue
        out, err = capfd.readouterr()
        parts = all(part in err for part in ("expected", "got", "to do"))
        bad = "defect" in err or "Traceback" in err or "\x1b[31m" in out + err
        if code not in (0, 1, 2) or bad or (code == 2 and not parts):
            wrong.append((case, code, err[-400:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert Path.cwd() == tmp_path
