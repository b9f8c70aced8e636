"""The golden model on CUDA: the same tokens and masks as on the CPU."""

import numpy as np
import pytest
import torch

from lisa_ros.model.generation import MaskEvent, TokenEvent, generate
from lisa_ros.model.preprocessing import clip_input, image_tensor, sam_input, upscale_masks

pytestmark = pytest.mark.usefixtures("exact_float32")


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


def test_images_are_preprocessed_as_on_the_cpu(first_golden, models):
    config = models["fp32"].config
    for index in range(5):
        image = first_golden.image(index)
        on_gpu = image_tensor(image, torch.device("cuda"))
        for got, want in (
            (
                clip_input(on_gpu, config.clip_preprocessing, config.clip_view),
                clip_input(image, config.clip_preprocessing, config.clip_view),
            ),
            (
                sam_input(on_gpu, config.sam.image_size)[0],
                sam_input(image, config.sam.image_size)[0],
            ),
        ):
            assert got.is_cuda
            # The bytes are the same; a device may divide by the deviation with another rounding.
            torch.testing.assert_close(got.cpu(), want, atol=1e-6, rtol=0)


def test_a_second_question_is_read_behind_the_image(first_golden, models):
    """With the image's keys and values of the first one, also when others took the buffers."""
    golden, model = first_golden, models["fp32"]
    cases = [case for case in golden.cases("generate") if case["image"] == 1]
    features, other = (model.encode_image(golden.image(index)) for index in (1, 0))
    for case in [*cases, *cases]:
        prompt = golden.prompt_ids(case["instruction"])
        events = generate(model, features, [prompt], max_new_tokens=case["max_new_tokens"])
        new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
        want = golden.group("generate", case["key"])["output_ids"].tolist()
        assert prompt + new_ids == want
        list(generate(model, other, [prompt], max_new_tokens=3))


def test_a_batch_about_several_images(first_golden, models):
    golden, model = first_golden, models["fp32"]
    cases = golden.cases("generate")[:3]
    images = [model.encode_image(golden.image(case["image"])) for case in cases]
    prompts = [golden.prompt_ids(case["instruction"]) for case in cases]
    limit = min(case["max_new_tokens"] for case in cases)
    rows = [[], [], []]
    for event in generate(model, images, prompts, max_new_tokens=limit):
        if isinstance(event, TokenEvent):
            rows[event.row].append(event.token_id)
    for case, prompt, new_ids in zip(cases, prompts, rows, strict=True):
        want = golden.group("generate", case["key"])["output_ids"].tolist()
        assert prompt + new_ids == want[: len(prompt) + limit]
