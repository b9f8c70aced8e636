"""16-bit, int8 and nf4: what is held how, and that the answers stay near those of fp32."""

import shutil
from pathlib import Path

import pytest
import torch

from lisa_ros.model.generation import MaskEvent, TokenEvent, generate
from lisa_ros.model.int8_linear import Int8Linear
from lisa_ros.model.loading import empty_model
from lisa_ros.model.precision import (
    Precision,
    available_bytes,
    free_quantisation_tables,
    put_quantised,
    quantise_layers,
    required_bytes,
)

LOW = ["bf16", "fp16", "int8", "nf4"]


@pytest.fixture(scope="module")
def models(first_golden):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, an optional dependency")
    return {name: first_golden.load(precision=name) for name in LOW}


@pytest.fixture(scope="module")
def case(first_golden):
    return first_golden.case("gen0")


@pytest.fixture(scope="module")
def features(models, first_golden, case):
    image = first_golden.image(case["image"])
    return {name: model.encode_image(image) for name, model in models.items()}


@pytest.mark.parametrize("precision", LOW)
def test_dtypes(models, precision):
    """Only the decoder layers of the language model are quantised; SAM's neck is fp32 in fp16."""
    model = models[precision]
    want = torch.float16 if precision == "fp16" else torch.bfloat16
    assert model.dtype == want
    quantised = 0
    for name, parameter in model.named_parameters():
        in_layers = name.startswith("language_model.model.layers.") and "proj" in name
        if in_layers and precision in ("int8", "nf4"):
            assert parameter.dtype in (torch.int8, torch.uint8), name
            quantised += 1
        elif precision == "fp16" and ".image_encoder.neck." in name:
            assert parameter.dtype == torch.float32, name
        else:
            assert parameter.dtype == want, name
    layers = model.config.llama.num_hidden_layers
    assert quantised == (7 * layers if precision in ("int8", "nf4") else 0)


@pytest.mark.parametrize("precision", LOW)
def test_image_features_are_near(features, first_golden, case, precision):
    want, got = first_golden.features(case["image"]), features[precision]
    for one, other in (
        (got.image_tokens, want.image_tokens),
        (got.sam_embedding, want.sam_embedding),
    ):
        assert one.dtype == (torch.float16 if precision == "fp16" else torch.bfloat16)
        error = (one.float() - other).norm() / other.norm()
        assert error < (0.005 if precision == "fp16" else 0.05)


@pytest.mark.parametrize("precision", LOW)
def test_logits_are_near(models, features, first_golden, case, precision):
    prompt = first_golden.prompt_ids(case["instruction"])
    with torch.inference_mode():
        tokens = first_golden.features(case["image"]).image_tokens
        want = first_golden.model([prompt], tokens).logits[0, -1]
        got = models[precision]([prompt], features[precision].image_tokens).logits[0, -1]
    cosine = torch.nn.functional.cosine_similarity(got.float(), want, dim=0)
    assert cosine > {"nf4": 0.8, "int8": 0.98}.get(precision, 0.995)


@pytest.mark.parametrize("precision", LOW)
def test_answer(models, features, first_golden, case, precision):
    prompt = first_golden.prompt_ids(case["instruction"])
    events = list(generate(models[precision], features[precision], [prompt], max_new_tokens=20))
    new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
    if precision != "nf4":  # four bits may change the words of so small a model
        want = first_golden.group("generate", case["key"])["output_ids"].tolist()
        assert prompt + new_ids == want
    for event in events:
        if isinstance(event, MaskEvent):
            assert bool(event.low_res_mask.isfinite().all())
            assert 0 <= float(event.seg_probability) <= 1


def test_quantised_model_takes_a_batch(models, features, first_golden, case):
    prompt = first_golden.prompt_ids(case["instruction"])
    prompts = [prompt, first_golden.prompt_ids("Why?")]
    for precision in ("int8", "nf4"):
        events = generate(models[precision], features[precision], prompts, max_new_tokens=3)
        assert sum(isinstance(event, TokenEvent) for event in events) >= 4


def test_neck_does_not_overflow_in_fp16(first_golden, tmp_path, case):
    """Weights whose sums leave the range of fp16, which the neck's norm would have taken back."""
    folder = Path(shutil.copytree(first_golden.lisa, tmp_path / "lisa"))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["model.visual_model.image_encoder.neck.0.weight"] *= 1e6
    torch.save(weights, folder / "pytorch_model.bin")
    image = first_golden.image(case["image"])
    got = first_golden.load(folder, precision="fp16").encode_image(image).sam_embedding
    want = first_golden.load(folder, precision="fp32").encode_image(image).sam_embedding
    assert bool(got.isfinite().all())
    assert (got.float() - want).norm() / want.norm() < 0.01


def test_memory_needed_falls_with_the_precision(first_golden):
    fp32, bf16, fp16, int8, nf4 = (
        required_bytes(first_golden.model, Precision(name)) for name in ("fp32", *LOW)
    )
    tensors = [*first_golden.model.parameters(), *first_golden.model.buffers()]
    assert fp32 == sum(tensor.numel() * 4 for tensor in tensors)
    assert fp32 == 2 * bf16 == 2 * fp16
    assert nf4 < int8 < bf16


def test_available_memory_of_the_host_is_known():
    assert 1 << 20 < available_bytes(torch.device("cpu")) < 1 << 50


@pytest.mark.parametrize("size", [(96, 64), (100, 64), (96, 60)])  # some suit torch's kernel
@pytest.mark.parametrize("bias", [True, False])
def test_int8_on_the_cpu_rounds_and_no_more(size, bias):
    torch.manual_seed(0)
    layer = torch.nn.Linear(*size, bias=bias)
    layer.weight.data[7] = 0  # an output whose weights are all 0 has no scale
    int8 = Int8Linear(layer, torch.float32)
    int8.quantise(layer.weight)
    if bias:
        int8.bias = layer.bias
    step = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    held = int8.weight * int8.scale[:, None]
    assert ((held - layer.weight).abs() <= step / 2 + 1e-7).all()
    for rows in ((1,), (2, 3), (5, 60)):  # the kernel, and unpacked for many rows
        x = torch.randn(*rows, size[0])
        want = torch.nn.functional.linear(x, held, layer.bias)
        torch.testing.assert_close(int8(x), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_quantised_layers_are_made_without_memory(first_golden, precision):
    """Random weights drawn first would take a minute and 26 GB of host memory for 7B."""
    model = empty_model(first_golden.model.config, first_golden.model.tokenizer)
    quantise_layers(model, Precision(precision), torch.device("cpu"))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_nothing_of_bitsandbytes_outlives_a_model():
    """It keeps a table on the model's device for later models; on a GPU that is 1 kB for ever."""
    functional = pytest.importorskip(
        "bitsandbytes.functional", reason="needs bitsandbytes, an optional dependency"
    )
    weight, layer = torch.randn(64, 64), torch.nn.Linear(64, 64)
    put_quantised(layer, weight, Precision.NF4, torch.device("cpu"))
    assert functional.name2qmap
    free_quantisation_tables()
    assert not functional.name2qmap
    # The next model gets a new one.
    put_quantised(layer, weight, Precision.NF4, torch.device("cpu"))
    assert functional.name2qmap
