"""Evidence: its windows are those of plain loops, silent ones are silent, and no content is on both sides."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import patchclamp as pc
from oracles import evidence as oracle
from patchclamp.core.basis import Basis
from patchclamp.core.bundle import Bundle
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE
from patchclamp.core.keys import UnitList
from patchclamp.core.stimulus import PackedStimuli
from patchclamp.describe.evidence import Evidence, EvidenceOptions, draw_evidence, passes, plan_evidence
from patchclamp.describe.evidence.drawing import FEW, FLAT, REASONS, sample_firing
from patchclamp.describe.score import score_descriptions
from patchclamp.describe.scorers.fuzzing import mark_tokens
from patchclamp.describe.windows import ShownWindows, iterate_units
from patchclamp.recipes.describe_units import describe_units

SITE = "blocks.1.mlp.act"
WINDOW = 12
HOW = EvidenceOptions(window=WINDOW, n_train=20, n_test=15, n_negative=12, least=3)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Three hundred windows, of which the last sixty repeat the first."""
    draw = np.random.default_rng(0)
    lines = [" ".join(f"w{i}" for i in draw.integers(0, 50, WINDOW - 1)) for _ in range(240)]
    path = tmp_path_factory.mktemp("evidence") / "text.txt"
    path.write_text("\n".join(lines + lines[:60]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(tiny_language_model):
    return tiny_language_model("llama")


@pytest.fixture(scope="module")
def drawn(model, text, tmp_path_factory):
    """Evidence for two sites of neurons and one of heads."""
    units = [SITE, "blocks.0.mlp.act", "blocks.1.attn.z/heads"]
    return draw_evidence(model, text, units, HOW, folder=tmp_path_factory.mktemp("drawn") / "evidence", seed=3)


@pytest.fixture(scope="module")
def windows(model, text):
    """Number of each window, each content once, to its ids and the sites' values at its tokens, shown by itself."""
    seen, kept = set(), {}
    shown = (one for batch in pc.read_corpus(model, pc.Corpus(text, window=WINDOW)) for one in batch)
    for number, window in enumerate(shown):
        if window.id not in seen:
            seen.add(window.id)
            values = {}
            model.watch(
                [window], [SITE, "blocks.1.attn.z"], lambda path, x, into=values: into.update({path: x.numpy()})
            )
            kept[number] = window, values
    return kept


def along(windows, unit, site=SITE):
    """Number of each window to a unit's activations at the tokens that count."""
    return {number: values[site][window.counted, unit].tolist() for number, (window, values) in windows.items()}


def sides(evidence, site):
    return evidence.train(site), evidence.test(site)


def numbers(exemplars):
    return exemplars.stimuli.numbers[exemplars.stimulus].tolist()


def test_units_fire_where_plain_loops_say(drawn, windows):
    train, test = drawn.train(SITE), drawn.test(SITE)
    training = [n for n, (w, _) in windows.items() if not in_test(w, seed=3)]
    testing = [n for n in windows if n not in training]
    levels = drawn.levels(SITE)
    assert len(train.units) > 10
    for unit in train.units[::7].tolist():
        acts = along(windows, unit)
        sign, fires, silent = oracle.levels(acts, training, [n for n in training if n < 60], HOW.fires)
        assert (levels.sign[unit], levels.fires[unit], levels.silent[unit]) == pytest.approx((sign, fires, silent))
        for side, own in ((training, train.of_unit(unit)), (testing, test.of_unit(unit))):
            assert set(numbers(own)) <= set(side)
            firing = [n for n in side if max(sign * a for a in acts[n]) >= fires - 1e-5]
            active = own.of_kinds(*ACTIVE)
            wanted = HOW.n_train if side is training else HOW.n_test
            assert len(active) == min(wanted, len(firing))
            assert set(numbers(active)) <= set(firing)
            best = sorted(firing, key=lambda n: -max(sign * a for a in acts[n]))
            top = own.of_kinds("top")
            assert numbers(top) == best[: round(wanted / 5)]
            # Silent windows lie below the lower threshold at every token, and none is shown twice.
            quiet = own.of_kinds(*NEGATIVE)
            there = sum(max(sign * a for a in acts[n]) < silent - 1e-5 for n in side)
            assert 3 * min(HOW.n_negative, there // 3) <= len(quiet) <= 3 * HOW.n_negative
            assert all(sign * a < silent + 1e-5 for n in numbers(quiet) for a in acts[n])
            assert len(set(numbers(own))) == len(own)


def test_rows_have_the_activations_of_their_window(drawn, windows):
    train = drawn.train(SITE)
    signs = drawn.levels(SITE).sign
    assert set(signs.tolist()) == {-1, 1}
    for row in range(0, len(train), 97):
        one, [number] = train[row], numbers(train[row : row + 1])
        window, values = windows[number]
        signed = signs[one.unit] * values[SITE][:, one.unit]
        assert one.ids == tuple(window.ids.tolist())
        assert train.row_activations(row) == pytest.approx(np.where(window.counted, signed, 0), abs=1e-5)
        assert window.counted[one.position]
        assert one.value == pytest.approx(signed[window.counted].max(), abs=1e-5)
        fires = drawn.levels(SITE).fires[one.unit]
        if one.kind != "neighbour":
            expected = (signed >= fires) & window.counted if one.kind in ACTIVE else np.zeros(len(window), dtype=bool)
            assert train.mask(row).tolist() == expected.tolist()


def in_test(window, seed, share=0.5):
    return PackedStimuli.of([window]).draw(seed)[0] < share


def test_near_windows_are_the_silent_ones_most_like_the_highest(drawn, windows):
    order = list(windows)
    texts = [w.ids[w.counted].tolist() for w, _ in windows.values()]
    train = drawn.train(SITE)
    for unit in train.units[::9].tolist():
        acts, [sign], [silent] = (
            along(windows, unit),
            drawn.levels(SITE).sign[[unit]],
            drawn.levels(SITE).silent[[unit]],
        )
        training = [n for n, (w, _) in windows.items() if not in_test(w, seed=3)]
        highest = sorted(training, key=lambda n: -max(sign * a for a in acts[n]))[:10]
        cosine = oracle.alike(texts, [order.index(n) for n in highest])
        quiet = [n for n in training if max(sign * a for a in acts[n]) < silent]
        near = sorted(quiet, key=lambda n: -cosine[order.index(n)])[: HOW.n_negative]
        assert sorted(numbers(train.of_unit(unit).of_kinds("near"))) == sorted(near)


def test_in_neighbours_windows_a_unit_fires_that_often_fires_too(drawn, windows):
    train, levels = drawn.train(SITE), drawn.levels(SITE)
    training = [n for n, (w, _) in windows.items() if not in_test(w, seed=3)]
    width = drawn.train(SITE).site.width
    high = np.array([
        [max(levels.sign[u] * values[SITE][w.counted, u]) for u in range(width)]
        for w, values in (windows[n] for n in training)
    ])  # fmt: skip
    fires = [set(np.flatnonzero(high[:, u] >= levels.fires[u]).tolist()) for u in range(width)]
    for unit in train.units[::9].tolist():
        related = sorted((u for u in range(width) if u != unit), key=lambda u: -oracle.jaccard(fires[unit], fires[u]))
        kept = [training.index(n) for n in numbers(train.of_unit(unit).of_kinds("neighbour"))]
        assert kept
        assert not fires[unit] & set(kept)
        assert all(any(n in fires[u] for u in related[:8]) for n in kept)
        # The nearest gives as many as it may: ten, or all in which the unit itself is silent.
        quiet = {i for i in range(len(training)) if high[i, unit] < levels.silent[unit]}
        near = {training.index(n) for n in numbers(train.of_unit(unit).of_kinds("near"))}
        assert len(fires[related[0]] & set(kept)) >= min(10, len((fires[related[0]] & quiet) - near))


@pytest.mark.parametrize("side", [0, 1])
def test_in_neighbours_windows_those_tokens_are_marked_at_which_the_neighbour_fires(drawn, windows, side):
    some, levels = sides(drawn, SITE)[side], drawn.levels(SITE)
    of = {unit: along(windows, unit) for unit in range(some.site.width)}
    rows = [KINDS[kind] for kind in some.kind]
    assert not any(some.mask(row).any() for row, kind in enumerate(rows) if kind in ("silent", "near"))
    pieces = [drawn._read_drawn(drawn.sites.index(SITE), g)[0] for g in range(drawn.n_groups(SITE))]
    whose = np.concatenate([piece.neighbour[piece.side == side] for piece in pieces])
    assert [unit >= 0 for unit in whose] == [kind == "neighbour" for kind in rows]
    for row in [row for row, kind in enumerate(rows) if kind == "neighbour"][::5]:
        [number], unit = numbers(some[row : row + 1]), int(whose[row])
        counted = windows[number][0].counted
        expected = oracle.firing(of[unit], number, levels.sign[unit], levels.fires[unit] - 1e-6, counted)
        assert any(expected)
        assert unit != some.unit[row]
        assert some.mask(row).tolist() == expected


def test_random_descriptions_fuzz_at_chance_and_every_window_has_marks(drawn, model):
    test = drawn.test(SITE)
    units = UnitList([f"{SITE}/neurons/{unit}" for unit in test.units.tolist()])
    texts = tuple(f'the token " w{place % 50}"' for place in range(len(units)))
    words = Descriptions(units, np.arange(len(units))[:, None], np.ones((len(units), 1)), texts, "planted", "a rule")
    for kinds in [NEGATIVE, *((kind,) for kind in NEGATIVE)]:
        found = score_descriptions(model, test.of_kinds(*ACTIVE, *kinds), words, scorers=["fuzzing"])
        for row in ("described", "shuffled", "random"):
            assert found.row("fuzzing", row).estimate.value == pytest.approx(0.5, abs=0.04), (kinds, row)
    shown = ShownWindows(model, test)
    for rows in iterate_units(test):
        for row, marks in zip([*rows.active, *rows.silent], mark_tokens(shown, rows, 0.3, rows.draw(0)), strict=True):
            assert marks.any()
            assert not (marks & ~shown.countable(row)).any()


def test_no_content_is_on_both_sides_though_the_text_repeats_itself(drawn):
    for site in drawn.sites:
        train, test = sides(drawn, site)
        contents = [{one.ids for one in side} for side in (train, test)]
        assert not contents[0] & contents[1]
        assert max(numbers(train) + numbers(test)) < 240
        # The sides are those that Exemplars.split would make.
        assert len(train.split(3, test=HOW.test)[1]) == len(test.split(3, test=HOW.test)[0]) == 0


def test_the_same_seed_draws_the_same_and_groups_change_nothing(drawn, model, text, tmp_path, monkeypatch):
    units = [SITE, "blocks.0.mlp.act", "blocks.1.attn.z/heads"]
    monkeypatch.setattr(passes, "GROUP_BYTES", 4 * 300 * 2 * 5)
    monkeypatch.setattr(passes, "SHARD_BYTES", 2**17)
    again = draw_evidence(model, text, units, HOW, folder=tmp_path / "again", seed=3)
    other = draw_evidence(model, text, units, HOW, folder=tmp_path / "other", seed=4)
    assert again.n_groups(SITE) > 5 > drawn.n_groups(SITE)
    for site in drawn.sites:
        for one, two, three in zip(sides(drawn, site), sides(again, site), sides(other, site), strict=True):
            assert said(one) == said(two) != said(three)
    assert [g.units.tolist() for g in again if g.site == SITE][1] == list(range(5, 10))


def said(exemplars):
    columns = (numbers(exemplars), *(getattr(exemplars, c).tolist() for c in ("unit", "kind", "value", "activations")))
    return columns, exemplars.mark_offsets.tolist(), exemplars.marks.tolist()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_draw_that_was_killed_goes_on_without_paying_twice(model, text, tmp_path, monkeypatch, share):
    monkeypatch.setattr(passes, "SHARD_BYTES", 2**14)
    monkeypatch.setattr(passes, "GROUP_BYTES", 4 * 300 * 2 * 10)
    units = [f"{SITE}/neurons/{i}" for i in range(24)]
    shown, written, real = [], [], {name: getattr(Bundle, name) for name in ("append", "drop")}
    most = [10**6]
    watch = model.watch
    monkeypatch.setattr(model, "watch", lambda batch, *more: (shown.append(batch[0].id), watch(batch, *more))[1])
    for name in real:

        def write(self, *given, name=name, **more):
            if len(written) >= most[0]:
                raise KeyboardInterrupt
            written.append(name)
            real[name](self, *given, **more)

        monkeypatch.setattr(Bundle, name, write)
    draw_evidence(model, text, units, HOW, folder=tmp_path / "whole")
    n_batches, n_pieces = len(shown), written.count("append")
    assert n_pieces > 10
    most[0] = int(share * len(written))
    shown.clear()
    written.clear()
    with pytest.raises(KeyboardInterrupt):
        draw_evidence(model, text, units, HOW, folder=tmp_path / "killed")
    with pytest.raises(PatchclampError, match="interrupted"):
        Evidence(tmp_path / "killed")
    most[0], calls = 10**6, []
    how = {"resume": True, "progress": lambda *at: calls.append(at)}
    draw_evidence(model, text, units, HOW, folder=tmp_path / "killed", **how)
    files = [{f.name: f.read_bytes() for f in (tmp_path / name).iterdir() if f.suffix} for name in ("whole", "killed")]
    assert files[0] == files[1]
    assert written.count("append") == n_pieces
    assert all(done == total for done, total in calls[-1:])
    # The three batches of the shard under way are the most that is computed again.
    assert n_batches <= len(shown) <= n_batches + 3


def test_heads_features_and_chosen_units(drawn, model, text, windows, tmp_path):
    heads = drawn.train("blocks.1.attn.z/heads")
    assert (heads.site.path, heads.basis, heads.site.width) == ("blocks.1.attn.z", "heads", 4)
    [number] = numbers(heads[:1])
    window, values = windows[number]
    norms = np.linalg.norm(values["blocks.1.attn.z"].reshape(len(window), 4, -1)[:, heads[0].unit], axis=1)
    assert heads.row_activations(0) == pytest.approx(np.where(window.counted, norms, 0), abs=1e-5)

    width = model.site(SITE).width
    directions = np.random.default_rng(0).normal(size=(9, width)).astype(np.float32)
    basis = Basis("nine", "directions", decoder=directions, encoder=directions, activation="relu")
    features = draw_evidence(model, text, None, HOW, folder=tmp_path / "nine", bases={SITE: basis}, seed=3)
    assert features.sites == (f"{SITE}/nine",)
    train = features.train(SITE)
    assert (train.basis, train.site.width) == ("nine", 9)
    [number] = numbers(train[:1])
    window, values = windows[number]
    acts = np.maximum(values[SITE] @ directions[train[0].unit], 0)
    assert train.row_activations(0) == pytest.approx(np.where(window.counted, acts, 0), abs=1e-4)
    assert features.provenance.subject == model.name

    keys = [f"{SITE}/neurons/{unit}" for unit in (31, 4)]
    few = draw_evidence(model, text, keys, HOW, folder=tmp_path / "few", seed=3)
    assert few.units(SITE).tolist() == [4, 31]
    for unit in (4, 31):
        ours, all_of_them = (e.train(SITE).of_unit(unit).of_kinds("top", "quantile") for e in (few, drawn))
        assert said(ours) == said(all_of_them)


def test_channels_of_images(organism, tmp_path):
    model = organism("digits-cnn")
    how = EvidenceOptions(n_train=8, n_test=8, n_negative=4, least=2)
    site = next(site for site in model.sites() if "channel" in site.axes)
    drawn = draw_evidence(model, "digits:0:120", [site.path], how, folder=tmp_path / "out")
    train = drawn.train(site.path)
    assert train.basis == "channels"
    assert {one.image for one in train} & {one.image for one in drawn.test(site.path)} == set()
    one, values = train[0], {}
    model.watch([one.image], [site.path], lambda path, x: values.update({path: x.numpy()}))
    sign = drawn.levels(site.path).sign[one.unit]
    assert train.row_activations(0) == pytest.approx(sign * values[site.path][:, one.unit], abs=1e-5)
    assert one.value == train.row_activations(0).max()
    with pytest.raises(PatchclampError, match="sites whose channels"):
        draw_evidence(model, "digits:0:120", folder=tmp_path / "none")


def test_units_without_evidence_are_named_with_the_reason(cat, tmp_path):
    draw = np.random.default_rng(0)
    words = ["the", "old", "a", "mat", "on", "sat"]
    # Two windows at most of about three hundred show a cat.
    text = " ".join(draw.choice(words, 1500)) + " the old cat sat " + " ".join(draw.choice(words, 300))
    (tmp_path / "text.txt").write_text(text)
    how = EvidenceOptions(window=6, least=3)
    drawn = draw_evidence(cat, tmp_path / "text.txt", "blocks.0.mlp.act", how, folder=tmp_path / "out")
    skipped = drawn.skip_reasons()
    [width] = {cat.site("blocks.0.mlp.act").width}
    have = drawn.train("blocks.0.mlp.act").units.tolist()
    assert sorted(have + [int(key.rpartition("/")[2]) for key in skipped]) == list(range(width))
    assert set(skipped.values()) >= {"its activation is the same everywhere"}
    assert sum(drawn.to_json()["skipped"].values()) == len(skipped)
    group = next(iter(drawn))
    assert {f"blocks.0.mlp.act/neurons/{unit}": why for unit, why in group.skipped.items()} == skipped
    assert drawn.table().rows[0][2] == len(have)


def test_what_is_missing_is_counted_where_no_unit_has_evidence(cat, tmp_path):
    (tmp_path / "text.txt").write_text("the old cat sat on the mat. a dog ran. " * 40)
    site, how = "blocks.0.mlp.act", EvidenceOptions(window=5, least=12)
    with pytest.raises(PatchclampError) as refused:
        describe_units(cat, tmp_path / "text.txt", folder=tmp_path / "out", units=site, evidence=how)
    drawn = draw_evidence(cat, tmp_path / "text.txt", site, how, folder=tmp_path / "drawn")
    counts = Counter(drawn.skip_reasons().values())
    few, flat = (counts[REASONS[name]] for name in (FEW, FLAT))
    assert min(few, flat) > 0
    assert few + flat == counts.total() == cat.site(site).width
    n_windows = plan_evidence(cat, tmp_path / "text.txt", site, how).windows
    assert refused.value.got == (
        f"none of {few + flat}: {few} fire in fewer than 12 windows on one side, {flat} never vary; {n_windows} windows"
        " were read, for training and for testing"
    )


def test_the_plan_bounds_what_is_written(model, text, tmp_path):
    plan = plan_evidence(model, text, SITE, HOW)
    most = [0]

    def look(*_):
        most[0] = max(most[0], sum(file.stat().st_size for file in (tmp_path / "out").iterdir()))

    drawn = draw_evidence(model, text, SITE, HOW, folder=tmp_path / "out", progress=look)
    kept = sum(drawn.bundle.sizes().values())
    rows = len(drawn.train(SITE)) + len(drawn.test(SITE))
    assert (plan.units, plan.windows, plan.passes) == (model.site(SITE).width, 300, 2)
    assert rows <= plan.rows
    assert most[0] <= plan.disk_bytes
    assert 0.5 * plan.kept_bytes < kept < 1.2 * plan.kept_bytes


def test_what_does_not_fit_is_refused(model, text, drawn, tmp_path):
    folder = tmp_path / "none"
    wrong = {
        "from 0 to": {"units": [f"{SITE}/neurons/9999"]},
        "basis among": {"units": f"{SITE}/sae-8"},
        "directions": {"bases": {SITE: Basis("all", "neurons")}},
        "fixed width|one width per": {"units": "blocks.0.attn.pattern"},
        "Corpus of text": {"corpus": 7},
    }
    for match, change in wrong.items():
        with pytest.raises(PatchclampError, match=match):
            draw_evidence(model, **{"corpus": text, "options": HOW, "folder": folder, **change})
    assert not folder.exists()
    with pytest.raises(PatchclampError, match="a site with evidence"):
        drawn.train("blocks.9.mlp.act")
    with pytest.raises(PatchclampError, match="a group"):
        drawn.test(SITE, 99)


def test_changed_evidence_is_damage(model, text, tmp_path):
    draw_evidence(model, text, [f"{SITE}/neurons/3"], HOW, folder=tmp_path / "out")
    file = next((tmp_path / "out").glob("activations-*"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Damaged):
        Evidence(tmp_path / "out").train(SITE)


@given(st.integers(0, 90), st.integers(1, 60), st.sampled_from(["top", "random", "quantile", "mix"]), st.integers(0, 9))
def test_samples_are_of_equal_parts(n, wanted, sampling, seed):
    order = np.random.default_rng(seed).permutation(n)
    drawn = dict(sample_firing(order, wanted, sampling, np.random.default_rng(seed)))
    chosen = [int(i) for part in drawn.values() for i in part]
    assert len(set(chosen)) == len(chosen) == min(n, wanted)
    n_top = {"top": wanted, "mix": round(0.2 * wanted)}.get(sampling, 0)
    assert drawn.get(KINDS.index("top"), order[:0]).tolist() == order[:n_top].tolist()
    if sampling in ("quantile", "mix") and n > wanted:
        counts = [len(set(part) & set(chosen)) for part in oracle.tenths(order[n_top:].tolist())]
        assert max(counts) - min(counts) <= 1
