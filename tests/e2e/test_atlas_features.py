"""Features in an atlas, from the command line: concepts of labels, an answer explained, a server with --basis."""

import json

import httpx
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import patchclamp as pc
from apart import serving
from patchclamp.atlas.bake import features
from patchclamp.atlas.lab import Lab
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.evaluate.labelled import read_labels

SITE = "blocks.0.mlp.act"
CAT, ANIMAL, DECOY = 7, 5, 3
TRUE = {" cat": ["animal", "cat"], " dog": ["animal"], " mat": ["place"], " park": ["place"], " the": ["article"]}
STORIES = ("the old cat sat on the mat.", "the young dog ran to the park.", "the old dog sat.", "the cat ran on.")


@pytest.fixture(scope="module")
def cat():
    """One of this file's own, for bases are added to it."""
    return pc.load("organism:cat")


@pytest.fixture(scope="module")
def dictionary(cat):
    """Three neurons as features, and a fourth that mixes two."""
    decoder = np.eye(cat.site(SITE).width, dtype=np.float32)[[CAT, ANIMAL, DECOY, CAT]]
    decoder[3, ANIMAL] = -0.7
    basis = Basis("planted", "directions", decoder=decoder, encoder=decoder, activation="relu")
    return Dictionary({SITE: basis}, {"slug": cat.name, "hash": cat.hash}, "random")


@pytest.fixture(scope="module")
def folder(cat, dictionary, tmp_path_factory):
    """Labelled text, an atlas baked over it, the dictionary, one of the same name, and one of another model."""
    place = tmp_path_factory.mktemp("features")
    documents = []
    for text in STORIES * 40:
        tokens = [cat.tokenizer.token(int(i)) for i in cat.tokenize(text).ids]
        documents.append({"text": text, "tokens": tokens, "concepts": [TRUE.get(token, []) for token in tokens]})
    (place / "labelled.jsonl").write_text("\n".join(map(json.dumps, documents)))
    pc.atlas.bake_atlas(cat, pc.Corpus(place / "labelled.jsonl", window=32), place / "cat.atlas", name="organism:cat")
    dictionary.save(place / "coder")
    [basis] = dictionary.bases.values()
    other = Basis("planted", "directions", decoder=-basis.decoder, encoder=basis.encoder, activation="relu")
    Dictionary({SITE: other}, dict(dictionary.subject), "random").save(place / "same-name")
    Dictionary({SITE: basis}, {"slug": "another", "hash": "1" * 64}, "random").save(place / "stranger")
    return place


@pytest.fixture(scope="module")
def kept_aside(cat, dictionary, folder):
    """The atlas with features whose arrays were too large for it; made last, for it is the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "MOST_STORED", 0)
        features.add_basis(folder / "cat.atlas", cat, dictionary, folder=str(folder / "coder"))
    atlas = pc.atlas.open(folder / "cat.atlas")
    assert atlas.bases() == []
    return folder / "cat.atlas"


def test_features_get_the_concepts_that_they_tell(kept_aside, folder, cat, dictionary):
    atlas = pc.atlas.open(kept_aside)
    for i, neuron in enumerate((CAT, ANIMAL, DECOY)):
        ours, theirs = atlas.unit(f"{SITE}/planted/{i}"), atlas.unit(f"{SITE}/neurons/{neuron}")
        assert ours.concepts == theirs.concepts
        assert ours.concepts
    best = atlas.unit(f"{SITE}/planted/0").concepts[0]
    assert (best.concept, best.auroc.value) == ("cat", 1.0)
    # an independent recount of the feature that no neuron is, on the documents that judge
    labels = read_labels(cat, folder / "labelled.jsonl", 10**6)
    [basis] = dictionary.bases.values()
    x = np.concatenate([cat.run(s, record=SITE).recording[SITE][s.counted] for s in labels.stimuli])
    f = np.maximum(x @ basis.encoder[3], 0)
    odd = labels.document % 2 == 1
    for one in atlas.unit(f"{SITE}/planted/3").concepts:
        true = labels.true[odd, labels.names.index(one.concept)]
        assert one.auroc.value == pytest.approx(roc_auc_score(true, f[odd]), abs=1e-4)
        assert one.auroc.low <= one.auroc.value <= one.auroc.high
    rows = atlas.find(pc.atlas.Asked(concept="cat", site=f"{SITE}/planted")).rows
    assert f"cat/{SITE}/planted/0" in [row.key for row in rows]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--max-tokens", "0"),
        ("--max-tokens", "-1"),
        ("--batch-size", "0"),
        ("--batch-size", str(10**12)),
        ("--inputs", ""),
    ],
)
def test_what_is_refused_leaves_no_folder_behind(wrong, folder, say):
    (folder / "zeros").write_bytes(b"\0" * 9)
    (folder / "plain").write_text("the old cat sat.")
    for more in (wrong, ("--inputs", folder / "plain", *wrong), ("--inputs", folder / "zeros")):
        code, _, err = say("atlas", "add", folder / "cat.atlas", "--basis", folder / "coder", *more, json_too=False)
        assert (code, "to do" in err, "defect" in err) == (2, True, False)
        assert not (folder / "cat.atlas.adding").exists()


@pytest.mark.parametrize("atlas", ["", ".", "/"])
def test_features_are_not_added_to_what_is_no_atlas(atlas, folder, say):
    for model in ([], ["--model", "organism:cat"]):
        code, _, err = say("atlas", "add", atlas, "--basis", folder / "coder", *model, json_too=False)
        assert (code, "to do" in err, "defect" in err) == (2, True, False)


def test_an_answer_explained_by_features_stands_on_their_pages(kept_aside, folder, say):
    code, told, err = say(
        "explain", "organism:cat", "the old cat", "--target", " sat", "--contrast", " ran", "--level", "feature",
        "--basis", folder / "coder", "--top", "2", "--atlas", kept_aside,
    )  # fmt: skip
    assert code == 0, err
    atlas = pc.atlas.open(kept_aside)
    [layer] = [one for one in atlas.page().layers if one.kind == "graph"]
    graph = atlas.graph(layer.id)
    measured = {node.key: node.measured for node in graph.nodes if node.kind == "feature"}
    causes = {one["key"]: one["measured"] for one in (*told["causes"], *told["opposing"])}
    assert measured == pytest.approx(causes, rel=1e-5)
    first = told["causes"][0]["key"]
    [row] = atlas.unit(first.partition("@")[0]).graphs
    assert row.measured == pytest.approx(causes[first], rel=1e-5)
    assert f"--basis {folder / 'coder'}" in atlas.run(layer.id).run.command


def test_a_server_reads_features_of_the_dictionary_beside_it(kept_aside, folder):
    ask, text = f"api/units/{SITE}/planted/0/trial", {"text": "the cat dog"}
    with serving(kept_aside, "--model", "organism:cat", "--basis", folder / "coder") as (_, address):
        found = httpx.get(address + ask, params=text).json()
        neuron = httpx.get(address + f"api/units/{SITE}/neurons/{CAT}/trial", params=text).json()
        mixed = httpx.get(address + f"api/units/{SITE}/planted/3/trial", params=text).json()
        animal = httpx.get(address + f"api/units/{SITE}/neurons/{ANIMAL}/trial", params=text).json()
    assert found["tokens"] == ["<bos>", " the", " cat", " dog"]
    assert found["acts"] == pytest.approx(neuron["acts"])
    expected = [max(a - 0.7 * b, 0) for a, b in zip(neuron["acts"], animal["acts"], strict=True)]
    assert mixed["acts"] == pytest.approx(expected, abs=1e-5)
    assert max(expected) > 0.5


def test_without_the_dictionary_the_lab_says_how_to_bring_it(kept_aside):
    atlas = pc.atlas.open(kept_aside)
    with pytest.raises(pc.PatchclampError) as refused:
        Lab(pc.load("organism:cat"), atlas.reading).trial(atlas.reading, f"{SITE}/planted/0", "the cat dog")
    assert "--basis DIR" in refused.value.remedy


@pytest.mark.parametrize(("words", "said"), [
    (("--basis", "coder"), "without a model"),
    (("--model", "organism:cat", "--basis", "same-name"), "another of the same name"),
    (("--model", "organism:cat", "--basis", "stranger"), "another"),
    (("--model", "organism:cat", "--basis", "nowhere"), "nowhere"),
])  # fmt: skip
def test_a_dictionary_that_does_not_belong_is_refused(kept_aside, folder, say, monkeypatch, words, said):
    monkeypatch.chdir(folder)
    code, told, _ = say("atlas", "serve", kept_aside, *words)
    assert code == 2
    assert set(told["error"]) == {"expected", "got", "remedy"}
    assert said in " ".join(told["error"].values())
