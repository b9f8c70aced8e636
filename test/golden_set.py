"""A folder of numbers that the published LISA code computed; golden/README.md says what is what.

`LISA_ROS_GOLDEN` may name other folders (separated as in PATH) instead of test/golden*.
"""

import json
import os
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lisa_ros.model import Lisa, load
from lisa_ros.model.conversation import Turn, conversation_pieces
from lisa_ros.model.lisa import ImageFeatures


def golden_folders() -> list[Path]:
    chosen = os.environ.get("LISA_ROS_GOLDEN")
    if chosen:
        return [Path(part).resolve() for part in chosen.split(os.pathsep)]
    found = sorted(Path(__file__).parent.glob("golden*"))
    return [folder for folder in found if (folder / "meta.json").is_file()]


@lru_cache
def open_golden(folder: Path) -> "GoldenSet":
    return GoldenSet(folder)


class GoldenSet:
    """One golden folder; files, model and image features are read once, when first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self._arrays: dict[str, dict[str, np.ndarray]] = {}
        self._features: dict[int, ImageFeatures] = {}

    @property
    def lisa(self) -> Path:
        """The checkpoint in the official layout."""
        return next(self.folder.glob("*/tokenizer.model")).parent

    @property
    def clip(self) -> Path:
        """The vision tower."""
        return next(self.folder.glob("*/preprocessor_config.json")).parent

    @property
    def conversation(self) -> str:
        return self.meta["conv_type"]

    def load(self, source: Path | None = None, **choices) -> Lisa:
        """The model, or the same weights in another folder; on the CPU unless told otherwise."""
        choices = {
            "vision_tower": self.clip,
            "conversation": self.conversation,
            "device": "cpu",
            **choices,
        }
        sam_config = self.folder / "sam_config.json"
        return load(source or self.lisa, sam_config=sam_config, **choices)

    @cached_property
    def model(self) -> Lisa:
        return self.load(precision="fp32")

    @cached_property
    def tokenizer_items(self) -> list[dict]:
        path = self.folder / "tokenizer_golden.json"
        return json.loads(path.read_text(encoding="utf-8"))["items"]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        if name not in self._arrays:
            self._arrays[name] = np.load(self.folder / f"{name}.npz")
        return self._arrays[name]

    def group(self, name: str, key: str) -> dict[str, np.ndarray]:
        """The arrays of one case, without the case's prefix."""
        arrays = self.arrays(name)
        return {k[len(key) + 1 :]: arrays[k] for k in arrays if k.startswith(key + "/")}

    def cases(self, kind: str) -> list[dict]:
        return [case for case in self.meta["cases"] if case["kind"] == kind]

    def case(self, key: str) -> dict:
        return next(case for case in self.meta["cases"] if case["key"] == key)

    def image(self, index: int) -> np.ndarray:
        path = self.folder / "images" / self.meta["images"][index]
        return np.asarray(Image.open(path).convert("RGB"))

    def features(self, index: int) -> ImageFeatures:
        if index not in self._features:
            self._features[index] = self.model.encode_image(self.image(index))
        return self._features[index]

    def prompt_ids(self, instruction: str) -> list[int]:
        pieces = conversation_pieces(self.conversation, [Turn(instruction)])
        return self.model.tokenizer.encode(pieces)


def unpack_masks(want: dict[str, np.ndarray]) -> np.ndarray:
    """A case's binary masks, bool (n, H, W)."""
    count, height, width = want["mask_shape"]
    bits = np.unpackbits(want["mask_binary_packed"], axis=1)[:, : height * width]
    return bits.reshape(count, height, width).astype(bool)


def assert_masks_match(logits: torch.Tensor, want: dict[str, np.ndarray]) -> None:
    """Post-processed logits (n, H, W) against a case's `mask_*` arrays."""
    got = logits.numpy()
    count, height, width = want["mask_shape"]
    assert got.shape == (count, height, width)
    if count == 0:
        return
    flipped = unpack_masks(want) != (got > 0)
    assert flipped.mean() < 1e-3
    np.testing.assert_allclose((got > 0).sum(axis=(1, 2)), want["mask_area"], rtol=1e-3)
    for name, step in (("mask_logits", 1), ("mask_logits_sub", 8)):
        if name in want:
            np.testing.assert_allclose(got[:, ::step, ::step], want[name], atol=2e-3, rtol=0)


def assert_low_res_masks_match(low_res: torch.Tensor, want: dict[str, np.ndarray]) -> None:
    """Logits (n, s, s) of the mask decoder against `low_res_masks`, or every second of them."""
    for name, step in (("low_res_masks", 1), ("low_res_masks_sub2", 2)):
        if name in want:
            got = low_res[:, None, ::step, ::step].numpy()
            np.testing.assert_allclose(got, want[name], atol=2e-3, rtol=0)
