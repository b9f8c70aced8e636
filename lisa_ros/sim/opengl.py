"""An OpenGL context without a screen, from what the machine has."""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any

_LIBRARIES = (
    ("egl", "libEGL.so.1"),  # with a GPU's driver, or Mesa's on the CPU
    ("osmesa", "libOSMesa.so.8"),
    ("osmesa", "libOSMesa.so.6"),
)
_ADVICE = (
    "Install the Debian packages libegl1 and libgl1-mesa-dri (for MUJOCO_GL=egl), "
    "or libosmesa6 (for MUJOCO_GL=osmesa)."
)


def choose_backend() -> str:
    """`egl` or `osmesa`: the environment's MUJOCO_GL, else the first whose library is there.

    Raises RuntimeError if there is none.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("egl", "osmesa"):
        return wanted
    if wanted:
        raise RuntimeError(f"expected MUJOCO_GL to be egl, osmesa or unset, got {wanted!r}")
    for backend, library in _LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return backend
    raise RuntimeError(
        f"expected libEGL or libOSMesa to draw without a screen, found neither. {_ADVICE}"
    )


def open_context(width: int, height: int) -> Any:
    """MuJoCo's GLContext, made current. Raises RuntimeError, with what to install."""
    backend = choose_backend()
    try:
        # Not `mujoco.GLContext`: that was chosen by the environment when MuJoCo was first imported.
        context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        context.make_current()
    except Exception as error:  # of PyOpenGL, of ctypes, of the driver
        raise RuntimeError(f"OpenGL could not start ({backend}): {error}. {_ADVICE}") from error
    return context
