"""gIoU and cIoU of the published code."""

import numpy as np
import pytest

from lisa_ros.evaluation.metrics import MaskMetrics, overlap


def test_as_published(first_golden):
    arrays = first_golden.arrays("metrics")
    metrics = MaskMetrics()
    for k, (prediction, target) in enumerate(zip(arrays["pred"], arrays["target"], strict=True)):
        iou = metrics.add(prediction, target)
        intersection, union = overlap(prediction, target)
        assert intersection == arrays[f"m{k}/intersection"][1]
        assert union == arrays[f"m{k}/union"][1]
        assert iou == pytest.approx(arrays[f"m{k}/acc_iou"][1], rel=1e-6)
    assert metrics.giou == pytest.approx(arrays["giou"].item(), rel=1e-6)
    assert metrics.ciou == pytest.approx(arrays["ciou"].item(), rel=1e-6)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(5, 4\)"):
        MaskMetrics().add(np.zeros((5, 4)), np.zeros((4, 5)))
