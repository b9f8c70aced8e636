"""Both forms of the image encoder's fused attention against segment-anything's own."""

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from lisa_ros.model.sam import FusedAttention


@pytest.fixture(params=[(5, 5), (36, 36)], ids=["window", "global"])
def layers(request):
    torch.manual_seed(0)
    height, width = request.param
    reference = Attention(32, 2, use_rel_pos=True, input_size=(height, width))
    nn.init.normal_(reference.rel_pos_h)
    nn.init.normal_(reference.rel_pos_w)
    fused = FusedAttention(32, 2, use_rel_pos=True, input_size=(height, width))
    fused.load_state_dict(reference.state_dict())
    return reference, fused, torch.randn(2, height, width, 32)


def test_biased_form(layers):
    reference, fused, x = layers
    torch.testing.assert_close(fused(x), reference(x), atol=1e-5, rtol=0)


def test_folded_form_which_cuda_uses(layers, monkeypatch):
    reference, fused, x = layers
    monkeypatch.setattr(fused, "_attend_biased", fused._attend_folded)
    torch.testing.assert_close(fused(x), reference(x), atol=1e-5, rtol=0)
