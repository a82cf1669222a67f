"""patchclamp basis, end to end: what it prints is what Python returns, and trouble has three parts."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import patchclamp as pc
from forks import run_command
from patchclamp.cli import main
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.matching import compare_bases
from patchclamp.organisms import language

SITE = "blocks.1.resid_out"


@pytest.fixture(scope="session")
def model(organism):
    return organism("language-gpt2")


@pytest.fixture(scope="module")
def held_out(model, tmp_path_factory):
    """Labelled text of the microworld, as `patchclamp organism text --labels` prints it."""
    folder = tmp_path_factory.mktemp("text")
    lines = [
        {
            "text": one.stimulus.text,
            "tokens": [model.tokenizer.token(int(i)) for i in one.stimulus.ids],
            "concepts": [sorted(true) for true in one.concepts],
        }
        for one in language.text(90, seed=2, model=model)
    ]
    (folder / "labelled.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "plain.txt").write_text("\n".join(line["text"] for line in lines[:40]))
    return folder


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """Two dictionaries of one site: coordinates turned a little, so that most of x̂ is right."""
    folder = tmp_path_factory.mktemp("bases")
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        turned = np.linalg.qr(np.eye(128) + 0.02 * rng.normal(size=(128, 128)))[0].astype(np.float32)
        both = np.concatenate([turned, -turned])
        basis = Basis("parts", "directions", both, both, activation="topk", k=24)
        Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash}, "topk").save(folder / name)
    return folder


HEADS = {"info": ("info",), "convert": ("decompose", "--convert")}
"""What is typed for a word of these tests, where it is no verb by itself."""


@pytest.fixture
def say(say):
    """Run a command on a dictionary."""
    return lambda what, *words, **how: say(*HEADS.get(what, (what,)), *words, **how)


def test_evaluate_judges_and_tells_concepts(say, model, made, held_out):
    words = ("evaluate", "organism:language-gpt2", made / "one", "--inputs", held_out / "labelled.jsonl")
    code, told, _ = say(*words, "--batch-size", 30)
    assert code == 0, told
    rows = {row["name"]: row for row in told["rows"]}
    assert list(rows) == ["parts", "neurons", "pca", "random"]
    assert rows["parts"]["active"]["value"] == pytest.approx(24)
    assert rows["pca"]["units"] == 24
    assert 0 < rows["parts"]["unexplained"]["value"] < rows["random"]["unexplained"]["value"] < 1
    for row in rows.values():
        assert row["loss"]["low"] <= row["loss"]["value"] <= row["loss"]["high"]
        assert row["loss"]["value"] > told["loss"]["value"]
    concepts = told["concepts"]
    assert {"comma", "english"} & set(concepts["each"])
    for each in concepts["each"].values():
        assert each["neurons"]["unit"].split("/")[0] in ("blocks.0.mlp.act", "blocks.1.mlp.act")
        assert each["parts"]["unit"].startswith(f"{SITE}/parts/")
        area, gain = each["parts"]["auroc"], each["ahead"]["neurons"]
        assert area["low"] <= area["value"] <= area["high"]
        assert gain["value"] == pytest.approx(area["value"] - each["neurons"]["auroc"]["value"])
        assert gain["low"] <= gain["high"]
    code, table, _ = say(*words, "--max-tokens", 700, json_too=False)
    assert code == 0
    for word in ("unexplained", "recovered", "neurons", "pca", "random", "ahead", SITE):
        assert word in table


@pytest.mark.parametrize(
    "method", [("--method", "pca", "--n-features", "8"), ("--n-features", "16", "--k", "4", "--coder-batch", "128")]
)
def test_the_text_that_a_dictionary_was_made_on_is_named_where_it_is_judged_there(capsys, tmp_path, method):
    text, other = tmp_path / "made.txt", tmp_path / "other.txt"
    text.write_text("the old cat sat on the mat.\nthe dog ran to the park.\n" * 40)
    other.write_text(text.read_text() + "the dog ran to the park.\n")
    out = str(tmp_path / "made")
    assert main(["decompose", "organism:cat", *method, "--sites", "blocks.0.mlp.act", "--inputs", str(text),
                 "--out", out]) == 0  # fmt: skip
    for judged in (text, other):
        capsys.readouterr()
        assert main(["evaluate", "organism:cat", out, "--inputs", str(judged), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert any("made on" in note for note in told["notes"]) == (judged == text)
        assert told["fitted"] - told["stimuli"] in (0, 1)
    main(["evaluate", "organism:cat", out, "--inputs", str(text)])
    said = " ".join(capsys.readouterr().out.split())
    assert f"of {told['stimuli']:,} stimuli, every second one" in said
    assert "figures flatter" in said


def test_info_compare_and_convert_say_what_python_says(say, made, tmp_path):
    code, told, _ = say("info", made / "one")
    kept = Dictionary.load(made / "one")
    assert (code, told["bases"][0]["hash"], told["bases"][0]["units"]) == (0, kept.bases[SITE].hash, 256)
    code, told, _ = say("compare", made / "one", made / "other")
    expected = compare_bases(kept.bases[SITE], Dictionary.load(made / "other").bases[SITE])
    assert (code, told["sites"][SITE]["cosine"]) == (0, expected.cosine)
    assert max(told["sites"][SITE]["control"]) < told["sites"][SITE]["cosine"]
    for layout in ("saelens", "sparsify"):
        code, told, _ = say("convert", made / "one", "--to", layout, "--out", tmp_path / layout)
        assert code == 0
        code, told, _ = say("convert", tmp_path / layout, "--to", "patchclamp", "--out", tmp_path / f"{layout}-back")
        assert Dictionary.load(tmp_path / f"{layout}-back").subject == kept.subject
        code, told, _ = say("compare", made / "one", tmp_path / layout)
        assert told["sites"][SITE]["cosine"] == pytest.approx(1)
    assert SITE in say("info", made / "one", json_too=False)[1]
    assert "turned at random" in say("compare", made / "one", made / "other", json_too=False)[1]


def test_info_says_how_it_was_made_in_words(say, model, tmp_path):
    from patchclamp.decompose import ArraySource, Job, Recipe, TopKConfig, train_dictionary

    x = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    jobs = [Job(site, site, TopKConfig(6, k=k)) for site, k in (("x", 2), ("y", 2), ("z", 3))]
    train_dictionary(ArraySource(dict.fromkeys("xyz", x)), jobs, Recipe(batch_size=64, passes=2), out=tmp_path / "d")
    code, told, _ = say("info", tmp_path / "d", json_too=False)
    assert code == 0
    assert "{" not in told
    words = " ".join(told.split())
    assert "recipe batch_size 64, buffer_bytes 268,435,456, decay 0.2, passes 2, seed 0, warmup 0.05" in words
    # coders that differ by their sites alone are told once
    assert [words.count(f"coders aux 0.03125, k {k}, method topk, n_latents 6") for k in (2, 3)] == [1, 1]


def test_a_dictionary_without_a_hash_is_judged_with_a_note(say, made, held_out, tmp_path):
    kept = Dictionary.load(made / "one")
    Dictionary(kept.bases, {"slug": "somebody-else", "hash": ""}, "topk").save(tmp_path / "foreign")
    words = ("organism:language-gpt2", tmp_path / "foreign", "--inputs", held_out / "plain.txt", "--max-tokens", 600)
    code, told, _ = say("evaluate", *words)
    assert code == 0
    assert "somebody-else" in told["notes"][0]
    assert told["concepts"] is None


def test_trouble_has_three_parts(say, made, held_out, tmp_path):
    kept = Dictionary.load(made / "one")
    Dictionary(kept.bases, {"slug": "twin", "hash": "0" * 64}, "topk").save(tmp_path / "another")
    narrow = Basis("parts", "directions", np.eye(3, dtype=np.float32))
    Dictionary({SITE: narrow}, {"slug": "twin", "hash": ""}, "pca").save(tmp_path / "narrow")
    (tmp_path / "hostile").mkdir()
    save_file({"W_enc": np.zeros((2, 2), np.float32)}, tmp_path / "hostile" / "sae_weights.safetensors")
    (tmp_path / "hostile" / "cfg.json").write_text("[" * 50_000)
    (tmp_path / "pickled").mkdir()
    np.savez(tmp_path / "pickled" / "params.npz", W_enc=np.array([{}], dtype=object))
    (tmp_path / "empty").mkdir()
    on = ("--inputs", held_out / "plain.txt")
    cases = [
        (("info", tmp_path / "nowhere"), "not there"),
        (("info", tmp_path / "empty"), "no manifest.json"),
        (("info", tmp_path / "hostile"), "cfg.json"),
        (("info", tmp_path / "pickled"), "pickle"),
        (("evaluate", "organism:language-gpt2", tmp_path / "another", *on), "twin"),
        (("evaluate", "organism:language-gpt2", tmp_path / "narrow", *on), "width"),
        (("evaluate", "organism:language-gpt2", made / "one", "--inputs", tmp_path / "none.txt"), "none.txt"),
        (("evaluate", "organism:digits-cnn", made / "one", *on), "language model"),
        (("evaluate", "organism:language-gpt2", made / "one", *on, "--batch-size", 0), "--batch-size"),
        (("evaluate", "organism:language-gpt2", made / "one", *on, "--window", 0), "--window"),
        (("compare", made / "one", tmp_path / "narrow"), "width"),
        (("convert", made / "one", "--to", "saelens", "--out", made), "empty"),
        (("convert", tmp_path / "narrow", "--to", "sparsify", "--out", tmp_path / "x"), "identity"),
    ]
    for words, part in cases:
        code, told, _ = say(*words)
        assert code == 2, words
        assert set(told["error"]) == {"expected", "got", "remedy"}
        assert "defect" not in told["error"]["remedy"], told
        assert part in " ".join(told["error"].values()), (words, told)


def test_the_command_runs_by_itself(made):
    done = run_command("info", made / "gone")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 3
    assert "Traceback" not in done.stderr


def test_features_are_added_to_an_atlas(tmp_path):
    text, out, coder = tmp_path / "story.txt", tmp_path / "cat.atlas", tmp_path / "coder"
    text.write_text("the old cat sat on the mat.\nthe young dog ran to the park.\n" * 30)
    site = "blocks.0.mlp.act"
    decoder = np.eye(pc.load("organism:cat").site(site).width, dtype=np.float32)[[7, 5]]
    model = pc.load("organism:cat")
    basis = Basis("two", "directions", decoder=decoder)
    Dictionary({site: basis}, {"slug": model.name, "hash": model.hash}, "random").save(coder)
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=32), out, name="organism:cat")
    words = ("atlas", "add", out, "--basis", coder, "--json")
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    assert [(one["basis"], one["units"]) for one in json.loads(done.stdout)["sites"]][-1] == ("two", 2)
    assert "features of 1 sites" in done.stderr
    (coder / "basis-000.safetensors").write_bytes(b"hurt")
    done = run_command(*words)
    assert done.returncode != 0
    assert "Restore the folder" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def write_saelens(folder, **cfg):
    rng = np.random.default_rng(0)
    shapes = {"W_enc": (128, 8), "W_dec": (8, 128), "b_enc": 8, "b_dec": 128}
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"hook_point": "blocks.1.hook_resid_post", "model_name": "x", **cfg}))
    save_file({n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}, folder / "sae_weights.safetensors")
    return folder


def test_what_a_folder_does_not_tell_is_said_and_can_be_told(say, held_out, tmp_path):
    silent = write_saelens(tmp_path / "silent")
    code, facts, told = say("info", silent)
    assert code == 0
    assert [line for line in told.splitlines() if line.startswith("note:")] == [
        f"note: {line}" for line in facts["about"]["assumed"]
    ]
    assert "--center" in told
    assert "--bos" in told
    assert "contexts" in told
    code, facts, told = say("info", silent, "--center", "--no-bos")
    assert (code, facts["about"]["conditions"]) == (0, {"centred": True, "prepend_bos": False})
    assert "--center" not in told
    assert "--bos" not in told
    text = held_out / "plain.txt"
    code, report, told = say("evaluate", "organism:language-gpt2", silent, "--inputs", text, "--window", 32)
    assert code == 0
    assert "note: it does not tell" in told
    assert report["rows"][0]["unexplained_later"]["value"] > 0
    assert 0 < report["first"][SITE][1] < 0.1
    known = write_saelens(
        tmp_path / "known", prepend_bos=True, context_size=16, seqpos_slice=[4, None], exclude_special_tokens=[5],
        model_from_pretrained_kwargs={"center_writing_weights": False},
    )  # fmt: skip
    asked = ("evaluate", "organism:language-gpt2", known, "--inputs", text)
    code, report, told = say(*asked, "--max-tokens", 800)
    # Windows of 16 tokens, of which the first four are not judged.
    assert code == 0
    assert "does not tell" not in told
    assert 9 * report["stimuli"] < report["tokens"] <= 12 * report["stimuli"]
    code, _, told = say(*asked, "--window", 32, json_too=False)
    assert code == 2
    assert "at most 16" in told


def test_names_beside_a_norm_are_given_by_the_model(say, made, model, tmp_path):
    basis = Basis(
        "parts", "directions", np.eye(128, dtype=np.float32), np.eye(128, dtype=np.float32), activation="topk", k=3
    )
    kept = {f"blocks.{i}.mlp.write": basis for i in (0, 1)}
    Dictionary(kept, {"slug": model.name, "hash": model.hash}, "topk").save(tmp_path / "two")
    code, found, told = say("convert", tmp_path / "two", "--to", "sparsify", "--out", tmp_path / "without")
    assert code == 0
    assert "a model names them" in told
    assert [folder.rpartition("/")[2] for folder in found["folders"]] == list(kept)
    options = ("--to", "sparsify", "--out", tmp_path / "with", "organism:language-gpt2")
    code, found, told = say("convert", tmp_path / "two", *options)
    assert (code, told) == (0, "loading organism:language-gpt2 …\n")
    assert [folder.rpartition("/")[2] for folder in found["folders"]] == ["h.0.mlp", "h.1.mlp"]


def test_verbs_that_take_features_say_what_is_assumed_of_them(capsys, tmp_path):
    silent = write_saelens(tmp_path / "silent")
    words = ["generate", "organism:language-gpt2", "Lucy and", "--max-new-tokens", "1", "--basis", str(silent)]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "center_writing_weights" in told
    assert "decompose --convert" in told
