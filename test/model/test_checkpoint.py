"""The layouts in which a checkpoint may come, all with the same answer."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lisa_ros.model import conversion, load
from lisa_ros.model.conversion import convert
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.generation import generate


def weights_of(golden) -> dict[str, torch.Tensor]:
    return torch.load(golden.lisa / "pytorch_model.bin", weights_only=True)


def without_weights(golden, folder: Path) -> Path:
    ignore = shutil.ignore_patterns("*.bin", "*.safetensors")
    return Path(shutil.copytree(golden.lisa, folder, ignore=ignore))


def write_weights(folder: Path, weights: dict, kind: str, shards: int) -> None:
    """As `save_pretrained` lays them out."""
    names = list(weights)
    stem, suffix = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    weight_map = {}
    for i in range(shards):
        part = {name: weights[name].contiguous() for name in names[i::shards]}
        file = f"{stem}.{suffix}"
        if shards > 1:
            file = f"{stem}-{i + 1:05d}-of-{shards:05d}.{suffix}"
        weight_map.update(dict.fromkeys(part, file))
        if kind == "safetensors":
            save_file(part, folder / file, metadata={"format": "pt"})
        else:
            torch.save(part, folder / file)
    if shards > 1:
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def assert_same_weights(got, want) -> None:
    expected = want.state_dict()
    assert got.state_dict().keys() == expected.keys()
    for name, tensor in got.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def assert_same_answers(got, want, golden) -> None:
    case = max(golden.cases("generate"), key=lambda case: case["n_seg"])
    prompt, image = golden.prompt_ids(case["instruction"]), golden.image(case["image"])
    one, other = (
        list(generate(model, model.encode_image(image), [prompt], max_new_tokens=20))
        for model in (got, want)
    )
    assert [str(event) for event in one] == [str(event) for event in other]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_layouts(first_golden, tmp_path, kind, shards):
    folder = without_weights(first_golden, tmp_path / "lisa")
    write_weights(folder, weights_of(first_golden), kind, shards)
    assert_same_weights(first_golden.load(folder), first_golden.model)


def test_old_pickle_without_zip_loads(first_golden, tmp_path):
    folder = without_weights(first_golden, tmp_path / "lisa")
    torch.save(
        weights_of(first_golden),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=False,
    )
    assert_same_weights(first_golden.load(folder), first_golden.model)


def test_safetensors_are_preferred_to_pickles(first_golden, tmp_path):
    folder = without_weights(first_golden, tmp_path / "lisa")
    write_weights(folder, weights_of(first_golden), "safetensors", 1)
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert_same_weights(first_golden.load(folder), first_golden.model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stored", ["once", "twice", "once, in an old pickle"])
def test_a_head_that_is_tied_to_the_embeddings(first_golden, tmp_path, stored, precision):
    folder = without_weights(first_golden, tmp_path / "lisa")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    weights = weights_of(first_golden)
    embeddings = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = embeddings
    if stored != "twice":
        del weights["lm_head.weight"]
    write_weights(folder, weights, "bin", 1)
    if "pickle" in stored:
        torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    model = load(folder, vision_tower=first_golden.clip, device="cpu", precision=precision)
    head = model.language_model.lm_head.weight.data
    torch.testing.assert_close(head, embeddings.to(head.dtype))
    converted = convert(folder, tmp_path / "out", vision_tower=first_golden.clip)
    again = load(converted, device="cpu", precision=precision)
    assert_same_weights(again, model)


def test_a_vision_tower_as_transformers_names_it_today(first_golden, tmp_path):
    clip = Path(shutil.copytree(first_golden.clip, tmp_path / "clip"))
    weights = torch.load(clip / "pytorch_model.bin", weights_only=True)
    prefix = "vision_model."
    bare = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    torch.save(bare, clip / "pytorch_model.bin")
    model = load(first_golden.lisa, vision_tower=clip, device="cpu")
    assert_same_weights(model, first_golden.model)


def test_a_tower_without_a_word_about_preprocessing(other_sizes, tmp_path):
    clip = Path(shutil.copytree(other_sizes[1], tmp_path / "clip"))
    (clip / "preprocessor_config.json").unlink(missing_ok=True)
    model = load(other_sizes[0], vision_tower=clip, device="cpu")
    assert model.config.clip_preprocessing.crop_size == model.config.clip.image_size == 336


def test_linear_rope_scaling_makes_the_context_longer(first_golden, tmp_path):
    folder = Path(shutil.copytree(first_golden.lisa, tmp_path / "lisa"))
    config = json.loads((folder / "config.json").read_text())
    scaling = {"rope_scaling": {"type": "linear", "factor": 2.0}}
    (folder / "config.json").write_text(json.dumps({**config, **scaling}))
    model = first_golden.load(folder)
    assert model.config.context_length == 2 * first_golden.model.config.context_length


@pytest.mark.parametrize("scaled", [False, True])
def test_rope_as_transformers_5_writes_it(first_golden, tmp_path, scaled):
    """Under one key; older ones beside it would be of an earlier save."""
    folder = Path(shutil.copytree(first_golden.lisa, tmp_path / "lisa"))
    config = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "default", "rope_theta": 1e6}
    if scaled:
        rope |= {"rope_type": "linear", "factor": 2.0}
    config |= {"rope_parameters": rope, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config))
    model = first_golden.load(folder)
    assert model.config.llama.rope_parameters == rope
    factor = 2 if scaled else 1
    assert model.config.context_length == factor * first_golden.model.config.context_length
    converted = convert(folder, tmp_path / "out", vision_tower=first_golden.clip)
    assert first_golden.load(converted).config.llama.rope_parameters == rope


def test_harmless_weights_pass(first_golden, tmp_path):
    folder = without_weights(first_golden, tmp_path / "lisa")
    weights = weights_of(first_golden)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.full((8,), 7.0)
    weights["model.visual_model.pixel_mean"] = torch.zeros(3, 1, 1)
    weights["model.visual_model.pixel_std"] = torch.zeros(3, 1, 1)
    write_weights(folder, weights, "bin", 1)
    assert_same_answers(first_golden.load(folder), first_golden.model, first_golden)


def test_converted_folder_stands_alone_and_is_bit_identical(golden, tmp_path):
    seen = []
    folder = convert(
        golden.lisa,
        tmp_path / "converted",
        vision_tower=golden.clip,
        sam_config=golden.folder / "sam_config.json",
        conversation=golden.conversation,
        progress=lambda done, total: seen.append((done, total)),
    )
    converted = load(folder, device="cpu", precision="fp32")
    assert_same_weights(converted, golden.model)
    assert_same_answers(converted, golden.model, golden)
    assert converted.config.sam == golden.model.config.sam
    assert converted.config.clip.to_dict() == golden.model.config.clip.to_dict()
    assert converted.config.conversation == golden.conversation
    assert converted.tokenizer.added_tokens == golden.model.tokenizer.added_tokens
    assert not list(folder.glob("*.bin"))
    assert seen
    assert 0 < seen[-1][0] <= seen[-1][1]


def test_converted_folder_keeps_choices(other_sizes, other_model, tmp_path):
    lisa, clip = other_sizes
    folder = convert(lisa, tmp_path / "new", vision_tower=clip, conversation="llava_llama_2")
    converted = load(folder, device="cpu")
    assert_same_weights(converted, other_model)
    assert converted.config.conversation == "llava_llama_2"
    assert converted.config.projector == "mlp2x_gelu"
    assert converted.config.clip_preprocessing.crop_size == 336
    values = json.loads((folder / "config.json").read_text())
    assert values["vision_config"]["image_size"] == 336
    assert values["sam_config"]["image_size"] == 256


def test_convert_writes_shards(first_golden, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_SHARD_BYTES", 1 << 20)
    folder = convert(first_golden.lisa, tmp_path / "new", vision_tower=first_golden.clip)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 2
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for file in files:
        with safe_open(file, framework="pt") as opened:
            assert {index["weight_map"][name] for name in opened.keys()} == {file.name}  # noqa: SIM118
    assert_same_weights(load(folder, device="cpu", precision="fp32"), first_golden.model)


def test_convert_keeps_the_stored_precision(first_golden, tmp_path):
    folder = without_weights(first_golden, tmp_path / "lisa")
    halves = {name: tensor.bfloat16() for name, tensor in weights_of(first_golden).items()}
    write_weights(folder, halves, "bin", 1)
    new = convert(folder, tmp_path / "new", vision_tower=first_golden.clip)
    with safe_open(new / "model.safetensors", framework="pt") as opened:
        assert opened.get_tensor("lm_head.weight").dtype == torch.bfloat16
        clip = [name for name in opened.keys() if "vision_tower" in name]  # noqa: SIM118
        assert clip
        assert opened.get_tensor(clip[0]).dtype == torch.float32


def test_convert_of_a_converted_folder(first_golden, tmp_path):
    one = convert(first_golden.lisa, tmp_path / "one", vision_tower=first_golden.clip)
    two = convert(one, tmp_path / "two")
    assert_same_weights(load(two, device="cpu", precision="fp32"), first_golden.model)


def test_convert_touches_no_folder_with_files(first_golden, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(CheckpointError, match="not empty"):
        convert(first_golden.lisa, tmp_path, vision_tower=first_golden.clip)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_other_vision_tower_replaces_that_of_a_converted_folder(first_golden, tmp_path):
    folder = convert(first_golden.lisa, tmp_path / "new", vision_tower=first_golden.clip)
    model = load(folder, vision_tower=first_golden.clip, device="cpu", precision="fp32")
    assert_same_weights(model, first_golden.model)


def test_nothing_is_left_uninitialised(first_golden):
    tensors = [*first_golden.model.parameters(), *first_golden.model.buffers()]
    assert all(tensor.device.type == "cpu" for tensor in tensors)
    assert not any(parameter.requires_grad for parameter in first_golden.model.parameters())
    assert not first_golden.model.training
