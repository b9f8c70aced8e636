"""Image messages into arrays, and arrays into image messages.

Messages are read by their fields alone, and OpenCV is imported where a conversion needs it: so this
runs where no ROS is installed, and plain rgb8 where no OpenCV is. Depth keeps the unit of its
message.
"""

from __future__ import annotations

import importlib
import struct
import sys
from typing import Any

import numpy as np

from lisa_ros.model.errors import LisaError
from lisa_ros.nodes.rvl import decode_rvl


class ConversionError(LisaError):
    """An image message cannot be read, or an array is no image of the encoding asked for."""


# Encoding: type of one channel, channels, OpenCV's conversion to RGB (none where it is RGB).
_COLOUR: dict[str, tuple[str, int, str | None]] = {
    "rgb8": ("u1", 3, None),
    "rgba8": ("u1", 4, "RGBA2RGB"),
    "bgr8": ("u1", 3, "BGR2RGB"),
    "bgra8": ("u1", 4, "BGRA2RGB"),
    "mono8": ("u1", 1, "GRAY2RGB"),
    "8UC1": ("u1", 1, "GRAY2RGB"),
    "8UC3": ("u1", 3, "BGR2RGB"),  # these name no colours; RViz too reads them as OpenCV's BGR
    "8UC4": ("u1", 4, "BGRA2RGB"),
    "rgb16": ("u2", 3, None),
    "rgba16": ("u2", 4, "RGBA2RGB"),
    "bgr16": ("u2", 3, "BGR2RGB"),
    "bgra16": ("u2", 4, "BGRA2RGB"),
    "mono16": ("u2", 1, "GRAY2RGB"),
    "yuv422": ("u1", 2, "YUV2RGB_UYVY"),
    "uyvy": ("u1", 2, "YUV2RGB_UYVY"),
    "yuv422_yuy2": ("u1", 2, "YUV2RGB_YUY2"),
    "yuyv": ("u1", 2, "YUV2RGB_YUY2"),
    **{
        f"bayer_{order}{bits}": (f"u{bits // 8}", 1, f"Bayer{order.upper()}2RGB")
        for order in ("rggb", "bggr", "gbrg", "grbg")
        for bits in (8, 16)
    },
}
_DEPTH = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_WRITTEN = {
    "mono8": ("u1", 1),
    "rgb8": ("u1", 3),
    "mono16": ("u2", 1),
    "16UC1": ("u2", 1),
    "32FC1": ("f4", 1),
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def image_to_rgb(message: Any) -> np.ndarray:
    """The picture in a sensor_msgs Image or CompressedImage.

    Returns:
        uint8 (H, W, 3). Of rgb8 it is a view of the message's data (with padded rows a strided
        one), read-only where the data is; do not write to it.

    Raises:
        ConversionError: the message is broken or of an encoding that is not supported.
    """
    if hasattr(message, "format"):
        return _decompress_rgb(message)
    if message.encoding not in _COLOUR:
        return _through_cv_bridge(message)
    dtype, channels, conversion = _COLOUR[message.encoding]
    return _to_rgb(_pixels(message, dtype, channels), conversion)


def depth_to_array(message: Any) -> np.ndarray:
    """The depth in a sensor_msgs Image or CompressedImage, in the unit of the message.

    Returns:
        (H, W) uint16 of 16UC1 and mono16, float32 of 32FC1 (REP-118: millimetres, 0 where unknown;
        metres, NaN where unknown). A view of the message's data where that is possible.

    Raises:
        ConversionError: the message is broken or no depth.
    """
    if hasattr(message, "format"):
        return _decompress_depth(message)
    if message.encoding not in _DEPTH:
        raise ConversionError(
            f"expected depth of encoding {', '.join(_DEPTH)}, got {message.encoding!r:.60}; "
            "remap `depth` to the topic of the depth image"
        )
    depth = _pixels(message, _DEPTH[message.encoding], 1)
    return depth.astype(depth.dtype.newbyteorder("="), copy=False)


def array_to_image(array: np.ndarray, encoding: str, header: Any) -> Any:
    """A sensor_msgs Image of `array`.

    Args:
        array: (H, W), or (H, W, 3) of rgb8; uint8, uint16 or float32 as the encoding says.
        encoding: mono8, mono16, rgb8, 16UC1 or 32FC1.
        header: std_msgs Header.
    """
    from sensor_msgs.msg import Image

    if encoding not in _WRITTEN:
        raise ConversionError(f"expected encoding {', '.join(_WRITTEN)}, got {encoding!r:.60}")
    dtype, channels = _WRITTEN[encoding]
    form = (2,) if channels == 1 else (3, channels)
    if array.dtype != dtype or (array.ndim, *array.shape[2:]) != form or not array.size:
        shape = "(H, W)" if channels == 1 else f"(H, W, {channels})"
        raise ConversionError(
            f"expected an array {np.dtype(dtype)} {shape} for {encoding}, "
            f"got {array.dtype} {array.shape}"
        )
    message = Image(header=header, encoding=encoding)
    message.height, message.width = array.shape[:2]
    message.step = message.width * channels * array.itemsize
    message.is_bigendian = sys.byteorder == "big"
    # An assignment would check and convert each byte by itself: 100 times slower.
    message.data.frombytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return message


def array_to_png(array: np.ndarray, header: Any) -> Any:
    """A sensor_msgs CompressedImage of `array` as PNG, for image_transport's `compressed`.

    Args:
        array: uint8 or uint16 (H, W), or RGB uint8 (H, W, 3).
        header: std_msgs Header.
    """
    from sensor_msgs.msg import CompressedImage

    kind = str(array.dtype), array.ndim, *array.shape[2:]
    if kind == ("uint8", 3, 3):
        file_format, array = "rgb8; png compressed bgr8", _convert(array, "RGB2BGR")
    elif kind in (("uint8", 2), ("uint16", 2)):
        file_format = f"mono{8 * array.itemsize}; png compressed"
    else:
        raise ConversionError(
            "expected an array uint8 (H, W), uint16 (H, W) or uint8 (H, W, 3), "
            f"got {array.dtype} {array.shape}"
        )
    if not array.size:
        raise ConversionError(f"expected at least one pixel, got an array of shape {array.shape}")
    cv2 = _opencv()
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if array.ndim == 2 and hasattr(cv2, "IMWRITE_PNG_FILTER"):
        # Masks are flat: to filter them takes five times as long and saves nothing.
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    _, data = cv2.imencode(".png", array, options)
    message = CompressedImage(header=header, format=file_format)
    message.data.frombytes(data)
    return message


# --- raw images ---


def _pixels(message: Any, dtype: str, channels: int) -> np.ndarray:
    """The data of a raw image as a view, (H, W) of one channel, else (H, W, channels)."""
    height, width, step = message.height, message.width, message.step
    kind = np.dtype(dtype).newbyteorder(">" if message.is_bigendian else "<")
    row = width * channels * kind.itemsize
    if height < 1 or width < 1:
        raise ConversionError(
            f"expected at least one pixel, got an image of {width} x {height}; check the camera"
        )
    if step < row:
        raise ConversionError(
            f"expected a step of at least {row} bytes for a row of {width} pixels "
            f"{message.encoding}, got {step}; the publisher must set width, encoding and step alike"
        )
    if len(message.data) != step * height:
        raise ConversionError(
            f"expected {step * height} bytes of data (step {step} x height {height}), "
            f"got {len(message.data)}; the publisher must fill whole rows"
        )
    shape = (height, width, channels) if channels > 1 else (height, width)
    strides = (step, channels * kind.itemsize, kind.itemsize)
    return np.ndarray(shape, kind, message.data, strides=strides[: len(shape)])


def _to_rgb(pixels: np.ndarray, conversion: str | None) -> np.ndarray:
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels if conversion is None else _convert(pixels, conversion)


def _convert(pixels: np.ndarray, conversion: str) -> np.ndarray:
    cv2 = _opencv()
    try:
        return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{conversion}"))
    except cv2.error as error:
        raise ConversionError(
            f"expected an image that OpenCV's {conversion} can convert, "
            f"got one of {pixels.shape[1]} x {pixels.shape[0]}: {error.err}; check the camera's "
            "size and encoding"
        ) from error


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise ConversionError(
            f"all images but raw rgb8 need OpenCV, got {error}; pip install opencv-python-headless"
        ) from error


def _through_cv_bridge(message: Any) -> np.ndarray:
    """An encoding of which only cv_bridge may know (ROS 2's, from apt)."""
    problem = f"expected encoding {', '.join(_COLOUR)}, got {message.encoding!r:.60}"
    try:
        cv_bridge = importlib.import_module("cv_bridge")
    except ImportError as error:
        mend = "publish one of these, or install cv_bridge if it knows this one"
        raise ConversionError(f"{problem}; {mend}") from error
    try:
        rgb = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:
        raise ConversionError(f"{problem}; cv_bridge cannot convert it either: {error}") from error
    if rgb.dtype != np.uint8 or rgb.shape != (message.height, message.width, 3):
        raise ConversionError(f"{problem}; cv_bridge made {rgb.dtype} {rgb.shape} of it")
    return rgb


# --- compressed images: what compressed_image_transport writes, and cameras' own JPEG ---


def _decompress_rgb(message: Any) -> np.ndarray:
    encoding, _, compression = message.format.partition(";")
    pixels = _decode(bytes(message.data), message.format)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    layout = {1: "mono8", 3: "bgr8", 4: "bgra8"}.get(channels)
    if layout is None or pixels.dtype not in (np.uint8, np.uint16):
        raise ConversionError(
            "expected a compressed image of 1, 3 or 4 channels of 8 or 16 bits, got "
            f"{channels} of {pixels.dtype} (format {message.format!r:.60}); check the publisher"
        )
    if channels == 1 and encoding in _COLOUR and encoding.startswith("bayer"):
        # A mosaic, unless the publisher says that it has made it grey.
        layout = layout if "compressed mono" in compression else encoding
    elif "tiff" in compression and encoding.startswith("rgb"):
        # The plugin lets OpenCV write its RGB as if it were BGR. (All other files have the colours
        # of their standard, whatever their `format` says.)
        layout = layout.replace("bgr", "rgb")
    return _to_rgb(pixels, _COLOUR[layout][2])


def _decode(data: bytes, file_format: str) -> np.ndarray:
    """The pixels of a JPEG, PNG, TIFF, WebP, ... file as they are: no orientation applied."""
    cv2 = _opencv()
    # Some versions of OpenCV fill up a truncated JPEG with grey: its last scan must have an end.
    is_jpeg = data.startswith(b"\xff\xd8")
    is_truncated = is_jpeg and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    pixels = None
    if data and not is_truncated:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None:
        raise ConversionError(
            f"expected a whole image file that OpenCV can read (JPEG, PNG, ...), got {len(data)} "
            f"bytes of format {file_format!r:.60} that are truncated, garbage or another format; "
            "check the publisher"
        )
    return pixels


# --- compressed depth: what compressed_depth_image_transport writes ---


def _decompress_depth(message: Any) -> np.ndarray:
    encoding, _, compression = message.format.partition(";")
    data = bytes(message.data)
    # Without words about the compression it is of an old compressedDepth.
    is_plain_file = compression != "" and "compressedDepth" not in compression
    if is_plain_file or data.startswith(_PNG_SIGNATURE):
        return _check_depth(_decode(data, message.format), _DEPTH.get(encoding), message.format)

    # ConfigHeader: int32 unused, float32 a, float32 b.
    if len(data) <= 12:
        raise ConversionError(
            f"expected more than the 12 bytes of compressedDepth's header, got {len(data)}; check "
            "the publisher"
        )
    _, a, b = struct.unpack_from("=iff", data)
    if "rvl" in compression:
        try:
            stored = decode_rvl(data[12:])
        except ValueError as error:
            raise ConversionError(f"expected {error}") from error
    else:
        stored = _check_depth(_decode(data[12:], message.format), "u2", message.format)
    if encoding != "32FC1":
        return stored
    if not (np.isfinite([a, b]).all() and a > 0):
        raise ConversionError(
            f"expected finite quantization parameters of 32FC1 depth with a > 0, got a {a}, b {b}"
        )
    # Inverse depth in 16 bits; 0 where it is unknown or beyond depth_max.
    with np.errstate(divide="ignore"):
        depth = np.float32(a) / (stored.astype(np.float32) - np.float32(b))
    depth[stored == 0] = np.nan
    return depth


def _check_depth(pixels: np.ndarray, dtype: str | None, file_format: str) -> np.ndarray:
    if pixels.ndim != 2 or pixels.dtype not in ([dtype] if dtype else _DEPTH.values()):
        raise ConversionError(
            f"expected one channel of depth as {np.dtype(dtype) if dtype else 'uint16 or float32'},"
            f" got {pixels.dtype} {pixels.shape} of format {file_format!r:.60}; "
            "let the camera publish compressedDepth"
        )
    return pixels
