"""Pictures of any kind as RGB uint8 (H, W, 3)."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from lisa_ros.data.images import ImageReadError, read_image, to_rgb


@pytest.fixture
def colours(picture) -> np.ndarray:
    return picture(20, 30)


def assert_rgb(image: np.ndarray, shape: tuple[int, int]) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (*shape, 3)
    assert image.flags.c_contiguous
    assert image.flags.writeable


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_rgb_is_read_as_it_is(tmp_path, colours, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours).save(path, **({"lossless": True} if suffix == "webp" else {}))
    got = read_image(path)
    assert_rgb(got, (20, 30))
    np.testing.assert_array_equal(got, colours)


def test_path_may_be_a_string(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), colours)


def test_channels_are_not_swapped(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.jpg", quality=100)
    assert read_image(tmp_path / "red.jpg")[8, 8].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_grey(tmp_path, colours):
    Image.fromarray(colours[..., 0]).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert_rgb(got, (20, 30))
    np.testing.assert_array_equal(got, colours[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_dropped_and_colours_kept(tmp_path, colours, mode):
    picture = Image.fromarray(colours).convert(mode)
    picture.putalpha(Image.fromarray(colours[..., 2]))
    picture.save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert_rgb(got, (20, 30))
    want = colours if mode == "RGBA" else np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(got, want if mode == "RGBA" else np.stack([want] * 3, axis=-1))


@pytest.mark.parametrize("transparency", [None, 3])
def test_palette(tmp_path, colours, transparency):
    picture = Image.fromarray(colours).quantize(16)
    choices = {} if transparency is None else {"transparency": transparency}
    picture.save(tmp_path / "a.png", **choices)
    got = read_image(tmp_path / "a.png")
    assert_rgb(got, (20, 30))
    np.testing.assert_array_equal(got, np.asarray(picture.convert("RGB")))


def test_black_and_white(tmp_path):
    bits = np.eye(8, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], bits * 255)


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert read_image(tmp_path / "a.jpg")[4, 4].tolist() == pytest.approx([255, 0, 0], abs=5)


def test_sixteen_bits_lose_their_low_byte(tmp_path):
    values = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert_rgb(got, (2, 4))
    np.testing.assert_array_equal(got[..., 1], values >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    """As a viewer shows it: the tag says how the stored rows and columns lie."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = (255, 0, 0)  # red at the top left
    upright[16:, 24:] = (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100, subsampling=0)
    got = read_image(path)
    assert_rgb(got, (32, 48))
    assert np.abs(got.astype(int) - upright).max() < 12


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_turned_grey_picture(tmp_path, suffix):
    stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    got = read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(got[..., 0], np.rot90(stored, -1))


SHORT, RATIONAL, ASCII, FLOAT = 3, 5, 2, 11


def ifd(*entries: tuple[int, int, bytes]) -> bytes:
    """A little-endian TIFF header with one directory of (tag, type, one value), in order."""
    body, rest = struct.pack("<H", len(entries)), b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(rest))
        rest += b"" if len(value) <= 4 else value
        body += struct.pack("<HHI", tag, kind, len(value) if kind == ASCII else 1) + field
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(4) + rest


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [
        (0x0100, RATIONAL, struct.pack("<II", 48, 1)),
        (0x0106, RATIONAL, struct.pack("<II", 2, 1)),
        (0x010F, RATIONAL, struct.pack("<II", 7, 2)),
        (0x0131, RATIONAL, struct.pack("<II", 7, 2)),
        (0x011A, ASCII, b"72 dots\0"),
    ],
    ids=["ImageWidth", "PhotometricInterpretation", "Make", "Software", "XResolution"],
)
def test_an_odd_tag_beside_the_orientation_does_not_matter(tmp_path, tag, kind, value):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = (255, 0, 0)  # red at the top left
    turned = (0x0112, SHORT, struct.pack("<H", 6))
    exif = b"Exif\0\0" + ifd(*sorted([turned, (tag, kind, value)]))
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1)))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    got = read_image(tmp_path / "a.jpg")
    assert_rgb(got, (32, 48))
    assert np.abs(got.astype(int) - upright).max() < 12


def test_whatever_pillow_meets_in_a_file_is_told_in_words(tmp_path):
    tags = {0x0100: 4, 0x0101: 4, 0x0102: 8, 0x0103: 1, 0x0106: 1}
    entries = [(tag, SHORT, struct.pack("<H", value)) for tag, value in tags.items()]
    offset = (0x0111, FLOAT, struct.pack("<f", 8.5))  # StripOffsets
    (tmp_path / "a.tiff").write_bytes(ifd(*entries, offset))
    with pytest.raises(ImageReadError, match=r"a\.tiff is corrupt"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("suffix", ["pgm", "png"])
def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path, suffix):
    values = np.array([[0, 200, 255]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert not read_image(tmp_path / f"a.{suffix}").any()


def test_a_picture_of_floats_that_are_not_0_to_1_is_named(tmp_path):
    Image.fromarray(np.array([[0.5, 20]], np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageReadError, match=r"a\.tiff: expected floats .*got 0\.5 to 20"):
        read_image(tmp_path / "a.tiff")


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 12000), (12000, 1)])
def test_extreme_sizes(tmp_path, size):
    Image.new("RGB", size[::-1], (9, 8, 7)).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert_rgb(got, size)
    assert got[-1, -1].tolist() == [9, 8, 7]


def test_hundred_megapixels_are_read_without_a_warning(tmp_path):
    Image.new("L", (12000, 9000), 7).save(tmp_path / "a.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.png").shape == (9000, 12000, 3)


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    with pytest.raises(ImageReadError, match="more than 200 pixels"):
        read_image(tmp_path / "a.png")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageReadError, match=r"nowhere\.png does not exist"):
        read_image(tmp_path / "nowhere.png")


def test_folder_is_named(tmp_path):
    with pytest.raises(ImageReadError, match="is a folder"):
        read_image(tmp_path)


def test_empty_file_is_named(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageReadError, match=r"a\.png is empty"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000), b"<svg/>"])
def test_file_that_is_no_picture(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageReadError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "tiff", "webp", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_picture(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, suffix)
    whole = buffer.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageReadError, match=r"truncated|no picture"):
        read_image(tmp_path / f"a.{suffix}")


def test_corrupt_picture(tmp_path, colours):
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageReadError, match="corrupt"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_of_one_to_four_channels(channels):
    array = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels)
    got = to_rgb(array)
    assert got.shape == (2, 3, 3)
    want = array[..., :3] if channels >= 3 else array[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(got, want)


def test_float_array_is_zero_to_one():
    got = to_rgb(np.array([[0.0, 0.5, 1.0, np.nan]]))
    assert got[0, :, 0].tolist() == [0, 127, 255, 0]


@pytest.mark.parametrize("wrong", [20.0, -0.5, np.inf])
def test_floats_outside_0_to_1_are_refused(wrong):
    with pytest.raises(ImageReadError, match=r"expected floats from 0 to 1, got .*; divide"):
        to_rgb(np.array([[0.5, wrong, np.nan]]))


@pytest.mark.parametrize(
    ("values", "dtype", "want"),
    [
        ([0, 1], bool, [0, 255]),
        ([0, 200, 255], np.int64, [0, 200, 255]),
        ([-5, 127], np.int8, [0, 127]),
        ([0, 200, 256], np.int32, [0, 0, 1]),
        ([-5, 0x1234, 70000], np.int64, [0, 0x12, 255]),
        ([0, 200, 0x1234], np.uint16, [0, 0, 0x12]),
        ([0, 200], ">u2", [0, 0]),
    ],
)
def test_only_wide_integers_lose_their_low_byte(values, dtype, want):
    assert to_rgb(np.array([values], dtype))[0, :, 0].tolist() == want


@pytest.mark.parametrize("shape", [(4,), (2, 2, 5), (1, 2, 2, 3), ()])
def test_array_of_another_shape_is_named(shape):
    with pytest.raises(ImageReadError, match="channels"):
        to_rgb(np.zeros(shape, np.uint8))
