"""Image messages to arrays and back, against arrays, mosaics and files made by hand or by PIL."""

import io
import struct
import subprocess
import sys
import warnings
from array import array
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from lisa_ros.model.preprocessing import sam_input
from lisa_ros.nodes.image_conversion import (
    ConversionError,
    array_to_image,
    array_to_png,
    depth_to_array,
    image_to_rgb,
)

RNG = np.random.default_rng(7)
H, W = 6, 8
RGB = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (H, W, 1), dtype=np.uint8)
GREY = RGB[..., 1]
GREY_RGB = np.stack([GREY] * 3, axis=-1)


def raw(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False, data=None):
    """An Image of (H, W[, C]) `pixels`, rows followed by `padding` bytes of garbage."""
    height, width = pixels.shape[:2]
    pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = [row.tobytes() + bytes(RNG.integers(0, 256, padding, np.uint8)) for row in pixels]
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        step=len(rows[0]),
        is_bigendian=int(big),
        data=array("B", b"".join(rows)) if data is None else data,
    )


def compressed(file_format: str, data: bytes):
    return SimpleNamespace(format=file_format, data=array("B", data))


def pil_file(pixels: np.ndarray, file_format: str, **options) -> bytes:
    """A file written by PIL, of whose channel order there is no doubt: RGB."""
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that JPEG keeps well, red at the left and blue at the top: RGB uint8."""
    y, x = np.mgrid[:height, :width]
    red, blue = 255 - 255 * x / width, 255 - 255 * y / height
    return np.stack([red, 0.5 * red, blue], axis=-1).astype(np.uint8)


def with_low_bytes(pixels: np.ndarray) -> np.ndarray:
    """16-bit pixels whose high bytes are `pixels`."""
    return pixels.astype(np.uint16) << 8 | RNG.integers(0, 256, pixels.shape, dtype=np.uint16)


# --- raw colour ---

PLAIN = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], -1), RGB),
    "bgra8": (np.concatenate([RGB[..., ::-1], ALPHA], -1), RGB),
    "mono8": (GREY, GREY_RGB),
    "8UC1": (GREY, GREY_RGB),
    "8UC3": (RGB[..., ::-1], RGB),
    "8UC4": (np.concatenate([RGB[..., ::-1], ALPHA], -1), RGB),
}
DEEP = {
    "mono16": (with_low_bytes(GREY), GREY_RGB),
    "rgb16": (with_low_bytes(RGB), RGB),
    "bgr16": (with_low_bytes(RGB[..., ::-1]), RGB),
    "rgba16": (with_low_bytes(np.concatenate([RGB, ALPHA], -1)), RGB),
    "bgra16": (with_low_bytes(np.concatenate([RGB[..., ::-1], ALPHA], -1)), RGB),
}


def check_rgb(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("padding", [0, 1, 8])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", [*PLAIN, *DEEP])
def test_plain_encodings(encoding, padding, big):
    stored, expected = {**PLAIN, **DEEP}[encoding]
    check_rgb(image_to_rgb(raw(stored, encoding, padding, big)), expected)


def test_16_bits_are_cut_not_rounded():
    grey = np.array([[0, 255, 256, 0x7FFF, 0xFF00, 0xFFFF]], np.uint16)
    assert image_to_rgb(raw(grey, "mono16"))[0, :, 0].tolist() == [0, 0, 1, 0x7F, 255, 255]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5)])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8", "mono16", "bgra8"])
def test_odd_sizes(encoding, shape):
    stored, expected = {**PLAIN, **DEEP}[encoding]
    h, w = shape
    stored = np.ascontiguousarray(stored[:h, :w])
    expected = np.resize(expected[:h, :w], (min(h, H), w, 3))
    check_rgb(image_to_rgb(raw(stored, encoding, 3)), expected)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda d: np.frombuffer(d, "u1")])
def test_data_of_any_bytes_like_type(kind):
    check_rgb(image_to_rgb(raw(RGB, "rgb8", data=kind(RGB.tobytes()))), RGB)
    check_rgb(image_to_rgb(raw(RGB, "bgr8", data=kind(RGB[..., ::-1].tobytes()))), RGB)


@pytest.mark.parametrize("padding", [0, 5])
def test_rgb8_is_not_copied(padding):
    message = raw(RGB, "rgb8", padding)
    result = image_to_rgb(message)
    assert np.shares_memory(result, np.frombuffer(message.data, np.uint8))
    assert result.flags.c_contiguous == (padding == 0)


@pytest.mark.parametrize(("encoding", "padding"), [("rgb8", 0), ("rgb8", 5), ("bgr8", 0)])
def test_the_segmenter_takes_views_of_read_only_data(segmenter, encoding, padding):
    stored = smooth() if encoding == "rgb8" else smooth()[..., ::-1]
    message = raw(stored, encoding, padding)
    message.data = bytes(message.data)
    view = image_to_rgb(message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where it is given read-only memory
        segmenter.set_image(view)
    ours, expected = sam_input(view, 64)[0], sam_input(smooth(), 64)[0]
    assert (ours == expected).all()


@pytest.mark.parametrize(
    ("encodings", "order"), [(("yuv422", "uyvy"), "UYVY"), (("yuv422_yuy2", "yuyv"), "YUYV")]
)
@pytest.mark.parametrize("padding", [0, 6])
def test_yuv422(encodings, order, padding):
    luma = RNG.integers(16, 236, (H, W)).astype(np.uint8)
    chroma = RNG.integers(60, 190, (2, H, W // 2)).astype(np.uint8)  # U, V of each pixel pair
    places = {
        "Y": iter((luma[:, ::2], luma[:, 1::2])),
        "U": iter(chroma[:1]),
        "V": iter(chroma[1:]),
    }
    stored = np.stack([next(places[letter]) for letter in order], axis=-1).reshape(H, W, 2)
    y = 1.164 * (luma - 16.0)  # BT.601, studio range
    u, v = chroma.astype(float).repeat(2, axis=2) - 128
    expected = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], axis=-1)
    for encoding in encodings:
        result = image_to_rgb(raw(stored, encoding, padding))
        assert result.shape == (H, W, 3)
        assert abs(result - expected.clip(0, 255)).max() <= 2


def mosaic(colours: np.ndarray, order: str) -> np.ndarray:
    """What a sensor sees whose filters are `order`: row by row the 2 x 2 pattern."""
    height, width = colours.shape[:2]
    y, x = np.mgrid[:height, :width]
    channels = np.array(["rgb".index(letter) for letter in order])
    return np.take_along_axis(colours, channels[y % 2 * 2 + x % 2][..., None], axis=2)[..., 0]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("padding", [0, 2])
def test_bayer(order, bits, padding):
    colour = np.full((12, 16, 3), (200, 100, 50), np.uint8)
    stored = mosaic(colour, order)
    if bits == 16:
        stored = with_low_bytes(stored)
    check_rgb(image_to_rgb(raw(stored, f"bayer_{order}{bits}", padding, bits == 16)), colour)


# --- broken raw images ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 0}, "at least one pixel, got an image of 8 x 0"),
        ({"width": 0}, "at least one pixel, got an image of 0 x 6"),
        ({"step": 23}, "at least 24 bytes .* got 23"),
        ({"step": 0}, "at least 24 bytes .* got 0"),
        ({"width": 9}, "at least 27 bytes .* got 24"),
        ({"data": array("B", bytes(6 * 24 - 1))}, "144 bytes .* got 143"),
        ({"data": array("B", bytes(6 * 24 + 1))}, "144 bytes .* got 145"),
        ({"data": array("B")}, "144 bytes .* got 0"),
        ({"height": 2**31, "step": 2**31}, "got 144"),
        ({"encoding": "rgba8"}, "at least 32 bytes"),
        ({"encoding": ""}, "got ''"),
        ({"encoding": "RGB8"}, "got 'RGB8'"),
        ({"encoding": "nv12"}, "expected encoding rgb8, .*, mono8, .* got 'nv12'"),
        ({"encoding": "16UC1"}, "got '16UC1'"),
        ({"encoding": "x" * 100_000}, "got 'xxxx"),
    ],
)
def test_broken_images_say_what_was_expected_and_got(changes, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # as if it were not installed
    message = raw(RGB, "rgb8")
    vars(message).update(changes)
    with pytest.raises(ConversionError, match=words) as caught:
        image_to_rgb(message)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("encoding", ["yuv422", "yuyv"])
def test_yuv422_needs_pixel_pairs(encoding):
    with pytest.raises(ConversionError, match="expected"):
        image_to_rgb(raw(np.zeros((4, 5, 2), np.uint8), encoding))


def fake_cv_bridge(convert) -> ModuleType:
    module = ModuleType("cv_bridge")
    module.CvBridge = lambda: SimpleNamespace(imgmsg_to_cv2=convert)
    return module


def test_other_encodings_go_through_cv_bridge(monkeypatch):
    asked = []

    def convert(message, encoding):
        asked.append((message.encoding, encoding))
        return RGB

    monkeypatch.setitem(sys.modules, "cv_bridge", fake_cv_bridge(convert))
    check_rgb(image_to_rgb(raw(RGB, "nv24")), RGB)
    for encoding, (stored, _) in PLAIN.items():
        image_to_rgb(raw(stored, encoding))
    assert asked == [("nv24", "rgb8")]


def test_a_cv_bridge_that_fails_is_no_crash(monkeypatch):
    def convert(message, encoding):
        raise RuntimeError("not a color format")

    monkeypatch.setitem(sys.modules, "cv_bridge", fake_cv_bridge(convert))
    with pytest.raises(ConversionError, match="cv_bridge cannot convert it either: not a color"):
        image_to_rgb(raw(RGB, "32FC3"))
    monkeypatch.setitem(sys.modules, "cv_bridge", fake_cv_bridge(lambda *_: RGB[..., 0]))
    with pytest.raises(ConversionError, match=r"cv_bridge made uint8 \(6, 8\)"):
        image_to_rgb(raw(RGB, "32FC3"))


def test_only_rgb8_does_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    check_rgb(image_to_rgb(raw(RGB, "rgb8")), RGB)
    with pytest.raises(ConversionError, match="OpenCV"):
        image_to_rgb(raw(RGB, "bgr8"))


def test_importing_it_needs_neither_ros_nor_opencv():
    code = """
import sys
before = set(sys.modules)
import lisa_ros.nodes.image_conversion
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(new & {"rclpy", "sensor_msgs", "cv_bridge", "cv2"})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stdout + result.stderr


# --- compressed colour ---


@pytest.mark.parametrize("file_format", ["jpeg", "rgb8; jpeg compressed bgr8", "JPEG", "jpg", ""])
def test_jpeg(file_format):
    result = image_to_rgb(compressed(file_format, pil_file(smooth(), "JPEG", quality=95)))
    assert result.shape == smooth().shape
    assert abs(result.astype(int) - smooth()).mean() < 2


@pytest.mark.parametrize(
    ("file_format", "stored", "expected"),
    [
        ("rgb8; png compressed bgr8", RGB, RGB),
        ("bgr8; png compressed bgr8", RGB, RGB),
        ("png", RGB, RGB),
        ("rgba8; png compressed bgr8", np.concatenate([RGB, ALPHA], -1), RGB),
        ("mono8; png compressed ", GREY, GREY_RGB),
        ("mono16; png compressed ", with_low_bytes(GREY), GREY_RGB),
        ("bayer_rggb8; jpeg compressed mono8", GREY, GREY_RGB),
    ],
)
def test_png(file_format, stored, expected):
    check_rgb(image_to_rgb(compressed(file_format, pil_file(stored, "PNG"))), expected)


def test_16_bit_colour_png():
    _, data = cv2.imencode(".png", with_low_bytes(RGB[..., ::-1]))
    check_rgb(image_to_rgb(compressed("rgb16; png compressed bgr16", data.tobytes())), RGB)


def test_palette_png():
    palette = PilImage.fromarray(RGB).quantize(8)
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = np.asarray(palette.convert("RGB"))
    check_rgb(image_to_rgb(compressed("png", file.getvalue())), expected)


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_mosaic_in_a_png(order):
    colour = np.full((12, 16, 3), (200, 100, 50), np.uint8)
    data = pil_file(mosaic(colour, order), "PNG")
    check_rgb(image_to_rgb(compressed(f"bayer_{order}8; png compressed ", data)), colour)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_tiff_as_image_transport_writes_it(encoding):
    """The plugin gives the raw channels to cv::imencode, which takes the first for blue."""
    stored = RGB if encoding == "rgb8" else np.ascontiguousarray(RGB[..., ::-1])
    _, data = cv2.imencode(".tiff", stored)
    check_rgb(image_to_rgb(compressed(f"{encoding}; tiff compressed ", data.tobytes())), RGB)


def test_a_jpeg_is_not_turned_by_its_orientation():
    """Camera info is about the pixels as they are stored."""
    exif = PilImage.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = pil_file(smooth(48, 64), "JPEG", exif=exif)
    assert image_to_rgb(compressed("jpeg", data)).shape == (48, 64, 3)


def test_a_jpeg_with_a_thumbnail_and_padding_at_its_end():
    thumbnail = pil_file(smooth(8, 8), "JPEG")
    exif = b"Exif\0\0" + thumbnail
    whole = pil_file(smooth(), "JPEG")
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    assert image_to_rgb(compressed("jpeg", data + bytes(64))).shape == smooth().shape
    with pytest.raises(ConversionError):
        image_to_rgb(compressed("jpeg", data[:-200]))


NOISE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99])
def test_truncated_files(kind, share):
    data = pil_file(NOISE, kind)
    message = compressed(kind.lower(), data[: int(len(data) * share)])
    with pytest.raises(ConversionError, match="whole image file") as caught:
        image_to_rgb(message)
    assert f"got {len(message.data)} bytes" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", bytes(5000)])
def test_garbage_files(data):
    for convert in (image_to_rgb, depth_to_array):
        with pytest.raises(ConversionError):
            convert(compressed("rgb8; png compressed bgr8", data))


def test_float_images_are_no_colour():
    _, data = cv2.imencode(".tiff", np.ones((4, 4), np.float32))
    with pytest.raises(ConversionError, match="8 or 16 bits, got 1 of float32"):
        image_to_rgb(compressed("32FC1; tiff compressed ", data.tobytes()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_damaged_files_never_crash(kind):
    good = pil_file(NOISE[:16, :16], kind)
    for _ in range(200):
        data = bytearray(good)
        for place in RNG.integers(0, len(data), RNG.integers(1, 8)):
            data[place] = RNG.integers(0, 256)
        try:
            result = image_to_rgb(compressed("jpeg", bytes(data)))
        except ConversionError:
            continue
        assert result.dtype == np.uint8
        assert result.shape[2] == 3


# --- depth ---

MILLIMETRES = RNG.integers(0, 65536, (H, W), dtype=np.uint16)
METRES = RNG.uniform(0.2, 9, (H, W)).astype(np.float32)
METRES[1, 2] = np.nan


@pytest.mark.parametrize("padding", [0, 1, 8])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "stored"), [("16UC1", MILLIMETRES), ("mono16", MILLIMETRES), ("32FC1", METRES)]
)
def test_raw_depth(encoding, stored, padding, big):
    message = raw(stored, encoding, padding, big)
    result = depth_to_array(message)
    assert result.dtype == stored.dtype  # native byte order, too
    np.testing.assert_array_equal(result, stored)
    assert np.shares_memory(result, np.frombuffer(message.data, np.uint8)) != big


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "64FC1", "16SC1", ""])
def test_what_is_no_depth(encoding):
    message = raw(RGB, encoding)
    with pytest.raises(ConversionError, match=f"expected depth .*16UC1.*, got '{encoding}'"):
        depth_to_array(message)


def depth_header(a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b)


@pytest.mark.parametrize(
    "file_format", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1"]
)
def test_compressed_depth_16_bit(file_format):
    data = depth_header() + pil_file(MILLIMETRES, "PNG")
    result = depth_to_array(compressed(file_format, data))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, MILLIMETRES)


@pytest.mark.parametrize("file_format", ["16UC1; png compressed ", "mono16; png compressed", "png"])
def test_depth_in_a_plain_png(file_format):
    result = depth_to_array(compressed(file_format, pil_file(MILLIMETRES, "PNG")))
    np.testing.assert_array_equal(result, MILLIMETRES)


def test_float_depth_in_a_tiff():
    _, data = cv2.imencode(".tiff", METRES)
    result = depth_to_array(compressed("32FC1; tiff compressed ", data.tobytes()))
    np.testing.assert_array_equal(result, METRES)


def quantised(depth: np.ndarray, quantization: float = 100.0, depth_max: float = 10.0):
    """The header's a and b, and the stored inverse depth, as the plugin's parameters give them."""
    a = np.float32(quantization * (quantization + 1))
    b = np.float32(1 - a / depth_max)
    with np.errstate(invalid="ignore"):
        inverse = np.where(depth < depth_max, a / depth + b, 0)
    return a, b, np.nan_to_num(inverse).astype(np.uint16)


@pytest.mark.parametrize("method", ["png", "rvl"])
def test_compressed_depth_32_bit(method):
    depth = METRES.copy()
    depth[0, 0] = 12  # beyond depth_max
    a, b, inverse = quantised(depth)
    stored = pil_file(inverse, "PNG") if method == "png" else rvl_file(inverse)
    message = compressed(f"32FC1; compressedDepth {method}", depth_header(a, b) + stored)
    result = depth_to_array(message)
    assert result.dtype == np.float32
    assert np.isnan(result[0, 0])
    assert np.isnan(result[1, 2])
    known = ~np.isnan(result)
    assert known.sum() == H * W - 2
    # One step of the inverse depth is depth^2 / a metres: 2.5 mm at 5 m.
    error = abs(result - depth)[known]
    assert (error <= 1.02 * depth[known] ** 2 / a + 1e-6).all()
    assert error.max() > 0


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-1, 1), (np.nan, 1), (1, np.nan), (1, np.inf)])
def test_impossible_quantization(a, b):
    data = depth_header(a, b) + pil_file(MILLIMETRES, "PNG")
    with pytest.raises(ConversionError, match="quantization"):
        depth_to_array(compressed("32FC1; compressedDepth png", data))


@pytest.mark.parametrize(
    ("file_format", "data", "words"),
    [
        ("16UC1; compressedDepth png", b"", "header, got 0"),
        ("16UC1; compressedDepth png", bytes(12), "header, got 12"),
        ("16UC1; compressedDepth png", bytes(100), "whole image file"),
        ("16UC1; compressedDepth png", depth_header() + pil_file(GREY, "PNG"), "got uint8"),
        ("16UC1; compressedDepth png", depth_header() + pil_file(RGB, "PNG"), r"\(6, 8, 3\)"),
        ("16UC1; jpeg compressed mono8", pil_file(GREY, "JPEG"), "got uint8 .*compressedDepth"),
        ("32FC1; png compressed ", pil_file(MILLIMETRES, "PNG"), "as float32, got uint16"),
        ("16UC1; compressedDepth rvl", bytes(12) + b"1234567", "got 0 x 0"),
        ("16UC1; compressedDepth rvl", bytes(12) + bytes(8), "got 0 x 0"),
        ("16UC1; compressedDepth rvl", bytes(12) + b"\xff" * 30, "got 4294967295 x 4294967295"),
        ("16UC1; compressedDepth rvl", bytes(12) + struct.pack("<II", 8, 6), "truncated"),
        (
            "16UC1; compressedDepth rvl",
            bytes(12) + struct.pack("<II", 8, 6) + b"\xff" * 80,
            "trunc",
        ),
    ],
)
def test_broken_compressed_depth(file_format, data, words):
    with pytest.raises(ConversionError, match=words):
        depth_to_array(compressed(file_format, data))


def rvl_file(depth: np.ndarray) -> bytes:
    """A plain RVL encoder, one number after the other, as Wilson's paper describes it."""
    nibbles: list[int] = []

    def write(number: int) -> None:
        while True:
            digit, number = number & 7, number >> 3
            nibbles.append(digit | (8 if number else 0))
            if not number:
                return

    values, i, previous = depth.reshape(-1).tolist(), 0, 0
    while i < len(values):
        start = i
        while i < len(values) and values[i] == 0:
            i += 1
        write(i - start)
        start = i
        while i < len(values) and values[i] != 0:
            i += 1
        write(i - start)
        for value in values[start:i]:
            difference, previous = value - previous, value
            write(2 * difference if difference >= 0 else -2 * difference - 1)
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        int("".join(f"{n:x}" for n in nibbles[k : k + 8]), 16) for k in range(0, len(nibbles), 8)
    ]
    return struct.pack(f"<II{len(words)}I", depth.shape[1], depth.shape[0], *words)


def holes(share: float) -> np.ndarray:
    depth = (1000 + 500 * np.sin(np.arange(60 * 80) / 70)).reshape(60, 80).astype(np.uint16)
    depth[RNG.random(depth.shape) < share] = 0
    return depth


@pytest.mark.parametrize(
    "depth",
    [
        MILLIMETRES,
        holes(0.0),
        holes(0.1),
        holes(0.9),
        np.zeros((480, 640), np.uint16),
        np.full((5, 7), 65535, np.uint16),
        np.array([[0, 65535, 1, 65535, 0, 0, 1]], np.uint16),
        np.array([[5]], np.uint16),
    ],
)
def test_rvl(depth):
    data = rvl_file(depth)
    result = depth_to_array(compressed("16UC1; compressedDepth rvl", depth_header() + data))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, depth)


def test_rvl_known_bytes():
    """By hand: 1 zero, 2 others: 3 (+3 -> 6), 2 (-1 -> 1); 1 zero, 0 others."""
    data = struct.pack("<III", 4, 1, 0x12611000)
    message = compressed("16UC1; compressedDepth rvl", depth_header() + data)
    assert depth_to_array(message).tolist() == [[0, 3, 2, 0]]


def test_damaged_depth_never_crashes():
    for name, good in (("png", pil_file(holes(0.1), "PNG")), ("rvl", rvl_file(holes(0.1)))):
        for _ in range(300):
            data = bytearray(depth_header(1e4, -1e3) + good)
            for place in RNG.integers(0, len(data), RNG.integers(1, 8)):
                data[place] = RNG.integers(0, 256)
            for encoding in ("16UC1", "32FC1"):
                cut = data[: RNG.integers(0, len(data) + 1)] if RNG.random() < 0.5 else data
                message = compressed(f"{encoding}; compressedDepth {name}", bytes(cut))
                try:
                    assert depth_to_array(message).ndim == 2
                except ConversionError:
                    continue


# --- arrays to messages ---


@pytest.fixture
def header(ros_domain):
    from std_msgs.msg import Header

    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    return header


def over_the_wire(message):
    from rclpy.serialization import deserialize_message, serialize_message

    return deserialize_message(serialize_message(message), type(message))


WRITTEN = [
    ("mono8", GREY, 1),
    ("mono16", MILLIMETRES, 2),
    ("16UC1", MILLIMETRES, 2),
    ("32FC1", METRES, 4),
    ("rgb8", RGB, 3),
]


@pytest.mark.ros
@pytest.mark.parametrize("layout", ["contiguous", "sliced", "reversed", "read-only"])
@pytest.mark.parametrize(("encoding", "pixels", "size"), WRITTEN)
def test_array_to_image(header, encoding, pixels, size, layout):
    if layout == "sliced":
        pixels = np.repeat(pixels, 2, axis=1)[:, ::2]
    elif layout == "reversed":
        pixels = pixels[::-1]
    elif layout == "read-only":
        pixels = pixels.copy()
        pixels.setflags(write=False)
    message = over_the_wire(array_to_image(pixels, encoding, header))
    assert (message.height, message.width, message.step) == (H, W, W * size)
    assert message.encoding == encoding
    assert message.is_bigendian == (sys.byteorder == "big")
    assert message.header == header
    assert bytes(message.data) == pixels.tobytes()


@pytest.mark.ros
def test_what_is_written_can_be_read(header):
    check_rgb(image_to_rgb(array_to_image(RGB, "rgb8", header)), RGB)
    np.testing.assert_array_equal(depth_to_array(array_to_image(METRES, "32FC1", header)), METRES)
    check_rgb(image_to_rgb(array_to_png(RGB, header)), RGB)
    check_rgb(image_to_rgb(array_to_png(GREY, header)), GREY_RGB)
    labels = depth_to_array(array_to_png(MILLIMETRES, header))
    np.testing.assert_array_equal(labels, MILLIMETRES)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("pixels", "file_format"),
    [
        (GREY, "mono8; png compressed"),
        (np.where(GREY > 99, 255, 0).astype(np.uint8), "mono8; png compressed"),
        (MILLIMETRES, "mono16; png compressed"),
        (RGB, "rgb8; png compressed bgr8"),
    ],
)
def test_array_to_png(header, pixels, file_format):
    message = over_the_wire(array_to_png(pixels, header))
    assert message.format == file_format
    assert message.header == header
    decoded = np.asarray(PilImage.open(io.BytesIO(bytes(message.data))))
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.ros
@pytest.mark.parametrize(
    ("pixels", "encoding", "words"),
    [
        (RGB, "mono8", r"expected an array uint8 \(H, W\) for mono8, got uint8 \(6, 8, 3\)"),
        (GREY, "rgb8", r"uint8 \(H, W, 3\) for rgb8"),
        (GREY > 99, "mono8", "got bool"),
        (GREY, "mono16", "uint16"),
        (METRES.astype(float), "32FC1", "got float64"),
        (METRES.astype(">f4"), "32FC1", "got >f4"),
        (GREY[:0], "mono8", r"got uint8 \(0, 8\)"),
        (RGB, "bgr8", "expected encoding mono8, .* got 'bgr8'"),
    ],
)
def test_arrays_that_do_not_fit(header, pixels, encoding, words):
    with pytest.raises(ConversionError, match=words):
        array_to_image(pixels, encoding, header)


@pytest.mark.ros
@pytest.mark.parametrize("pixels", [METRES, GREY > 99, GREY[:0], RGB[..., :2], GREY[0]])
def test_arrays_that_are_no_png(header, pixels):
    with pytest.raises(ConversionError, match="expected"):
        array_to_png(pixels, header)
