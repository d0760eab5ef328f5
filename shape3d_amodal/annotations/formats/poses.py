"""Poses and cameras in records, with BOP's keys and in BOP's conventions; here pixel centres are converted.

    {"cam_R_m2c": [9 numbers, row by row], "cam_t_m2c": [3 numbers], "cam_K": [9 numbers, row by row]}

In files pixel (row, column) has its centre at (column, row), as in OpenCV; in ``AmodalImage.intrinsics`` at
(column + 0.5, row + 0.5). So 0.5 is added to the principal point when it is read, and taken off when it is written.
"""

from __future__ import annotations

from typing import Any

from shape3d_amodal.annotations.formats.fields import Record, is_number, told
from shape3d_amodal.structures import Intrinsics, Pose

POSE_KEYS = ("cam_R_m2c", "cam_t_m2c")
CENTRE = 0.5
"""Where the centre of the first pixel lies in the image frame; in files it lies at 0."""


def read_pose(record: Record) -> Pose | None:
    """The pose of an annotation or of a result; None where it has none."""
    if all(record.values.get(key) is None for key in POSE_KEYS):
        return None
    rotation, translation = (_numbers(record, key, count) for key, count in zip(POSE_KEYS, (9, 3), strict=True))
    try:
        return Pose(rotation, translation)
    except ValueError as error:
        raise record.error(POSE_KEYS[0], str(error)) from None


def pose_fields(pose: Pose) -> dict[str, list[float]]:
    return {"cam_R_m2c": list(pose.rotation), "cam_t_m2c": list(pose.translation)}


def read_intrinsics(record: Record) -> Intrinsics | None:
    """fx, fy, cx and cy of ``cam_K``, in the image frame; None where the record has no such key."""
    if record.values.get("cam_K") is None:
        return None
    fx, skew, cx, b, fy, cy, *last = _numbers(record, "cam_K", 9)
    if min(fx, fy) <= 0 or (skew, b, *last) != (0, 0, 0, 0, 1):
        problem = "expected a camera matrix [fx, 0, cx, 0, fy, cy, 0, 0, 1] with positive fx and fy, got another one"
        raise record.error("cam_K", f"{problem}; undistort the image, or correct the matrix")
    return fx, fy, cx + CENTRE, cy + CENTRE


def camera_matrix(intrinsics: Intrinsics) -> list[float]:
    """The value of ``cam_K``."""
    fx, fy, cx, cy = intrinsics
    return [fx, 0.0, cx - CENTRE, 0.0, fy, cy - CENTRE, 0.0, 0.0, 1.0]


def _numbers(record: Record, key: str, count: int) -> tuple[float, ...]:
    values: list[Any] = record.get(key, list)
    wrong = [value for value in values if not is_number(value)]
    if wrong or len(values) != count:
        came = f"{told(wrong[0])} among them" if wrong else told(values)
        raise record.error(key, f"expected {count} finite numbers, row by row, got {came}")
    return tuple(map(float, values))
