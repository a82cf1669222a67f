"""Features in an atlas: a layer that reads like neurons, and a lab that clamps them like neurons."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.atlas import write_descriptions
from patchclamp.atlas.bake.features import add_basis, staging_of
from patchclamp.atlas.lab import Lab, messages
from patchclamp.atlas.lab.verify import verify
from patchclamp.core.basis import Basis
from patchclamp.core.description import Description
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.unit import UnitKey

SITE = "blocks.0.mlp.act"
CAT, ANIMAL, DECOY = 7, 5, 3
TEXT = "the old cat sat on the mat.\nthe young dog ran to the park.\nthe big fox ran to the park.\n" * 12
PLANTED = [CAT, ANIMAL, DECOY]


@pytest.fixture(scope="module")
def model():
    """One of this file's own, for bases are added to it."""
    return pc.load("organism:cat")


@pytest.fixture(scope="module")
def planted(model) -> Dictionary:
    """Three of the neurons as directions, and a coder that mixes two at another site."""
    decoder = np.eye(model.site(SITE).width, dtype=np.float32)[PLANTED]
    basis = Basis("planted", "directions", decoder=decoder, encoder=decoder, activation="relu")
    curves = {SITE: {"loss": [[0, 2.0], [10, 1.0], [20, 0.5]]}}
    return Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash}, "random", curves=curves)


@pytest.fixture(scope="module")
def bare(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("basis")
    (folder / "story.txt").write_text(TEXT)
    pc.atlas.bake_atlas(model, pc.Corpus(folder / "story.txt", window=32), folder / "cat.atlas", name="organism:cat")
    return folder / "cat.atlas"


@pytest.fixture(scope="module")
def added(bare, model, planted) -> Path:
    """An atlas of its own, with the layer."""
    place = bare.with_name("added.atlas")
    shutil.copytree(bare, place)
    add_basis(place, model, planted, folder="planted")
    return place


@pytest.fixture(scope="module")
def atlas(added):
    return pc.atlas.open(added)


def test_a_feature_that_is_a_neuron_gets_what_the_neuron_got(atlas):
    for i, neuron in enumerate(PLANTED):
        ours, theirs = atlas.unit(f"{SITE}/planted/{i}"), atlas.unit(f"{SITE}/neurons/{neuron}")
        for what in ("statistics", "histogram", "fires_on", "examples", "silent"):
            assert getattr(ours, what) == getattr(theirs, what), what
        # Where one writes next to nothing, rounding orders what is left.
        loud = [[(t.id, t.weight) for t in one.promotes if t.weight > 1e-3] for one in (ours, theirs)]
        assert [i for i, _ in loud[0]] == [i for i, _ in loud[1]]
        np.testing.assert_allclose([w for _, w in loud[0]], [w for _, w in loud[1]], rtol=1e-3)
        for kind in ("top", "quantile", "random", "interval"):
            ends = {"low": theirs.histogram.edges[0], "high": theirs.histogram.edges[-1]} if kind == "interval" else {}
            left, right = (atlas.examples(one.key, kind, limit=50, **ends) for one in (ours, theirs))
            assert left.examples, kind
            assert (left.examples, left.total) == (right.examples, right.total), kind


def test_neighbours_are_features_and_neurons_by_their_keys(atlas):
    page = atlas.unit(f"{SITE}/planted/0")
    assert page.similar[0].key == f"cat/{SITE}/neurons/{CAT}"
    assert page.similar[0].value == pytest.approx(1)
    assert {one.key.split("/")[2] for one in page.together} == {"planted"}
    assert "residual stream" in page.not_known["excited_by"]


def test_find_lists_features_and_neurons_alike(atlas):
    n_base = sum(one.units for one in atlas.page().sites if one.basis in ("neurons", "heads"))
    found = atlas.find(pc.atlas.Asked(site=f"{SITE}/planted"))
    assert [row.key for row in found.rows] == [f"cat/{SITE}/planted/{i}" for i in range(3)]
    assert found.n_units == atlas.page().n_units == n_base + 3
    both = atlas.find(pc.atlas.Asked(site=SITE), limit=500)
    assert {row.basis for row in both.rows} == {"neurons", "planted"}
    words = {row.key for row in atlas.find(pc.atlas.Asked(words="cat"), limit=500).rows}
    token = {row.key for row in atlas.find(pc.atlas.Asked(fires_on="cat"), limit=500).rows}
    assert {f"cat/{SITE}/planted/0", f"cat/{SITE}/neurons/{CAT}"} <= words & token
    assert f"cat/{SITE}/planted/2" in {r.key for r in atlas.find(pc.atlas.Asked(words=f"{SITE}/planted/2")).rows}
    ranked = atlas.find(pc.atlas.Asked(sort="maximum"), limit=500).rows
    assert [r.maximum for r in ranked] == sorted((r.maximum for r in ranked), reverse=True)


def test_the_rest_of_the_atlas_is_what_it_was(bare, atlas):
    before = pc.atlas.open(bare)
    key = f"{SITE}/neurons/{CAT}"
    strip = ("source", "next", "previous")
    ours, theirs = ({n: v for n, v in vars(one.unit(key)).items() if n not in strip} for one in (atlas, before))
    assert ours == theirs
    assert before.reading.rows(
        "SELECT count(*) FROM sqlite_temp_master WHERE name IN ('units', 'fires', 'tokens')"
    ) == [(0,)]
    assert atlas.hash != before.hash


def test_home_and_runs_say_where_features_came_from(atlas, added):
    [layer] = atlas.page().layers
    assert (layer.kind, layer.rows) == ("basis", 3)
    assert layer.id.startswith("basis-")
    run = atlas.run(layer.id)
    assert run.run.verb == "atlas add"
    assert run.options["basis"] == "planted"
    assert run.curves == {SITE: {"loss": [[0, 2.0], [10, 1.0], [20, 0.5]]}}
    assert atlas.unit(f"{SITE}/planted/0").source.run == layer.id
    assert not staging_of(added).exists()


def test_the_atlas_keeps_the_basis(atlas, planted):
    [(site, basis)] = atlas.bases()
    assert site == SITE
    assert basis.hash == planted.bases[SITE].hash


def test_the_same_basis_is_the_same_layer(added, model, planted):
    before = sorted(f.name for f in (added / "layers").iterdir())
    again = add_basis(added, model, planted)
    assert sorted(f.name for f in (added / "layers").iterdir()) == before == [f"{again}.sqlite"]


def test_a_damaged_layer_takes_nothing_from_the_rest(added, tmp_path, bare):
    place = tmp_path / "hurt.atlas"
    shutil.copytree(added, place)
    [file] = (place / "layers").iterdir()
    file.chmod(0o644)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE units SET maximum = maximum + 1 WHERE number = 0")
    hurt = pc.atlas.open(place)
    assert len(hurt.page().notes) == 1
    assert "was left out" in hurt.page().notes[0]
    assert hurt.page().n_units == pc.atlas.open(bare).page().n_units


def test_a_feature_is_described_and_contradicted_as_its_neuron_is(added, tmp_path):
    place = tmp_path / "told.atlas"
    shutil.copytree(added, place)
    ours, theirs = (UnitKey.parse(f"{SITE}/{unit}") for unit in ("planted/0", f"neurons/{CAT}"))
    write_descriptions(place, [Description(key, 'fires on " fox"', "person/ada") for key in (ours, theirs)])
    atlas = pc.atlas.open(place)
    said = [atlas.unit(str(key)).descriptions for key in (ours, theirs)]
    assert [one.text for one in said[0]] == ['fires on " fox"']
    wrong = [atlas.examples(str(key), "counter", limit=50).examples for key in (ours, theirs)]
    assert wrong[0]
    assert wrong[0] == wrong[1]
    with pytest.raises(PatchclampError, match="planted/3"):
        write_descriptions(place, [Description(UnitKey(SITE, 3, "planted"), "nothing", "person/ada")])


def test_a_layer_made_beside_another_base_is_left_out(added, model, tmp_path):
    """Also where that base has as many units."""
    (tmp_path / "other.txt").write_text("the young dog sat on the mat.\n" * 30)
    place = tmp_path / "other.atlas"
    pc.atlas.bake_atlas(model, pc.Corpus(tmp_path / "other.txt", window=32), place, name="organism:cat")
    n_units = pc.atlas.open(place).page().n_units
    shutil.copytree(added / "layers", place / "layers", dirs_exist_ok=True)
    page = pc.atlas.open(place).page()
    assert page.n_units == n_units
    [note] = page.notes
    assert "made beside another base" in note
    with pytest.raises(PatchclampError, match="planted/0"):
        write_descriptions(place, [Description(UnitKey(SITE, 0, "planted"), "nothing", "person/ada")])


@pytest.mark.parametrize("what", ["subject", "width", "name", "text", "gone"])
def test_what_does_not_fit_is_refused_in_three_parts(what, added, bare, model, planted, tmp_path):
    basis, subject, place, text = planted.bases[SITE], dict(planted.subject), added, None
    if what == "subject":
        subject["hash"] = "0" * 64
    elif what == "width":
        basis = Basis("narrow", "directions", decoder=np.eye(3, dtype=np.float32))
    elif what == "name":
        basis = Basis("planted", "directions", decoder=-basis.decoder)
    elif what == "text":
        text = tmp_path / "other.txt"
        text.write_text("the young cat sat.\n" * 20)
    else:
        text = tmp_path / "nowhere.txt"
    with pytest.raises(PatchclampError) as refused:
        add_basis(place, model, Dictionary({SITE: basis}, subject, "random"), text=text)
    assert refused.value.expected
    assert refused.value.got
    assert refused.value.remedy
    assert len(list((place / "layers").iterdir())) == 1


def test_an_interrupted_run_goes_on_to_the_same_layer(bare, added, model, planted, tmp_path):
    place = tmp_path / "cut.atlas"
    shutil.copytree(bare, place)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_basis(place, model, planted, progress=stop, checkpoint_s=0.0)
    with pytest.raises(PatchclampError, match="--resume"):
        add_basis(place, model, planted)
    found = add_basis(place, model, planted, resume=True)
    assert [f.stem for f in (added / "layers").iterdir()] == [found]


# -- the lab ----------------------------------------------------------------------------------------------------------


def asked_of(lab, atlas, clamps, **more):
    """Run a question through the lab and return its events."""
    heard = []
    asked = messages.RunAsked(text="the old cat", clamps=clamps, **{"new_tokens": 0, "controls": 0, "top": 5, **more})
    work = lab.run(atlas.reading, asked)
    from patchclamp.atlas.lab.job_queue import Job

    Job(work, heard.append, lab.turns, 60.0).run()
    return [one for one in heard if one is not None]


def test_a_feature_clamp_equals_what_is_computed_by_hand(atlas, model):
    lab = Lab(model, atlas.reading)
    key = f"cat/{SITE}/planted/0"
    table, *_ = asked_of(lab, atlas, [messages.ClampAsked(key, "set", 1.0)])
    basis = model.bases[f"{SITE}/planted"]

    def by_hand(x):
        f = torch.relu(x @ torch.tensor(basis.encoder).T)
        return x + (1.0 - f[..., :1]) * torch.tensor(basis.decoder)[0]

    x = model.run("the old cat", record=SITE).recording[SITE]
    everywhere = [pc.change("set", SITE, value=row.tolist(), at=str(i)) for i, row in enumerate(np.asarray(by_hand(x)))]
    logits = model.run("the old cat", interventions=everywhere).logits[0, -1].double()
    expected = logits.softmax(-1)
    for row in table.rows:
        assert row.changed == pytest.approx(float(expected[row.id]), rel=1e-4, abs=1e-6)
    assert table.clamps[0].after == pytest.approx([1.0] * 4)
    assert table.divergence > 0


def test_the_same_change_of_feature_and_neuron_does_the_same(atlas, model):
    lab = Lab(model, atlas.reading)
    for mode, value in (("set", 2.0), ("add", 1.5), ("scale", 0.5), ("ablate", None)):
        tables = [
            asked_of(lab, atlas, [messages.ClampAsked(f"cat/{SITE}/{unit}", mode, value)], controls=3)
            for unit in ("planted/0", f"neurons/{CAT}")
        ]
        ours, theirs = (found[0].rows for found in tables)
        assert [r.id for r in ours] == [r.id for r in theirs]
        np.testing.assert_allclose([r.changed for r in ours], [r.changed for r in theirs], atol=1e-6)
        control = next(e for e in tables[0] if isinstance(e, messages.Control))
        # Few features are like it: there are no more different sets.
        assert 2 <= len(control.randoms) <= 3
        done = tables[0][-1]
        assert ".bases()" in done.python
        assert done.command == ""


def test_features_are_tried_and_ranked_like_neurons(atlas, model):
    lab = Lab(model, atlas.reading)
    ours = lab.trial(atlas.reading, f"{SITE}/planted/0", "the old cat")
    assert ours.acts == lab.trial(atlas.reading, f"{SITE}/neurons/{CAT}", "the old cat").acts
    options = {"target": None, "contrast": None, "site": f"{SITE}/planted", "limit": 10}
    found = lab.rank(atlas.reading, "the old cat", 3, by="activation", **options)
    assert found.total == 3
    assert found.units[0].maximum is not None
    everything = {**options, "site": SITE, "limit": 500}
    effect = {u.key: u.effect for u in lab.rank(atlas.reading, "the old cat", 3, by="effect", **everything).units}
    for i, neuron in enumerate(PLANTED):
        ours, theirs = effect[f"cat/{SITE}/planted/{i}"], effect[f"cat/{SITE}/neurons/{neuron}"]
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_code_that_the_lab_gives_runs(atlas, model, capsys):
    lab = Lab(model, atlas.reading, "organism:cat")
    done = asked_of(lab, atlas, [messages.ClampAsked(f"cat/{SITE}/planted/0", "ablate", None)])[-1]
    exec(compile(done.python, "lab", "exec"), {})
    assert "→" in capsys.readouterr().out


def test_a_transcoder_is_read_at_its_site_and_not_clamped(bare, model, tmp_path):
    place = tmp_path / "through.atlas"
    shutil.copytree(bare, place)
    read, write = "blocks.0.mlp.act", "blocks.0.mlp.write"
    rng = np.random.default_rng(0)
    basis = Basis(
        "through", "directions", decoder=rng.normal(size=(4, model.site(write).width)).astype(np.float32),
        encoder=np.eye(model.site(read).width, dtype=np.float32)[[CAT, ANIMAL, DECOY, 11]], activation="relu",
        reads=read,
    )  # fmt: skip
    add_basis(place, model, Dictionary({write: basis}, {"slug": model.name, "hash": model.hash}, "topk"))
    atlas = pc.atlas.open(place)
    ours, theirs = atlas.unit(f"{write}/through/0"), atlas.unit(f"{read}/neurons/{CAT}")
    assert ours.statistics == theirs.statistics
    assert ours.promotes
    direction = torch.tensor(basis.decoder[:1])
    scores = model.read_out(direction)[0]
    assert ours.promotes[0].id == int(scores.argmax())
    lab = Lab(model, atlas.reading)
    acts = [lab.trial(atlas.reading, one.key, "the old cat").acts for one in (ours, theirs)]
    assert acts[0] == acts[1]
    with pytest.raises(CannotIntervene, match="reads"):
        lab.run(
            atlas.reading, messages.RunAsked(text="the old cat", clamps=[messages.ClampAsked(ours.key, "ablate", None)])
        )


def test_curves_of_a_dictionary_are_plain_json(atlas):
    told = atlas.reading.parts[1].about["dictionary"]
    assert json.loads(json.dumps(told)) == told


def test_features_of_an_answer_are_verified_as_explain_measured_them():
    """Directions that share a neuron: replaced one after another they would not do what they do together."""
    model, site = pc.load("organism:cat"), "blocks.0.mlp.act"
    decoder = np.zeros((8, model.site(site).width), dtype=np.float32)
    decoder[range(8), range(8)], decoder[7, 5] = 1.0, 0.6
    model.add_basis(Basis("turned", "directions", decoder=decoder), site)
    found = pc.explain(model, "the old cat", " sat", contrast=" ran", levels=["feature"], top=3)
    nodes = [cause.key for cause in found.causes]
    assert nodes[0] == f"cat/{site}/turned/7@3"
    done = verify(model, found.graph(), nodes)
    # Both measure in batches of another size: float32's sums of the organism's large values differ by some 2e-5.
    assert done.measured == pytest.approx(found.measured, abs=1e-4)
    assert done.predicted == pytest.approx(found.predicted, abs=1e-5)
    assert done.randoms == pytest.approx(found.receipts.randoms.measured, abs=1e-4)


def test_a_coder_that_mixes_is_encoded_by_its_own_arithmetic(bare, model, tmp_path):
    """Random directions with top-k at the residual stream: maximum, examples and clamp against slow arithmetic."""
    site, place = "blocks.0.resid_out", tmp_path / "mixed.atlas"
    shutil.copytree(bare, place)
    rng, width = np.random.default_rng(1), model.site("blocks.0.resid_out").width
    basis = Basis(
        "mixed", "directions", decoder=rng.normal(size=(12, width)).astype(np.float32),
        encoder=rng.normal(size=(12, width)).astype(np.float32), activation="topk", k=2,
    )  # fmt: skip
    add_basis(place, model, Dictionary({site: basis}, {"slug": model.name, "hash": model.hash}, "topk"))
    atlas = pc.atlas.open(place)

    def encode(x):
        a = np.maximum(x @ basis.encoder.T, 0)
        return np.where(a >= np.sort(a, 1)[:, -2:-1], a, 0)

    for i in range(12):
        page = atlas.unit(f"{site}/mixed/{i}")
        for one in atlas.examples(page.key, "top", limit=3).examples:
            x = np.asarray(model.run([one.ids], record=site).recording[site])
            if not one.before:
                assert encode(x)[one.mark, i] == pytest.approx(one.value, rel=1e-3, abs=1e-3)
    lab = Lab(model, atlas.reading)
    x = np.asarray(model.run("the old cat", record=site).recording[site])
    f = encode(x)
    unit = int(f[-1].argmax())
    table = asked_of(lab, atlas, [messages.ClampAsked(f"{site}/mixed/{unit}", "ablate", None)])[0]
    hand = x - f[:, [unit]] * basis.decoder[unit]
    rows = [pc.change("set", site, value=row.tolist(), at=str(i)) for i, row in enumerate(hand)]
    expected = model.run("the old cat", interventions=rows).logits[0, -1].double().softmax(-1)
    for row in table.rows:
        assert row.changed == pytest.approx(float(expected[row.id]), rel=1e-3, abs=1e-6)
