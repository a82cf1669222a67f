"""A plan's pieces computed elsewhere, late and out of order, give the bytes of one process."""

import random
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from elsewhere import Elsewhere
from patchclamp.core.bundle import reaches, write_part
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose import TextSource
from patchclamp.engines import Serial, Start, choose, cut_pieces, open_engine, plan
from patchclamp.record import record_corpus, stream, survey_corpus
from patchclamp.record.survey import N_SAMPLE, _mix, draw_sample

SITES = ("blocks.0.mlp.act", "blocks.1.attn.z")


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Return a text of some thirty pieces, words that no tokenizer knows among them."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    draw = random.Random(0)
    lines = [" ".join(draw.choice([*(f"w{i}" for i in range(40)), "unheard-of"]) for _ in range(9)) for _ in range(250)]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Cut small pieces and small shards."""
    monkeypatch.setattr(plan, "LEAST_BATCHES", 3)
    monkeypatch.setattr(stream, "SHARD_BYTES", 2**12)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_pieces_hold_every_batch_once_and_in_order():
    batches = [tuple(pc.Stimulus.of(np.arange(k)) for k in (i + 1, i + 2)) for i in range(7)]
    pieces = list(cut_pieces(batches, lambda at, _: at.stimuli % 6 == 0, Start()))
    assert [batch for piece in pieces for batch in piece.batches] == batches
    assert [len(piece.batches) for piece in pieces] == [3, 3, 1]
    assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
    assert sum(piece.tokens for piece in pieces) == pieces[-1].end.tokens == 7 * 9


@pytest.mark.parametrize("n", [0, 3, N_SAMPLE, 70_000])
def test_the_sample_is_the_rows_of_least_priority(n, monkeypatch):
    monkeypatch.setattr("patchclamp.record.survey.DRAWN_AT_ONCE", 5000)
    draw_sample.cache_clear()
    chosen, priority = draw_sample(n, 3)
    everyone = _mix(np.arange(n, dtype=np.uint64), 3)
    assert sorted(np.argsort(everyone)[:N_SAMPLE]) == chosen.tolist()
    assert (priority == everyone[chosen]).all()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_recording_and_a_survey_have_the_bytes_of_one_process(models, name, text, tmp_path):
    model, corpus, elsewhere = models[name], pc.Corpus(text, window=16), Elsewhere()
    for verb in (record_corpus, survey_corpus):
        seen: list[tuple[int, int]] = []
        places = [tmp_path / f"{verb.__name__}-{engine}" for engine in ("here", "elsewhere")]
        verb(model, corpus, SITES, places[0], batch_size=2)
        before = elsewhere.pieces
        more = {"engine": elsewhere, "progress": lambda *at, seen=seen: seen.append(at)}
        verb(model, corpus, SITES, places[1], batch_size=2, **more)
        assert elsewhere.pieces - before > 20
        assert contents(places[0]) == contents(places[1])
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1]


def test_workers_that_see_the_folder_write_there_and_others_send_their_shards(models, text, tmp_path, monkeypatch):
    model, corpus, wrote = models["llama"], pc.Corpus(text, window=16), []
    monkeypatch.setattr(stream, "write_part", lambda *given: (wrote.append(given[0].name), write_part(*given))[1])
    for sees in (True, False):
        monkeypatch.setattr(stream, "reaches", lambda *place, sees=sees: sees and reaches(*place))
        (tmp_path / str(sees)).mkdir()
        (tmp_path / str(sees) / "shard-00000000040000000007.part").write_bytes(b"of a worker that died")
        found = record_corpus(model, corpus, SITES, tmp_path / str(sees), batch_size=2, engine=Elsewhere())
        assert len(wrote) == (len(found.bundle.pieces) if sees else 0)
        wrote.clear()
    assert contents(tmp_path / "True") == contents(tmp_path / "False")


def test_rows_of_images_are_merged_too(organism, tmp_path):
    model, corpus = organism("digits-vit"), pc.Corpus("digits:0:40", kind="images")
    for engine in (None, Elsewhere()):
        survey_corpus(
            model, corpus, "blocks.*.mlp.act", tmp_path / str(engine and engine.name), batch_size=2, engine=engine
        )
    assert contents(tmp_path / "None") == contents(tmp_path / "elsewhere")


@pytest.mark.parametrize("verb", [record_corpus, survey_corpus])
@pytest.mark.parametrize("first", ["here", "elsewhere"])
def test_what_one_engine_began_another_ends_with_the_same_bytes(models, text, tmp_path, verb, first):
    model, corpus = models["llama"], pc.Corpus(text, window=16)
    engines = {"here": Serial(), "elsewhere": Elsewhere()}
    more = {"checkpoint_s": 0.0} if verb is survey_corpus else {}
    verb(model, corpus, SITES, tmp_path / "whole", batch_size=2)

    def interrupt(done: int, total: int) -> None:
        if done > 0.4 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verb(model, corpus, SITES, tmp_path / "run", batch_size=2, progress=interrupt, engine=engines[first], **more)
    assert len(list((tmp_path / "run").iterdir())) > 2, "nothing was kept"
    other = next(engine for name, engine in engines.items() if name != first)
    verb(model, corpus, SITES, tmp_path / "run", batch_size=2, engine=other, resume=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "run")


def test_rows_for_training_come_in_the_order_of_the_text(models, text):
    made = [
        list(TextSource(models["llama"], pc.Corpus(text, window=16), batch_size=2, engine=engine).chunks(SITES, 5))
        for engine in (None, Elsewhere())
    ]
    assert len(made[0]) == len(made[1]) > 20
    for here, there in zip(*made, strict=True):
        assert all(np.array_equal(here[site], there[site]) for site in SITES)


def test_a_thousand_pieces_are_enough_for_any_corpus():
    assert plan.stimuli_of_piece(10**7, 8) * plan.MOST_PIECES >= 10**7
    assert plan.stimuli_of_piece(10**7, 8) % 8 == 0
    assert plan.stimuli_of_piece(1, 8) == 3 * 8


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "slurm"}, "serial, ray"),
        ({"name": "serial", "workers": 2}, "--workers"),
        ({"name": "serial", "address": "auto"}, "--address"),
        ({"name": "ray"}, r"patchclamp\[scale\]"),
    ],
)
def test_engines_that_cannot_be_had_are_refused_at_once(given, words, monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    with pytest.raises(PatchclampError, match=words):
        open_engine(**given)
