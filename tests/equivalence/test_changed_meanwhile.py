"""What changes while it is read is never kept as what it was, and a line is read whole, however long."""

import json

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.atlas.bake.concept_labels import as_documents, labels_of
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose import Job, Recipe, TextSource, TopKConfig, train
from patchclamp.record import record_corpus, survey_corpus
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.images import gallery
from patchclamp.subjects.text import conversations

OLD, NEW = "the old cat sat on the mat. ", "the old dog ran on the mat. "
SITE = "blocks.0.mlp.act"


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(OLD * 40)
    return path


@pytest.mark.parametrize("verb", [record_corpus, survey_corpus])
@pytest.mark.parametrize("text", [NEW * 40, OLD * 39 + NEW, OLD * 20, OLD * 60])
def test_a_text_that_is_edited_after_its_plan(cat, story, tmp_path, verb, text):
    batches = read_corpus(cat, pc.Corpus(story, window=16), batch_size=4)
    story.write_text(text)
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        verb(cat, batches, SITE, tmp_path / "out")
    assert not pc.core.bundle.Bundle.open(tmp_path / "out").whole


def test_a_text_that_is_edited_before_where_a_resume_goes_on(cat, story):
    """What a resume skips is compared all the same."""
    batches = read_corpus(cat, pc.Corpus(story, window=16), batch_size=4)
    first = next(iter(batches))
    story.write_text(NEW + OLD * 39)
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        list(batches.start_at(len(first)))


def test_labels_of_a_text_that_is_edited_after_its_plan(cat, tmp_path):
    file = tmp_path / "labelled.jsonl"

    def write(words):
        tokens = len(cat.tokenize(words))
        file.write_text(json.dumps({"text": words, "tokens": ["x"] * tokens, "concepts": [[]] * tokens}) + "\n")

    write("the old cat")
    batches = read_corpus(cat, as_documents(pc.Corpus(file, window=16)))
    assert batches.corpus.kind == "documents"
    assert labels_of(cat, batches) is not None
    write("the old dog")
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        labels_of(cat, batches)
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        list(batches)


@pytest.mark.parametrize("text", [NEW * 40, OLD * 39 + NEW, OLD * 60])
def test_a_training_over_a_text_that_is_edited(cat, story, text):
    source = TextSource(cat, pc.Corpus(story, window=16), batch_size=4)
    jobs, recipe = [Job(SITE, SITE, TopKConfig(8, k=2))], Recipe(batch_size=32)
    assert source.n_rows > 100
    story.write_text(text)
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        train(source, jobs, recipe)


def test_images_that_are_exchanged_after_their_plan(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    model = pc.load("organism:digits-cnn")
    batches = read_corpus(model, gallery(tmp_path), batch_size=2)
    assert len(list(batches)) == 2
    Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(PatchclampError, match="the images changed meanwhile"):
        list(batches)


@pytest.mark.parametrize("n", [60_000, 65_520, 65_536, 70_000, 200_000])
def test_a_conversation_is_one_message_however_long(tiny_language_model, tmp_path, n):
    tokenizer = tiny_language_model("llama").tokenizer
    words = "w1 " * (n // 3)
    file = tmp_path / "chat.jsonl"
    lines = [json.dumps([{"role": "user", "content": words}]), "w2 w3", "w4 " * (n // 3)]
    file.write_text("\n".join(lines) + "\n")
    found = list(conversations(tokenizer, file, window=10**6))
    assert len(found) == 3
    for one, text in zip(found, (words, "w2 w3", lines[2].strip()), strict=True):
        whole, _ = tokenizer.render([{"role": "user", "content": text}])
        [(ids, _)] = tokenizer.pieces([whole])
        assert one.ids[-len(ids) :].tolist() == ids.tolist()


def test_a_line_beyond_all_measure_is_refused(tiny_language_model, tmp_path, monkeypatch):
    monkeypatch.setattr("patchclamp.subjects.text.LONGEST_MESSAGE", 100_000)
    file = tmp_path / "chat.txt"
    file.write_text("w1 " * 60_000)
    with pytest.raises(PatchclampError, match="lines of at most 100,000 characters"):
        list(conversations(tiny_language_model("llama").tokenizer, file, window=100))
