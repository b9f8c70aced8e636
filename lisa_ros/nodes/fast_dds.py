"""Fast DDS and pictures: a process that publishes them needs more shared memory than it gets.

By default it is 512 KiB, less than one 640 x 480 picture.  What does not fit is dropped, with small
messages that come at the same time, and repeated up to three seconds later.  Other middleware knows
nothing of this.
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python import PackageNotFoundError, get_package_share_directory

# Fast DDS takes the first before Kilted, the second since, and then warns about the first.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_BEFORE_KILTED = ("humble", "iron", "jazzy")
# What also says how Fast DDS shall send: these files it finds by itself, this variable a user sets.
_PROFILE_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")
_TRANSPORTS_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"


def profile_environment(choice: str = "auto") -> dict[str, str]:
    """The variables of a process that publishes pictures, to be set before it starts ROS.

    Args:
        choice: `auto` for this package's profile, but none where the user has set one or
            ROS_LOCALHOST_ONLY, Fast DDS is not in use or this package is not installed; `none`; or
            the name of an XML file.

    Raises:
        ValueError: there is no such file.
    """
    if choice == "none":
        return {}
    if choice == "auto":
        named = (*PROFILE_VARIABLES, _TRANSPORTS_VARIABLE)
        is_set = any(os.environ.get(name) for name in named)
        # Humble adds its loopback to a profile's transports, which would go on to all networks.
        is_set |= os.environ.get("ROS_LOCALHOST_ONLY") == "1"
        if is_set or any(map(os.path.exists, _PROFILE_FILES)) or not uses_fast_dds():
            return {}
        try:
            share = get_package_share_directory("lisa_ros")
        except PackageNotFoundError:
            return {}
        profile = Path(share) / "config" / "fastdds_large_messages.xml"
    else:
        profile = Path(choice)
    if not profile.is_file():
        raise ValueError(f"dds_profile: expected auto, none or an XML file, got {choice!r}")
    distro, (old, new) = os.environ.get("ROS_DISTRO"), PROFILE_VARIABLES
    names = PROFILE_VARIABLES if distro is None else (old if distro in _BEFORE_KILTED else new,)
    return dict.fromkeys(names, str(profile.resolve()))


def uses_fast_dds() -> bool:
    """Whether nodes that are started now speak through Fast DDS."""
    from rclpy.utilities import get_rmw_implementation_identifier

    return "fastrtps" in get_rmw_implementation_identifier()
