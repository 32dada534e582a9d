"""What is judged is what a player shows: right values for kinds of video that are easily read wrongly.

All files are made here. The right values are FFmpeg's own: its program shows the same frames, sizes and times.
"""

import io
import math
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hostile_corpus import encode
from PIL import Image

from dfutils.errors import IncompleteError, UnreadableError
from dfutils.extraction.clips import extract_clips
from dfutils.extraction.colour import colour_transform
from dfutils.extraction.containers import ends_early
from dfutils.extraction.faces import face_detector
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.settings import ExtractionSettings

SETTINGS = ExtractionSettings(size=64)
RATE = 20
EMPTY_VOP = bytes.fromhex("000001b65060")
"""A P-VOP of MPEG-4 whose bit ``vop_coded`` is 0."""


def pattern(width=96, height=64):
    """An image that no turn or mirroring leaves as it is: the corners are black, red, green and white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, width // 2 :] = (255, 0, 0)
    image[height // 2 :, : width // 2] = (0, 255, 0)
    image[height // 2 :, width // 2 :] = (255, 255, 255)
    return image


def numbered(count, *, size=(96, 64), first=0):
    """Frames of different brightness: frame k of a video is 5k."""
    return [np.full((size[1], size[0], 3), 5 * (first + k), np.uint8) for k in range(count)]


def times_of(path):
    info = probe_video(path, SETTINGS)
    return info, [frame.time_seconds for frame in iter_frames(path, start_seconds=info.start_seconds)]


def brightness_of(path):
    info = probe_video(path, SETTINGS)
    return [float(frame.image().mean()) for frame in iter_frames(path, start_seconds=info.start_seconds)]


def remux(source, target, *, keep=lambda *_: True, shift=lambda *_: None, container=None):
    """Copy packets without encoding them again."""
    with av.open(str(source)) as old, av.open(str(target), "w", format=container) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            if keep(number, packet):
                shift(number, packet)
                packet.stream = stream
                new.mux(packet)
    return target


def set_matrix(path, a, b, c, d):
    """Write a display matrix into an MP4's track header (version 0)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    values = [round(one * 65536) for one in (a, b, 0, c, d, 0, 0, 0, 0)]
    content[start : start + 36] = struct.pack(">8iI", *values[:8], 1 << 30)
    path.write_bytes(content)
    return path


TURNS = {
    "as stored": ((1, 0, 0, 1), lambda image: image),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down by rows": ((1, 0, 0, -1), lambda image: image[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "a quarter clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "a quarter back": ((0, -1, 1, 0), np.rot90),
    "rows are columns": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "and mirrored twice": ((0, -1, -1, 0), lambda image: image.swapaxes(0, 1)[::-1, ::-1]),
    "enlarged": ((2, 0, 0, 2), lambda image: image),
}


@pytest.mark.parametrize("turn", TURNS)
def test_every_display_matrix_is_followed_pixel_for_pixel(turn, tmp_path):
    matrix, expected = TURNS[turn]
    plain = encode(tmp_path / "plain.mp4", [pattern()] * 3)
    stored = next(iter_frames(plain))
    turned = next(iter_frames(set_matrix(encode(tmp_path / "turned.mp4", [pattern()] * 3), *matrix)))
    assert np.array_equal(turned.image(), expected(stored.image()))
    assert np.array_equal(turned.luma(), expected(stored.luma()))
    assert turned.size == turned.image().shape[1::-1]


def test_a_film_that_is_mirrored_from_the_middle_on_is_shown_so(tmp_path):
    """A flip from top to bottom has the angle 0, as no matrix has."""
    plain = encode(tmp_path / "plain.h264", [pattern()] * 3)
    with av.open(str(plain)) as source:
        (stream,) = source.streams.video
        flip = av.BitStreamFilterContext("h264_metadata=display_orientation=insert:flip=vertical", stream)
        flipped = b"".join(
            bytes(one) for packet in source.demux(stream) for one in flip.filter(packet if packet.size else None)
        )
    (tmp_path / "both.h264").write_bytes(plain.read_bytes() + flipped)
    frames = [frame.image() for frame in iter_frames(tmp_path / "both.h264")]
    assert len(frames) == 6
    assert np.array_equal(frames[3], frames[0][::-1])
    assert not np.array_equal(frames[3], frames[0])


def test_an_odd_angle_turns_the_film_inside_its_frame(tmp_path):
    angle = math.radians(30)
    matrix = (math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle))
    path = set_matrix(encode(tmp_path / "odd.mp4", [pattern()] * 3), *matrix)
    frames = list(iter_frames(path))
    assert len(frames) == 3
    assert frames[0].size == (96, 64)
    image = frames[0].image()
    # What is stored at the right in the middle, between red and white, is shown 30 degrees further clockwise.
    across, down = 40 * math.cos(angle + 0.2), 40 * math.sin(angle + 0.2)
    assert image[round(32 + down), round(48 + across)].min() > 200
    assert image[round(32 + 40 * math.sin(angle - 0.2)), round(48 + 40 * math.cos(angle - 0.2))].tolist()[1] < 90


HDR_WHITE = 203  # cd/m², by BT.2408


def encoded(light, kind):
    """Return the code value of gray light, where 1 is white, in HLG or PQ."""
    if kind == "pq":
        powered = (light * HDR_WHITE / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    scene = (light * HDR_WHITE / 1000) ** (1 / 1.2)
    return math.sqrt(3 * scene) if scene <= 1 / 12 else 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073


@pytest.mark.parametrize(("kind", "transfer"), [("pq", 16), ("hlg", 18)])
def test_hdr_is_shown_as_bright_as_the_same_light_in_sdr(kind, transfer, tmp_path):
    shown = np.linspace(20, 235, 12).round()
    light = (shown / 255) ** 2.4
    coded = np.array([encoded(one, kind) for one in light])
    image = np.repeat(np.repeat((coded * 65535)[None, :, None], 64, 0), 8, 1).repeat(3, 2).astype(np.uint16)
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv444p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb48le").reformat(
            format="yuv444p10le", dst_colorspace=9, dst_color_range=1
        )
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    row = next(iter_frames(path)).image()[32, 4::8].astype(float)
    assert row == pytest.approx(shown[:, None].repeat(3, 1), abs=6)  # 10 bits of PQ are two of 8 in the shadows


def test_light_brighter_than_white_keeps_its_order_and_hue():
    colours = colour_transform(16, 9)
    code = lambda light: round(65535 * encoded(light, "pq"))  # noqa: E731
    orange = np.array([[[code(one), code(one / 2), code(one / 4)] for one in (0.5, 1, 2, 4)]], np.uint16)
    shown = colours.to_srgb(orange)[0].astype(int)
    assert np.all(np.diff(shown[:, 0]) > 0)
    linear = (shown / 255) ** 2.4
    assert linear[:, 1] / linear[:, 0] == pytest.approx(np.full(4, linear[0, 1] / linear[0, 0]), rel=0.05)


def test_wide_primaries_of_an_ordinary_transfer_are_converted():
    # The reddest red of sRGB, as Display P3 codes it; white; gray.
    codes = np.array([[[0.9218, 0.2420, 0.1835], [1, 1, 1], [0.5, 0.5, 0.5]]])
    shown = colour_transform(1, 12).to_srgb((codes * 65535).astype(np.uint16))[0].astype(int)
    assert np.abs(shown - [[255, 0, 0], [255, 255, 255], [128, 128, 128]]).max() <= 2
    assert colour_transform(1, 1) is None


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    """As phones trim: 50 frames are stored, of which 20 in the middle are shown."""
    whole = encode(tmp_path / "whole.mp4", numbered(50))
    content = bytearray(whole.read_bytes())
    place = content.index(b"elst") + 4
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 4 + 12)[0]
    start = struct.unpack_from(">i", content, place + 12)[0]
    struct.pack_into(">Ii", content, place + 8, 1000, start + 25 * scale // RATE)  # 20 frames, after 25
    whole.write_bytes(content)
    info, times = times_of(whole)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert info.times_seconds == pytest.approx(times)
    assert (info.duration_seconds, info.fps) == pytest.approx((1.0, RATE))
    assert brightness_of(whole)[0] == pytest.approx(125, abs=3)


def test_several_edits_follow_each_other_without_a_gap(tmp_path):
    """Two parts of half a second each: the frames that lead up to the second one are stored, but hidden."""
    path = tmp_path / "edited.mp4"
    content = encode(path, numbered(50)).read_bytes()
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 4 + 12)[0]
    start = struct.unpack_from(">i", content, content.index(b"elst") + 4 + 12)[0]
    edits = [(500, start + 30 * scale // RATE), (500, start + 5 * scale // RATE)]
    old = content.index(b"elst") - 4
    new = struct.pack(">I4sII", 16 + 12 * len(edits), b"elst", 0, len(edits))
    new += b"".join(struct.pack(">IiI", *edit, 1 << 16) for edit in edits)
    changed = bytearray(content)
    changed[old : old + struct.unpack_from(">I", content, old)[0]] = new
    for box in (b"moov", b"trak", b"edts"):  # each holds the list, and has grown with it
        place = changed.index(box) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", changed, place)[0] + 12)
    path.write_bytes(changed)
    info, times = times_of(path)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert info.times_seconds == pytest.approx(times)
    shown = brightness_of(path)
    assert (shown[0], shown[10]) == (pytest.approx(150, abs=3), pytest.approx(25, abs=3))


def test_side_data_that_pyav_does_not_know_does_no_harm(tmp_path):
    """Cameras write EXIF into every frame of Motion JPEG."""
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    path = tmp_path / "camera.avi"
    frames = []
    for image in numbered(10):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", exif=exif)
        frames.append(buffer.getvalue())
    encode(path, numbered(10), codec="mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as old, av.open(str(tmp_path / "exif.avi"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet, content in zip((one for one in old.demux(video=0) if one.size), frames, strict=True):
            replaced = av.Packet(content)
            replaced.pts, replaced.dts, replaced.time_base = packet.pts, packet.dts, packet.time_base
            replaced.stream, replaced.is_keyframe = stream, True
            new.mux(replaced)
    assert brightness_of(tmp_path / "exif.avi") == pytest.approx([5 * k for k in range(10)], abs=3)


def test_the_decoder_never_waits_for_the_interpreter():
    """With a callback for its log, one that is closed while its threads complain would wait for ever."""
    assert av.logging.get_level() is None


def test_a_recording_that_begins_between_key_frames_begins_with_the_first_that_can_be_shown(tmp_path):
    whole = encode(tmp_path / "whole.ts", numbered(50), container="mpegts", options={"g": "30", "sc_threshold": "0"})
    late = remux(whole, tmp_path / "late.ts", keep=lambda number, _: number >= 10, container="mpegts")
    info, times = times_of(late)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert info.times_seconds == pytest.approx(times)
    assert brightness_of(late)[0] == pytest.approx(150, abs=3)


@pytest.mark.parametrize("name", ["reordered.avi", "reordered.asf"])
def test_reordered_frames_without_display_times_are_shown_in_order(name, tmp_path):
    """AVI and ASF store no display times."""
    path = encode(tmp_path / name, numbered(40), options={"bf": "3", "b_strategy": "0", "g": "20"})
    info, times = times_of(path)
    assert len(info.times_seconds) == 40
    assert times == pytest.approx([k / RATE for k in range(40)])
    assert info.times_seconds == pytest.approx(times)
    assert brightness_of(path) == pytest.approx([5 * k for k in range(40)], abs=3)


def test_packets_of_an_avi_that_give_no_frame_do_not_shift_the_others(tmp_path):
    """An empty VOP, which encoders write for a frame that equals the one before, is decoded to nothing."""
    source = encode(tmp_path / "source.avi", numbered(40), codec="mpeg4")
    with av.open(str(source)) as old, av.open(str(tmp_path / "empty.avi"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(one for one in old.demux(video=0) if one.size):
            replaced = packet
            if number % 12 and number % 4 == 0:
                replaced = av.Packet(EMPTY_VOP)
                replaced.pts, replaced.dts, replaced.time_base = packet.pts, packet.dts, packet.time_base
            replaced.stream = stream
            new.mux(replaced)
    _, times = times_of(tmp_path / "empty.avi")
    assert times == pytest.approx([k / RATE for k in range(40) if k % 12 == 0 or k % 4])


@pytest.mark.parametrize("name", ["late.avi", "late.264"])
def test_without_display_times_a_stream_starts_at_its_first_keyframe_too(name, tmp_path):
    whole = encode(
        tmp_path / f"whole{name[4:]}",
        numbered(40),
        container="h264" if name.endswith("264") else None,
        options={"g": "20", "sc_threshold": "0", "bf": "0"},
    )
    if name.endswith("264"):  # cut in the middle of the first group
        content = whole.read_bytes()
        units = [place for place in range(len(content)) if content.startswith(b"\0\0\1", place)]
        late = tmp_path / name
        late.write_bytes(content[units[8] :])
        info = probe_video(late, SETTINGS)
        times = [frame.time_seconds for frame in iter_frames(late, start_seconds=info.start_seconds)]
        expected = [k / 25 for k in range(20)]  # FFmpeg's rate for a stream that has none
    else:
        late = remux(whole, tmp_path / name, keep=lambda number, _: number >= 14)
        info, times = times_of(late)
        expected = [k / RATE for k in range(20)]
    assert times == pytest.approx(expected, rel=1e-3)
    assert info.times_seconds == pytest.approx(times, rel=1e-3)


def test_a_frame_that_is_held_for_long_with_reordering_is_no_new_recording(tmp_path):
    milliseconds = [40 * k + (15_000 if k >= 20 else 0) for k in range(40)]
    options = {"bf": "3", "b_strategy": "0", "g": "250"}
    source = encode(tmp_path / "held.mp4", numbered(40), times=milliseconds, options=options)
    info, times = times_of(remux(source, tmp_path / "held.ts", container="mpegts"))
    assert times == pytest.approx([time / 1000 for time in milliseconds], abs=1e-3)
    assert info.times_seconds == pytest.approx(times)


@pytest.mark.parametrize("offsets", [(0, 5000), (5000, 0), (0, 0), (0, 20, 0)], ids=str)
def test_joined_recordings_have_one_clock_without_gaps(offsets, tmp_path):
    joined = b""
    for number, offset in enumerate(offsets):
        part = encode(tmp_path / f"{number}.ts", numbered(20, first=20 * (number % 2)), container="mpegts")
        move = lambda _, packet, offset=offset: (  # noqa: E731
            setattr(packet, "pts", packet.pts + offset * 90_000),
            setattr(packet, "dts", packet.dts + offset * 90_000),
        )
        joined += remux(part, tmp_path / f"{number}-moved.ts", shift=move, container="mpegts").read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(joined)
    info, times = times_of(path)
    assert times == pytest.approx([k / RATE for k in range(20 * len(offsets))], abs=1e-4)
    assert info.times_seconds == pytest.approx(times)
    assert info.duration_seconds == pytest.approx(len(offsets))
    assert brightness_of(path)[20] == pytest.approx(100, abs=3)


def boxes(content, start, end):
    while start < end:
        length = struct.unpack_from(">I", content, start)[0]
        yield content[start + 4 : start + 8], start, start + length
        start += length


@pytest.mark.parametrize("name", ["screen.webm", "screen.mkv"])
def test_a_screen_recording_keeps_its_long_pauses(name, tmp_path):
    """Matroska cannot be joined by appending: there, a long step is a frame that is shown for long."""
    steps = [0, 50, 100, 20_000, 20_050, 20_100, 40_000]
    codec = "libvpx" if name.endswith("webm") else "libx264"
    info, times = times_of(encode(tmp_path / name, numbered(7), codec=codec, times=steps))
    assert times == pytest.approx([step / 1000 for step in steps], abs=2e-3)
    assert info.times_seconds == pytest.approx(times)
    assert info.cut_off == ""


@pytest.mark.parametrize("is_first", [False, True], ids=["behind the film", "before it"])
def test_the_film_is_shown_and_not_its_cover(is_first, tmp_path):
    film, path = encode(tmp_path / "film.mp4", numbered(30)), tmp_path / "covered.mp4"
    with av.open(str(film)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        picture = new.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 400, 400, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in picture.encode(av.VideoFrame.from_ndarray(np.full((400, 400, 3), 255, np.uint8))):
            new.mux(packet)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    if is_first:  # as taggers write it: the box that holds the cover stands before those of the tracks
        content = path.read_bytes()
        ((_, start, end),) = [box for box in boxes(content, 0, len(content)) if box[0] == b"moov"]
        order = {b"mvhd": 0, b"udta": 1}
        inner = sorted(boxes(content, start + 8, end), key=lambda box: order.get(box[0], 2))
        assert any(kind == b"udta" for kind, *_ in inner)
        path.write_bytes(content[: start + 8] + b"".join(content[one:two] for _, one, two in inner) + content[end:])
    info, times = times_of(path)
    assert (info.width, info.height, len(times)) == (96, 64, 30)


@pytest.mark.parametrize("name", ["cover.avi", "cover.mkv", "cover.ts"])
def test_unmarked_cover_art_is_recognised_by_its_few_frames(name, tmp_path):
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        cover, film = output.add_stream("mpeg4", rate=RATE), output.add_stream("mpeg4", rate=RATE)
        cover.width, cover.height, cover.pix_fmt = 480, 480, "yuv420p"
        film.width, film.height, film.pix_fmt = 96, 64, "yuv420p"
        for stream, images in ((cover, numbered(2, size=(480, 480))), (film, numbered(30))):
            for image in images:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image).reformat(format=stream.pix_fmt)))
            output.mux(stream.encode())
    info, times = times_of(path)
    assert (info.width, info.height, len(times)) == (96, 64, 30)


def test_of_two_films_the_default_one_is_shown_and_else_the_largest(tmp_path):
    def two(path, defaults):
        with av.open(str(path), "w") as output:
            streams = []
            for (width, height), is_default in zip(((32, 32), (96, 64)), defaults, strict=True):
                stream = output.add_stream("mpeg4", rate=RATE)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.disposition = av.stream.Disposition.default if is_default else av.stream.Disposition(0)
                streams.append(stream)
            for stream in streams:
                for image in numbered(10, size=(stream.width, stream.height)):
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
                output.mux(stream.encode())
        return next(iter_frames(path)).size

    assert two(tmp_path / "a.mkv", (False, True)) == (96, 64)
    assert two(tmp_path / "b.mkv", (True, False)) == (32, 32)
    assert two(tmp_path / "c.mkv", (True, True)) == (96, 64)
    assert two(tmp_path / "d.mkv", (False, False)) == (96, 64)


def test_a_change_of_the_pixel_aspect_is_followed(tmp_path):
    square, wide = (
        encode(tmp_path / f"{number}.ts", [pattern()] * 10, container="mpegts", aspect=aspect).read_bytes()
        for number, aspect in enumerate((Fraction(1), Fraction(2)))
    )
    path = tmp_path / "joined.ts"
    path.write_bytes(square + wide)
    frames = list(iter_frames(path))
    assert {frame.size for frame in frames} == {(96, 64)}
    assert frames[0].image().shape == (64, 96, 3)
    last = frames[-1].image()
    assert last[4, 48].max() < 30  # above it, a bar: 192 x 64 in square pixels fit as 96 x 32
    assert last[40, 80].min() > 200


def test_a_held_last_frame_lasts_as_long_as_its_packet(tmp_path):
    source = encode(tmp_path / "source.mp4", numbered(20))

    def hold(number, packet):
        if number == 19:
            packet.duration = round(3 / packet.time_base)

    info, _ = times_of(remux(source, tmp_path / "held.mp4", shift=hold))
    assert info.duration_seconds == pytest.approx(19 / RATE + 3, rel=1e-3)


def test_interlaced_frames_are_deinterlaced(tmp_path):
    """A bar moves between the two fields of a frame, whose rows then alternate at its edges."""
    fields = [np.full((64, 96, 3), 20, np.uint8) for _ in range(20)]
    for number, image in enumerate(fields):
        image[:, 4 * number : 4 * number + 12] = 220
    path = tmp_path / "interlaced.mpg"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"flags": "+ildct+ilme", "q": "2"}
        for top, bottom in zip(fields[::2], fields[1::2], strict=True):
            woven = top.copy()
            woven[1::2] = bottom[1::2]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(woven).reformat(format="yuv420p")))
        output.mux(stream.encode())

    def comb(image):
        gray = image[..., 1].astype(float)
        return np.abs(gray[1:-1] - (gray[:-2] + gray[2:]) / 2).mean()

    with av.open(str(path)) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = list(iter_frames(path))
    shown = [frame.image() for frame in frames]
    assert len(shown) == len(stored) == 10
    assert [frame.time_seconds for frame in frames] == pytest.approx([k / 25 for k in range(10)], abs=1e-3)
    assert comb(stored[5]) > 10
    assert comb(shown[5]) < 0.3 * comb(stored[5])


def test_a_stream_that_changes_its_size_is_shown_at_one_scale(tmp_path):
    large, small = (
        [cv2.resize(pattern(), size, interpolation=cv2.INTER_NEAREST)] * 10 for size in ((192, 128), (96, 64))
    )
    joined = b"".join(
        encode(tmp_path / f"{number}.ts", images, container="mpegts").read_bytes()
        for number, images in enumerate((large, small))
    )
    path = tmp_path / "sizes.ts"
    path.write_bytes(joined)
    frames = list(iter_frames(path))
    assert {frame.size for frame in frames} == {(192, 128)}
    images = [frame.image().astype(int) for frame in frames]
    assert {image.shape for image in images} == {(128, 192, 3)}
    assert np.abs(images[-1] - images[0]).mean() < 12
    assert frames[-1].luma().shape == (128, 192)
    wide = encode(tmp_path / "wide.ts", [np.full((64, 64, 3), 200, np.uint8)] * 10, container="mpegts").read_bytes()
    path.write_bytes((tmp_path / "0.ts").read_bytes() + wide)
    last = list(iter_frames(path))[-1].image(longest_side=96)
    assert last.shape == (64, 96, 3)
    assert last[32, 48].min() > 180  # in the middle, with its own shape,
    assert last[32, 2].max() < 30  # between bars


@pytest.mark.parametrize(
    "name",
    [
        *("clip.mkv", "clip.avi", "clip.flv", "clip.wmv", "clip.mxf", "clip.ogv"),
        *("fragments.mp4", "first_fragment.mp4", "index_first.mp4", "open_end.mp4"),
    ],
)
def test_a_file_that_was_cut_off_says_how_much_of_it_is_there(name, tmp_path, demo_videos):
    path = tmp_path / name
    options = {
        "fragments.mp4": "frag_every_frame+empty_moov",
        "first_fragment.mp4": "frag_custom",
        "index_first.mp4": "faststart",
        "open_end.mp4": "faststart",
    }
    codec = {
        ".avi": ("mjpeg", "yuvj420p"),
        ".wmv": ("wmv2", "yuv420p"),
        ".mxf": ("mpeg2video", "yuv420p"),
        ".ogv": ("libvpx", "yuv420p"),
    }.get(path.suffix)
    with (
        av.open(str(demo_videos[0])) as old,
        av.open(str(path), "w", options={"movflags": options.get(name, "")}) as new,
    ):
        if codec:
            own = old.streams.video[0]
            stream = new.add_stream(codec[0], rate=25)
            stream.width, stream.height, stream.pix_fmt = own.width, own.height, codec[1]
            for frame in old.decode(video=0):
                new.mux(stream.encode(frame.reformat(format=codec[1])))
            new.mux(stream.encode())
        else:
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    detector = face_detector(SETTINGS.min_detection_score)
    whole = extract_clips(path, SETTINGS, detector).info
    assert whole.cut_off == ""
    content = bytearray(path.read_bytes())
    if name == "open_end.mp4":  # a box of length 0 extends to the end of the file, wherever that is
        place = content.index(b"mdat") - 4
        content[place : place + 4] = bytes(4)
    path.write_bytes(content[: path.stat().st_size * 7 // 10])
    info = extract_clips(path, SETTINGS, detector).info
    assert info.duration_seconds < 0.9 * whole.duration_seconds
    if name in (
        "fragments.mp4",
        "first_fragment.mp4",
        "clip.wmv",
        "clip.ogv",
    ):  # for which FFmpeg does not tell the length that was meant
        assert info.cut_off == f"the file ends early, after {info.duration_seconds:.1f} s"
    else:
        assert info.declared_seconds == pytest.approx(whole.duration_seconds, abs=0.15)
        assert info.cut_off == f"the file ends after {info.duration_seconds:.1f} of {info.declared_seconds:.1f} s"
    with pytest.raises(IncompleteError, match="the file ends"):
        extract_clips(path, SETTINGS.model_copy(update={"incomplete": "skip"}), detector)


def test_a_codec_that_nobody_knows_is_named_as_the_reason(tmp_path):
    path = encode(tmp_path / "odd.avi", numbered(5), codec="mjpeg", pixels="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"Q9Z7"))
    with pytest.raises(UnreadableError, match="no decoder is known for its video codec"):
        probe_video(path, SETTINGS)


def test_fragments_before_an_open_box_are_whole(tmp_path):
    path = tmp_path / "fragments.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_every_frame+empty_moov+skip_trailer"}) as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for image in numbered(10):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode())
    content = bytearray(path.read_bytes())
    place = content.rindex(b"mdat") - 4
    assert place + struct.unpack_from(">I", content, place)[0] == len(content)
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    assert not ends_early(path)
    path.write_bytes(content[:place] + bytes.fromhex("00010000") + content[place + 4 :])
    assert ends_early(path)


def test_the_second_part_of_a_large_avi_may_be_cut_off_too(tmp_path):
    path = encode(tmp_path / "large.avi", numbered(20), codec="mjpeg", pixels="yuvj420p")
    content = path.read_bytes()
    second = b"AVIXLIST" + struct.pack("<I", 1004) + b"movi" + bytes(1000)
    for declared, is_cut in ((len(second), False), (len(second) + 50_000, True)):
        path.write_bytes(content + b"RIFF" + struct.pack("<I", declared) + second)
        assert ends_early(path) is is_cut


def test_a_live_recording_in_flv_with_sound_is_cut_off_in_the_middle_of_a_tag(tmp_path):
    path = with_sound(tmp_path / "live.flv", codec="flv", sound_frames=50)
    assert not probe_video(path, SETTINGS).is_truncated
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert probe_video(path, SETTINGS).is_truncated


def test_a_slow_video_with_reordered_frames_is_whole(tmp_path):
    """FLV counts its duration from the first decoding time, which is long before the first display time here."""
    path = encode(tmp_path / "slow.flv", numbered(20), rate=1, options={"bf": "3", "b_strategy": "0"})
    info, times = times_of(path)
    assert (info.duration_seconds, info.cut_off) == (pytest.approx(20), "")
    assert times == pytest.approx([*range(20)])


def test_a_file_whose_end_is_empty_says_so_too(tmp_path, demo_videos):
    """As downloads that reserve their space first."""
    path = tmp_path / "reserved.mp4"
    with av.open(str(demo_videos[0])) as old, av.open(str(path), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    info = extract_clips(path, SETTINGS, face_detector(SETTINGS.min_detection_score)).info
    assert info.cut_off.startswith("the file ends after")


def test_sound_with_a_cover_is_not_a_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("aac", rate=44100)
        picture = output.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))):
            output.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = 44100, Fraction(1, 44100)
        output.mux(sound.encode(frame))
        output.mux(sound.encode())
    with pytest.raises(UnreadableError, match="only cover art"):
        probe_video(path, SETTINGS)


@pytest.mark.parametrize("rate", [1, 120])
def test_slow_and_fast_videos_keep_their_own_times(rate, tmp_path):
    info, times = times_of(encode(tmp_path / "clip.mp4", numbered(12), rate=rate))
    assert times == pytest.approx([k / rate for k in range(12)])
    assert (info.fps, info.duration_seconds) == pytest.approx((rate, 12 / rate))


def test_an_avi_without_its_index_is_whole(tmp_path):
    path = encode(tmp_path / "clip.avi", numbered(20), codec="mjpeg", pixels="yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    info, times = times_of(path)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert info.cut_off == ""


@pytest.mark.parametrize("matrix", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
@pytest.mark.parametrize("is_full", [False, True], ids=["video range", "full range"])
def test_every_colour_matrix_and_range_gives_the_same_picture(matrix, is_full, tmp_path):
    """The pattern is coded with one matrix and range, and says so."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if is_full else 1
        frame = av.VideoFrame.from_ndarray(pattern()).reformat(
            format="yuv444p", dst_colorspace=matrix, dst_color_range=2 if is_full else 1
        )
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert np.abs(next(iter_frames(path)).image().astype(int) - pattern()).max() <= 3


def test_ten_bits_and_four_k_are_read(tmp_path):
    path = encode(tmp_path / "deep.mkv", [pattern()] * 3, codec="libx265", pixels="yuv420p10le")
    image = next(iter_frames(path)).image().astype(int)
    assert np.abs(image - pattern()).mean() < 8
    assert next(iter_frames(path)).luma().shape == (64, 96)
    large = encode(tmp_path / "large.mp4", [cv2.resize(pattern(), (3840, 2160))] * 2)
    assert probe_video(large, SETTINGS).width == 3840
    assert next(iter_frames(large)).image(longest_side=640).shape == (360, 640, 3)


def test_everybody_in_a_conference_is_followed(tmp_path, demo_videos):
    heads = [
        [cv2.resize(frame.image(), (240, 180), interpolation=cv2.INTER_AREA) for frame in iter_frames(video)][:30]
        for video in demo_videos[:9]
    ]
    grid = [
        np.vstack([np.hstack([heads[3 * row + column][k] for column in range(3)]) for row in range(3)])
        for k in range(30)
    ]
    path = encode(tmp_path / "conference.mp4", grid, rate=10)
    settings = SETTINGS.model_copy(update={"tracks": "all"})
    assert len(extract_clips(path, settings, face_detector(settings.min_detection_score)).clips) == 9


def with_sound(path, *, codec, sound_frames):
    """A second of film, with silence in frames of 23 ms."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = output.add_stream("aac", rate=44100)
        for image in numbered(20):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode())
        for number in range(sound_frames):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 1024 * number, Fraction(1, 44100)
            output.mux(sound.encode(frame))
        output.mux(sound.encode())
    return path


@pytest.mark.parametrize("name", ["clip.wmv", "clip.mp4", "clip.mkv", "clip.flv"])
def test_a_whole_file_with_longer_sound_is_not_said_to_be_truncated(name, tmp_path):
    path = with_sound(tmp_path / name, codec="flv" if name.endswith("flv") else "mpeg4", sound_frames=300)
    info, _ = times_of(path)
    assert info.duration_seconds == pytest.approx(1, rel=0.06)
    assert info.cut_off == ""
