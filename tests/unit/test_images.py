"""Images: from files, arrays and data sets to pictures with an identity, and to what a network is shown."""

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Picture, pack_stimuli, unpack_stimuli
from patchclamp.subjects.images import Preparation, gallery, picture


@pytest.fixture(scope="module")
def grey():
    return np.random.default_rng(0).integers(0, 256, (8, 6)).astype(np.uint8)


@pytest.fixture(scope="module")
def colour():
    return np.random.default_rng(1).integers(0, 256, (8, 6, 3)).astype(np.uint8)


# -- identity ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_its_pixels_wherever_they_come_from(grey, tmp_path):
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", x_test=grey[None])
    np.save(tmp_path / "c.npy", grey[None].astype(np.int64))
    found = [picture(x) for x in (grey, Image.fromarray(grey), grey.astype(int), grey[..., None])]
    found += [picture(tmp_path / name) for name in ("a.png", "b.npz", "c.npy")]
    assert len({p.id for p in found}) == 1
    assert [p.name for p in found[4:]] == ["a.png", "b.npz:0", "c.npy:0"]
    other = grey.copy()
    other[3, 3] ^= 1
    assert picture(other).id != found[0].id
    assert picture(grey.T.copy()).id != found[0].id


def test_pictures_survive_packing_but_for_their_pixels(grey, colour):
    shown = [Picture.of(grey, "ü.png"), Picture.of(colour), Picture.of(grey, "b/c.png")]
    again = unpack_stimuli(pack_stimuli(shown))
    assert [(p.id, p.name) for p in again] == [(p.id, p.name) for p in shown]
    assert all(p.pixels is None for p in again)


@pytest.mark.parametrize(
    "pixels",
    [np.full((4, 4), 256), np.full((4, 4), -1), np.zeros((4, 4)), np.zeros(4, np.uint8), np.zeros((0, 4), int)],
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(PatchclampError, match="whole numbers from 0 to 255"):
        Picture.of(pixels)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_its_paths_and_other_files_are_left_out(grey, colour, tmp_path):
    for name, pixels in (("b/2.png", grey), ("a/9.jpg", colour), ("a/10.bmp", colour), ("z.png", grey)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = gallery(tmp_path)
    assert list(found.names) == ["a/10.bmp", "a/9.jpg", "b/2.png", "z.png"]
    assert found.read(0).id == picture(colour).id
    assert [p.name for p in gallery(f"{tmp_path}:2:4")] == ["b/2.png", "z.png"]


def test_one_or_some_of_an_array_are_named_by_numbers(tmp_path):
    stack = np.arange(5 * 4).reshape(5, 2, 2).astype(np.uint8)
    np.savez(tmp_path / "five.npz", images=stack, labels=np.arange(5))
    file = tmp_path / "five.npz"
    assert picture(f"{file}:3").id == picture(stack[3]).id
    some = gallery(f"{file}:1:3")
    assert (list(some.names), list(some.labels), len(some)) == (["five.npz:1", "five.npz:2"], [1, 2], 2)
    assert some.read(1).id == picture(stack[2]).id


@pytest.mark.parametrize("end", [":5", ":3:3", ":0:6"])
def test_a_number_outside_is_refused_with_how_many_there_are(tmp_path, end):
    np.save(tmp_path / "five.npy", np.zeros((5, 2, 2), np.uint8))
    with pytest.raises(PatchclampError, match="among the 5"):
        gallery(f"{tmp_path / 'five.npy'}{end}")


def test_what_cannot_be_read_is_told_with_a_remedy(tmp_path, grey):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (tmp_path / "torn.npz").write_bytes(b"PK no zip")
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "fractions.npy", np.zeros((2, 4, 4)))
    (tmp_path / "empty").mkdir()
    for name in ("torn.png", "torn.npz", "object.npy", "fractions.npy", "empty", "nothing.png"):
        with pytest.raises(PatchclampError) as told:
            next(iter(gallery(tmp_path / name)))
        assert told.value.remedy
    several = tmp_path / "several.npz"
    np.savez(several, one=grey[None], two=grey[None])
    with pytest.raises(PatchclampError, match="one, two"):
        gallery(several)


def test_palettes_transparency_and_sixteen_bits_become_colours(tmp_path, colour):
    Image.fromarray(colour).convert("RGBA").save(tmp_path / "a.png")
    Image.fromarray(colour).quantize(4).save(tmp_path / "p.png")
    assert picture(tmp_path / "a.png").id == picture(colour).id
    assert picture(tmp_path / "p.png").pixels.shape == (8, 6, 3)


def test_digits_come_from_scikit_learn():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    one = picture("digits:17")
    assert one.name == "digits:17"
    np.testing.assert_allclose(one.pixels / 255 * 16, load_digits().images[17], atol=0.04)
    assert len(gallery("digits")) == 1797


# -- preparation ------------------------------------------------------------------------------------------------------


def test_without_a_processor_values_are_divided_and_the_size_must_fit(grey, colour):
    prepare = Preparation(shape=(3, 8, 6))
    np.testing.assert_array_equal(prepare(picture(colour)), np.moveaxis(colour, -1, 0).astype(np.float32) / 255)
    np.testing.assert_array_equal(prepare(picture(grey)), np.repeat(grey[None], 3, 0).astype(np.float32) / 255)
    luma = Preparation(shape=(1, 8, 6))(picture(colour))[0] * 255
    np.testing.assert_allclose(luma, np.asarray(Image.fromarray(colour).convert("L")), atol=1)
    with pytest.raises(PatchclampError, match="8 x 6"):
        Preparation(shape=(1, 8, 8))(picture(grey))


def test_fractions_are_shown_as_they_are():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert np.array_equal(Preparation(shape=(2, 3, 4))(picture(x)), x)
    x[0, 0, 0] = np.nan
    with pytest.raises(PatchclampError, match="finite"):
        Preparation(shape=(2, 3, 4))(picture(x))


@pytest.mark.parametrize("pixels", ["grey", "colour"])
def test_the_pil_processor_gives_what_it_gives_to_pillow_images(pixels, request):
    from transformers import ViTImageProcessorPil

    x = request.getfixturevalue(pixels)
    processor = ViTImageProcessorPil(size={"height": 12, "width": 10})
    expected = processor(Image.fromarray(x).convert("RGB"), return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(Preparation(processor, shape=(3, 12, 10))(picture(x)), expected)


def test_a_function_of_ones_own_prepares_and_its_name_is_hashed(grey):
    def halved(pixels):
        return np.moveaxis(pixels, -1, 0) / 2

    prepare = Preparation(halved, shape=(1, 8, 6))
    assert np.array_equal(prepare(picture(grey))[0], grey.astype(np.float32) / 2)
    assert prepare.hash != Preparation(shape=(1, 8, 6)).hash != Preparation(shape=(1, 6, 8)).hash


def test_wrapping_asks_for_an_example_of_an_image():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with pytest.raises(PatchclampError, match="image, channel, y, x"):
        pc.wrap(net, torch.zeros(1, 12), prepare="scale")
    with pytest.raises(PatchclampError, match="'shrink'"):
        pc.wrap(net, torch.zeros(1, 1, 3, 4), prepare="shrink")


def test_torchvision_is_never_needed():
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "import numpy as np, patchclamp as pc\n"
        "model = pc.load('organism:digits-cnn')\n"
        "print(model.run(np.zeros((8, 8), dtype=np.uint8)).logits.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "torch.Size([1, 10])" in done.stdout, done.stderr


def test_damaged_arrays_and_processors_are_told_in_three_parts(tmp_path):
    np.savez(tmp_path / "whole.npz", images=np.zeros((2, 4, 4), dtype=np.uint8))
    data = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[:-30])
    (tmp_path / "flipped.npz").write_bytes(data.replace(b"NUMPY", b"NUMPX"))
    for name in ("cut.npz", "flipped.npz"):
        with pytest.raises(PatchclampError, match="images as whole numbers"):
            gallery(tmp_path / name)

    class Wild:
        size: ClassVar = {"height": 99_999, "width": 99_999}

        def to_json_string(self):
            return "{}"

        def __call__(self, *_args, **_options):
            raise AssertionError("never asked for so much")

    with pytest.raises(PatchclampError, match="99,999 pixels a side"):
        Preparation(Wild(), shape=(1, 8, 8))(Picture.of(np.zeros((8, 8), dtype=np.uint8)))
