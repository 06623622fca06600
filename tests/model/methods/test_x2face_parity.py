"""The comparison of X2Face with the published code."""

import re

import pytest
from made_x2face import in_their_names, stored

from model.api import DataInfo
from model.methods.x2face import Config, X2Face
from model.published import parity_x2face as compare

PUBLISHED_STYLE = '''
import numpy as np
import torch
import torch.nn as nn
from torch.nn import init
from torch.autograd import Variable
from SkipNet import WIDTHS

def started(m):
\tif isinstance(m, nn.BatchNorm2d):
\t\tinit.uniform(m.weight.data, 1.0, 0.02)
\t\tinit.constant(m.bias.data, 0.0)

class Level(nn.Module):
\tdef __init__(self, n, outputs, widths, skips):
\t\tsuper(Level, self).__init__()
\t\tlast = n == len(widths) - 1
\t\tself.skips = skips and n > 0
\t\tinside = widths[n] * (1 if last or not skips else 2)
\t\tdown = ([nn.LeakyReLU(0.2, True)] if n else []) + [nn.Conv2d(widths[n - 1] if n else 3, widths[n], 4, 2, 1, bias=False)]
\t\tup = [nn.ReLU(True), nn.Upsample(scale_factor=2, mode='bilinear'), nn.Conv2d(inside, outputs, 3, 1, 1, bias=False)]
\t\tself.down = nn.Sequential(*(down + ([nn.BatchNorm2d(widths[n])] if n and not last else [])))
\t\tself.up = nn.Sequential(*(up + ([nn.BatchNorm2d(outputs)] if n else [nn.Tanh()] if not skips else [])))
                self.submodule = None if last else Level(n + 1, widths[n], widths, skips)

\tdef forward(self, x):
\t\th = self.down(x)
\t\th = self.up(self.submodule(h) if self.submodule else h)
\t\treturn torch.cat([h, x], 1) if self.skips else h

class Net(nn.Module):
\tdef __init__(self, outputs, widths, skips):
\t\tsuper(Net, self).__init__()
\t\tself.netG = nn.Module()
\t\tself.netG.model = Level(0, outputs, widths, skips)
\t\tself.netG.apply(started)

\tdef forward(self, x):
\t\treturn self.netG.model(x), None

class UnwrappedFaceWeightedAverage(nn.Module):
\tdef __init__(self, output_num_channels=2, input_num_channels=3, inner_nc=512):
\t\tsuper(UnwrappedFaceWeightedAverage, self).__init__()
\t\tself.pix2pixUnwrapped = Net(3, WIDTHS, True)
\t\tself.pix2pixSampler = Net(2, WIDTHS[:-1] + [inner_nc], False)

\tdef forward(self, driver, *sources):
\t\tgrid = np.stack(np.meshgrid(*[np.linspace(-1, 1, driver.size(2))] * 2), 2)
\t\tgrid = torch.Tensor(grid).unsqueeze(0).cuda()
\t\ttop, bottom = 0, 0
\t\tfor x in sources:
\t\t\to = self.pix2pixUnwrapped(x)[0]
\t\t\tc = o[:, 2:3].exp().add(0.1)
\t\t\ttop = top + c * nn.functional.grid_sample(x, nn.Tanh()(o[:, :2]).permute(0, 2, 3, 1) + grid)
\t\t\tbottom = bottom + c
\t\tflow = nn.Tanh()(self.pix2pixSampler(driver)[0]).permute(0, 2, 3, 1) + Variable(grid)
\t\treturn nn.functional.grid_sample(top / bottom, flow)
'''


def differences(printed: str) -> list[float]:
    """The number of each line."""
    return [float(re.search(r"\d\.\d\de[-+]\d+", line)[0]) for line in printed.splitlines()]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A small network in the manner of the published code, with what keeps that from running today."""
    monkeypatch.setitem(compare.SETTINGS, "size", 16)
    monkeypatch.setitem(compare.SETTINGS, "ngf", 4)
    folder = tmp_path / "X2Face"
    (folder / "UnwrapMosaic").mkdir(parents=True)
    for name in compare.FILES:
        (folder / "UnwrapMosaic" / f"{name}.py").write_text("WIDTHS = [4, 8, 16, 32]\n")
    (folder / "UnwrapMosaic" / "UnwrappedFace.py").write_text(PUBLISHED_STYLE)
    return folder


def test_the_comparison_finds_the_published_code_equal_to_ours_with_random_and_with_given_weights(clone, tmp_path, capsys):
    assert compare.main([str(clone)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["embedding network", "driving network", "whole, 1 source",
                                                          "whole, 3 sources"]
    assert all(found <= compare.WITHIN for found in differences("\n".join(lines)))
    one = X2Face(Config.model_validate(compare.SETTINGS), DataInfo(16, 1), seed=3)
    assert compare.main([str(clone), str(stored({"state_dict": in_their_names(one)}, tmp_path / "weights.pth"))]) == 0


@pytest.mark.filterwarnings("ignore:Default grid_sample")
@pytest.mark.parametrize(("theirs", "other", "equal"), [
    (".add(0.1)", ".add(0.2)", 3), ("torch.cat([h, x], 1)", "torch.cat([x, h], 1)", 1), ("LeakyReLU(0.2", "LeakyReLU(0.1", 0),
    ("nn.functional.grid_sample(top", "nn.functional .grid_sample(top", 2)])  # the last keeps its align_corners of today
def test_the_comparison_tells_a_network_that_differs_anywhere(clone, capsys, theirs, other, equal):
    file = clone / "UnwrapMosaic" / "UnwrappedFace.py"
    file.write_text(PUBLISHED_STYLE.replace(theirs, other))
    assert compare.main([str(clone)]) == 1
    assert sum(found <= compare.WITHIN for found in differences(capsys.readouterr().out)) == equal


def test_a_folder_that_is_no_clone_or_whose_code_fails_is_refused_in_a_sentence(clone, tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 1
    assert "SkipNet.py" in capsys.readouterr().err
    (clone / "UnwrapMosaic" / "SkipNet.py").write_text("import no_such_module\n")
    assert compare.main([str(clone)]) == 1
    assert "ModuleNotFoundError" in capsys.readouterr().err
