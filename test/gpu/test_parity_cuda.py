"""The golden model on CUDA: the same tokens and masks as on the CPU."""

import numpy as np
import pytest
import torch

from lisa_ros.model.generation import MaskEvent, TokenEvent, generate
from lisa_ros.model.preprocessing import upscale_masks


@pytest.fixture(scope="module", autouse=True)
def exact_float32():
    """TF32 rounds float32 products to 10 bits, which is no parity."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def models(first_golden):
    return {p: first_golden.load(device="cuda", precision=p) for p in ("fp32", "bf16", "fp16")}


@pytest.mark.parametrize(("precision", "flipped"), [("fp32", 1e-3), ("bf16", 0.05), ("fp16", 0.05)])
def test_answers_as_the_published_code(first_golden, models, precision, flipped, record):
    golden, model = first_golden, models[precision]
    worst = 0.0
    for case in golden.cases("generate"):
        want = golden.group("generate", case["key"])
        prompt = golden.prompt_ids(case["instruction"])
        features = model.encode_image(golden.image(case["image"]))
        events = list(generate(model, features, [prompt], max_new_tokens=case["max_new_tokens"]))
        new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
        assert prompt + new_ids == want["output_ids"].tolist()
        masks = [event.low_res_mask for event in events if isinstance(event, MaskEvent)]
        assert len(masks) == case["n_seg"]
        if not masks:
            continue
        got = upscale_masks(torch.stack(masks), features.geometry).cpu().numpy() > 0
        _, height, width = want["mask_shape"]
        bits = np.unpackbits(want["mask_binary_packed"], axis=1)[:, : height * width]
        worst = max(worst, float((bits.reshape(got.shape).astype(bool) != got).mean()))
    record("share of mask pixels flipped, worst case", worst)
    assert worst < flipped
