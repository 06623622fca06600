"""The picture of the README: faces where they belong, and a mark that says which of them are synthetic."""

import numpy as np
from PIL import Image

from eval.report import overview


def plain(value: float) -> np.ndarray:
    return np.full((3, 64, 64), value, np.float32)


def test_each_face_stands_in_its_row_and_column_and_the_file_says_that_it_is_synthetic(tmp_path):
    rows = [[plain(.1), plain(.2), plain(.3)], [plain(.4), plain(.5), plain(.6)]]
    overview._save(overview.sheet(rows, ["source", "FF", "truth"], "made"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["synthetic"] == "true"
        assert "compositeWithTrainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        pixels = np.asarray(picture.convert("RGB"))
    step = overview.SIDE + overview.GAP
    assert pixels.shape == (2 * step + 2 * overview.HEAD, 3 * step + overview.GAP, 3)
    for k, row in enumerate(rows):
        for j, face in enumerate(row):
            y, x = overview.HEAD + k * step, overview.GAP + j * step
            assert (pixels[y:y + overview.SIDE, x:x + overview.SIDE] == np.rint(face[0, 0, 0] * 255)).all()
