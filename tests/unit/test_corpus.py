"""A corpus is what lies somewhere and how it is cut: streamed as a naive cutter cuts it, and never held."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import patchclamp as pc
from oracles.corpus import cut
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.decompose import TextSource
from patchclamp.subjects.corpora import read_corpus

SITE = "blocks.0.mlp.act"


def draw_words(n, vocabulary=50, seed=0):
    draw = np.random.default_rng(seed)
    ends = ["\n" if new else " " for new in draw.random(n) < 0.1]
    return "".join(f"w{word}{end}" for word, end in zip(draw.integers(0, vocabulary, n), ends, strict=True))


@pytest.fixture(scope="module")
def subjects(tiny_language_model):
    return {family: tiny_language_model(family) for family in ("llama", "gpt2", "bert")}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("corpus") / "text.txt"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=st.sampled_from(["llama", "gpt2", "bert"]),
    n=st.integers(1, 3000),
    window=st.integers(4, 64),
    bos=st.booleans(),
    skip=st.integers(0, 3),
    most=st.none() | st.integers(1, 4000),
    batch=st.integers(1, 9),
)
def test_a_stream_equals_a_naive_cut(subjects, file, family, n, window, bos, skip, most, batch):
    text = draw_words(n)
    file.write_text(text)
    model = subjects[family]
    corpus = Corpus(file, window=window, bos=bos, skip_first=skip, max_tokens=most)
    batches = read_corpus(model, corpus, batch_size=batch)
    expected = cut(model.tokenizer, text, window=window, bos=bos, skip_first=skip, max_tokens=most)
    found = [stimulus for some in batches for stimulus in some]
    assert [one.ids.tolist() for one in found] == [ids for ids, _ in expected]
    assert [one.counted.tolist() for one in found] == [counted for _, counted in expected]
    assert (batches.n_stimuli, batches.n_tokens) == (len(expected), sum(len(ids) for ids, _ in expected))
    assert batches.n_counted == sum(sum(counted) for _, counted in expected)
    assert [len(some) for some in batches][:-1] == [batch] * ((len(expected) - 1) // batch)
    start = batch * (len(expected) // (2 * batch))
    rest = [one.id for some in batches.start_at(start) for one in some]
    assert rest == [one.id for one in found[start:]]
    assert list(batches.start_at(len(found))) == []


def test_recordings_and_trainings_read_the_same_stimuli(subjects, tmp_path):
    model = subjects["llama"]
    (tmp_path / "text.txt").write_text(draw_words(300))
    corpus = Corpus(tmp_path / "text.txt", window=16, skip_first=2, max_tokens=200)
    stored = pc.record(model, corpus, SITE, tmp_path / "out", batch_size=3)
    rows = [rows[SITE] for rows in TextSource(model, corpus, batch_size=3).chunks([SITE], 0)]
    whole = stored.load()
    np.testing.assert_array_equal(np.concatenate(rows), np.asarray(whole[SITE])[whole.counted])


def test_a_conversation_is_a_line_and_a_document_a_stimulus(subjects, tmp_path):
    model = subjects["llama"]
    chat = tmp_path / "chat.txt"
    chat.write_text("w1 w2\n\nw3\n")
    lines = [one for some in read_corpus(model, Corpus(chat, "chat", window=16)) for one in some]
    assert [one.ids.tolist() for one in lines] == [
        model.tokenize(words, chat=True).ids.tolist() for words in ("w1 w2", "w3")
    ]
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9"]
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text("".join(json.dumps({"text": t, "tokens": [], "concepts": []}) + "\n" for t in texts))
    documents = Corpus(labelled, "documents", window=16, max_tokens=8)
    found = [one.ids.tolist() for some in read_corpus(model, documents) for one in some]
    whole = [model.tokenize(text).ids.tolist() for text in texts]
    assert found == [whole[0], whole[1], whole[2][: 8 - len(whole[0]) - len(whole[1])]]


def test_images_are_read_from_their_places(tmp_path):
    pytest.importorskip("sklearn", reason="brings the digits")
    model = pc.load("organism:digits-cnn")
    batches = read_corpus(model, Corpus("digits:3:9", "images", max_images=4), batch_size=3)
    assert [[one.name for one in some] for some in batches] == [["digits:3", "digits:4", "digits:5"], ["digits:6"]]
    assert (batches.n_stimuli, batches.n_tokens, batches.n_counted, batches.kind) == (4, 4, 4, "images")
    known = batches.corpus
    assert read_corpus(model, known).stimuli == batches.stimuli == known.content
    with pytest.raises(PatchclampError, match="the images changed meanwhile"):
        read_corpus(model, Corpus("digits:2:9", "images", max_images=4, content=known.content))


corpora = st.builds(
    Corpus,
    source=st.text(min_size=1),
    kind=st.sampled_from(["text", "chat"]),
    window=st.none() | st.integers(10, 4096),
    bos=st.booleans(),
    skip_first=st.integers(0, 9),
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    content=st.text("0123456789abcdef"),
) | st.builds(Corpus, source=st.text(min_size=1), kind=st.just("images"), max_images=st.none() | st.integers(1, 9))


@given(corpora)
def test_a_corpus_comes_back_from_json(corpus):
    again = Corpus.from_json(json.loads(json.dumps(corpus.to_json())))
    assert again == corpus
    assert again.hash == corpus.hash


def test_a_corpus_comes_back_from_disk_and_damage_is_named(tmp_path):
    corpus = Corpus("story.txt", "chat", window=9, max_tokens=10**9)
    corpus.save(tmp_path / "corpus.json")
    assert Corpus.load(tmp_path / "corpus.json") == corpus
    good = corpus.to_json()
    for wrong in ({"window": "9"}, {"kind": "sounds"}, {"source": 5}, {"max_tokens": 0}, {"skip_first": -1}):
        with pytest.raises(Damaged):
            Corpus.from_json({**good, **wrong})
    with pytest.raises(Damaged):
        Corpus.from_json({name: value for name, value in good.items() if name != "bos"})
    with pytest.raises(PatchclampError, match="patchclamp-corpus version 1"):
        Corpus.from_json({**good, "version": 2})
    (tmp_path / "corpus.json").write_text("[]")
    with pytest.raises(Damaged):
        Corpus.load(tmp_path / "corpus.json")


def test_its_hash_follows_content_and_cutting_and_not_the_place(subjects, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("w1 w2 w3 w4 w5 w6")
    (tmp_path / "other").write_text("w1 w2 w3 w4 w5 w7")
    one, two, other = (
        read_corpus(subjects["llama"], Corpus(tmp_path / name, window=4)).corpus for name in ("one", "two", "other")
    )
    assert one.hash == two.hash != other.hash
    assert read_corpus(subjects["llama"], Corpus(tmp_path / "one", window=5)).corpus.hash != one.hash
    assert Corpus(tmp_path / "one").hash != Corpus(tmp_path / "two").hash
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        read_corpus(subjects["llama"], Corpus(tmp_path / "other", window=4, content=one.content))


def test_a_corpus_of_any_length_costs_its_description(tmp_path):
    tracemalloc.start()
    some = [Corpus("/data/web.txt", window=1024, max_tokens=10**9, skip_first=i) for i in range(100)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100 * 2000
    assert len({one.hash for one in some}) == 100


def test_no_batch_of_a_changed_text_is_given_out(subjects, tmp_path):
    """What is committed before the change is found must be of the planned text."""
    path = tmp_path / "text.txt"
    path.write_text("w1 " * 64)
    batches = read_corpus(subjects["llama"], Corpus(path, window=8), batch_size=2)
    path.write_text("w1 " * 32 + "w2 " * 32)
    given = []
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        given.extend(batches)
    assert given
    assert {int(i) for some in given for one in some for i in one.ids[1:]} == {
        int(batches_word(subjects["llama"], "w1"))
    }


def batches_word(model, word):
    return model.tokenize(word).ids[-1]


@pytest.mark.parametrize("n", [14 * 4, 14 * 6])
def test_a_text_that_ends_sooner_or_later_at_a_batch_s_end_is_another(subjects, tmp_path, n):
    path = tmp_path / "text.txt"
    path.write_text(" ".join(["w1"] * 14 * 5))
    batches = read_corpus(subjects["llama"], Corpus(path, window=8), batch_size=2)
    assert [len(some) for some in batches] == [2] * 5
    path.write_text(" ".join(["w1"] * n))
    given = []
    with pytest.raises(PatchclampError, match="the text changed meanwhile"):
        given.extend(batches)
    assert len(given) == min(n // 14, 5)


def test_a_window_fits_the_model(subjects):
    context = subjects["gpt2"].context
    assert Corpus("x").fit(context).window == min(128, context)
    assert Corpus("x").fit(None).window == 128
    assert Corpus("x", "images").fit(3).window is None
    with pytest.raises(PatchclampError, match="the model's context"):
        Corpus("x", window=context + 1).fit(context)
