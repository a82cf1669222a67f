"""The language organisms: what text, split, questions, models and cards promise."""

import json
import re
from itertools import islice
from random import Random

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey
from patchclamp.organisms import language
from patchclamp.organisms.language import train as recipe
from patchclamp.organisms.language import words
from patchclamp.organisms.language.documents import TASKS, documents, line_of
from patchclamp.organisms.language.evaluate import accuracy
from patchclamp.organisms.language.labelled_line import is_held_out, write
from patchclamp.organisms.language.neurons import best_neurons
from patchclamp.organisms.language.tokens import single_token_words, train_tokenizer
from patchclamp.organisms.language.world import world

MAIN = ("ioi", "agreement", "pronouns", "days", "months", "facts", "two_hop")
N = 3000


@pytest.fixture(scope="module")
def written():
    return list(islice(documents(0), N))


@pytest.fixture(scope="session")
def models(organism):
    return {name: organism(name) for name in language.names()}


# -- text and labels --------------------------------------------------------------------------------------------------


def test_the_same_seed_writes_the_same_text(written):
    again = list(islice(documents(0), 200))
    assert again == written[:200]
    assert [d.text for d in islice(documents(1), 200)] != [d.text for d in again]


def test_marks_stand_on_words_and_say_only_listed_concepts(written):
    for document in written:
        end = 0
        for a, b, concepts in document.marks:
            assert end <= a < b <= len(document.text)
            assert not re.search(r"^\s|\s$", document.text[a:b])
            assert concepts <= set(language.CONCEPTS)
            end = b
        covered = "".join(document.text[a:b] for a, b, _ in document.marks)
        assert covered == re.sub(r"\s", "", document.text)


def test_every_concept_occurs(written):
    seen = set().union(*(concepts for document in written for _, _, concepts in document.marks))
    assert seen == set(language.CONCEPTS)
    assert len(language.CONCEPTS) >= 40


def test_the_lexicon_is_large(written):
    made_up = {document.text[a:b].lower() for document in written for a, b, c in document.marks if "invented" in c}
    types = {word.lower() for document in written for word in re.findall(r"[^\W\d_]+", document.text)} - made_up
    assert len(types) >= 1400


def test_every_word_has_one_class():
    of = {}
    for noun in words.nouns():
        for word in (noun.word, noun.plural):
            assert of.setdefault(word, noun.kind) == noun.kind, word
    verbs = {form for verb in words.REGULAR_VERBS for form in (verb, *words.verb_forms(verb))}
    assert not verbs & set(of)
    assert not set(words.colours()) & set(of)


def test_labels_say_what_the_sentence_means(written):
    plurals = {noun.plural for noun in words.nouns()}
    found = [document for document in written if document.lines[0].task == "agreement"]
    numbers = set()
    for document in found:
        by = {name: document.text[a:b] for a, b, concepts in document.marks for name in concepts}
        plural = document.lines[0].answer.strip() in ("are", "were", "have", "look")
        assert (by["subject"] in plurals) == plural
        numbers.add((plural, by["distractor"] in plurals))
    # The noun between must not tell the subject's number: neither "the same" nor "the other one" may do.
    assert len(numbers) == 4


def test_tokens_carry_their_words_concepts(models):
    shown = language.text(200, seed=5, model=models["language-gpt2"])
    several = 0
    for one, document in zip(shown, islice(documents(5, held_out=True), 200), strict=True):
        assert len(one.concepts) == len(one.ends) == len(one.stimulus)
        assert one.matrix.shape == (len(one.stimulus), len(language.CONCEPTS))
        for a, b, concepts in document.marks:
            inside = [i for i, (s, e) in enumerate(one.stimulus.spans.tolist()) if s < b and e > a and s >= 0]
            assert all(one.concepts[i] == concepts for i in inside), document.text[a:b]
            assert [bool(one.ends[i]) for i in inside] == [False] * (len(inside) - 1) + [True]
            several += len(inside) > 1
        assert one.concepts[0] == frozenset()
    assert several > 50


# -- the split --------------------------------------------------------------------------------------------------------


def test_training_never_sees_a_held_out_pair(written):
    held = list(islice(documents(0, held_out=True), 1000))
    assert all(line.held_out for document in held for line in document.lines if line.task not in ("two_hop", "said"))
    for document in written:
        for line in document.lines:
            if line.task != "two_hop":
                assert not is_held_out(line.task, line.template, line.filler)
            else:
                assert line.filler[0] not in world().unasked
    seen = {(line.task, line.template, line.filler) for d in written for line in d.lines}
    assert not seen & {(line.task, line.template, line.filler) for d in held for line in d.lines}


def test_held_out_two_hop_questions_are_about_people_never_asked():
    rng = Random(0)
    assert {line_of("two_hop", rng, held_out=True).filler[0] for _ in range(300)} == set(world().unasked)


# -- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_equally_long_and_ask_for_different_answers(task, models):
    rules = models["language-gpt2"].tokenizer.bare
    asked = language.tasks(task, 25)
    assert len(asked) == 25
    assert len({item.clean for item in asked}) == 25
    for item in asked:
        clean, corrupted = (rules(text)["input_ids"] for text in (item.clean, item.corrupted))
        assert len(clean) == len(corrupted)
        assert clean != corrupted
        assert item.line.text.startswith(item.clean + item.answer)
        right, wrong = (rules(item.clean + a)["input_ids"][len(clean)] for a in (item.answer, item.wrong))
        assert right != wrong
        assert right in item.answers
        assert wrong in item.wrongs
        assert not item.wrongs <= item.answers or task == "years"


def test_facts_are_those_of_the_world():
    known = world()
    for item in language.tasks("two_hop", 100):
        city = known.city[item.filler[0]]
        assert item.answer.strip() in (known.country[city], known.dish[city])
        assert item.wrong != item.answer
    for item in language.tasks("facts", 100):
        who = item.filler[0]
        table = (known.city, known.job, known.country, known.dish)
        assert item.answer.strip() in {facts.get(who) for facts in table}


def test_the_deciding_step_decides():
    for item in language.tasks("reasoning", 60):
        deciding = [(a, b) for a, b, concepts in item.line.marks if "deciding_step" in concepts]
        a, b = deciding[0][0], deciding[-1][1]
        assert item.clean[a:b] != item.corrupted[a:b] or "inside" not in item.template
        if "than" in item.template:
            # Everything but the deciding step is the same.
            assert item.clean[:a] == item.corrupted[:a]
            assert item.clean[b:] == item.corrupted[b:]


def test_a_becomes_an():
    assert write("See a {x} and a {y}", {"x": "owl", "y": "dog"})[0] == "See an owl and a dog"


def test_unknown_names_are_refused():
    with pytest.raises(PatchclampError, match="language-gpt2"):
        language.build("language-rnn")
    with pytest.raises(PatchclampError, match="ioi"):
        language.tasks("chess")


# -- tokenizer --------------------------------------------------------------------------------------------------------


def test_the_shipped_tokenizer_is_the_recipes_and_keeps_its_promises(models):
    trained = train_tokenizer()
    for model in models.values():
        bare = model.tokenizer.bare
        assert bare.get_vocab() == trained.get_vocab()
        assert len(bare.get_vocab()) <= recipe.VOCABULARY
        for word in single_token_words():
            assert len(bare(f"so {word}", add_special_tokens=False)["input_ids"]) == 2, word
            assert len(bare(word, add_special_tokens=False)["input_ids"]) == 1, word


# -- the models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe.NAMES)
def test_the_card_says_what_the_file_holds(name, models):
    card, model = language.card(name), models[name]
    assert card["name"] == model.name == name
    assert card["hash"] == model.hash
    assert set(card["tasks"]) == set(TASKS)
    assert min(found["n"] for found in card["tasks"].values()) >= 500
    assert all(key in card for key in ("circuit", "architecture", "what", "true", "effects", "decoys", "licence"))
    files = list(language.folder(name).iterdir())
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) <= 5e6
    assert model.dtype == torch.float32
    run = model.run([card["prompt"], card["corrupt"]], logits=[-1])
    answers = [model.tokenizer.token(int(i)) for i in run.logits[:, 0].argmax(-1)]
    assert answers == [card["target"], card["contrast"]]


@pytest.mark.parametrize("name", recipe.NAMES)
def test_what_ships_can_do_its_tasks(name):
    tasks = language.card(name)["tasks"]
    # Asked from the other side of the pairs too: a shortcut is right on one side only.
    for side in (tasks, {task: found["corrupted"] for task, found in tasks.items()}):
        assert {task for task in MAIN if side[task]["accuracy"] < 0.95} <= {"facts", "two_hop"}
        assert min(found["accuracy"] for found in side.values()) >= 0.8
        assert all(found["interval"][0] > tasks[task]["chance"] for task, found in side.items())
    assert language.card(name)["training"]["steps"] == recipe.STEPS[name]


@pytest.mark.parametrize("task", MAIN)
@pytest.mark.parametrize("name", recipe.NAMES)
def test_accuracy_is_that_of_the_card(name, task, models):
    asked = language.tasks(task, 200, seed=9)
    claimed = language.card(name)["tasks"][task]["accuracy"]
    # Where a task has few pairs they come again after an opening; only different pairs are independent.
    independent = len({(item.template, item.filler) for item in asked})
    error = 3 * np.sqrt(max(claimed * (1 - claimed), 0.01) / independent)
    assert accuracy(models[name], asked) / len(asked) == pytest.approx(claimed, abs=error)
    turned = accuracy(models[name], asked, corrupted=True) / len(asked)
    assert turned == pytest.approx(language.card(name)["tasks"][task]["corrupted"]["accuracy"], abs=error)


@pytest.mark.parametrize("name", recipe.NAMES)
def test_neurons_tell_concepts_on_text_they_were_not_chosen_on(name, models):
    model = models[name]
    texts = language.text(300, seed=8, model=model)
    claimed = language.card(name)["neurons"]
    assert set(claimed) == set(language.CONCEPTS)
    found = best_neurons(model, texts, resamples=100)
    for one in found.values():
        low, high = one["interval"]
        assert low <= one["auroc"] <= high
    assert np.median([one["auroc"] for one in found.values()]) > 0.7
    # The card's own neurons, on documents that the card has not seen, by scikit-learn.
    run = model.run([one.stimulus for one in texts], record="blocks.*.mlp.act", logits=False)
    counted = np.concatenate([one.stimulus.counted for one in texts])
    truth = np.concatenate([one.matrix for one in texts])[counted]
    gaps = []
    for i, concept in enumerate(language.CONCEPTS):
        key = UnitKey.parse(claimed[concept]["neuron"])
        if truth[:, i].sum() >= 100:
            values = np.asarray(run.recording[key.site])[counted, key.index]
            gaps.append(roc_auc_score(truth[:, i], values) - claimed[concept]["auroc"])
    assert len(gaps) > 20
    assert np.abs(gaps).max() < 0.1
    assert abs(np.mean(gaps)) < 0.02


# -- the recipe -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe.NAMES)
def test_training_lowers_the_loss_and_repeats(name, models, tmp_path):
    rules = models[name].tokenizer.bare.backend_tokenizer
    short = recipe.Recipe(name, steps=12, rows=8, documents=400, warmup=4)
    losses = {}
    for attempt in ("one", "two"):
        losses[attempt] = []
        recipe.train(
            short,
            tmp_path / attempt,
            progress=lambda p, to=losses[attempt]: to.append(p.loss),
            every=4,
            checkpoints=False,
            rules=rules,
        )
    assert losses["one"] == losses["two"]
    assert losses["one"][-1] < losses["one"][0] - 0.3
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert json.loads((tmp_path / "one/recipe.json").read_text())["steps"] == 12
