"""Files that are written array by array are those of the safetensors library, byte by byte."""

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from patchclamp.core import safetensors_file


def test_the_bytes_are_those_of_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "WRITTEN_AT_ONCE", 7)  # pieces end in the middle of numbers
    draw = np.random.default_rng(0)
    kinds = [np.dtype(name) for name in safetensors_file.TYPES if not name.startswith(("bfloat", "float8"))]
    kinds += [np.dtype(kind) for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)]
    assert {kind.name for kind in kinds} == set(safetensors_file.TYPES)
    arrays = {f"x|{i}": draw.normal(size=(3, 5)).astype(kind) for i, kind in enumerate(kinds)}
    arrays |= {f"a{i}": draw.normal(size=2).astype(kind) for i, kind in enumerate(kinds)}
    arrays |= {'é "n\\\n': np.zeros((0, 3), np.float32), "one": np.array(3.5), "turned": draw.normal(size=(4, 6)).T}
    safetensors_file.save_file(arrays, tmp_path / "own")
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    assert (tmp_path / "own").read_bytes() == save(whole)
