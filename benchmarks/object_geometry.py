"""What an object's points, centroid and box cost on one core, and how the scene cloud compares.

    source .venv/bin/activate
    PYTHONPATH=. python benchmarks/object_geometry.py --json geometry.json

A box, or a ball, on a table at 1280x720; the mask has about 100,000 pixels, four of them around the
object being table.  Depth has a stereo camera's noise (0.1 px of disparity at a focal length times
baseline of 32 px m, so 3 mm at 1 m) and flying pixels at its edges.  The process keeps to one core.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when Open3D and torch are loaded

import argparse
import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open3d as o3d
import torch
from measure import describe_machine, percentiles, timed
from rich.console import Console
from rich.table import Table

from lisa_ros.perception.depth import Intrinsics, depth_in_metres
from lisa_ros.perception.objects import GeometrySettings, object_geometry, scene_cloud

CAMERA = Intrinsics(1280, 720, 910.0, 910.0, 640.0, 360.0)
MASK_PIXELS = 100_000
SPILL = 4  # pixels of table around the object in its mask
DISTANCES = (0.6, 1.2, 3.0)  # m
VOXELS = (0.005, 0.0)  # m
AIM_MS = {0.005: 30.0, 0.0: 45.0}
_WARM_UP = 3


def box(size: float, distance: float) -> np.ndarray:
    """Depth (H, W) of a turned box of 1 : 0.7 : 0.45; inf where it is missed."""
    rotation = cv2.Rodrigues(np.array([0.6, 0.25, 0.12]))[0]
    rays, eye = _rays() @ rotation, np.array([0, 0, -distance]) @ rotation
    half = np.array([0.5, 0.35, 0.225]) * size
    one, other = (-half - eye) / rays, (half - eye) / rays
    enter, leave = np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)
    return np.where(enter <= leave, enter, np.inf)


def ball(size: float, distance: float) -> np.ndarray:
    """Depth (H, W) of a ball; inf where it is missed."""
    rays = _rays()
    a, b = (rays**2).sum(-1), rays[..., 2] * distance
    root = b**2 - a * (distance**2 - size**2 / 4)
    return np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


SHAPES: dict[str, Callable[[float, float], np.ndarray]] = {"box": box, "ball": ball}


def _rays() -> np.ndarray:
    u, v = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    return np.stack([x, y, np.ones_like(x)], -1)


def make_scene(shape: str, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth as 16UC1 (H, W), and a mask of about MASK_PIXELS."""
    size = 0.3 * distance
    kernel = np.ones((2 * SPILL + 1, 2 * SPILL + 1), np.uint8)
    for _ in range(4):
        own = SHAPES[shape](size, distance)
        mask = cv2.dilate(np.isfinite(own).astype(np.uint8), kernel).astype(bool)
        size *= (MASK_PIXELS / np.count_nonzero(mask)) ** 0.5
    normal = np.array([0, -np.cos(0.6), -np.sin(0.6)])
    with np.errstate(divide="ignore"):
        table = (normal[2] * distance - 0.2 * distance) / (_rays() @ normal)
    table = np.where((table > 0) & (table < 6), table, 6)
    depth = cv2.blur(np.minimum(own, table), (3, 3))
    depth += np.random.default_rng(0).normal(size=depth.shape) * depth**2 * 0.1 / 32
    return (depth * 1000).round().astype(np.uint16), mask


def measure(repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of each shape, distance and voxel size."""
    rgb = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    cpu = torch.device("cpu")
    results = []

    def add(name: str, function: Callable[[], object], **about: Any) -> None:
        seconds = timed(function, cpu, repeats=repeats, warm_up=_WARM_UP)
        ms = percentiles([1000 * second for second in seconds])
        results.append({"what": name, **about, "ms": ms})

    for shape, distance in product(SHAPES, DISTANCES):
        raw, mask = make_scene(shape, distance)
        depth = depth_in_metres(raw)
        for voxel in VOXELS:
            settings = GeometrySettings(voxel_size=voxel)
            run = partial(object_geometry, rgb, depth, mask, CAMERA, settings)
            geometry = run()
            add(
                "object_geometry",
                run,
                shape=shape,
                distance=distance,
                voxel_size=voxel,
                mask_pixels=int(np.count_nonzero(mask)),
                points=len(geometry.points),
                is_valid=geometry.is_valid,
            )
    add("depth_in_metres", lambda: depth_in_metres(raw))
    for organized in (False, True):
        run = partial(scene_cloud, rgb, depth, [mask], CAMERA, organized=organized)
        add("scene_cloud", run, organized=organized, points=len(run().points))
    return results


def print_results(console: Console, results: list[dict[str, Any]]) -> None:
    """One row each."""
    table = Table(title="milliseconds on one core", title_justify="left")
    for column in ("", "shape", "distance", "voxels", "mask", "points", "p50", "p95", "aim"):
        table.add_column(column, justify="left" if column in ("", "shape") else "right")
    for row in results:
        voxel = row.get("voxel_size")
        table.add_row(
            row["what"] + (" (organized)" if row.get("organized") else ""),
            row.get("shape", ""),
            f"{row['distance']:g} m" if "distance" in row else "",
            "" if voxel is None else f"{1000 * voxel:g} mm" if voxel else "off",
            f"{row['mask_pixels']:,}" if "mask_pixels" in row else "",
            f"{row['points']:,}" if "points" in row else "",
            f"{row['ms']['p50']:.1f}",
            f"{row['ms']['p95']:.1f}",
            "" if voxel is None else f"{AIM_MS[voxel]:g}",
        )
    console.print(table)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the report here")
    return parser.parse_args()


def main() -> int:
    args = _parse_arguments()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "benchmark": "object_geometry",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": {"repeats": args.repeats},
        "machine": describe_machine(torch.device("cpu")),
        "cores_used": len(os.sched_getaffinity(0)),
    }
    report["machine"]["packages"] |= {"opencv": cv2.__version__, "open3d": o3d.__version__}
    report["results"] = measure(args.repeats)
    report["machine"]["load_average_after"] = [round(load, 2) for load in os.getloadavg()]
    print_results(Console(width=110), report["results"])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
