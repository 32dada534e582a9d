"""Bad and odd media, made in code, that users or attackers may provide instead of a video."""

import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

OK, UNREADABLE, TOO_LARGE, TOO_FEW, NO_FACE = "ok", "unreadable", "too_large", "too_few_faces", "no_face"
DAMAGED = frozenset({OK, UNREADABLE, TOO_FEW, NO_FACE})
"""Outcomes for a damaged file: how much of it can be decoded depends on FFmpeg's version."""
REFUSED = frozenset({UNREADABLE, TOO_LARGE})
"""Outcomes for a picture that claims more than there is: some readers look for it before they tell its size."""


def encode(
    path, images, *, codec="libx264", pixels="yuv420p", rate=20, aspect=None, times=None, options=None, muxing=None
):
    """Write RGB or RGBA images with any codec; ``times`` in milliseconds vary the frame rate.

    ``options`` are FFmpeg's of the codec, and ``muxing`` those of the container, which the file's suffix decides.
    """
    with av.open(str(path), "w", options=muxing or {}) as output:
        stream = output.add_stream(codec, rate=1000 if times else rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.options = options or ({"preset": "ultrafast", "qp": "20"} if codec == "libx264" else {})
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            if times:
                frame.pts, frame.time_base = times[number], stream.codec_context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def write_sound(path):
    """A tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def set_matrix(path, a, b, c, d):
    """Write a display matrix into an MP4's track header, as phones do."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: flags, times, ids, reserved, layer, volume come first
    values = [round(one * 65536) for one in (a, b, 0, c, d, 0, 0, 0)]
    content[start : start + 36] = struct.pack(">8iI", *values, 1 << 30)
    path.write_bytes(content)
    return path


def png(width, height, *, rows=b""):
    """A gray PNG that claims this size, whatever pixels it holds."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(width, height):
    """A small JPEG whose frame header claims another size."""
    content = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def make_corpus(folder, images, faceless):
    """Write the corpus below ``folder/real`` and return the allowed outcomes by file name.

    Args:
        folder: Its folder.
        images: RGB frames of a talking head, at 20 frames per second.
        faceless: RGB frames without a face.
    """
    real = folder / "real"
    real.mkdir(parents=True)
    outcomes = {}
    makers = (_not_media, _images, _containers, _geometry, _headers, _damaged, _places, _names)
    for make in makers:
        outcomes |= make(real, images, faceless)
    return {
        f"real/{name}": frozenset({outcome}) if isinstance(outcome, str) else outcome
        for name, outcome in outcomes.items()
    }


def _not_media(real, _images, _faceless):
    contents = {
        "empty.mp4": b"",
        "one-byte.mp4": b"\0",
        "text.mp4": b"this is no video\n" * 40,
        "page.mp4": b"<!doctype html><video src='file:///etc/hostname'></video>" * 9,
        "archive.mp4": b"PK\x03\x04" + bytes(500),
        "random.mp4": np.random.default_rng(0).bytes(20_000),
        "zeros.mp4": bytes(20_000),
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "script.mp4": b"ffconcat version 1.0\nfile good.mp4\n",
        "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "manifest.mp4": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "sequence.mp4": b"real/%03d.png",
    }
    for name, content in contents.items():
        (real / name).write_bytes(content)
    write_sound(real / "sound.mp4")
    return dict.fromkeys([*contents, "sound.mp4"], UNREADABLE)


def _images(real, images, _faceless):
    good = cv2.imencode(".png", images[0][..., ::-1])[1].tobytes()
    contents = {
        "photo.png": (good, OK),
        "cut.png": (good[: len(good) // 2], DAMAGED),
        "no-pixels.png": (png(0, 0), UNREADABLE),
        "header-only.png": (good[:20], UNREADABLE),
        "huge.png": (png(16384, 16384), TOO_LARGE),
        "huge.jpg": (jpeg(16384, 16384), TOO_LARGE),
        "huge.bmp": (b"BM" + bytes(12) + struct.pack("<Iii", 40, 16384, -16384) + bytes(40), REFUSED),
        "huge.webp": (b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0" * 2 + bytes(40), REFUSED),
        "photo-named.mp4": (good, OK),
    }  # fmt: skip
    for name, (content, _) in contents.items():
        (real / name).write_bytes(content)
    return {name: outcome for name, (_, outcome) in contents.items()}


def _containers(real, images, faceless):
    few = images[::2]
    alpha = [np.dstack([image, np.full(image.shape[:2], 200, np.uint8)]) for image in few]
    encode(real / "good.mp4", images)
    encode(real / "room.mp4", faceless)
    encode(real / "moving.gif", [cv2.resize(image, (200, 150)) for image in few], codec="gif", pixels="rgb8", rate=10)
    encode(real / "vp8.webm", few, codec="libvpx")
    encode(real / "motion-jpeg.avi", few, codec="mjpeg", pixels="yuvj420p")
    encode(real / "alpha.mov", alpha, codec="png", pixels="rgba")
    encode(real / "gray.mkv", few, codec="ffv1", pixels="gray")
    encode(real / "ten-bit.mkv", few, codec="ffv1", pixels="yuv420p10le")
    encode(real / "stream.ts", images)
    encode(real / "one-frame.mp4", images[:1])
    for name, source in (("really-mp4.avi", "good.mp4"), ("really-webm.jpg", "vp8.webm")):
        (real / name).write_bytes((real / source).read_bytes())
    (real / "twice.mp4").write_bytes((real / "good.mp4").read_bytes() * 2)
    (real / "twice.ts").write_bytes((real / "stream.ts").read_bytes() * 2)
    names = (
        "good.mp4", "moving.gif", "vp8.webm", "motion-jpeg.avi", "alpha.mov", "gray.mkv", "ten-bit.mkv", "stream.ts",
        "really-mp4.avi", "really-webm.jpg", "twice.mp4", "twice.ts",
    )  # fmt: skip
    return {**dict.fromkeys(names, OK), "one-frame.mp4": TOO_FEW, "room.mp4": NO_FACE}


def _geometry(real, images, _faceless):
    turned = encode(real / "turned.mp4", [np.rot90(image).copy() for image in images[::2]])
    set_matrix(turned, 0, 1, -1, 0)
    height, width = images[0].shape[:2]
    odd = [cv2.resize(image, (width + 1, height + 1)) for image in images[::2]]
    encode(real / "odd-size.mkv", odd, codec="ffv1", pixels="yuv420p")
    narrow = [cv2.resize(image, (width // 2, height)) for image in images[::2]]
    encode(real / "anamorphic.mp4", narrow, aspect=Fraction(2, 1))
    gaps = [40 * k + (400 if k > 10 else 0) for k in range(20)]
    encode(real / "variable-rate.mp4", images[:20], times=gaps)
    encode(real / "too-long.mkv", images[:6], times=[0, 40, 80, 120, 160, 10_000_000])
    names = ("turned.mp4", "odd-size.mkv", "anamorphic.mp4", "variable-rate.mp4")
    return {**dict.fromkeys(names, OK), "too-long.mkv": TOO_LARGE}


def _headers(real, images, _faceless):
    good = (real / "good.mp4").read_bytes()

    def patched(name, box, offset, value, outcome, *, content=good):
        changed = bytearray(content)
        place = changed.index(box) + len(box) + offset
        changed[place : place + len(value)] = value
        (real / name).write_bytes(changed)
        return {name: outcome}

    avi = (real / "motion-jpeg.avi").read_bytes()
    gif = (real / "moving.gif").read_bytes()
    return {
        **patched("huge.gif", b"GIF89a", 0, b"\0\x40\0\x40", REFUSED, content=gif),
        **patched("no-size.mp4", b"avc1", 24, bytes(4), DAMAGED),
        **patched("huge-size.mp4", b"avc1", 24, b"\x40\0\x40\0", DAMAGED | {TOO_LARGE}),
        **patched("timescale-0.mp4", b"mdhd", 12, bytes(4), DAMAGED),
        **patched("no-duration.mp4", b"stts", 12, bytes(4), DAMAGED),
        **patched("negative-count.mp4", b"stsz", 8, b"\xff" * 4, DAMAGED),
        **patched("endless-box.mp4", b"moov", -8, b"\xff" * 4, DAMAGED),
        **patched("rate-0-0.avi", b"strh", 24, bytes(8), DAMAGED, content=avi),
        **patched("negative-count.avi", b"avih", 20, b"\xff" * 4, OK, content=avi),
    }


def _damaged(real, images, _faceless):
    outcomes = {}
    mp4 = (real / "good.mp4").read_bytes()
    mkv = encode(real / "whole.mkv", images).read_bytes()
    for tenth in (1, 3, 5, 9):
        (real / f"cut-{tenth}.mp4").write_bytes(mp4[: len(mp4) * tenth // 10])
        (real / f"cut-{tenth}.mkv").write_bytes(mkv[: len(mkv) * tenth // 10])
        outcomes |= {f"cut-{tenth}.mp4": UNREADABLE, f"cut-{tenth}.mkv": OK if tenth > 4 else DAMAGED}
    rng = np.random.default_rng(0)
    for name, content, start, end in (
        ("flipped-header.mp4", mp4, 0, 64),
        ("flipped-payload.mp4", mp4, 100, len(mp4) * 8 // 10),
        ("flipped-index.mp4", mp4, mp4.index(b"moov"), len(mp4)),
        ("flipped-header.mkv", mkv, 0, 64),
        ("flipped-payload.mkv", mkv, 1000, len(mkv)),
    ):
        changed = bytearray(content)
        for place in rng.integers(start, end, 40):
            changed[place] ^= 1 << int(rng.integers(8))
        (real / name).write_bytes(changed)
        outcomes[name] = DAMAGED | {TOO_LARGE}
    return {**outcomes, "whole.mkv": OK}


def _places(real, _images, _faceless):
    (real / "folder.mp4").mkdir()
    (real / "folder.mp4" / "inside.mp4").write_bytes(b"")
    (real / "loop.mp4").symlink_to(real / "loop.mp4")
    (real / "nowhere.mp4").symlink_to(real / "is-not-there.mp4")
    os.mkfifo(real / "pipe.mp4")
    (real / "locked.mp4").write_bytes((real / "good.mp4").read_bytes())
    (real / "locked.mp4").chmod(0)
    names = ("folder.mp4/inside.mp4", "loop.mp4", "nowhere.mp4", "pipe.mp4")
    return {**dict.fromkeys(names, UNREADABLE), "locked.mp4": OK if os.geteuid() == 0 else UNREADABLE}


def _names(real, _images, _faceless):
    names = ['it\'s "quoted", a;b|c \N{CLAPPER BOARD}.mp4', "two\nlines.mp4", "-rf.mp4", "concat:a.mp4"]
    for name in names:
        Path(real, name).write_bytes((real / "good.mp4").read_bytes())
    return dict.fromkeys(names, OK)
