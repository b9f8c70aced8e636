"""Data sets that give one class per pixel: a picture, and a PNG of the same size with numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_ros.data.draws import draw
from lisa_ros.data.files import read_picture
from lisa_ros.data.samples import BadSampleError, Sample, Target

_UNLABELLED = 255  # in all of these data sets


@dataclass(frozen=True)
class LabelMapSet:
    """One class per pixel.

    A picture in which no class can be asked for gives a sample without targets.

    Attributes:
        name: as in a configuration.
        classes: the name of label 0, 1, ...; None where a label is never asked for.
        files: picture and label map of each sample.
    """

    name: str
    classes: tuple[str | None, ...]
    files: tuple[tuple[Path, Path], ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture; each target is all pixels of one class.

        Raises:
            BadSampleError: a file is missing or broken, the two differ in size, or a label has no
                name.
        """
        path, label_path = self.files[index]
        image = read_picture(path)
        labels = _read_labels(label_path)
        if labels.shape != image.shape[:2]:
            raise BadSampleError(
                f"{label_path} has {labels.shape} pixels (H, W), but its picture "
                f"{path} has {image.shape[:2]} once upright; unpack both from the same release"
            )
        present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
        present = present[present != _UNLABELLED]
        if len(present) and present[-1] >= len(self.classes):
            raise BadSampleError(
                f"{label_path} holds label {present[-1]}, but there are names "
                f"for 0 to {len(self.classes) - 1} only; expected the original label maps"
            )
        askable = [(int(i), name) for i in present if (name := self.classes[i]) is not None]
        targets = tuple(
            Target(text=name, is_sentence=False, mask=(labels == label).astype(np.uint8))
            for label, name in draw(askable, rng)
        )
        return Sample(path, image, targets)


def _read_labels(path: Path) -> np.ndarray:
    """The numbers as they are stored, uint8 (H, W): a palette is only there for people."""
    if not path.is_file():
        raise BadSampleError(f"{path} does not exist; every picture needs its label map there")
    try:
        with Image.open(path) as picture:
            mode, labels = picture.mode, np.array(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadSampleError(f"{path} is corrupt or truncated ({error}); unpack it anew") from None
    if mode not in ("L", "P"):
        raise BadSampleError(
            f"{path} is of mode {mode}; expected class numbers of 8 bits (L or P), not colours"
        )
    return labels
