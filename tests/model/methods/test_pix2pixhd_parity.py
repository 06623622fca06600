"""The comparison of pix2pixHD with the published code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_pix2pixhd import kept, made, named, small

from model.published import parity_pix2pixhd as compare

STAND_IN = """
from torchvision import models
import torch
from model.methods import pix2pixhd as p
def get_norm_layer(kind):
    return kind
class Theirs(torch.nn.Module):
    def load_state_dict(self, state, strict):
        names = p.published_names(self.kind, self.sizes)
        self.net.load_state_dict({{names[name]: value for name, value in state.items()}})
class GlobalGenerator(Theirs):
    def __init__(self, c_in, c_out, ngf, downsamplings, blocks, norm):
        super().__init__()
        self.kind = "G"
        self.sizes = p.Networks(ngf=ngf, downsamplings=downsamplings, blocks=blocks, padding="zero", ndf=1, scales=2)
        self.net = p.Generator(self.sizes)
    def forward(self, y):
        return self.net(y)
class MultiscaleDiscriminator(Theirs):
    def __init__(self, c_in, ndf, layers, norm, sigmoid, scales, features):
        super().__init__()
        self.kind = "D"
        self.sizes = p.Networks(ngf=1, downsamplings=1, blocks=1, padding="zero", ndf=ndf, scales=scales)
        self.net = p.Discriminator(self.sizes)
    def forward(self, h):
        maps = self.net(*h.chunk(2, 1))
        maps[1][2] = maps[1][2] * {factor}
        return maps
"""


def published(tmp_path, factor):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "networks.py").write_text(STAND_IN.format(factor=factor))
    return tmp_path


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.0001, 1)])
def test_the_comparison_tells_equal_networks_from_others(tmp_path, monkeypatch, capsys, factor, status):
    before = sys.modules.get("torchvision")
    monkeypatch.setattr(compare, "SIZES", {"the authors'": (32, small())})
    files = [str(kept(named(made(networks=small().model_dump()), kind), tmp_path / kind)) for kind in ("G", "D")]
    monkeypatch.setattr(sys, "argv", ["compare", str(published(tmp_path, factor)), *files])
    assert compare.main() == status
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and (float(re.findall(r"[\d.]+(?:e-\d+)?", lines[-1])[0]) > compare.LARGEST) == bool(status)
    differ = [line for line in lines[:-1] if not line.endswith(": 0")]
    assert len(differ) == status and all("scale 1 (0 the finest) map 2" in line for line in differ)
    assert sys.modules.get("torchvision") is before


def test_the_comparison_refuses_a_folder_without_the_published_networks(tmp_path):
    done = subprocess.run([sys.executable, "-m", "model.published.parity_pix2pixhd", str(tmp_path)], capture_output=True,
                          text=True,
                          cwd=Path(__file__).resolve().parents[3])
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "networks.py" in done.stderr
