"""The simulated RGB-D camera: topics, frames and QoS as a RealSense has them, and the ground truth.

It needs MuJoCo (`pip install mujoco`), and OpenGL, with or without a GPU.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, TransformStamped
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from lisa_ros.nodes.fast_dds import profile_environment
from lisa_ros.nodes.geometry_messages import point, quaternion, vector
from lisa_ros.nodes.image_conversion import array_to_image
from lisa_ros.nodes.sim_camera_parameters import SimCameraParameters

if TYPE_CHECKING:  # MuJoCo may be absent: then the node says so
    from lisa_ros.sim.camera import Camera
    from lisa_ros.sim.scene import Scene
    from lisa_ros.sim.sensor import Sensor

WORLD_FRAME = "world"  # z up, the table top is z = 0
# As realsense2_camera names them, the first with x forward and z up.
_FRAMES = ("link", "color_frame", "color_optical_frame")  # behind the node's name, as RealSense's
_LINK_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)

# What realsense2_camera gives: reliable, volatile.
_STREAM_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)
_LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_TF_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE
)


class MissingSimulatorError(RuntimeError):
    """Scenes cannot be drawn on this machine."""


class SimCamera(Node):
    """Publishes the scene of the parameter `seed`; `~/next_scene` goes on to the next one.

    Raises:
        MissingSimulatorError: a package of the simulator, or OpenGL, is not there.
    """

    def __init__(self) -> None:
        super().__init__("camera", namespace="/camera")
        self._settings = SimCameraParameters(self)
        self._sensor = _open_sensor(self._settings)
        self._shown_seed: int | None = None
        self._rng = np.random.default_rng()
        self._color = self.create_publisher(Image, "~/color/image_raw", _STREAM_QOS)
        self._color_info = self.create_publisher(CameraInfo, "~/color/camera_info", _STREAM_QOS)
        self._depth = self.create_publisher(
            Image, "~/aligned_depth_to_color/image_raw", _STREAM_QOS
        )
        self._depth_info = self.create_publisher(
            CameraInfo, "~/aligned_depth_to_color/camera_info", _STREAM_QOS
        )
        self._ground_truth = self.create_publisher(Image, "~/ground_truth", _STREAM_QOS)
        self._pose = self.create_publisher(PoseStamped, "~/pose", _STREAM_QOS)
        self._objects = self.create_publisher(String, "~/objects", _LATCHED_QOS)
        self._tf: Publisher | None = None
        self._tf_static: Publisher | None = None
        self._create_transform_publishers()
        self.create_service(Trigger, "~/next_scene", self._on_next_scene)
        self.create_timer(1 / self._settings["rate"], self._publish_frame)

    def destroy_node(self) -> None:
        """Frees the OpenGL context as well."""
        self._sensor.close()
        super().destroy_node()

    def _create_transform_publishers(self) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            self.get_logger().info(
                f"no transforms on /tf, the pose is on ~/pose only: {error}; "
                "install ros-$ROS_DISTRO-tf2-msgs"
            )
            return
        self._tf = self.create_publisher(TFMessage, "/tf", _TF_QOS)
        self._tf_static = self.create_publisher(TFMessage, "/tf_static", _LATCHED_QOS)

    def _publish_frame(self) -> None:
        """One picture with all that belongs to it, under one stamp."""
        now, seed = self.get_clock().now(), self._settings["seed"]
        frame = self._sensor.frame(seed, now.nanoseconds / 1e9)
        header = Header(stamp=now.to_msg(), frame_id=f"{self.get_name()}_{_FRAMES[-1]}")
        is_new = seed != self._shown_seed
        if is_new:
            self._shown_seed, self._rng = seed, np.random.default_rng(seed)
            self._objects.publish(String(data=scene_json(frame.scene, header.stamp)))
            self.get_logger().info(f"scene {seed}: {_names(frame.scene)}")
        pose = PoseStamped(
            header=Header(stamp=header.stamp, frame_id=WORLD_FRAME),
            pose=camera_pose(frame.camera),
        )
        # What others wait for before they use an image comes before it.
        self._pose.publish(pose)
        self._publish_transforms(
            camera_transforms(frame.camera, pose.header, self.get_name()), is_new
        )
        info = camera_info(frame.camera, header)
        self._color_info.publish(info)
        self._depth_info.publish(info)
        self._ground_truth.publish(array_to_image(frame.ids, "mono8", header))
        self._depth.publish(self._depth_image(frame.depth, header))
        self._color.publish(array_to_image(frame.rgb, "rgb8", header))

    def _publish_transforms(self, transforms: list[TransformStamped], is_new: bool) -> None:
        """What moves on /tf with each picture, what stays on /tf_static with each scene."""
        moving = 1 if self._settings["motion_angle"] else 0
        if self._tf is not None and moving:
            self._tf.publish(self._tf.msg_type(transforms=transforms[:moving]))
        if self._tf_static is not None and is_new:
            self._tf_static.publish(self._tf_static.msg_type(transforms=transforms[moving:]))

    def _depth_image(self, depth: np.ndarray, header: Header) -> Image:
        from lisa_ros.sim.sensor import imperfect_depth

        settings = self._settings
        measured = imperfect_depth(
            depth, self._rng, noise=settings["depth_noise"], holes=settings["depth_holes"]
        )
        if settings["depth_encoding"] == "16UC1":
            measured = to_millimetres(measured)
        return array_to_image(measured, settings["depth_encoding"], header)

    def _on_next_scene(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """The first picture of the new scene goes out before the response."""
        seed = self._settings["seed"] + 1
        result = self.set_parameters([Parameter("seed", value=seed)])[0]
        response.success = result.successful
        response.message = result.reason
        if result.successful:
            self._publish_frame()
            response.message = f"scene {seed}"
        return response


def camera_info(camera: Camera, header: Header) -> CameraInfo:
    """A pinhole camera's, without distortion."""
    k = camera.matrix
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
    )


def camera_pose(camera: Camera) -> Pose:
    """The optical frame's, in the world."""
    pose = camera.world_from_optical
    return Pose(position=point(pose[:3, 3]), orientation=quaternion(pose[:3, :3]))


def camera_transforms(camera: Camera, header: Header, name: str) -> list[TransformStamped]:
    """From the world, the header's frame, by the named camera's body to its optical frame."""
    world_from_link = camera.world_from_optical @ np.linalg.inv(_LINK_FROM_OPTICAL)
    messages = []
    for part, pose in zip(_FRAMES, (world_from_link, np.eye(4), _LINK_FROM_OPTICAL), strict=True):
        frame = f"{name}_{part}"
        message = TransformStamped(header=header, child_frame_id=frame)
        message.transform.translation = vector(pose[:3, 3])
        message.transform.rotation = quaternion(pose[:3, :3])
        messages.append(message)
        header = Header(stamp=header.stamp, frame_id=frame)
    return messages


def to_millimetres(depth: np.ndarray) -> np.ndarray:
    """uint16 (H, W): metres as whole millimetres, 0 where unknown or too far for 16 bits."""
    millimetres = np.rint(np.nan_to_num(depth) * 1000)
    millimetres[(millimetres < 0) | (millimetres > np.iinfo(np.uint16).max)] = 0
    return millimetres.astype(np.uint16)


def scene_json(scene: Scene, stamp: Time) -> str:
    """What the pictures from `stamp` on show; docs/sim_camera.md names the keys."""
    objects = [
        {
            "id": item.instance,
            "class_name": item.class_name,
            "colour": item.colour,
            "position": item.position,
            "size": item.size,
            "length": item.length,
        }
        for item in scene.objects
    ]
    description: dict[str, Any] = {
        "seed": scene.seed,
        "stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec},
        "frame_id": WORLD_FRAME,
        "objects": objects,
    }
    return json.dumps(description)


def _names(scene: Scene) -> str:
    return ", ".join(item.class_name for item in scene.objects)


def _open_sensor(settings: SimCameraParameters) -> Sensor:
    try:
        from lisa_ros.sim.sensor import Sensor
    except ImportError as error:
        package = "opencv-python-headless" if error.name == "cv2" else "mujoco"
        raise MissingSimulatorError(
            f"expected what draws the scenes, got {error}; pip install {package}"
        ) from error
    try:
        return Sensor(
            settings["width"],
            settings["height"],
            motion_angle=math.radians(settings["motion_angle"]),
            motion_period=settings["motion_period"],
        )
    except RuntimeError as error:  # OpenGL; it says what to install
        raise MissingSimulatorError(str(error)) from error


def main(arguments: list[str] | None = None) -> int:
    """Run the camera until it is told to stop; 1 if it cannot start."""
    os.environ.update(profile_environment())
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_stop.set())
    try:
        node = SimCamera()
    except (ParameterException, MissingSimulatorError) as error:
        rclpy.logging.get_logger("camera").error(f"cannot start: {error}")
        return 1
    executor = SingleThreadedExecutor()  # OpenGL belongs to one thread
    executor.add_node(node)
    while not told_to_stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
