"""An atlas of a model of images: its numbers against plain forward hooks over all pictures."""

import io
import json
import re
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import patchclamp as pc
from oracles.hooks import hooked
from patchclamp.atlas.bake.pictures import pool_map
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.intervention import clamp
from patchclamp.subjects.images import Preparation, digits
from patchclamp.subjects.vision import VisionModel
from patchclamp.subjects.vision_sites import vision_family

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are shown")

N, SOURCE = 120, "digits:0:120"
SITES = {
    "digits-cnn": {
        "blocks.1.conv1.act/channels": ("resnet.encoder.stages.0.layers.1.layer.0.activation", "out"),
        "final/channels": ("resnet.pooler", "out"),
    },
    "digits-vit": {
        "blocks.1.mlp.act/neurons": ("vit.layers.1.mlp.fc2", "in"),
        "blocks.2.attn.z/heads": ("vit.layers.2.attention.o_proj", "in"),
    },
}


def bake(model, out, **how):
    paths = [site.rpartition("/")[0] for site in SITES[model.name]]
    return pc.atlas.bake_atlas(model, pc.Corpus(SOURCE, "images"), out, sites=paths, **how)


@pytest.fixture(scope="module", params=list(SITES))
def model(request, organism):
    return organism(request.param)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures") / "digits.atlas"
    bake(model, out)
    return out


@pytest.fixture(scope="module")
def atlas(folder):
    return pc.atlas.open(folder)


@pytest.fixture(scope="module")
def truth(model):
    """Every site's values ``(picture, place, unit)``, from one plain forward pass with hooks."""
    pictures, labels = digits()
    pixels = torch.from_numpy(np.stack([model.prepare(picture) for picture in pictures[:N]]))
    values = {}

    def keep(site):
        def see(x):
            if x.ndim == 4:
                x = x.flatten(2).transpose(1, 2)
            values[site] = x.unflatten(-1, (4, -1)).norm(dim=-1) if site.endswith("heads") else x

        return see

    handles = [hooked(model.module, *place, keep(site)) for site, place in SITES[model.name].items()]
    with torch.no_grad():
        model.module(pixels)
    for handle in handles:
        handle.remove()
    return {site: x.numpy() for site, x in values.items()}, np.array(labels[:N])


def units(truth):
    return [(site, unit) for site, x in truth[0].items() for unit in range(0, x.shape[2], max(x.shape[2] // 6, 1))]


def test_statistics_and_histograms_are_a_recount_of_all_places(atlas, truth):
    for site, unit in units(truth):
        page, values = atlas.unit(f"{site}/{unit}"), truth[0][site][..., unit]
        assert (page.modality, page.statistics.counted) == ("image", N)
        assert page.statistics.mean == pytest.approx(values.mean(), abs=1e-4)
        assert page.statistics.minimum == pytest.approx(values.min(), abs=1e-4)
        assert page.statistics.maximum == pytest.approx(values.max(), rel=1e-4)
        assert page.statistics.frequency == pytest.approx((values > 0).mean(), abs=1e-5)
        edges = page.histogram.edges
        assert np.abs(np.histogram(values, edges)[0] - page.histogram.tokens).sum() <= 2  # rounding at an edge
        assert np.abs(np.histogram(values.max(1), edges)[0] - page.histogram.pieces).sum() <= 2
        assert sum(page.histogram.tokens) == values.size


@pytest.mark.parametrize(("kind", "sign"), [("top", 1), ("lowest", -1)])
def test_the_highest_and_the_lowest_examples_are_those_of_all_pictures(atlas, truth, kind, sign):
    seen = 0
    for site, unit in units(truth):
        values = sign * truth[0][site][..., unit]
        best = np.sort(values.max(1))[::-1]
        found = atlas.pictures(f"{site}/{unit}", kind, limit=50).examples
        if kind == "lowest" and best[0] <= 0:
            assert found == []
            continue
        assert len(found) == {"top": 16, "lowest": 6}[kind]
        assert [sign * one.value for one in found] == pytest.approx(best[: len(found)], abs=1e-4)
        for one in found:
            assert sign * one.value == pytest.approx(values[one.picture].max(), abs=1e-4)
            assert values[one.picture, one.position] == pytest.approx(values[one.picture].max(), abs=1e-5)
            assert one.label == str(truth[1][one.picture])
            assert one.name == f"digits:{one.picture}"
            seen += 1
    assert seen or (kind, atlas.reading.slug) == ("lowest", "digits-cnn")


def test_the_map_of_an_example_is_the_units_value_at_every_cell(atlas, truth):
    for site, unit in units(truth):
        before = 1 if atlas.reading.slug == "digits-vit" else 0
        for kind in ("top", "range", "random"):
            found = atlas.pictures(f"{site}/{unit}", kind, limit=3)
            for one in found.examples:
                along = truth[0][site][one.picture, before:, unit]
                assert found.rows * found.columns == len(along) == len(one.heat)
                np.testing.assert_allclose(one.heat, along, rtol=6e-3, atol=1e-3)
                assert one.value == pytest.approx(truth[0][site][one.picture, one.position, unit], abs=1e-4)
                cell = one.position - before
                y, x = divmod(cell, found.columns)
                if cell < 0:
                    assert (one.place, one.box) == ("class token", None)
                elif len(along) > 1:
                    assert one.place == f"y{y} x{x}"
                    assert one.cell == pytest.approx(
                        [x / found.columns, y / found.rows, (x + 1) / found.columns, (y + 1) / found.rows], abs=1e-6
                    )


def test_examples_across_the_range_come_from_equal_intervals(atlas, truth):
    for site, unit in units(truth):
        values = truth[0][site][..., unit]
        found = atlas.pictures(f"{site}/{unit}", "range").examples
        steps = [(one.value - values.min()) / (values.max() - values.min()) * 10 for one in found]
        tenths = [min(int(step + 1e-4), 9) for step in steps]
        assert tenths == sorted(set(tenths), reverse=True)
        filled = np.histogram(values, 10, (values.min(), values.max()))[0] > 0
        assert abs(len(found) - filled.sum()) <= 1  # rounding at an edge
        assert len(found) == atlas.pictures(f"{site}/{unit}", "range").total


def test_an_interval_holds_places_from_there_and_counts_them_all(atlas, truth):
    site, unit = units(truth)[1]
    page = atlas.unit(f"{site}/{unit}")
    edges, counts = page.histogram.edges, page.histogram.tokens
    found = atlas.pictures(page.key, "interval", low=edges[3], high=edges[9], limit=50)
    assert found.total == sum(counts[3:9])
    assert found.examples
    assert all(edges[3] <= one.value < edges[9] for one in found.examples)
    whole = atlas.pictures(page.key, "interval", low=edges[0], high=edges[-1], limit=50)
    assert whole.total == sum(counts)
    assert page.statistics.maximum == pytest.approx(max(one.value for one in whole.examples), abs=0.1)
    for ends in ({"low": 1.0}, {"low": 0.0, "high": 1.0}):
        with pytest.raises(PatchclampError, match="together"):
            atlas.pictures(page.key, "top", **ends)


def test_classes_are_scored_on_pictures_that_they_were_not_chosen_on(atlas, truth):
    labels = truth[1]
    nth = np.array([(labels[:i] == k).sum() for i, k in enumerate(labels)])
    chosen_on = nth % 2 == 0

    def plain(high, k):
        up, down = high[labels_of == k], high[labels_of != k]
        return np.mean([(a > b) + 0.5 * (a == b) for a in up for b in down])

    for site, unit in units(truth):
        high = truth[0][site][..., unit].max(1)
        labels_of = labels[chosen_on]
        # Five pictures of a class in each half are asked for.
        enough = [k for k in range(10) if min((labels[half] == k).sum() for half in (chosen_on, ~chosen_on)) >= 5]
        areas = {k: plain(high[chosen_on], k) for k in enough}
        found = atlas.unit(f"{site}/{unit}").concepts
        assert len(found) == 3
        assert areas[int(found[0].concept)] == pytest.approx(max(areas.values()), abs=1e-6)
        labels_of = labels[~chosen_on]
        for one in found:
            assert one.auroc.value == pytest.approx(plain(high[~chosen_on], int(one.concept)), abs=1e-4)
            assert one.auroc.low <= one.auroc.value <= one.auroc.high
            assert one.auroc.n == (labels_of == int(one.concept)).sum()


def test_classes_are_promoted_only_where_a_path_leads_there(atlas, model):
    module = model.module
    if model.name == "digits-cnn":
        weights = module.classifier[-1].weight.detach()[:, 5]
        page, none = atlas.unit("final/channels/5"), atlas.unit("blocks.1.conv1.act/channels/5")
        assert "convolutions" in none.not_known["promotes"]
    else:
        written = module.vit.layers[1].mlp.fc2.weight.detach()[:, 5]
        normed = module.vit.layernorm(torch.stack([written, torch.zeros_like(written)]))
        weights = (module.classifier(normed[:1]) - module.classifier(normed[1:]))[0].detach()
        page, none = atlas.unit("blocks.1.mlp.act/neurons/5"), atlas.unit("blocks.2.attn.z/heads/1")
        assert "head" in none.not_known["promotes"]
    weights = weights - weights.mean()
    best = weights.argsort(descending=True).tolist()
    assert [int(one.text) for one in page.promotes] == [k for k in best if weights[k] > 1e-5]
    assert [one.weight for one in page.promotes] == pytest.approx(
        [float(weights[one.id]) for one in page.promotes], rel=1e-3
    )
    assert none.promotes == none.suppresses == []


def test_pictures_are_kept_as_the_network_is_shown_them(atlas, model):
    pictures, _ = digits()
    for number in (0, 7, 80):
        kept = np.asarray(Image.open(io.BytesIO(atlas.picture(number))))
        _, side, _ = model.prepare.shape
        shown = np.asarray(Image.fromarray(pictures[number].pixels).resize((side, side), Image.Resampling.BILINEAR))
        assert kept.shape == (side, side)
        assert np.abs(kept.astype(int) - shown).max() <= 1


def test_what_lies_outside_of_the_box_changes_nothing_there(atlas, model):
    if model.name == "digits-vit":  # every patch reads every other: a place stands for its own
        shown = atlas.pictures("blocks.1.mlp.act/neurons/5", "random", limit=8).examples
        assert [one.box for one in shown] == [one.cell for one in shown]
        return
    draw, site = torch.Generator().manual_seed(3), "blocks.1.conv1.act"
    for one in atlas.pictures(f"{site}/channels/3", "random", limit=4).examples:
        x = torch.from_numpy(model.prepare(digits()[0][one.picture]))[None]
        left, top, right, bottom = (round(end * 32) for end in one.box)
        outside, inside = torch.rand(1, 1, 32, 32, generator=draw), x.clone()
        outside[..., top:bottom, left:right] = x[..., top:bottom, left:right]
        inside[..., top:bottom, left:right] += torch.rand(bottom - top, right - left, generator=draw)
        with torch.no_grad():
            plain, far, near = (model.differentiable(each, site)[0, one.position] for each in (x, outside, inside))
        torch.testing.assert_close(plain, far, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(plain, near, atol=1e-3)


def test_a_bake_that_was_killed_goes_on_to_the_same_atlas(model, folder, tmp_path):
    class Killed(Exception):
        pass

    def stop_at(limit):
        def progress(done, _total):
            if done >= limit:
                raise Killed

        return progress

    out = tmp_path / "again.atlas"
    for limit, resume in ((N // 2, False), (N + N // 2, True)):
        with pytest.raises(Killed):
            bake(model, out, resume=resume, progress=stop_at(limit), checkpoint_s=0)
        assert not out.exists()
    with pytest.raises(PatchclampError, match="resume"):
        bake(model, out)
    assert bake(model, out, resume=True, checkpoint_s=0) == pc.atlas.open(folder).reading.head["base"]
    assert bake(model, out, resume=True) == pc.atlas.open(folder).reading.head["base"]
    assert not (tmp_path / "again.atlas.baking").exists()


def test_every_page_of_the_server_answers_for_pictures(folder, atlas):
    client = TestClient(guard_atlas(folder), base_url="http://127.0.0.1")
    key = str(atlas.reading.key(3))
    page = client.get(f"/api/units/{key}/pictures", params={"kind": "top"})
    assert page.status_code == 200
    assert len(page.content) < 20_000
    shown = page.json()["examples"][0]
    file = client.get(f"/api/pictures/{shown['picture']}.png")
    assert (file.headers["content-type"], file.content) == ("image/png", atlas.picture(shown["picture"]))
    small = Image.open(io.BytesIO(client.get(f"/api/units/{key}/top.png").content))
    assert max(small.size) == 96
    for path in ("/api/atlas", "/api/units", f"/api/units/{key}", "/api/runs", "/api/graphs", "/api/pictures"):
        assert client.get(path).status_code == 200, path
    assert client.get("/api/pictures", params={"limit": 3}).json()["total"] <= N
    for path, status in (("999999999.png", 404), ("-1.png", 400), ("1e3.png", 400), ("%2e%2e/x.png", 404)):
        answer = client.get(f"/api/pictures/{path}")
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}


@pytest.fixture(scope="module")
def lab(model, folder):
    return TestClient(guard_atlas(folder, model=f"organism:{model.name}"), base_url="http://127.0.0.1")


def test_a_kept_picture_is_shown_to_the_model_with_clamps_and_without(lab, model, truth):
    site = next(iter(SITES[model.name]))
    off = f"{site}/5"
    asked = {"picture": 17, "clamps": [{"key": off, "mode": "ablate"}], "unit": off, "controls": 20}
    found = lab.post("/api/lab/picture", json=asked).json()
    bare = model.run("digits:17").logits[0].softmax(-1)
    clamped = model.run("digits:17", interventions=[clamp(f"{off}=0")]).logits[0].softmax(-1)
    for row in found["classes"]:
        assert row["before"] == pytest.approx(float(bare[row["index"]]), abs=1e-5)
        assert row["after"] == pytest.approx(float(clamped[row["index"]]), abs=1e-5)
    assert found["unit"]["value"] == pytest.approx(truth[0][site][17, :, 5].max(), abs=1e-4)
    best = int(bare.argmax())
    assert found["control"]["measured"] == pytest.approx(float(clamped.log()[best] - bare.log()[best]), abs=1e-4)
    assert len(found["control"]["randoms"]) == 20
    assert (found["label"], found["name"]) == ("7", "digits:17")


def test_the_lab_of_pictures_opens_no_file_and_reads_no_text(lab, tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "secret.png")
    path = str(tmp_path / "secret.png")
    posted = {
        "run": {"text": path},
        "explain": {"prompt": path, "target": "7"},
        "picture": {"picture": 10**9},
        "lens": {"text": path},
        "heat": {"text": path},
        "patching": {"text": path, "of": "patching", "other": path},
    }
    for name, body in posted.items():
        answer = lab.post(f"/api/lab/{name}", json=body)
        assert answer.status_code in (400, 404), name
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}
    for ask in ("tokens", "next", "rank", "attention"):
        assert lab.get(f"/api/lab/{ask}", params={"text": path, "position": 0, "layer": 0}).status_code in (400, 404)
    assert lab.get("/api/lab").json()["shows"] == "pictures"


def test_a_picture_takes_no_values_of_another_input(lab, model):
    clamps = [{"key": f"{next(iter(SITES[model.name]))}/5", "mode": "patch"}]
    answer = lab.post("/api/lab/picture", json={"picture": 17, "clamps": clamps})
    assert answer.status_code == 400
    assert "another input" in answer.json()["error"]["got"]


def test_an_answer_about_a_kept_picture_is_verified(model, folder, tmp_path):
    copy = tmp_path / "copy.atlas"
    shutil.copytree(folder, copy)
    found = pc.explain(model, "digits:17", "7", contrast="4", top=3, n_controls=20)
    pc.atlas.write_graph(copy, found.graph())
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "black.png")
    strange = pc.explain(model, str(tmp_path / "black.png"), "7", contrast="4", top=1, n_controls=20)
    other = strange.graph()
    bare = replace(other, about={name: value for name, value in other.about.items() if name != "picture"})
    ids = [pc.atlas.write_graph(copy, one) for one in (other, bare)]
    client = TestClient(guard_atlas(copy, model=f"organism:{model.name}"), base_url="http://127.0.0.1")
    rows = {row["prompt"]: row["id"] for row in client.get("/api/graphs").json()["rows"]}
    asked = {"graph": rows["digits:17"], "nodes": [cause.key for cause in found.causes], "controls": 20}
    answer = client.post("/api/lab/verify", json=asked).text
    measured = json.loads(re.search(r"event: verified\s+data: (.*)", answer)[1])["measured"]
    assert measured == pytest.approx(found.measured, abs=1e-3)
    # A picture that the atlas does not keep is the one in the graph, or none: its name is no path to be opened.
    asked = {"graph": ids[0], "nodes": [cause.key for cause in strange.causes], "controls": 20}
    answer = client.post("/api/lab/verify", json=asked).text
    measured = json.loads(re.search(r"event: verified\s+data: (.*)", answer)[1])["measured"]
    assert measured == pytest.approx(strange.measured, abs=1e-3)
    refused = client.post("/api/lab/verify", json={**asked, "graph": ids[1]})
    assert "keeps" in refused.text
    assert refused.status_code == 400


def test_an_atlas_of_text_has_no_pictures(cat, tmp_path):
    text = tmp_path / "cat.txt"
    text.write_text("the old cat sat on the mat. " * 8)
    pc.atlas.bake_atlas(cat, text, tmp_path / "cat.atlas", sites="blocks.0.mlp.act")
    client = TestClient(guard_atlas(tmp_path / "cat.atlas"), base_url="http://127.0.0.1")
    for path in ("pictures", "pictures/0.png", "units/blocks.0.mlp.act/neurons/7/pictures"):
        assert client.get(f"/api/{path}").status_code == 404


@pytest.mark.parametrize("format", ["parquet", "neuronpedia", "html"])
def test_formats_of_text_refuse_pictures(folder, atlas, tmp_path, format):
    unit = str(atlas.reading.key(0)) if format == "html" else None
    with pytest.raises(PatchclampError, match="text"):
        pc.atlas.export_atlas(folder, tmp_path / "out", format=format, unit=unit)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PatchclampError, match="text"):
        atlas.exemplars(str(atlas.reading.key(0)))


def test_a_file_that_is_no_picture_is_damage(folder, tmp_path):
    for name, data in (("text", b"<svg onload=alert(1)>"), ("cut", b"\x89PNG\r\n\x1a\n" + b"x" * 40)):
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        base = copy / "base" / "base.sqlite"
        base.chmod(0o644)
        with sqlite3.connect(base) as db:
            db.execute("UPDATE pictures SET png = ?", [data])
        found = pc.atlas.Atlas(copy, check=False)
        key = str(found.reading.key(0))
        with pytest.raises(Damaged):
            pc.atlas.Atlas(copy)
        client = TestClient(guard_atlas(folder), base_url="http://127.0.0.1")
        assert client.get("/api/pictures").status_code == 200
        from patchclamp.atlas.serve.screens.pictures import thumbnail

        with pytest.raises(Damaged):
            thumbnail(found.reading, key)
        if name == "text":
            with pytest.raises(Damaged):
                found.picture(0)


@pytest.mark.parametrize("kind", ["corrupt", "words", "empty", "wide"])
def test_what_is_no_picture_is_refused_in_three_parts(organism, tmp_path, kind):
    folder, out = tmp_path / "in", tmp_path / "out.atlas"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(folder / "a.png")
    if kind == "empty":
        (folder / "a.png").unlink()
    elif kind == "wide":
        np.save(tmp_path / "wide.npy", np.zeros((3, 4, 5, 6, 7), dtype=np.uint8))
    else:
        whole = (folder / "a.png").read_bytes()
        (folder / "b.png").write_bytes(whole[: len(whole) // 2] if kind == "corrupt" else b"no picture at all")
    source = tmp_path / "wide.npy" if kind == "wide" else folder
    with pytest.raises(PatchclampError) as refused:
        pc.atlas.bake_atlas(organism("digits-cnn"), pc.Corpus(source, "images"), out)
    assert refused.value.expected
    assert refused.value.remedy
    assert not out.exists()


def test_text_and_images_are_not_mixed_up(organism, cat, tmp_path):
    story = tmp_path / "story.txt"
    story.write_text("the cat")
    for model, corpus in ((organism("digits-cnn"), pc.Corpus(story)), (cat, pc.Corpus(SOURCE, "images"))):
        with pytest.raises(PatchclampError, match="for"):
            pc.atlas.bake_atlas(model, corpus, tmp_path / "out.atlas")


@pytest.mark.parametrize("name", ["clip_vision", "dinov2", "convnext", "resnet"])
def test_families_and_colours(name, tmp_path):
    family = vision_family(name)
    torch.manual_seed(0)
    model = VisionModel(family.tiny(), Preparation(shape=family.tiny_shape), name=name)
    pixels = np.random.default_rng(0).integers(0, 256, size=(6, *family.tiny_shape[1:], 3), dtype=np.uint8)
    np.save(tmp_path / "six.npy", pixels)
    pc.atlas.bake_atlas(model, pc.Corpus(tmp_path / "six.npy", "images"), tmp_path / "a.atlas")
    atlas = pc.atlas.open(tmp_path / "a.atlas")
    site = atlas.page().sites[-1]
    found = atlas.pictures(f"{site.site}/{site.basis}/1").examples
    values = np.asarray(model.run(pixels, record=site.site, logits=False).recording[site.site])[:, 1].reshape(6, -1)
    assert found[0].value == pytest.approx(values.max(), rel=1e-4)
    assert divmod(int(values.argmax()), values.shape[1]) == (found[0].picture, found[0].position)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(atlas.picture(2)))), pixels[2])
    assert found[0].label is None
    assert atlas.unit(f"{site.site}/{site.basis}/1").concepts == []


def test_a_network_of_ones_own_is_baked_by_its_channels(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 40 * 40, 2)
    )
    model = VisionModel(net, Preparation(shape=(3, 40, 40)), name="own")
    np.save(tmp_path / "five.npy", np.random.default_rng(1).integers(0, 256, size=(5, 40, 40, 3), dtype=np.uint8))
    pc.atlas.bake_atlas(model, pc.Corpus(tmp_path / "five.npy", "images"), tmp_path / "a.atlas")
    atlas = pc.atlas.open(tmp_path / "a.atlas")
    found = atlas.pictures("module.0.out/channels/2", "top", limit=1)
    assert (found.rows, found.columns, found.pooled) == (14, 14, True)
    one = found.examples[0]
    assert max(one.heat) == pytest.approx(one.value, rel=1e-2)
    assert one.value == pytest.approx(atlas.unit(found.key).statistics.maximum, rel=1e-6)
    # A kernel of three pixels reads one beyond its cell on each side.
    y, x = divmod(one.position, 40)
    ends = [max(x - 1, 0), max(y - 1, 0), min(x + 2, 40), min(y + 2, 40)]
    assert one.box == pytest.approx([end / 40 for end in ends], abs=1e-6)
    assert "no family file" in atlas.unit(found.key).not_known["promotes"]


def test_a_large_map_is_kept_by_the_largest_values_of_its_blocks():
    values = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)
    pooled = pool_map(values.ravel(), (40, 20))
    assert pooled.shape == (14, 10)
    for y in range(14):
        for x in range(10):
            block = values[y * 3 : y * 3 + 3, x * 2 : x * 2 + 2].ravel()
            assert pooled[y, x] == block[np.abs(block).argmax()]
    np.testing.assert_array_equal(pool_map(values[:8, :8].ravel(), (8, 8)), values[:8, :8])
