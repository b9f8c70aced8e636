"""Reasoning segmentation for robots: the LISA model, and the ROS 2 node that answers with it."""

from pkgutil import extend_path

# The package has two halves: these hand-written modules, and `msg`, `srv` and `action`, which
# rosidl generates. Installed, both lie in one folder. When this source tree comes first on
# sys.path (pytest from the repository root), the generated half is found in the install tree
# further down sys.path.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
