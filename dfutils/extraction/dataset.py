"""The face dataset folder: written atomically clip by clip, and checked when it is read."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from dfutils.errors import DatasetError
from dfutils.extraction.crops import crop_square, framed, square_around
from dfutils.extraction.tables import (
    FRAME_COLUMNS,
    POINTS,
    REQUIRED_COLUMNS,
    SIDES,
    SKIPPED_COLUMNS,
    Row,
    parse_clip_row,
)
from dfutils.files import read_csv, read_json, writing_error
from dfutils.records import Box, ClipRow, Crops, FaceClip, Image
from dfutils.settings import ExtractionSettings

JPEG_QUALITY = 95
FREE_SQUARE = 0.06
"""A stored square that differs from its face's square by less than this fraction was not moved or cut at an edge."""
PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
"""Run-length encoding alone makes crops of real faces 10 % smaller than level 3 does, in 5 ms instead of 8 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredCrops:
    """The stored crops of one clip, and the part of each that is wanted.

    Attributes:
        files: Crop files in the order of time.
        stored_size: Side of the stored crops in pixels.
        size: Side of the crops that `load` returns.
        squares: The wanted part of each crop, ``(T, 3)`` in stored pixels: centre x, centre y, side.
        points: Landmarks in stored pixels, ``(T, 5, 2)``; NaN if unknown.
    """

    files: tuple[Path, ...]
    stored_size: int
    size: int
    squares: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]

    def load(
        self, indices: Sequence[int], *, jitter: Sequence[float] | npt.NDArray[np.float64] = (0.0, 0.0, 0.0)
    ) -> tuple[Crops, npt.NDArray[np.float32]]:
        """Return some crops, ``(N, size, size, 3)`` uint8 RGB, and their landmarks ``(N, 5, 2)`` in crop pixels.

        Args:
            indices: Positions in the clip.
            jitter: Relative growth of the square's side, then its shifts to the right and down as fractions of half the
                side. The square stays inside the stored crop.
        """
        crops, points = [], []
        for index in indices:
            image = read_crop(self.files[index], size=self.stored_size)
            square = self._square(index, jitter)
            is_whole = square.width == self.stored_size == self.size
            crops.append(image if is_whole else crop_square(image, square, size=self.size))
            points.append(self._points_in(square, index))
        return np.stack(crops), np.stack(points)

    def landmarks(self, index: int) -> npt.NDArray[np.float32]:
        """Return the landmarks of one crop, ``(5, 2)``, in pixels of what `load` returns without jitter."""
        return self._points_in(self._square(index, (0.0, 0.0, 0.0)), index)

    def _points_in(self, square: Box, index: int) -> npt.NDArray[np.float32]:
        return ((self.points[index] - (square.left, square.top)) * self.size / square.width).astype(np.float32)

    def _square(self, index: int, jitter: Sequence[float] | npt.NDArray[np.float64]) -> Box:
        x, y, side = (float(value) for value in self.squares[index])
        growth, right, down = (float(value) for value in jitter)
        x, y, half = x + right * side / 2, y + down * side / 2, side * (1 + growth) / 2
        box = Box(x - half, y - half, x + half, y + half)
        return square_around(box, margin=0.0, frame_size=(self.stored_size, self.stored_size))


@dataclass(frozen=True)
class FaceDataset:
    """A finished face dataset.

    Attributes:
        folder: Its path.
        rows: One record per clip, in the order of the manifest.
        settings: How the crops were cut.
        about: Content of ``extraction.json``: settings, detector, versions.
        stored: How the stored crops were cut, if this dataset is a `reframed` view of them; else None.
    """

    folder: Path
    rows: tuple[ClipRow, ...]
    settings: ExtractionSettings
    about: Mapping[str, Any]
    stored: ExtractionSettings | None = None

    def reframed(self, *, size: int | None, margin: float | None) -> FaceDataset:
        """Return the dataset with crops of another size or a smaller face margin, cut out of the stored ones.

        Raises:
            DatasetError: The stored crops have a smaller margin or fewer pixels, or are ready-made.
        """
        size = self.settings.size if size is None else size
        margin = self.settings.margin if margin is None else margin
        if (size, margin) == (self.settings.size, self.settings.margin):
            return self
        if margin > self.settings.margin:
            raise DatasetError(
                f"{self.folder}: its crops have a face margin of {self.settings.margin:g}, but {margin:g} is needed. "
                f"Extract again with --margin {margin:g}."
            )
        if self.settings.crop == "none" and margin != self.settings.margin:
            raise DatasetError(
                f"{self.folder}: holds ready-made crops, which cannot get a margin of {margin:g}. "
                "Leave the margin out, or extract with --crop face."
            )
        shown = round(self.settings.size * (1 + 2 * margin) / (1 + 2 * self.settings.margin))
        if size > shown + 1:
            least = math.ceil(size * (1 + 2 * self.settings.margin) / (1 + 2 * margin))
            raise DatasetError(
                f"{self.folder}: at a face margin of {margin:g}, its crops have {shown} pixels, but "
                f"{size} are needed. Extract again with --size {least} or more."
            )
        settings = self.settings.model_copy(update={"size": size, "margin": margin})
        return replace(self, settings=settings, stored=self.stored or self.settings)

    def stored_crops(self, row: ClipRow) -> StoredCrops:
        """Return the files of one clip's crops, and the part of each that is wanted."""
        stored = self.stored or self.settings
        rows = self.frame_rows_of[row.clip_id]
        cut = np.array([[float(one[f"crop_{side}"]) for side in ("left", "top", "right")] for one in rows])
        scale = stored.size / (cut[:, 2] - cut[:, 0])
        points = [
            [[float(one[f"landmark_{point}_{axis}"] or "nan") for axis in "xy"] for point in POINTS] for one in rows
        ]
        points = (np.array(points) - cut[:, None, :2]) * scale[:, None, None]
        squares = np.tile(np.array([stored.size / 2, stored.size / 2, stored.size]), (len(rows), 1))
        if self.stored is not None and self.settings.margin != stored.margin:
            for index, one in enumerate(rows):
                if one["box_left"]:
                    square = _wanted_square(one, stored, self.settings.margin)
                    center = (np.array(square.center) - cut[index, :2]) * scale[index]
                    squares[index] = (*center, square.width * scale[index])
        files = tuple(self.folder / file for file in self.files[row.clip_id])
        return StoredCrops(
            files, stored.size, self.settings.size, squares.astype(np.float32), points.astype(np.float32)
        )

    def load_clip(self, row: ClipRow) -> Crops:
        """Read the crops of one clip, ``(T, size, size, 3)`` uint8 RGB.

        Raises:
            DatasetError: A crop is missing, unreadable or of another size.
        """
        return self.load_frames(row, range(row.frames))

    def load_frames(self, row: ClipRow, indices: Iterable[int]) -> Crops:
        """Read some crops of one clip by their index, like `load_clip`."""
        return self.stored_crops(row).load(list(indices))[0]

    def checksum(self, row: ClipRow) -> str:
        """Return the SHA-256 of a clip's crop files and their reframing, which changes when any pixel does."""
        reframed = f"{self.settings.size} {self.settings.margin}" if self.stored else ""
        digest = hashlib.sha256(reframed.encode())
        for file in self.files[row.clip_id]:
            digest.update((self.folder / file).read_bytes())
        return digest.hexdigest()

    @cached_property
    def skipped(self) -> list[dict[str, str]]:
        """Rows of ``skipped.csv`` as text: videos that gave no clip, and why."""
        return read_csv(self.folder / "skipped.csv", SKIPPED_COLUMNS)

    @cached_property
    def frame_rows(self) -> list[dict[str, str]]:
        """Rows of ``frames.csv`` as text."""
        return read_csv(self.folder / "frames.csv", FRAME_COLUMNS)

    @cached_property
    def frame_rows_of(self) -> dict[str, list[dict[str, str]]]:
        """Rows of ``frames.csv`` by clip."""
        rows: dict[str, list[dict[str, str]]] = {}
        for row in self.frame_rows:
            rows.setdefault(row["clip_id"], []).append(row)
        return rows

    @cached_property
    def boxes(self) -> dict[str, list[Box]]:
        """Face box of each crop, by clip, in pixels of the video; the crop's square where no face box is known."""
        return {
            clip: [_box_of(row, "box" if row["box_left"] else "crop") for row in rows]
            for clip, rows in self.frame_rows_of.items()
        }

    @cached_property
    def files(self) -> dict[str, list[str]]:
        """Crop files of each clip, relative to the folder, in the order of time."""
        return {clip: [row["file"] for row in rows] for clip, rows in self.frame_rows_of.items()}


def is_face_dataset(folder: Path) -> bool:
    """Return whether the folder is a face dataset, finished or not."""
    return (folder / "extraction.json").is_file()


def read_face_dataset(folder: Path) -> FaceDataset:
    """Open a face dataset and check that its tables agree.

    Raises:
        DatasetError: It is incomplete, empty, or its tables contradict each other.
    """
    if not (folder / "manifest.csv").is_file():
        raise DatasetError(
            f"{folder}: is not a finished face dataset (no manifest.csv). "
            "Make one with `dfutils extract SOURCE --out FACES`; to continue an interrupted one, repeat the command."
        )
    about = read_json(folder / "extraction.json")
    settings = ExtractionSettings.parse(about.get("settings"), source=str(folder / "extraction.json"))
    rows = tuple(parse_clip_row(row) for row in read_csv(folder / "manifest.csv", REQUIRED_COLUMNS))
    if not rows:
        raise DatasetError(f"{folder}: holds no clips. See skipped.csv for the reasons.")
    dataset = FaceDataset(folder, rows, settings, about)
    for row in rows:
        if (found := len(dataset.files.get(row.clip_id, []))) != row.frames:
            raise DatasetError(
                f"{folder}: frames.csv has {found} crops of {row.clip_id}, but manifest.csv says {row.frames}. "
                "Extract again into a new folder."
            )
    return dataset


def write_clip(folder: Path, row: ClipRow, clip: FaceClip, *, image_format: str) -> list[Row]:
    """Write the crops of one clip atomically and return its rows for ``frames.csv``.

    Raises:
        DatasetError: The folder cannot be written, or the disk is full; nothing half-written is left.
    """
    target = folder / ("fake" if row.is_fake else "real") / row.clip_id
    temporary = folder / ".partial" / f"{row.clip_id}.{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        names = [f"{index:02d}.{image_format}" for index in range(row.frames)]
        for name, image in zip(names, clip.images, strict=True):
            (temporary / name).write_bytes(encode_image(image, image_format=image_format))
        shutil.rmtree(target, ignore_errors=True)  # left by a run that was killed before its journal entry
        target.parent.mkdir(exist_ok=True)
        temporary.rename(target)
    except OSError as error:
        raise writing_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    rows = []
    for index, (name, crop) in enumerate(zip(names, clip.crops, strict=True)):
        frame: Row = dict.fromkeys(FRAME_COLUMNS, "")
        file = f"{target.parent.name}/{row.clip_id}/{name}"
        frame.update(clip_id=row.clip_id, index=index, file=file, frame_index=crop.frame_index)
        frame.update(time_seconds=round(crop.time_seconds, 4), motion=round(crop.motion, 6))
        frame.update({f"crop_{side}": getattr(crop.square, side) for side in SIDES})
        if crop.face is not None:
            frame.update({f"box_{side}": round(getattr(crop.face.box, side), 2) for side in SIDES})
            frame["detection_score"] = "" if math.isnan(crop.face.score) else round(crop.face.score, 4)
            for point, (x, y) in zip(POINTS, crop.face.landmarks, strict=False):
                frame.update({f"landmark_{point}_x": round(x, 2), f"landmark_{point}_y": round(y, 2)})
        rows.append(frame)
    return rows


def encode_image(image: Image, *, image_format: str) -> bytes:
    """Return the PNG or JPEG bytes of an RGB image; OpenCV's own file writer would not report a full disk."""
    options = PNG_OPTIONS if image_format == "png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, content = cv2.imencode(f".{image_format}", image[..., ::-1], options)
    if not done:
        raise DatasetError(f"A crop of shape {image.shape} cannot be encoded as {image_format}. Choose a smaller size.")
    return content.tobytes()


def read_crop(path: Path, *, size: int) -> Image:
    """Read one crop file: ``(size, size, 3)`` uint8 RGB.

    Raises:
        DatasetError: It is missing, unreadable or of another size.
    """
    try:
        bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise DatasetError(f"{path}: the crop cannot be read ({error}). Copy or extract the dataset again.") from error
    if bgr is None or bgr.shape != (size, size, 3):
        shape = None if bgr is None else bgr.shape
        raise DatasetError(f"{path}: is not a crop of {size} × {size} pixels ({shape}). Extract the dataset again.")
    # OpenCV takes a quarter of the time that indexing takes, and lets other training threads load crops meanwhile.
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _wanted_square(row: Mapping[str, str], stored: ExtractionSettings, margin: float) -> Box:
    """Return the square of a crop with a smaller margin, in pixels of the video."""
    cut, face = _box_of(row, "crop"), framed(_box_of(row, "box"))
    width, height = cut.width, cut.height
    wanted = face.width * (1 + 2 * stored.margin)
    # Away from the edges of the frame, the stored square has the face's centre, and its size is smoothed over time,
    # unlike that of the box: use the stored square.
    if abs(wanted / width - 1) < FREE_SQUARE and math.dist(face.center, cut.center) < FREE_SQUARE * width:
        share = (1 + 2 * margin) / (1 + 2 * stored.margin)
        half_width, half_height = share * width / 2, share * height / 2
        x, y = cut.center
        return Box(x - half_width, y - half_height, x + half_width, y + half_height)
    half = face.width * (1 + 2 * margin) / 2
    x, y = face.center
    return Box(x - half, y - half, x + half, y + half)


def _box_of(row: Mapping[str, str], kind: Literal["box", "crop"]) -> Box:
    return Box(*(float(row[f"{kind}_{side}"]) for side in SIDES))
