"""`lisa merge`: the merged model is the trained one, in the files of the published ones."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from golden_set import GoldenSet
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from lisa_ros.cli.main import main
from lisa_ros.model import conversion, load
from lisa_ros.model.conversion import convert
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.lisa import Lisa
from lisa_ros.training.config import TrainConfig, write_train_config
from lisa_ros.training.finetune import Finetune, start_of, trainable_model
from lisa_ros.training.merge import load_trained, merge


def trained(run: Path, golden: GoldenSet, precision: str, source: Path | None = None) -> Lisa:
    """A training's folder as if it had ended, and the model that it ended with."""
    clip = None if source else str(golden.clip)
    sam = str(golden.folder / "sam_config.json")
    config = TrainConfig(
        str(source or golden.lisa),
        str(run),
        vision_tower=clip,
        sam_config=sam,
        precision=precision,
        lora_dropout=0.0,
    )
    # In training mode, as bitsandbytes cannot answer on all CPUs with layers of these sizes.
    model = trainable_model(start_of(config), config, torch.device("cpu")).train()
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, parameter in Finetune(model).named_parameters():
        if parameter.requires_grad:
            scale = 0.2 if ".lora_" in name else 0.02
            noise = torch.randn(parameter.shape, generator=generator) * scale
            weights[name] = parameter.detach() + noise
    load_trained(model, weights)
    run.mkdir()
    write_train_config(config, run / "config.yaml")
    save_file(weights, run / "best.safetensors")
    return model


@torch.no_grad()
def answers(model: Lisa, golden: GoldenSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and masks of a conversation with an answer."""
    ids = golden.arrays("teacher_forced")[f"{golden.cases('teacher_forced')[0]['key']}/input_ids"]
    bf16 = model.dtype == torch.bfloat16
    tokens = golden.features(0).image_tokens.to(model.dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model([ids.tolist()], tokens)
        embedding = golden.features(0).sam_embedding.to(model.dtype)
        masks, *_ = model.visual_model.decode(embedding, torch.cat(output.seg_embeddings))
    return output.logits.float(), masks.float()


@pytest.fixture(scope="module")
def merged(tmp_path_factory, first_golden) -> tuple[Lisa, Path]:
    """The trained model, and the folder that `lisa merge` made of it."""
    root = tmp_path_factory.mktemp("merge")
    model = trained(root / "run", first_golden, "fp32")
    assert main(["merge", str(root / "run"), str(root / "merged")]) == 0
    return model, root / "merged"


def test_the_merged_model_answers_as_the_trained_one(merged, first_golden):
    model, folder = merged
    logits, masks = answers(model, first_golden)
    got_logits, got_masks = answers(first_golden.load(folder, precision="fp32"), first_golden)
    torch.testing.assert_close(got_logits, logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(got_masks, masks, rtol=0, atol=2e-3)
    before, _ = answers(first_golden.model, first_golden)
    assert (logits - before).abs().max() > 0.1


def test_names_shapes_and_files_are_the_published_ones(merged, first_golden):
    _, folder = merged
    published = torch.load(first_golden.lisa / "pytorch_model.bin")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert shapes == {name: tuple(tensor.shape) for name, tensor in published.items()}
    config = json.loads((folder / "config.json").read_text())
    wanted = json.loads((first_golden.lisa / "config.json").read_text())
    tower = dict.fromkeys(("vision_tower", "mm_vision_tower"), str(first_golden.clip))
    new = {"conversation": "llava_v1", "tie_word_embeddings": False}
    new["sam_config"] = asdict(first_golden.model.config.sam)  # since the training names a file
    assert config == json.loads(json.dumps({**wanted, **tower, **new}))
    for path in first_golden.lisa.iterdir():
        if path.suffix != ".bin" and path.name != "config.json":
            same = (folder / path.name).read_bytes() == path.read_bytes()
            assert same or path.name == "added_tokens.json", path.name
    tokens = (folder / "added_tokens.json").read_text()
    assert json.loads(tokens) == first_golden.model.tokenizer.added_tokens


def test_a_start_that_holds_clip_becomes_one_that_does(first_golden, tmp_path):
    sam = first_golden.folder / "sam_config.json"
    source = convert(
        first_golden.lisa, tmp_path / "start", vision_tower=first_golden.clip, sam_config=sam
    )
    model = trained(tmp_path / "run", first_golden, "fp32", source)
    folder = merge(tmp_path / "run", tmp_path / "merged")
    logits, _ = answers(model, first_golden)
    got, _ = answers(load(folder, device="cpu"), first_golden)  # needs no other folder
    torch.testing.assert_close(got, logits, rtol=0, atol=1e-4)


def test_of_a_start_with_tied_embeddings_both_are_there(first_golden, tmp_path):
    sam = first_golden.folder / "sam_config.json"
    source = convert(
        first_golden.lisa, tmp_path / "start", vision_tower=first_golden.clip, sam_config=sam
    )
    weights = load_file(source / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**values, "tie_word_embeddings": True}))
    model = trained(tmp_path / "run", first_golden, "fp32", source)
    folder = merge(tmp_path / "run", tmp_path / "merged")
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    logits, _ = answers(model, first_golden)
    got, _ = answers(load(folder, device="cpu"), first_golden)
    torch.testing.assert_close(got, logits, rtol=0, atol=1e-4)


def test_of_nf4_what_it_computed_with(first_golden, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = trained(tmp_path / "run", first_golden, "nf4")
    folder = merge(tmp_path / "run", tmp_path / "merged")
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
    logits, _ = answers(model, first_golden)
    got, _ = answers(first_golden.load(folder, precision="bf16"), first_golden)
    original, _ = answers(trained(tmp_path / "16", first_golden, "bf16"), first_golden)
    # bf16 rounds; nf4 is much further from the weights that it was made of.
    assert (got - logits).abs().mean() < 0.3 * (original - logits).abs().mean()


def test_what_cannot_be_merged(merged, first_golden, tmp_path, capsys):
    _, folder = merged
    run = folder.parent / "run"
    assert main(["merge", str(tmp_path), str(tmp_path / "new")]) == 1
    assert "holds no training: config.yaml is missing" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"merged is not empty; give a new folder"):
        merge(run, folder)
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    with pytest.raises(CheckpointError, match=r"neither best.safetensors nor last.pt; train first"):
        merge(tmp_path, tmp_path / "new")
    save_file({"model.text_hidden_fcs.0.bias": torch.zeros(64)}, tmp_path / "best.safetensors")
    with pytest.raises(CheckpointError, match=r"not of this model: \d+ are missing"):
        merge(tmp_path, tmp_path / "new")


def test_a_full_disk_is_told_with_its_file(first_golden, tmp_path, monkeypatch, capsys):
    trained(tmp_path / "run", first_golden, "fp32")

    def fail(*arguments, **more):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(conversion, "save_file", fail)
    folder = tmp_path / "merged"
    assert main(["merge", str(tmp_path / "run"), str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"lisa: error: {folder}/model-00001.safetensors cannot be written")
    assert f"No space left on device (os error 28)); make room, remove {folder} and" in said
