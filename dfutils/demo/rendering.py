"""The frames of a demo clip, before any compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from dfutils.demo.brushes import Canvas, Floats
from dfutils.demo.forgery import Forgery, random_forgery
from dfutils.demo.heads import PaintPortrait, Place, draw_person, paint_honest_portrait
from dfutils.demo.motion import random_poses
from dfutils.demo.people import Person, Pose
from dfutils.demo.scenes import NOISE_RANGE, Frames, Sensor, camera_shake, random_room
from dfutils.settings import Settings


class DemoSettings(Settings):
    """What the made-up data set is like."""

    people: int = Field(24, ge=2, le=500)
    """Made-up people, each with one REAL and one FAKE clip."""
    seed: int = Field(7, ge=0)
    """Same seed: same people, scenes and frames."""
    seconds: float = Field(3.0, gt=0, le=60)
    """Length of every clip."""
    fps: int = Field(20, ge=5, le=60)
    """Frames per second."""
    width: int = Field(320, ge=160, le=1920, multiple_of=2)
    """Frame width in pixels."""
    height: int = Field(240, ge=120, le=1080, multiple_of=2)
    """Frame height in pixels."""

    @property
    def frames(self) -> int:
        """Frames in every clip."""
        return max(2, round(self.seconds * self.fps))


DEFAULT_SETTINGS = DemoSettings()


@dataclass(frozen=True)
class Actor:
    """One person in a clip."""

    person: Person
    place: Place
    poses: Sequence[Pose]
    portrait: PaintPortrait = paint_honest_portrait


def render_clip(
    person: Person, *, donor: Person | None, rng: np.random.Generator, settings: DemoSettings = DEFAULT_SETTINGS
) -> Frames:
    """Film a person who talks.

    Two freshly seeded equal streams give the same room, motion and noise with and without a donor.

    Args:
        person: Who talks.
        donor: Whose inner face is forged in; None leaves the clip REAL.
        rng: Random stream of everything but the looks.
        settings: Size and length.

    Returns:
        (T, H, W, 3) uint8 RGB, not yet compressed.
    """
    scene_rng, motion_rng, forgery_rng = rng.spawn(3)
    place = Place(settings.width * 0.5, settings.height * 0.46, settings.height * 0.265)
    poses = random_poses(motion_rng, frames=settings.frames, fps=settings.fps)
    portrait: PaintPortrait = paint_honest_portrait
    if donor is not None:
        portrait = _forge(random_forgery(person, donor, forgery_rng), forgery_rng)
    return _film([Actor(person, place, poses, portrait)], rng=scene_rng, settings=settings)


def faceless_frames(*, rng: np.random.Generator, settings: DemoSettings = DEFAULT_SETTINGS) -> Frames:
    """Film an empty room with an unsteady camera.

    Args:
        rng: Random stream.
        settings: Size and length.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    return _film([], rng=rng, settings=settings)


def two_people_frames(
    people: tuple[Person, Person], *, rng: np.random.Generator, settings: DemoSettings = DEFAULT_SETTINGS
) -> Frames:
    """Film two people side by side, both unforged.

    Args:
        people: Who sits left and who sits right.
        rng: Random stream of everything but the looks.
        settings: Size and length.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    scene_rng, *motion_rngs = rng.spawn(3)
    half_height = min(settings.height * 0.24, settings.width * 0.17)
    actors = [
        Actor(
            person,
            Place(settings.width * share, settings.height * 0.46, half_height),
            random_poses(motion_rng, frames=settings.frames, fps=settings.fps),
        )
        for person, share, motion_rng in zip(people, (0.26, 0.74), motion_rngs, strict=True)
    ]
    return _film(actors, rng=scene_rng, settings=settings)


def _forge(forgery: Forgery, rng: np.random.Generator) -> PaintPortrait:
    def paint(person: Person, pose: Pose, scale: float) -> Canvas:
        return forgery.paint(person, pose, scale=scale, rng=rng)

    return paint


def _camera_noise(actors: Sequence[Actor]) -> float:
    """Everyone has their own camera: noise decides a clip's file size, and by chance it could tell REAL from FAKE."""
    seed = actors[0].person.texture_seed if actors else 0
    return float(np.random.default_rng(seed).uniform(*NOISE_RANGE))


def _film(actors: Sequence[Actor], *, rng: np.random.Generator, settings: DemoSettings) -> Frames:
    room_rng, shake_rng, noise_rng = rng.spawn(3)
    room = random_room(room_rng, size=(settings.width, settings.height))
    shakes = camera_shake(shake_rng, np.arange(settings.frames) / settings.fps)
    sensor = Sensor(noise_rng, size=(settings.width, settings.height), strength=_camera_noise(actors))
    frames = np.empty((settings.frames, settings.height, settings.width, 3), np.uint8)
    for index, (right, down) in enumerate(shakes.tolist()):
        light = actors[0].poses[index].light if actors else 1.0
        frame: Floats = room.seen((right, down), light=light)
        for actor in actors:
            place = Place(actor.place.x + right, actor.place.y + down, actor.place.half_height)
            draw_person(frame, actor.person, actor.poses[index], place, portrait=actor.portrait)
        frames[index] = sensor.read(frame)
    return frames
