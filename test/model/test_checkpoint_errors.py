"""Folders and files that are no whole checkpoint: each refused with words that help."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lisa_ros.model import load, loading
from lisa_ros.model.errors import CheckpointError, DeviceError, LisaError, OutOfMemoryError

SAM_WEIGHTS = (  # those that SAM's sizes are read from
    "image_encoder.pos_embed",
    "image_encoder.patch_embed.proj.weight",
    "image_encoder.blocks.0.norm1.weight",
    "image_encoder.blocks.1.attn.rel_pos_h",
    "image_encoder.blocks.0.mlp.lin1.weight",
    "image_encoder.blocks.0.mlp.lin1.bias",
    "mask_decoder.mask_tokens.weight",
    "mask_decoder.transformer.layers.0.self_attn.q_proj.weight",
    "mask_decoder.transformer.layers.0.mlp.lin1.weight",
    "mask_decoder.iou_prediction_head.layers.0.weight",
    "mask_decoder.iou_prediction_head.layers.1.weight",
    "prompt_encoder.mask_downscaling.3.weight",
)


@pytest.fixture
def folder(first_golden, tmp_path) -> Path:
    """A copy of the golden checkpoint, to be damaged."""
    return Path(shutil.copytree(first_golden.lisa, tmp_path / "lisa"))


@pytest.fixture
def refused(first_golden):
    """Load a folder that must be refused; gives the message."""

    def message(source, **choices) -> str:
        with pytest.raises(CheckpointError) as caught:
            load(source, **{"vision_tower": first_golden.clip, "device": "cpu", **choices})
        return str(caught.value)

    return message


def change_weights(folder: Path, change) -> None:
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    change(weights)
    torch.save(weights, folder / "pytorch_model.bin")


def change_config(folder: Path, **values) -> None:
    config = {**json.loads((folder / "config.json").read_text()), **values}
    config = {key: value for key, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


def test_every_missing_unexpected_and_misshaped_weight_is_named(folder, refused):
    def change(weights):
        del weights["model.layers.1.mlp.up_proj.weight"]
        del weights["model.norm.weight"]
        weights["model.layers.0.surprise.weight"] = torch.zeros(1)
        weights["another.one"] = torch.zeros(1)
        weights["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(5, 7)

    change_weights(folder, change)
    message = refused(folder)
    for name in (
        "layers.1.mlp.up_proj.weight",
        "norm.weight",
        "model.layers.0.surprise.weight",
        "another.one",
        "model.layers.0.self_attn.q_proj.weight",
    ):
        assert name in message
    for words in ("2 missing", "2 unexpected", "1 of another shape", "(5, 7)", "(64, 64)"):
        assert words in message


def test_weight_of_the_vision_tower_that_is_missing_is_named(first_golden, tmp_path, refused):
    clip = shutil.copytree(first_golden.clip, tmp_path / "clip")
    change_weights(clip, lambda w: w.pop("vision_model.pre_layrnorm.weight"))
    assert "pre_layrnorm.weight" in refused(first_golden.lisa, vision_tower=clip)


def test_weight_of_a_layer_too_many_is_unexpected(folder, refused):
    change_config(folder, num_hidden_layers=1)
    message = refused(folder)
    assert "model.layers.1.self_attn.q_proj.weight" in message
    assert "model.layers.0." not in message


def test_vision_tower_of_another_width_is_named(other_sizes, first_golden, refused):
    message = refused(first_golden.lisa, vision_tower=other_sizes[1])
    assert "mm_projector" in message
    assert "(64, 40)" in message
    assert "(64, 48)" in message


@pytest.mark.parametrize("part", ["model.text_hidden_fcs", "model.visual_model", "lm_head"])
def test_checkpoint_without_a_part_is_named(folder, refused, part):
    def change(weights):
        for name in [name for name in weights if name.startswith(part)]:
            del weights[name]

    change_weights(folder, change)
    assert f"no {part}" in refused(folder)


@pytest.mark.parametrize("named", ["LISA-7B-v0", "LISA-13B-llama2-v0-explanatory"])
def test_v0_folder_names_its_successor(folder, refused, named):
    folder = folder.rename(folder.parent / named)
    torch.save({}, folder / "pytorch_model-visual_model.bin")
    torch.save({}, folder / "pytorch_model-text_hidden_fcs.bin")
    message = refused(folder)
    assert f"xinlai/{named.replace('v0', 'v1')}" in message


@pytest.mark.parametrize("name", ["xinlai/LISA-7B-v0", "xinlai/LISA-13B-llama2-v0-explanatory"])
def test_v0_hub_id_names_its_successor_before_any_download(refused, name):
    assert name.replace("v0", "v1") in refused(name)


def test_raw_lora_weights_must_be_merged(folder, refused):
    def change(weights):
        for name in list(weights):
            weights[f"base_model.model.{name}"] = weights.pop(name)
        lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
        weights[lora] = torch.zeros(8, 64)

    change_weights(folder, change)
    message = refused(folder)
    assert "merged first" in message
    assert "merge_lora_weights_and_save_hf_model.py" in message


def test_raw_lora_file_instead_of_a_folder(folder, refused):
    message = refused(folder / "pytorch_model.bin")
    assert "is a file" in message
    assert "merged first" in message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_truncated_weights(folder, refused, kind, share):
    path = folder / "pytorch_model.bin"
    if kind == "safetensors":
        weights = torch.load(path, weights_only=True)
        path.unlink()
        path = folder / "model.safetensors"
        save_file(weights, path)
    os.truncate(path, int(path.stat().st_size * share))
    message = refused(folder)
    assert path.name in message
    assert "truncated or corrupt" in message


def test_truncated_old_pickle(folder, refused):
    path = folder / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    os.truncate(path, path.stat().st_size // 2)
    assert "truncated or corrupt" in refused(folder)


def test_weights_that_are_something_else(folder, refused):
    (folder / "pytorch_model.bin").write_text("<html>404 not found</html>\n" * 50)
    assert "pytorch_model.bin" in refused(folder)


class Canary:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "old", "plain"])
def test_code_in_a_pickle_is_refused_and_never_runs(folder, refused, tmp_path, form):
    canary, path = tmp_path / "canary", folder / "pytorch_model.bin"
    weights = {**torch.load(path, weights_only=True), "lm_head.weight": Canary(canary)}
    if form == "plain":
        path.write_bytes(pickle.dumps({"lm_head.weight": Canary(canary)}))
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    message = refused(folder)
    assert "nothing in it was executed" in message
    assert not canary.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"epoch": 3}, {"module": {"a": 1}}])
def test_training_checkpoint_is_named(folder, refused, content):
    torch.save(content, folder / "pytorch_model.bin")
    assert "expected a dictionary of tensors" in refused(folder)


def test_missing_shards_are_all_named(folder, refused):
    (folder / "pytorch_model.bin").unlink()
    files = [f"pytorch_model-0000{i}-of-00003.bin" for i in (1, 2, 3)]
    index = {"weight_map": {f"w{i}": file for i, file in enumerate(files)}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    torch.save({}, folder / files[0])
    message = refused(folder)
    assert files[1] in message
    assert files[2] in message
    assert "2 of 3" in message


@pytest.mark.parametrize("index", ["{}", "[]", "{", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_index_that_says_nothing(folder, refused, index):
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(index)
    assert "pytorch_model.bin.index.json" in refused(folder)


def test_folder_without_weights(folder, refused):
    (folder / "pytorch_model.bin").unlink()
    assert "holds no weights" in refused(folder)


def test_folder_that_is_no_checkpoint(tmp_path, refused):
    (tmp_path / "holiday.jpg").touch()
    message = refused(tmp_path)
    assert "config.json is missing" in message
    assert "holiday.jpg" in message


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00\x01"])
def test_config_that_is_no_json_object(folder, refused, content):
    (folder / "config.json").write_text(content)
    assert "config.json" in refused(folder)


def test_config_without_sizes(folder, refused):
    change_config(folder, hidden_size=...)
    assert "hidden_size" in refused(folder)


def test_config_of_another_vocabulary(folder, refused):
    change_config(folder, vocab_size=600)
    message = refused(folder)
    assert "643" in message
    assert "600" in message


@pytest.mark.parametrize(
    "values",
    [
        {"mm_vision_select_layer": -9},
        {"mm_vision_select_feature": "all"},
        {"mm_projector_type": "resampler"},
        {"out_dim": 128},
        {"conversation": "vicuna"},
        {"clip_view": "tiles"},
        {"min_object_score": 1.5},
        {"min_object_score": "high"},
        {"min_object_score": 0.5},  # of a model without object scores
        {"mm_use_im_start_end": "yes"},
        {"rope_scaling": {"factor": 2.0}},
    ],
)
def test_config_value_that_cannot_be(folder, refused, values):
    change_config(folder, **values)
    (value,) = values.values()
    assert str(value) in refused(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"num_attention_heads": 7},
        {"hidden_act": "swish9"},
        {"rope_scaling": {"type": "curved", "factor": 2.0}},
        {"rope_scaling": [2.0]},
        {"mm_vision_select_layer": "last"},
        {"mm_projector_type": 3},
        {"rms_norm_eps": "small"},
        {"sam_config": {"decoder_num_heads": 7}},
        {"sam_config": {"image_size": "large"}},
    ],
)
def test_config_value_of_the_wrong_kind_names_the_file(folder, refused, values):
    change_config(folder, **values)
    assert "config.json" in refused(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 224, "crop_size": 224},
        {"size": 224, "crop_size": 336},
        {"size": "x", "crop_size": 336},
        {"size": 336.5, "crop_size": 336},
        {"image_mean": None},
        {"resample": 2},
        {"do_center_crop": False},
        {"rescale_factor": 1 / 127.5},
    ],
)
def test_preprocessing_that_does_not_fit_the_tower(other_sizes, refused, tmp_path, values):
    clip = Path(shutil.copytree(other_sizes[1], tmp_path / "clip"))
    (clip / "preprocessor_config.json").write_text(json.dumps(values))
    message = refused(other_sizes[0], vision_tower=clip)
    assert "CLIP's" in message or "preprocessor_config.json" in message


@pytest.mark.parametrize("name", sorted(SAM_WEIGHTS))
@pytest.mark.parametrize("change", ["absent", "flat", "short"])
def test_damage_to_any_weight_that_tells_a_size_is_named(folder, refused, name, change):
    def damage(weights):
        tensor = weights.pop(f"model.visual_model.{name}")
        if change == "flat":
            weights[f"model.visual_model.{name}"] = tensor.flatten()[:1].squeeze()
        elif change == "short":
            weights[f"model.visual_model.{name}"] = tensor[:-1].clone()

    change_weights(folder, damage)
    assert name in refused(folder)


def test_a_tokenizer_that_ends_its_prompts(folder, refused):
    (folder / "tokenizer_config.json").write_text('{"add_eos_token": true}')
    assert "add_eos_token" in refused(folder)


@pytest.mark.parametrize("ids", ['{"[SEG]": -1}', '{"[SEG]": 640.5}', '{"[SEG]": "640"}', "null"])
def test_added_tokens_without_sense(folder, refused, ids):
    (folder / "added_tokens.json").write_text(ids)
    assert "added_tokens.json" in refused(folder)


def test_start_tokens_that_the_config_wants_and_the_tokenizer_lacks(folder, refused):
    path = folder / "added_tokens.json"
    tokens = {k: v for k, v in json.loads(path.read_text()).items() if k != "<im_start>"}
    path.write_text(json.dumps(tokens))
    assert "<im_start>" in refused(folder)


def test_folder_without_tokenizer(folder, refused):
    (folder / "tokenizer.model").unlink()
    assert "tokenizer.model" in refused(folder)


def test_vocabulary_without_seg(folder, refused):
    (folder / "added_tokens.json").write_text('{"<im_start>": 641}')
    assert "[SEG]" in refused(folder)


def test_base_model_folder_is_refused_as_vision_tower(first_golden, refused, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "vision tower" in refused(first_golden.lisa, vision_tower=tmp_path)


def test_unknown_sam_size_is_named(first_golden, refused, tmp_path):
    (tmp_path / "sam.json").write_text('{"breadth": 3}')
    assert "breadth" in refused(first_golden.lisa, sam_config=tmp_path / "sam.json")


def test_wrong_sam_size_names_the_weights(first_golden, refused, tmp_path):
    (tmp_path / "sam.json").write_text('{"window_size": 9}')
    assert "rel_pos_h" in refused(first_golden.lisa, sam_config=tmp_path / "sam.json")


def test_path_that_is_neither_folder_nor_hub_id(refused, tmp_path):
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_cuda_asked_for_and_absent(first_golden, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="sees no GPU"):
        load(first_golden.lisa, vision_tower=first_golden.clip, device="cuda")


def test_gpu_number_that_is_not_there(first_golden, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="2 GPU"):
        load(first_golden.lisa, vision_tower=first_golden.clip, device="cuda:2")


@pytest.mark.parametrize("device", ["tpu", "mps", "gpu 0", ""])
def test_unknown_device(first_golden, device):
    with pytest.raises(DeviceError, match="expected cpu, cuda or cuda:N"):
        load(first_golden.lisa, vision_tower=first_golden.clip, device=device)


@pytest.mark.parametrize("precision", ["fp8", "float32", ""])
def test_unknown_precision_names_the_known(first_golden, precision):
    with pytest.raises(DeviceError, match="fp32, bf16, fp16, int8, nf4"):
        load(first_golden.lisa, vision_tower=first_golden.clip, precision=precision)


def test_quantisation_without_bitsandbytes_says_what_to_install(first_golden, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(DeviceError, match="pip install"):
        load(first_golden.lisa, vision_tower=first_golden.clip, precision="nf4", device="cpu")


def test_too_little_memory_says_what_would_fit(first_golden, monkeypatch):
    """Sizes as of the 7B model: 13 GiB free hold neither fp32 nor 16 bits."""
    real = loading.required_bytes
    seven_billion = 7_400_000_000 * 4 / real(first_golden.model, loading.Precision.FP32)
    monkeypatch.setattr(
        loading,
        "required_bytes",
        lambda model, precision: int(real(model, precision) * seven_billion),
    )
    monkeypatch.setattr(loading, "available_bytes", lambda device: 20 << 30)
    with pytest.raises(OutOfMemoryError) as caught:
        load(first_golden.lisa, vision_tower=first_golden.clip, precision="fp32", device="cpu")
    message = str(caught.value)
    assert "27.6 GiB in fp32" in message
    assert "20.0 GiB free" in message
    assert "bf16 (13.8 GiB)" in message
    assert "fp32 (" not in message


def test_all_errors_are_of_one_family():
    assert issubclass(CheckpointError, LisaError)
    assert issubclass(DeviceError, LisaError)
    assert issubclass(OutOfMemoryError, LisaError)
