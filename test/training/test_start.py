"""Where a training starts: a LISA as it is, or a LLaVA and a SAM with what they lack."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_checkpoint import OTHER_SIZES, lisa_config, lisa_weights, plain_sam, write_checkpoint
from torch import nn

from lisa_ros.model.checkpoint import official_name
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.lisa import Lisa
from lisa_ros.training.config import TrainConfig
from lisa_ros.training.finetune import start_of, trainable_model

BASE = OTHER_SIZES.base_vocabulary  # tokens of the sentencepiece model
HIDDEN = OTHER_SIZES.hidden
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, first_golden) -> tuple[Path, Path]:
    """A random LISA and its CLIP."""
    root = tmp_path_factory.mktemp("start")
    return write_checkpoint(root, OTHER_SIZES, first_golden.lisa / "tokenizer.model")


def write_llava(folder: Path, tokenizer: Path, added: dict[str, int], rows: int) -> dict:
    """A LLaVA of the same sizes with `rows` rows of embeddings; gives its weights."""
    folder.mkdir()
    weights = {
        name: tensor
        for name, tensor in lisa_weights(OTHER_SIZES).items()
        if "visual_model" not in name and "text_hidden_fcs" not in name
    }
    for name in EMBEDDINGS:
        weights[name] = weights[name][:rows].clone()
    torch.save(weights, folder / "pytorch_model.bin")
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    config = {**lisa_config(OTHER_SIZES), "vocab_size": rows, "architectures": ["LlavaLlama"]}
    del config["out_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    if added:
        (folder / "added_tokens.json").write_text(json.dumps(added))
    return weights


def write_sam(path: Path) -> dict:
    torch.manual_seed(7)
    weights = plain_sam(OTHER_SIZES).state_dict()
    torch.save(weights, path)
    return weights


def started(config: TrainConfig) -> Lisa:
    return trainable_model(start_of(config), config, torch.device("cpu"))


def official(model: nn.Module) -> dict[str, torch.Tensor]:
    """All weights by official name; those that have adapters under their own name."""
    named = ((name.replace(".base_layer", ""), value) for name, value in model.state_dict().items())
    return {official_name(name): value for name, value in named}


def test_a_lisa_is_taken_as_it_is(folders):
    lisa, clip = folders
    model = started(TrainConfig(str(lisa), "run", vision_tower=str(clip), precision="fp32"))
    weights = official(model)
    for name, tensor in torch.load(lisa / "pytorch_model.bin").items():
        assert torch.equal(weights[name], tensor), name


def test_the_config_names_the_tower_that_was_chosen(folders):
    lisa, clip = folders
    values = start_of(TrainConfig(str(lisa), "run", vision_tower=str(clip))).values
    assert values["vision_tower"] == values["mm_vision_tower"] == str(clip)


def test_the_config_says_what_no_shape_of_sam_tells(folders, tmp_path):
    lisa, clip = folders
    sizes = tmp_path / "sam_config.json"
    sizes.write_text(json.dumps({"decoder_num_heads": 4}))
    config = TrainConfig(str(lisa), "run", vision_tower=str(clip), sam_config=str(sizes))
    assert start_of(config).values["sam_config"]["decoder_num_heads"] == 4
    assert "sam_config" not in start_of(replace(config, sam_config=None)).values


@pytest.mark.parametrize(
    ("added", "rows", "expected"),
    [
        ({}, BASE, {"[SEG]": BASE, "<im_start>": BASE + 1, "<im_end>": BASE + 2}),
        (
            {"<im_patch>": BASE, "<im_start>": BASE + 1, "<im_end>": BASE + 2},
            BASE + 3,
            {"[SEG]": BASE + 3, "<im_start>": BASE + 1, "<im_end>": BASE + 2},
        ),
        # A vocabulary that was padded is cut to the tokens that there are.
        ({}, BASE + 4, {"[SEG]": BASE, "<im_start>": BASE + 1, "<im_end>": BASE + 2}),
    ],
)
def test_a_llava_becomes_a_lisa(folders, first_golden, tmp_path, added, rows, expected):
    llava = write_llava(tmp_path / "llava", first_golden.lisa / "tokenizer.model", added, rows)
    sam = write_sam(tmp_path / "sam.pth")
    config = TrainConfig(
        str(tmp_path / "llava"),
        "run",
        sam=str(tmp_path / "sam.pth"),
        vision_tower=str(folders[1]),
        precision="fp32",
    )
    start = start_of(config)
    assert start.values["vision_tower"] == start.values["mm_vision_tower"] == str(folders[1])
    tokens = start.checkpoint.tokenizer
    assert {name: tokens.added_tokens[name] for name in expected} == expected
    size = max(expected.values()) + 1
    assert start.values["vocab_size"] == tokens.vocab_size == size
    weights = official(trainable_model(start, config, torch.device("cpu")))
    for name, tensor in sam.items():
        assert torch.equal(weights[f"model.visual_model.{name}"], tensor), name
    for name, tensor in llava.items():
        if name in EMBEDDINGS:
            assert weights[name].shape == (size, HIDDEN)
            kept = min(rows, size)
            assert torch.equal(weights[name][:kept], tensor[:kept])
            if kept < size:
                assert weights[name][kept:].std() == pytest.approx(0.02, rel=0.3)
        else:
            assert torch.equal(weights[name], tensor), name
    projection = weights["model.text_hidden_fcs.0.2.weight"]
    assert projection.shape == (OTHER_SIZES.out_dim, HIDDEN)
    assert 0 < projection.abs().max() <= HIDDEN**-0.5  # as PyTorch begins
    again = official(started(config))["model.text_hidden_fcs.0.2.weight"]
    assert torch.equal(projection, again)


def test_a_llava_is_read_as_its_tokenizer_config_says(folders, first_golden, tmp_path):
    llava = tmp_path / "llava"
    write_llava(llava, first_golden.lisa / "tokenizer.model", {}, BASE)
    write_sam(tmp_path / "sam.pth")
    config = TrainConfig(
        str(llava), "run", sam=str(tmp_path / "sam.pth"), vision_tower=str(folders[1])
    )
    settings = llava / "tokenizer_config.json"
    settings.write_text(json.dumps({"legacy": False, "add_bos_token": False}))
    tokenizer = start_of(config).checkpoint.tokenizer
    assert tokenizer.settings == {"legacy": False, "add_bos_token": False}
    settings.write_text(json.dumps({"add_eos_token": True}))
    with pytest.raises(CheckpointError, match="add_eos_token false"):
        start_of(config)


def test_what_cannot_be_a_start(folders, first_golden, tmp_path):
    lisa, clip = folders
    write_sam(tmp_path / "sam.pth")
    tokenizer = first_golden.lisa / "tokenizer.model"
    write_llava(tmp_path / "llava", tokenizer, {}, BASE)
    delta = tmp_path / "delta"
    shutil.copytree(tmp_path / "llava", delta)
    torch.save({"model.norm.weight": torch.ones(HIDDEN)}, delta / "pytorch_model.bin")
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 8)}, tmp_path / "half.pth")

    def fails(model: Path, sam: str | None, message: str) -> None:
        name = None if sam is None else str(tmp_path / sam)
        config = TrainConfig(str(model), "run", sam=name, vision_tower=str(clip))
        with pytest.raises(CheckpointError, match=message):
            started(config)

    fails(lisa, "sam.pth", "is a LISA, whose SAM is trained already; leave `sam` out")
    fails(tmp_path / "llava", None, r"no merged LISA checkpoint")
    fails(tmp_path / "llava", "none.pth", "none.pth: no such file; expected SAM's weights")
    fails(tmp_path / "llava", "half.pth", "no SAM weight")
    fails(delta, "sam.pth", r"no LLaVA: it has no model.embed_tokens.weight, lm_head.weight, model")
