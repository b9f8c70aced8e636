"""A camera in a process of its own: publishes what its argument, a JSON list, says.

Each entry: topic, kind (Image, Depth, CompressedImage, CompressedDepth, CameraInfo), and optionally
reliable, latched, size ([width, height]), silent (only the publisher is made), once, late (seconds
by which the stamps are older than the others').
Ends when its standard input is closed.
"""

import json
import struct
import sys
import threading

import cv2
import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

RATE = 30  # Hz
TYPES = {
    "Image": Image,
    "Depth": Image,
    "CompressedImage": CompressedImage,
    "CompressedDepth": CompressedImage,
    "CameraInfo": CameraInfo,
}


def make_message(kind: str, width: int, height: int):
    rgb = np.full((height, width, 3), (200, 100, 50), np.uint8)
    depth = np.full((height, width), 1234, np.uint16)
    message = TYPES[kind]()
    if kind == "CompressedImage":
        message.format = "rgb8; jpeg compressed bgr8"
        message.data = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()
    elif kind == "CompressedDepth":
        message.format = "16UC1; compressedDepth png"
        message.data = struct.pack("<iff", 0, 0, 0) + cv2.imencode(".png", depth)[1].tobytes()
    else:
        message.width, message.height = width, height
    if kind in ("Image", "Depth"):
        pixels = rgb if kind == "Image" else depth
        message.encoding = "rgb8" if kind == "Image" else "16UC1"
        message.step = pixels.strides[0]
        message.data.frombytes(pixels.reshape(-1).view(np.uint8))
    return message


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("camera")
    streams = []
    for entry in json.loads(sys.argv[1]):
        reliable, latched = entry.get("reliable", True), entry.get("latched", False)
        qos = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        publisher = node.create_publisher(TYPES[entry["kind"]], entry["topic"], qos)
        message = make_message(entry["kind"], *entry.get("size", (64, 48)))
        streams.append((entry, publisher, message))

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("publishing")
    published: set[str] = set()
    while not ended.wait(1 / RATE):
        now = node.get_clock().now()
        for entry, publisher, message in streams:
            if entry.get("silent") or (entry.get("once") and entry["topic"] in published):
                continue
            late = Duration(seconds=entry.get("late", 0))
            message.header.stamp = (now - late).to_msg()
            message.header.frame_id = "camera"
            publisher.publish(message)
            published.add(entry["topic"])
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
