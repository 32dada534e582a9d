"""Render the frames of a demo clip before compression: people who talk in front of a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import Field

from dfutils.demo.brushes import Floats
from dfutils.demo.forgery import random_forgery
from dfutils.demo.heads import PaintPortrait, Place, draw_person
from dfutils.demo.people import Person, Pose
from dfutils.demo.portraits import paint_portrait
from dfutils.demo.scenes import NOISE_RANGE, Frames, Sensor, Series, camera_shake, random_room
from dfutils.settings import Settings

BLINK_SECONDS = 0.28
SYLLABLES_PER_SECOND = 3.2


class DemoSettings(Settings):
    """Size and content of the made-up data set."""

    people: int = Field(24, ge=2, le=500)
    """Made-up people, each with one REAL and one FAKE clip."""
    seed: int = Field(7, ge=0)
    """The same seed gives the same people, scenes and frames."""
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
    portrait: PaintPortrait = paint_portrait


def render_clip(
    person: Person, *, donor: Person | None, rng: np.random.Generator, settings: DemoSettings = DEFAULT_SETTINGS
) -> Frames:
    """Film a person who talks.

    Two streams with the same fresh seed give the same room, motion and noise with and without a donor.

    Args:
        person: Who talks.
        donor: Person whose inner face is blended in; None leaves the clip REAL.
        rng: Random stream for everything except people's looks.
        settings: Size and length.

    Returns:
        (T, H, W, 3) uint8 RGB, not yet compressed.
    """
    scene_rng, motion_rng, forgery_rng = rng.spawn(3)
    place = Place(settings.width * 0.5, settings.height * 0.46, settings.height * 0.265)
    poses = random_poses(motion_rng, frames=settings.frames, fps=settings.fps)
    if donor is None:
        actor = Actor(person, place, poses)
    else:
        forgery = random_forgery(person, donor, forgery_rng)
        actor = Actor(person, place, poses, partial(forgery.paint, rng=forgery_rng))
    return _film([actor], rng=scene_rng, settings=settings)


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
        people: The person on the left and the person on the right.
        rng: Random stream for everything except people's looks.
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


def random_poses(rng: np.random.Generator, *, frames: int, fps: int) -> list[Pose]:
    """Make up the motion of a head: it sways, nods, blinks, talks and rests, under a slowly changing light.

    Args:
        rng: Random stream.
        frames: Number of poses, one per frame.
        fps: Frames per second.
    """
    times = np.arange(frames) / fps
    # Liveliness comes and goes, so that some moments of a clip move more than others.
    liveliness = 0.25 + 0.75 * (0.5 + 0.5 * _wander(rng, times, hertz=0.5))
    series = {
        "x": 0.16 * liveliness * _wander(rng, times, hertz=0.6) + 0.04 * _wander(rng, times, hertz=0.2),
        "y": 0.06 * liveliness * _wander(rng, times, hertz=0.8),
        "turn": 0.26 * liveliness * _wander(rng, times, hertz=0.6) + rng.uniform(-0.08, 0.08),
        "nod": 0.1 * liveliness * _wander(rng, times, hertz=0.9),
        "roll": 0.08 * liveliness * _wander(rng, times, hertz=0.5),
    }
    closed, moment = np.zeros_like(times), rng.uniform(0.2, 1.5)
    while moment < times[-1]:
        closed = np.maximum(closed, 1 - np.abs(times - moment) / (BLINK_SECONDS / 2))
        moment += rng.uniform(1.2, 3.0)
    series["blink"] = np.clip(closed * 1.3, 0, 1)
    sentences = np.clip(0.5 + 1.2 * _wander(rng, times, hertz=0.4), 0, 1)
    syllables = 0.5 + 0.5 * _wander(rng, times, hertz=SYLLABLES_PER_SECOND)
    series["mouth"] = sentences * np.clip(syllables * 1.2 - 0.25, 0, 1)
    series["smile"] = 0.55 + 0.4 * _wander(rng, times, hertz=0.3)
    series["light"] = 1 + 0.07 * _wander(rng, times, hertz=0.25)
    series["light_x"] = rng.uniform(-0.7, 0.7) + 0.12 * _wander(rng, times, hertz=0.2)
    return [Pose(**{name: float(values[index]) for name, values in series.items()}) for index in range(frames)]


def _wander(rng: np.random.Generator, times: Series, *, hertz: float) -> Series:
    """Return a smooth random curve within -1..1 that swings about ``hertz`` times a second."""
    rates = 2 * np.pi * hertz * rng.uniform([0.4, 0.9, 1.5], [0.9, 1.5, 2.2])
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(times[:, None] * rates + phases) @ np.asarray([0.5, 0.32, 0.18])


def _film(actors: Sequence[Actor], *, rng: np.random.Generator, settings: DemoSettings) -> Frames:
    room_rng, shake_rng, noise_rng = rng.spawn(3)
    room = random_room(room_rng, size=(settings.width, settings.height))
    shakes = camera_shake(shake_rng, np.arange(settings.frames) / settings.fps)
    # Everyone has their own camera: noise decides a clip's file size, and by chance it could tell REAL from FAKE.
    camera = np.random.default_rng(actors[0].person.texture_seed if actors else 0)
    strength = float(camera.uniform(*NOISE_RANGE))
    sensor = Sensor(noise_rng, size=(settings.width, settings.height), strength=strength)
    frames = np.empty((settings.frames, settings.height, settings.width, 3), np.uint8)
    for index, (right, down) in enumerate(shakes.tolist()):
        light = actors[0].poses[index].light if actors else 1.0
        frame: Floats = room.seen((right, down), light=light)
        for actor in actors:
            place = Place(actor.place.x + right, actor.place.y + down, actor.place.half_height)
            draw_person(frame, actor.person, actor.poses[index], place, portrait=actor.portrait)
        frames[index] = sensor.read(frame)
    return frames
