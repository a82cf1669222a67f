"""Find by text gives the units whose response to the text is the highest, by a forward with plain hooks."""

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles import hooks
from patchclamp.atlas.lab import Lab
from patchclamp.atlas.lab.text_search import search_text
from patchclamp.atlas.serve.server import guard_atlas
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError

TEXTS = ["w3 w1 w4 w15 w9 w26 w5", "w27 w18 w28 w18", "w50"]
MLP, HEADS = "blocks.1.mlp.act", "blocks.1.attn.z"
N_FEATURES = 9


@pytest.fixture(scope="module")
def shown(tiny_language_model, tmp_path_factory):
    """A random model with neurons, heads and features in an atlas, and the lab beside it."""
    folder, model = tmp_path_factory.mktemp("search"), tiny_language_model("gpt2")
    text = folder / "t.txt"
    draw = np.random.default_rng(0)
    text.write_text(" ".join(f"w{int(56 * x**2)}" for x in draw.random(400)))
    out = folder / "a.atlas"
    pc.atlas.bake_atlas(model, pc.Corpus(text, window=32), out, sites=f"blocks.0.mlp.act,{MLP},{HEADS}/heads")
    decoder = draw.normal(size=(N_FEATURES, model.site(MLP).width)).astype(np.float32)
    basis = Basis("drawn", "directions", decoder=decoder, encoder=decoder, activation="relu")
    pc.atlas.add_basis(
        out, model, Dictionary({MLP: basis}, {"slug": model.name, "hash": model.hash}, "random"), text=text
    )
    atlas = pc.atlas.open(out)
    return Lab(model, atlas.reading), atlas, decoder


def responses(lab, atlas, decoder, text):
    """Return every unit's highest value over the text's counted tokens and where, by plain hooks."""
    model, stimulus = lab.model, lab.model.tokenize(text)
    seen = {}
    places = hooks.places("gpt2", 3)
    wanted = {row[1] for row in atlas.reading.sites}
    see = [(*places[path], lambda x, path=path: seen.update({path: x[0].detach().double().numpy()})) for path in wanted]
    with torch.no_grad():
        ids = torch.tensor(stimulus.ids)[None]
        hooks.called(model.module, ids, torch.arange(len(stimulus))[None], see)
    found = {}
    for _, path, _, _, name, _, units in atlas.reading.sites:
        x = seen[path]
        if name == "heads":
            values = np.linalg.norm(x.reshape(len(x), units, -1), axis=2)
        elif name == "drawn":
            values = np.maximum(x @ decoder.T.astype(np.float64), 0)
        else:
            values = x
        for unit in range(units):
            along = np.where(stimulus.counted, values[:, unit], -np.inf)
            found[f"{model.name}/{path}/{name}/{unit}"] = (along.max(), int(along.argmax()))
    return found


@pytest.mark.parametrize("by", ["share", "value"])
@pytest.mark.parametrize("text", TEXTS[:3])
def test_the_units_given_respond_most_of_all(shown, text, by):
    lab, atlas, decoder = shown
    found = search_text(lab, atlas.reading, text, site="", by=by, limit=25)
    measured = responses(lab, atlas, decoder, text)
    maxima = {key: atlas.unit(key).statistics.maximum for key in measured}
    worth = {
        key: value if by == "value" else value / maxima[key]
        for key, (value, _) in measured.items()
        if value > 0 and (by == "value" or maxima[key] > 0)
    }
    assert {key.split("/")[2] for key in worth} == {"neurons", "heads", "drawn"}
    assert found.total == len(measured)
    assert found.responding == sum(value > 0 for value, _ in measured.values())
    best = sorted(worth.values(), reverse=True)[:25]
    assert [worth[row.key] for row in found.rows] == pytest.approx(best, rel=1e-4)
    for row in found.rows:
        value, position = measured[row.key]
        assert row.value == pytest.approx(value, rel=1e-4)
        assert row.share == pytest.approx(value / maxima[row.key], rel=1e-4)
        assert row.acts[row.position] == pytest.approx(row.acts[position], rel=1e-3)
        assert len(row.acts) == len(found.cut.tokens)


def test_every_basis_can_be_searched_by_itself(shown):
    lab, atlas, _ = shown
    for site, basis in ((HEADS, "heads"), (MLP, "neurons"), (MLP, "drawn")):
        found = search_text(lab, atlas.reading, TEXTS[0], site=f"{site}/{basis}", by="share", limit=5)
        assert {row.key.rsplit("/", 1)[0] for row in found.rows} == {f"{lab.model.name}/{site}/{basis}"}
    with pytest.raises(PatchclampError, match="site of this atlas"):
        search_text(lab, atlas.reading, TEXTS[0], site="blocks.9.mlp.act", by="share", limit=5)


def test_planted_units_come_first_and_the_decoy_where_its_noun_stands(seeded_atlas):
    import httpx

    from apart import run_apart

    app = guard_atlas(seeded_atlas, model="organism:cat")

    async def ask(**asked):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
            return await one.get("/api/lab/search", params=asked)

    answer = run_apart(ask(text="the old cat", site="blocks.0.mlp.act/neurons"))
    rows = {row["key"].rsplit("/", 1)[1]: row for row in answer.json()["rows"]}
    # Unit 7 fires exactly 3.0 on "cat", 11 on adjectives, 3 on every noun; the rest stay at zero.
    assert {key: row["position"] for key, row in rows.items()} == {"7": 3, "11": 2, "3": 3, "5": 3}
    assert rows["7"]["value"] == pytest.approx(3.0)
    assert "cache-control" in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    for wrong in ({"text": ""}, {"text": "x" * 1001}, {"text": "cat", "limit": 0}, {"text": "cat", "by": "z"}):
        assert run_apart(ask(**wrong)).status_code == 400
    assert run_apart(ask(text="cat", site="nowhere")).status_code == 404
