"""Makes torchvision importable with a CPU build of torch: PyPI's torchvision is built for CUDA, its operators do not load."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_library: torch.library.Library | None = None  # the operators live as long as this object


def torchvision_ops() -> None:
    """Makes `import torchvision` work; to be called before torchvision, torchmetrics or facenet_pytorch is imported.

    No effect if torchvision's own operators load, without torchvision, with a CUDA torch, or on a second call.
    """
    global _library
    if _library is not None or "torchvision" in sys.modules or torch.version.cuda is not None or _native_ops_load():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # torchvision registers both for tracing and fails where either is undefined
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.impl("nms", nms, "CPU")
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True


def _native_ops_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to do
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(library)
            return True
        except OSError:  # "libc10_cuda.so: cannot open shared object file"
            pass
    return False


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: boxes (n, 4) x0, y0, x1, y1 and scores (n,) -> indices kept, best first.

    A box is dropped if its intersection over union with a kept, better one is above the threshold.
    """
    order = torch.argsort(scores, descending=True, stable=True).numpy()
    x0, y0, x1, y1 = dets.detach().numpy()[order].T
    area = (x1 - x0) * (y1 - y0)
    alive, kept = np.ones(len(order), dtype=bool), []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        w = np.minimum(x1[i], x1[i + 1:]) - np.maximum(x0[i], x0[i + 1:])
        h = np.minimum(y1[i], y1[i + 1:]) - np.maximum(y0[i], y0[i + 1:])
        both = np.maximum(w, 0) * np.maximum(h, 0)
        # Multiplied out to avoid a division by the zero area of degenerate boxes.
        alive[i + 1:] &= both <= np.float64(iou_threshold) * (area[i] + area[i + 1:] - both)
    return torch.from_numpy(order[kept].astype(np.int64))
