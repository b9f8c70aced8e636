"""An RGB image into the inputs of CLIP and SAM, and SAM's masks back to the image's size.

Bit-identical to the published code: PIL's resampling, and normalisation in the same order of
float32 operations.  An image that is on a GPU is resized there, by the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from lisa_ros.model.config import ClipPreprocessing, ClipView
from lisa_ros.model.errors import ImageError
from lisa_ros.model.resample import BICUBIC, BILINEAR, Kernel, resample

SAM_PIXEL_MEAN = (123.675, 116.28, 103.53)
SAM_PIXEL_STD = (58.395, 57.12, 57.375)

# Resizing the short edge of a 1 x 12000 image to 224 would make gigabytes that the centre crop
# throws away at once; beyond this many pixels only the crop is made, which may round otherwise.
_MAX_RESIZED_PIXELS = 100_000_000


@dataclass(frozen=True)
class MaskGeometry:
    """How SAM's square output lies on the image.

    Attributes:
        original: (height, width) of the image.
        resized: (height, width) of the image inside SAM's padded square.
        square: side of SAM's input.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    square: int


def check_image(image: object) -> np.ndarray:
    """The image itself if it is RGB uint8 of shape (H, W, 3) with at least one pixel.

    Raises:
        ImageError: naming what came instead, and the mend.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"expected a numpy array of RGB uint8 (H, W, 3), got {type(image).__name__}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"expected RGB uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}; "
            "convert grey, RGBA or float images first (lisa_ros.data.images.to_rgb does)"
        )
    if image.size == 0:
        raise ImageError(f"expected at least one pixel, got an image of shape {image.shape}")
    return image


def image_tensor(
    image: np.ndarray | torch.Tensor, device: torch.device | None = None
) -> torch.Tensor:
    """An image, uint8 (H, W, 3), as a tensor where it shall be preprocessed; a copy of an array."""
    tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image))
    return tensor.to(device)


def clip_input(
    image: np.ndarray | torch.Tensor, config: ClipPreprocessing, view: ClipView
) -> torch.Tensor:
    """CLIP's normalised input.

    Args:
        image: RGB uint8 (H, W, 3), or its `image_tensor`.
        view: `crop` takes the centre square (published), `pad` the whole image on a square of
            the mean colour, `squash` the whole image stretched to a square.

    Returns:
        float32 (3, crop_size, crop_size), where the image is.
    """
    pixels, size = image_tensor(image), config.crop_size
    if view == "squash":
        square = _resize(pixels, (size, size))
    else:
        if view == "pad":
            pixels = _pad_to_square(pixels, config.image_mean)
        square = _resize_and_crop(pixels, config)
    # (x / 255 - mean) / std, rounded to float32 after each step as transformers 4.31 does.
    levels = (np.arange(256) * (1 / 255)).astype(np.float32)
    mean = np.array(config.image_mean, dtype=np.float32)
    std = np.array(config.image_std, dtype=np.float32)
    table = torch.from_numpy((levels[:, None] - mean) / std).to(square.device)  # (256, 3)
    return torch.stack([table[:, c][square[..., c].int()] for c in range(3)])


def language_view(
    height: int, width: int, config: ClipPreprocessing, view: ClipView
) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1), in pixels of the image, that the language model sees."""
    if view != "crop":
        return 0, 0, width, height
    scaled_height, scaled_width = _short_edge_size(height, width, config.shortest_edge)
    x0, x1 = _centre(scaled_width, config.crop_size)
    y0, y1 = _centre(scaled_height, config.crop_size)
    left, right = _to_bounds(x0, x1, width / scaled_width)
    top, bottom = _to_bounds(y0, y1, height / scaled_height)
    return left, top, right, bottom


def sam_input(image: np.ndarray | torch.Tensor, square: int) -> tuple[torch.Tensor, MaskGeometry]:
    """SAM's normalised input, padded with zeros at the right and bottom.

    Args:
        image: RGB uint8 (H, W, 3), or its `image_tensor`.
        square: side of SAM's input (`SamConfig.image_size`).

    Returns:
        float32 (3, square, square) where the image is, and how it lies on the image.
    """
    pixels = image_tensor(image)
    height, width = pixels.shape[:2]
    scale = square / max(height, width)
    # At least one pixel a side, so that a 1 x 12000 image has a height.
    resized = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    mean, std = (
        torch.tensor(values, device=pixels.device).view(3, 1, 1)
        for values in (SAM_PIXEL_MEAN, SAM_PIXEL_STD)
    )
    normalised = (_resize(pixels, resized, BILINEAR).permute(2, 0, 1) - mean) / std
    padded = F.pad(normalised, (0, square - resized[1], 0, square - resized[0]))
    return padded, MaskGeometry((height, width), resized, square)


def upscale_masks(low_res_masks: torch.Tensor, geometry: MaskGeometry) -> torch.Tensor:
    """Mask logits at the size of the image, as `Sam.postprocess_masks`, in float32.

    Args:
        low_res_masks: logits (n, s, s) of the mask decoder, n >= 0.

    Returns:
        float32 (n, H, W); a pixel belongs to the mask where it is above 0.
    """
    masks = low_res_masks.float()[:, None]
    if masks.shape[0] == 0:
        return masks.new_zeros(0, *geometry.original)
    masks = F.interpolate(masks, (geometry.square,) * 2, mode="bilinear", align_corners=False)
    masks = masks[..., : geometry.resized[0], : geometry.resized[1]]
    masks = F.interpolate(masks, geometry.original, mode="bilinear", align_corners=False)
    return masks[:, 0]


def _resize_and_crop(pixels: torch.Tensor, config: ClipPreprocessing) -> torch.Tensor:
    size = config.crop_size
    height, width = pixels.shape[:2]
    scaled = _short_edge_size(height, width, config.shortest_edge)
    (y0, y1), (x0, x1) = _centre(scaled[0], size), _centre(scaled[1], size)
    if pixels.device.type == "cpu" and scaled[0] * scaled[1] > _MAX_RESIZED_PIXELS:
        across, down = width / scaled[1], height / scaled[0]
        return _resize(
            pixels, (size, size), across=(x0 * across, x1 * across), down=(y0 * down, y1 * down)
        )
    return _resize(pixels, scaled, crop=(slice(y0, y1), slice(x0, x1)))


_PILLOW = {BILINEAR: Image.Resampling.BILINEAR, BICUBIC: Image.Resampling.BICUBIC}


def _resize(
    pixels: torch.Tensor,
    size: tuple[int, int],
    kernel: Kernel = BICUBIC,
    *,
    across: tuple[float, float] | None = None,
    down: tuple[float, float] | None = None,
    crop: tuple[slice, slice] = (slice(None), slice(None)),
) -> torch.Tensor:
    """Resize to (height, width), of the stretches `across` and `down` if they are given.

    Of the result the rows and columns `crop` are returned.
    """
    height, width = pixels.shape[:2]
    across, down = across or (0, width), down or (0, height)
    if pixels.device.type != "cpu":
        return resample(pixels, size, kernel, across, down, crop)
    # In two calls, rows first: Pillow 13 begins with whichever is cheaper, and each pass rounds.
    (left, right), (top, bottom), how = across, down, _PILLOW[kernel]
    rows = Image.fromarray(pixels.numpy()).resize((size[1], height), how, (left, 0, right, height))
    whole = rows.resize((size[1], size[0]), how, (0, top, size[1], bottom))
    return torch.from_numpy(np.array(whole))[crop]


def _short_edge_size(height: int, width: int, edge: int) -> tuple[int, int]:
    if height <= width:
        return edge, int(edge * width / height)
    return int(edge * height / width), edge


def _centre(length: int, size: int) -> tuple[int, int]:
    start = (length - size) // 2
    return start, start + size


def _to_bounds(start: int, end: int, scale: float) -> tuple[int, int]:
    """A stretch in pixels of the image, at least one."""
    first = int(start * scale + 0.5)
    return first, max(int(end * scale + 0.5), first + 1)


def _pad_to_square(pixels: torch.Tensor, mean: tuple[float, float, float]) -> torch.Tensor:
    """The image in the middle of a square of CLIP's mean colour (LLaVA's `expand2square`)."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    colour = torch.tensor([int(channel * 255) for channel in mean], dtype=torch.uint8)
    square = colour.to(pixels.device).repeat(side, side, 1)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
