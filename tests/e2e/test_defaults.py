"""Every verb with its default options on every organism, task and layout: it works, or is refused before the work.

A run of the suite takes one case of each kind; under PATCHCLAMP_SOAK=1 the whole product is run.
"""

import functools
import json
import pkgutil
from pathlib import Path

import pytest

import patchclamp as pc
from conftest import ROOT, SOAK
from patchclamp import organisms
from patchclamp.cli import main
from patchclamp.organisms import language

SHARED = ROOT.parent / "shared"
STORIES = "stories260K"
SUBJECTS = [*organisms.names(), STORIES]
TASKS = tuple(language.TASKS)
FILES = ["ioi.csv", "greater_than_data.csv", *(f"sva/{name}_train.json" for name in ("simple", "nounpp", "within_rc"))]
PAIRS = [
    {"clean": "She was happy. She", "corrupted": "He was happy. He", "answer": " her", "wrong": " his"},
    {"clean": "The big dog was very", "corrupted": "The big cat was very", "answer": " big", "wrong": " happy"},
]
VERBS = ("explain", "generate", "decompose", "atlas bake", "steer fit", "steer apply", "edit")
WORK = (
    "patchclamp.attribute.pairs.attribute_pairs",
    "patchclamp.attribute.edges.attribute_edges",
    "patchclamp.attribute.patching_folder.patch_to_folder",
    "patchclamp.recipes.answer.attribute_nodes",
    "patchclamp.decompose.fitting.train_dictionary",
    "patchclamp.atlas.bake.passes.survey_corpus",
)
"""What takes long: none of it may have begun where a command is refused."""


def sources(subject):
    """Return what pairs a subject is asked about."""
    if subject in language.names():
        return [*(f"task:{task}" for task in TASKS), *FILES, "own.jsonl"]
    if subject == STORIES:
        return [*FILES, "own.jsonl"]
    return ["planted", "own.jsonl"] if subject in organisms.planted.names() else ["planted"]


WHOLE = [(subject, verb, "") for subject in SUBJECTS for verb in VERBS] + [
    (subject, verb, source) for subject in SUBJECTS for verb in ("circuit find", "patch") for source in sources(subject)
]
QUICK = [
    *(("cat", verb, "") for verb in VERBS),
    ("cat", "circuit find", "planted"),
    ("cat", "patch", "planted"),
    ("induction-llama", "circuit find", "planted"),
    ("induction-llama", "explain", ""),
    ("language-gpt2", "circuit find", "task:facts"),
    ("language-gpt2", "circuit find", "task:ioi"),
    ("language-gpt2", "circuit find", "ioi.csv"),
    ("language-gpt2", "patch", "task:agreement"),
    ("language-gpt2", "generate", ""),
    *(("digits-cnn", verb, "") for verb in VERBS),
    ("digits-cnn", "circuit find", "planted"),
    ("digits-vit", "explain", ""),
    ("digits-vit", "atlas bake", ""),
    (STORIES, "circuit find", "own.jsonl"),
    (STORIES, "patch", "own.jsonl"),
    (STORIES, "explain", ""),
    *((STORIES, verb, "") for verb in ("steer fit", "steer apply", "edit")),
    ("language-gpt2", "edit", ""),
    *((STORIES, "circuit find", name) for name in ("greater_than_data.csv", "sva/simple_train.json")),
]
N = 4


@pytest.fixture(scope="module", autouse=True)
def models_load_once():
    """Load each model once for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchclamp.loaders.load", functools.cache(pc.load))
        yield


@pytest.fixture
def work(monkeypatch):
    """Note which long pieces of work have begun."""
    begun = []
    for name in WORK:
        monkeypatch.setattr(name, noting(begun, name, pkgutil.resolve_name(name)))
    return begun


def noting(begun, name, function):
    """Return a function that notes that it was called."""

    def note(*args, **how):
        begun.append(name)
        return function(*args, **how)

    return note


def words_of(subject, verb, source, folder):
    """Return the command, every option left at its default but the number of pairs and tokens."""
    model = f"organism:{subject}"
    card = {"prompt": "Once upon a time, there was a", "target": " little", "contrast": " big"}
    if subject == STORIES:
        model = str(SHARED / "models" / STORIES)
    else:
        card = organisms.card(subject)
    if verb == "generate":
        return ["generate", model, card["prompt"], "--max-new-tokens", "3"]
    if verb in ("steer fit", "steer apply"):
        (folder / "a.txt").write_text("She is very happy.\n" * 3)
        (folder / "b.txt").write_text("He was so sad.\n" * 3)
        if verb == "steer fit":
            texts = ["--positive", folder / "a.txt", "--negative", folder / "b.txt"]
            return ["steer", "fit", model, *texts, "--out", folder / "out"]
        words = words_of(subject, "steer fit", source, folder)
        words[-1] = folder / "vector"
        main(list(map(str, words)))
        few = ["--controls", 2, "--n", 2, "--max-new-tokens", 3]
        return ["steer", "apply", model, card["prompt"], "--vector", folder / "vector", *few]
    if verb == "edit":
        about = str(card["prompt"]).split()[-1]
        few = ["--controls", 2, "--max-tokens", 600]
        return ["edit", model, "--prompt", card["prompt"], "--subject", about, "--target", card["contrast"], *few]
    if verb == "explain":
        return ["explain", model, card["prompt"], "--target", card["target"], "--contrast", card["contrast"]]
    if verb in ("decompose", "atlas bake"):
        text = folder / "text.txt"
        lines = ([card["prompt"] + card["target"]] if isinstance(card["prompt"], str) else []) * 2000
        text.write_text("\n".join(lines))
        site = ["--sites", "blocks.0.mlp.act"] if verb == "decompose" else []
        tokens = 5000 if verb == "decompose" else 300
        return [*verb.split(), model, *site, "--inputs", text, "--max-tokens", tokens, "--out", folder / "out"]
    if source == "own.jsonl":
        (folder / source).write_text("\n".join(json.dumps(pair) for pair in PAIRS))
        source = folder / source
    elif Path(source).suffix:
        source = SHARED / "data" / "circuits" / source
    return [*verb.split(), model, "--pairs", source, "--n", N, "--out", folder / "out"]


@pytest.mark.soak
@pytest.mark.parametrize(("subject", "verb", "source"), WHOLE if SOAK else QUICK)
def test_a_default_command_works_or_is_refused_before_the_work(subject, verb, source, work, tmp_path, capsys):
    if (subject == STORIES or source in FILES) and not SHARED.is_dir():
        pytest.skip("needs the models and data in ../shared, which are not part of the repository")
    code = main(list(map(str, words_of(subject, verb, source, tmp_path))))
    out, err = capsys.readouterr()
    assert "defect" not in err, err
    if code == 0:
        assert out
        return
    assert code == 2
    assert "to do" in err
    assert not work, f"refused after {work}: {err}"
    assert not (tmp_path / "out").exists()
