"""torchvision beside a torch of the CPU: its operators are there."""

import pytest
import torch

from model.backbones import registry
from model.backbones.torchvision_shim import nms


def brute_force_nms(boxes, scores, threshold):
    def iou(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        both = max(w, 0) * max(h, 0)
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("n", [0, 1, 60])
def test_nms_keeps_what_brute_force_keeps(n):
    generator = torch.Generator().manual_seed(n)
    corner = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(n, 2, generator=generator, dtype=torch.float64)], 1)
    scores = torch.rand(n, generator=generator)
    for threshold in (0.0, 0.3, 0.7):
        assert nms(boxes, scores, threshold).tolist() == brute_force_nms(boxes.tolist(), scores.tolist(), threshold)


def test_after_the_shim_torchvision_imports_and_its_nms_runs():
    registry.torchvision_ops()
    registry.torchvision_ops()  # a second call does nothing
    from torchvision.ops import nms as torchvisions

    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [3, 3, 4, 4]])
    assert torchvisions(boxes, torch.tensor([0.1, 0.9, 0.5]), 0.5).tolist() == [1, 2]
