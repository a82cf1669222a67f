"""Image models against plain hooks, plain loops and hand-made changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from oracles import survey as oracle
from oracles.resnet20 import ResNet20
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.record.survey import survey_corpus
from patchclamp.subjects.contract.kinds.pictures import tiny
from patchclamp.subjects.vision_sites import vision_family

N = 3


@pytest.fixture(scope="module")
def models():
    return {name: tiny(vision_family(name)) for name in ("vit", "resnet", "convnext")}


@pytest.fixture(scope="module")
def shown():
    draw = np.random.default_rng(0)
    return lambda model, n=N: draw.normal(size=(n, *model.prepare.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 4),
    )  # fmt: skip
    return pc.wrap(net, torch.zeros(1, 1, 8, 8), prepare="scale")


# -- recording --------------------------------------------------------------------------------------------------------


def test_ten_activations_of_resnet20_are_those_of_a_plain_hook(shared: Path):
    file = shared / "models" / "resnet20-cifar10" / "model.safetensors"
    if not file.is_file():
        pytest.skip("needs ../shared/models/resnet20-cifar10, which is not part of the repository")
    from safetensors.torch import load_file

    net = ResNet20()
    net.load_state_dict(load_file(file), strict=False)
    missing = net.load_state_dict(load_file(file), strict=False).missing_keys
    assert all(key.endswith("num_batches_tracked") for key in missing)
    model = pc.wrap(net, torch.zeros(1, 3, 32, 32), prepare="scale", name="resnet20")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
    paths = ["module.layer1.1.conv1.out", "module.layer2.0.bn2.out", "module.layer3.2.out", "module.linear.in"]
    run = model.run(list(images), record=paths)

    kept = {}
    handles = []
    for path in paths:
        part, side = path.removeprefix("module.").rsplit(".", 1)
        module = net.get_submodule(part)
        if side == "out":
            handles.append(module.register_forward_hook(lambda _m, _a, y, path=path: kept.update({path: y.clone()})))
        else:
            handles.append(module.register_forward_pre_hook(lambda _m, a, path=path: kept.update({path: a[0].clone()})))
    with torch.no_grad():
        # Contiguous: strides with the channels last would choose another convolution, which rounds differently.
        pixels = np.ascontiguousarray(np.moveaxis(images, -1, 1)).astype(np.float32) / 255
        logits = net(torch.from_numpy(pixels))
    for handle in handles:
        handle.remove()

    assert torch.equal(run.logits, logits)
    draw = np.random.default_rng(1)
    for _ in range(10):
        path, image = paths[draw.integers(len(paths))], int(draw.integers(2))
        site, raw = model.site(path), kept[path][image]
        unit, position = int(draw.integers(site.width)), int(draw.integers(site.n_places))
        here = raw[(unit, *site.place(position))] if raw.ndim == 3 else raw[unit]
        assert run.recording.at(f"{path}/neurons/{unit}@{position}", stimulus=image) == here
    assert model.levels == ("channel",)
    assert len(model.of_level("channel")) == 19


def test_places_and_positions_are_each_others_inverse(models):
    site = models["resnet"].site("blocks.0.conv1.act")
    assert site.places == (4, 4)
    assert [site.position(*site.place(p)) for p in range(16)] == list(range(16))
    assert site.place(6) == (1, 2)
    assert site.describe() == "8 x 4 x 4"


def test_a_model_of_maps_says_what_it_cannot_do(models):
    resnet = models["resnet"]
    assert not resnet.capabilities.attention
    black = np.zeros(resnet.prepare.shape, np.float32)
    with pytest.raises(CannotIntervene, match="relevance rules"):
        resnet.differentiate(black, pc.Metric("logit", (0,)), "embed", rules=["ln"])
    with pytest.raises(PatchclampError, match="a position from 0 to 15"):
        resnet.run(
            np.zeros(resnet.prepare.shape, np.float32),
            interventions=[pc.change("ablate", "blocks.0.conv1.act", 0, at=16)],
        )


# -- changing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [None, 5])
def test_an_ablated_channel_is_one_that_a_hook_sets_to_zero(models, shown, at):
    model = models["resnet"]
    x = shown(model)

    def silence(_module, _args, y):
        y = y.clone()
        if at is None:
            y[:, 3] = 0
        else:
            y[:, 3, at // 4, at % 4] = 0
        return y

    block = model.module.resnet.encoder.stages[0].layers[0]
    handle = block.layer[0].activation.register_forward_hook(silence)
    with torch.no_grad():
        expected = model.module(torch.from_numpy(x)).logits
    handle.remove()
    edit = pc.change("ablate", "blocks.0.conv1.act", 3, basis="channels", at=at)
    found = model.run(x, interventions=[edit]).logits
    assert torch.equal(found, expected)
    assert not torch.equal(found, model.run(x).logits)
    with model.intervene([edit]), torch.no_grad():
        assert torch.equal(model.module(torch.from_numpy(x)).logits, expected)


def test_values_of_another_image_or_a_mean_are_put_in(models, shown):
    model = models["vit"]
    x = shown(model)
    site = "blocks.1.mlp.act"
    recorded = model.run(x, record=site).recording
    patch = pc.change("patch", site, source=pc.Source(recorded, stimulus=2), at=4)
    after = model.run(x[0], record=site, interventions=[patch]).recording
    assert torch.equal(after[site][4], recorded.of(site, 2)[4])
    assert torch.equal(after[site][3], recorded.of(site, 0)[3])
    mean = pc.change("ablate", site, 7, mode="mean", source=recorded)
    now = model.run(x[0], record=site, interventions=[mean]).recording[site]
    torch.testing.assert_close(now[:, 7], recorded[site].mean(0)[7].expand(10))
    drawn = pc.change("ablate", site, mode="resample", source=recorded)
    other = model.run(x, record=site, interventions=[drawn]).recording
    assert all(not torch.equal(other.of(site, i), recorded.of(site, i)) for i in range(N))


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_sweep_is_one_run_per_cell(models, shown, name):
    model = models[name]
    x = shown(model, 1)
    metric = pc.Metric("logit_difference", (2,), (5,))
    sites = [s for s in model.sites() if s.kind in ("mlp.act", "conv.act")]
    cells = [[pc.change("set", s.path, u, value=1.5, at=p)] for s in sites for u, p in ((0, 0), (3, 2))]
    alone = torch.cat([model.measure(x, metric, interventions=cell) for cell in cells])
    torch.testing.assert_close(model.sweep(x, metric, cells), alone, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit", "resnet", "convnext"])
def test_gradients_are_those_of_autograd(models, shown, name):
    model = models[name]
    x = shown(model, 2)
    metric = pc.Metric("logit_difference", (2,), (5,))
    site = {"vit": "blocks.1.resid_out", "resnet": "blocks.1.resid_out", "convnext": "blocks.1.resid_out"}[name]
    found = model.differentiate(x, metric, site)
    held = []

    def hold(_module, _args, y):
        y = y.detach().requires_grad_(True)
        held.append(y)
        return y * 1

    place = model._place(site)[1]
    handle = model.module.get_submodule(place.module).register_forward_hook(hold)
    logits = model.module(torch.from_numpy(x)).logits
    (logits[:, 2] - logits[:, 5]).sum().backward()
    handle.remove()
    gradient = held[0].grad
    rows = gradient.flatten(2).transpose(1, 2) if gradient.ndim == 4 else gradient
    torch.testing.assert_close(found.gradients[site], rows.flatten(0, 1))


# -- to disk ----------------------------------------------------------------------------------------------------------


def test_a_recording_on_disk_is_the_run(models, shown, tmp_path):
    model, x = models["resnet"], shown(models["resnet"], 5)
    sites = ["blocks.0.conv1.act", "blocks.2.conv1.act", "final"]
    stored = pc.record(model, list(x), sites, tmp_path / "r", batch_size=2)
    run = model.run(list(x), record=sites).recording
    for i in range(5):
        for site in sites:
            np.testing.assert_allclose(stored.of(site, i), run.of(site, i), atol=1e-5, rtol=1e-5)
            assert len(stored.of(site, i)) == model.site(site).n_places
    assert [s.id for s in stored.load().stimuli] == [s.id for s in run.stimuli]
    np.testing.assert_allclose(stored.mean(sites[0]), run.mean(sites[0]), atol=1e-5, rtol=1e-5)
    assert pc.StoredRecording(tmp_path / "r").sites[sites[0]].places == (4, 4)
    np.testing.assert_allclose(
        stored.load().at("blocks.0.conv1.act/channels/2@7", stimulus=3), run.of(sites[0], 3)[7, 2], atol=1e-5
    )


def test_an_interrupted_recording_ends_with_the_same_bytes(models, shown, tmp_path, monkeypatch):
    model, x = models["resnet"], list(shown(models["resnet"], 6))
    monkeypatch.setattr("patchclamp.record.stream.SHARD_BYTES", 1000)
    whole = pc.record(model, x, "blocks.*.conv1.act", tmp_path / "whole", batch_size=2)

    def stop(done, _total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pc.record(model, x, "blocks.*.conv1.act", tmp_path / "cut", batch_size=2, progress=stop)
    cut = pc.record(model, x, "blocks.*.conv1.act", tmp_path / "cut", batch_size=2, resume=True)
    assert cut.hash == whole.hash
    with pytest.raises(PatchclampError, match="the same model, images and plan"):
        pc.record(model, x[:4], "blocks.*.conv1.act", tmp_path / "cut", batch_size=2, resume=True)


def test_a_survey_is_that_of_a_plain_loop_over_all_places(models, shown, tmp_path):
    model, x = models["resnet"], shown(models["resnet"], 7)
    sites = ["blocks.0.conv1.act", "blocks.2.conv1.act", "final"]
    survey = pc.survey(model, list(x), sites, tmp_path / "s", batch_size=3)
    run = model.run(list(x), record=sites).recording
    for site in sites:
        n = model.site(site).n_places
        for unit in (0, 5):
            values = [(float(run.of(site, i)[p, unit]), i, p) for i in range(len(x)) for p in range(n)]
            found, expected = survey.statistics(site), oracle.statistics(values)
            for name, value in expected.items():
                assert found[name][unit] == pytest.approx(value, abs=1e-5, rel=1e-5), name
            best = survey.exemplars(site, unit, kinds=["top"])
            assert [e.value for e in best] == pytest.approx([v for v, _, _ in oracle.top(values, 16)], rel=1e-5)
            value, image, position = oracle.top(values, 1)[0]
            if value > oracle.top(values, 2)[1][0]:
                assert (best[0].stimulus, best[0].position) == (image, position)
                assert best[0].place == model.site(site).place(position)
                assert best[0].image == run.stimuli[image].id  # an array has no name


def test_an_interrupted_survey_says_the_same(models, shown, tmp_path):
    model, x = models["vit"], list(shown(models["vit"], 6))
    sites = ["embed", "blocks.1.mlp.act"]
    whole = pc.survey(model, x, sites, tmp_path / "whole", batch_size=2)

    def stop(done, _total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey_corpus(model, x, sites, tmp_path / "cut", batch_size=2, checkpoint_s=0.0, progress=stop)
    cut = pc.survey(model, x, sites, tmp_path / "cut", batch_size=2, resume=True)
    for site in sites:
        for name, values in whole.statistics(site).items():
            np.testing.assert_array_equal(cut.statistics(site)[name], values)


# -- any module -------------------------------------------------------------------------------------------------------


def test_a_plain_network_is_recorded_before_it_is_overwritten_in_place(plain):
    image = np.random.default_rng(0).integers(0, 256, (8, 8))
    run = plain.run(image, record=["module.1.out", "module.2.out"])
    before, after = run.recording["module.1.out"], run.recording["module.2.out"]
    assert (before < 0).any()
    assert torch.equal(before.clamp(min=0), after)
    assert list(plain.of_level("channel")) == ["module.1.out"]
    assert plain.run(image, logits=[-1]).logits.shape == (1, 1, 4)


def test_explain_names_the_planted_channel_of_a_network_made_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.linspace(0.5, 4, 8).view(8, 1, 1, 1))
        net[0].bias.zero_()
        net[4].weight.zero_()
        net[4].bias.zero_()
        # Channel 2 says class 1; channel 7, the loudest, says nothing.
        net[4].weight[1, 2] = 5.0
    model = pc.wrap(net, torch.zeros(1, 1, 4, 4), prepare="scale", name="planted")
    found = pc.explain(model, np.full((4, 4), 255), 1, contrast=0, top=1)
    assert found.causes[0].key == "planted/module.0.out/channels/2"
    assert found.causes[0].measured == pytest.approx(found.metric_clean)
    assert found.receipts.randoms.mean == pytest.approx(0)
    [rival] = found.receipts.rivals
    assert (rival.name, rival.measured) == ("largest activations", pytest.approx(0))
    one_place = pc.explain(model, np.full((4, 4), 255), 1, levels=["module.4.in"], top=1)
    assert one_place.causes[0].key == "planted/module.4.in/neurons/2@0"
