"""What is judged is what a player shows: right values for kinds of video that are easily read wrongly.

All files are made here. The right values are FFmpeg's own: its program shows the same frames, sizes and times.
"""

import io
import itertools
import math
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hostile_corpus import encode, set_matrix
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
MOTION_JPEG = {"codec": "mjpeg", "pixels": "yuvj420p"}
PLAIN, DEFAULT = av.stream.Disposition(0), av.stream.Disposition.default
COVER = av.stream.Disposition.attached_pic


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


def play(path):
    """Return the probed facts, and time and brightness of each frame shown; probing must give the same times."""
    info = probe_video(path, SETTINGS)
    shown = [(one.time_seconds, one.image().mean()) for one in iter_frames(path, start_seconds=info.start_seconds)]
    times, brightness = zip(*shown, strict=True)
    assert info.times_seconds == pytest.approx(times)
    return info, times, brightness


def remux(source, target, change=lambda _, packet: packet, *, muxing=None):
    """Copy packets without encoding them again; ``change(number, packet)`` may replace one, or leave it out by None."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=muxing or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(one for one in old.demux(video=0) if one.size):
            changed = change(number, packet)
            if changed is not None:
                changed.stream = stream
                new.mux(changed)
    return target


def holding(packet, content):
    """Return a packet with the times of another one."""
    new = av.Packet(content)
    new.pts, new.dts, new.time_base, new.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
    return new


def join(path, *parts):
    """Append files to each other, as recordings in MPEG-TS may be."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def write_films(path, *films, sound_frames=0):
    """Write films, each given by images, codec and disposition, and silence in frames of 23 ms."""
    with av.open(str(path), "w") as output:
        streams = [output.add_stream(codec, rate=RATE) for _, codec, _ in films]
        for stream, (images, codec, disposition) in zip(streams, films, strict=True):
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
        sound = output.add_stream("aac", rate=44100) if sound_frames else None
        for stream, (images, _, _) in zip(streams, films, strict=True):
            for image in images:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            output.mux(stream.encode())
        for number in range(sound_frames):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 1024 * number, Fraction(1, 44100)
            output.mux(sound.encode(frame))
        if sound:
            output.mux(sound.encode())
    return path


def shown_coloured(path, frame, *, pixels, matrix, is_full=False, transfer=2, primaries=2):
    """Code a frame without loss as its stream says, and return the image shown; 2 leaves a property open."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pixels
        context, range_of = stream.codec_context, 2 if is_full else 1
        context.color_trc, context.color_primaries = transfer, primaries
        context.colorspace, context.color_range = matrix, range_of
        output.mux(stream.encode(frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=range_of)))
        output.mux(stream.encode())
    return next(iter_frames(path)).image()


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
    path = encode(tmp_path / "phone.mp4", [pattern()] * 3)
    stored = next(iter_frames(path))
    turned = next(iter_frames(set_matrix(path, *matrix)))
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
    frames = list(iter_frames(set_matrix(encode(tmp_path / "odd.mp4", [pattern()] * 3), *matrix)))
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
    coded = np.array([encoded(one, kind) for one in (shown / 255) ** 2.4])
    image = np.repeat(np.repeat((coded * 65535)[None, :, None], 64, 0), 8, 1).repeat(3, 2).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
    properties = {"pixels": "yuv444p10le", "matrix": 9, "transfer": transfer, "primaries": 9}
    row = shown_coloured(tmp_path / "hdr.mkv", frame, **properties)[32, 4::8].astype(float)
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


@pytest.mark.parametrize("matrix", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
@pytest.mark.parametrize("is_full", [False, True], ids=["video range", "full range"])
def test_every_colour_matrix_and_range_gives_the_same_picture(matrix, is_full, tmp_path):
    frame = av.VideoFrame.from_ndarray(pattern())
    shown = shown_coloured(tmp_path / "clip.mkv", frame, pixels="yuv444p", matrix=matrix, is_full=is_full)
    assert np.abs(shown.astype(int) - pattern()).max() <= 3


def test_ten_bits_and_four_k_are_read(tmp_path):
    path = encode(tmp_path / "deep.mkv", [pattern()] * 3, codec="libx265", pixels="yuv420p10le")
    frame = next(iter_frames(path))
    assert np.abs(frame.image().astype(int) - pattern()).mean() < 8
    assert frame.luma().shape == (64, 96)
    large = encode(tmp_path / "large.mp4", [cv2.resize(pattern(), (3840, 2160))] * 2)
    assert probe_video(large, SETTINGS).width == 3840
    assert next(iter_frames(large)).image(longest_side=640).shape == (360, 640, 3)


@pytest.mark.parametrize(
    ("edits", "first", "middle"),
    [([(25, 20)], 125, 175), ([(30, 10), (5, 10)], 150, 25)],
    ids=["trimmed", "two parts"],
)
def test_frames_that_an_edit_list_hides_do_not_count(edits, first, middle, tmp_path):
    """As phones trim: of 50 stored frames, one or two parts are shown, given by the first frame and their number."""
    path = encode(tmp_path / "edited.mp4", numbered(50))
    content = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 4 + 12)[0]
    old = content.index(b"elst") - 4
    length, _, _, _, _, start = struct.unpack_from(">I4sIIIi", content, old)
    new = struct.pack(">I4sII", 16 + 12 * len(edits), b"elst", 0, len(edits))
    for frame, count in edits:
        new += struct.pack(">IiI", 1000 * count // RATE, start + frame * scale // RATE, 1 << 16)
    content[old : old + length] = new
    for box in (b"moov", b"trak", b"edts"):  # each holds the list, and has grown with it
        place = content.index(box) - 4
        struct.pack_into(">I", content, place, struct.unpack_from(">I", content, place)[0] + len(new) - length)
    path.write_bytes(content)
    info, times, brightness = play(path)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert (info.duration_seconds, info.fps) == pytest.approx((1.0, RATE))
    assert (brightness[0], brightness[10]) == pytest.approx((first, middle), abs=3)


def test_side_data_that_pyav_does_not_know_does_no_harm(tmp_path):
    """Cameras write EXIF into every frame of Motion JPEG."""
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    frames = [io.BytesIO() for _ in range(10)]
    for image, buffer in zip(numbered(10), frames, strict=True):
        Image.fromarray(image).save(buffer, "JPEG", exif=exif)
    plain = encode(tmp_path / "plain.avi", numbered(10), **MOTION_JPEG)
    path = remux(plain, tmp_path / "exif.avi", lambda number, packet: holding(packet, frames[number].getvalue()))
    assert play(path)[2] == pytest.approx([5 * k for k in range(10)], abs=3)


def test_the_decoder_never_waits_for_the_interpreter():
    """With a callback for its log, one that is closed while its threads complain would wait for ever."""
    assert av.logging.get_level() is None


@pytest.mark.parametrize("name", ["late.ts", "late.avi", "late.264"])
def test_a_recording_that_begins_between_key_frames_begins_with_the_first_that_can_be_shown(name, tmp_path):
    options = {"g": "20", "sc_threshold": "0", "bf": "3" if name == "late.ts" else "0"}
    whole = encode(tmp_path / f"whole-{name}", numbered(40), options=options)
    _, times, brightness = play(remux(whole, tmp_path / name, lambda number, packet: packet if number >= 14 else None))
    rate = 25 if name == "late.264" else RATE  # FFmpeg's, for a stream that has none
    assert times == pytest.approx([k / rate for k in range(20)], rel=1e-3)
    assert brightness[0] == pytest.approx(100, abs=3)


@pytest.mark.parametrize("name", ["reordered.avi", "reordered.asf"])
def test_reordered_frames_without_display_times_are_shown_in_order(name, tmp_path):
    """AVI and ASF store no display times."""
    path = encode(tmp_path / name, numbered(40), options={"bf": "3", "b_strategy": "0", "g": "20"})
    _, times, brightness = play(path)
    assert times == pytest.approx([k / RATE for k in range(40)])
    assert brightness == pytest.approx([5 * k for k in range(40)], abs=3)


def test_packets_of_an_avi_that_give_no_frame_do_not_shift_the_others(tmp_path):
    """An empty VOP, which encoders write for a frame that equals the one before, is decoded to nothing."""
    empty = bytes.fromhex("000001b65060")  # a P-VOP of MPEG-4 whose bit ``vop_coded`` is 0
    is_empty = lambda number: bool(number % 12 and number % 4 == 0)  # noqa: E731
    path = remux(
        encode(tmp_path / "source.avi", numbered(40), codec="mpeg4"),
        tmp_path / "empty.avi",
        lambda number, packet: holding(packet, empty) if is_empty(number) else packet,
    )
    times = [frame.time_seconds for frame in iter_frames(path)]
    assert times == pytest.approx([k / RATE for k in range(40) if not is_empty(k)])


def test_a_frame_that_is_held_for_long_with_reordering_is_no_new_recording(tmp_path):
    milliseconds = [40 * k + (15_000 if k >= 20 else 0) for k in range(40)]
    options = {"bf": "3", "b_strategy": "0", "g": "250"}
    source = encode(tmp_path / "held.mp4", numbered(40), times=milliseconds, options=options)
    _, times, _ = play(remux(source, tmp_path / "held.ts"))
    assert times == pytest.approx([time / 1000 for time in milliseconds], abs=1e-3)


@pytest.mark.parametrize("offsets", [(0, 0), (5000, 0, 20)], ids=str)
def test_joined_recordings_have_one_clock_without_gaps(offsets, tmp_path):
    parts = [
        encode(
            tmp_path / f"{number}.ts",
            numbered(20, first=20 * (number % 2)),
            muxing={"output_ts_offset": str(offset)},
        )
        for number, offset in enumerate(offsets)
    ]
    info, times, brightness = play(join(tmp_path / "joined.ts", *parts))
    assert times == pytest.approx([k / RATE for k in range(20 * len(offsets))], abs=1e-4)
    assert info.duration_seconds == pytest.approx(len(offsets))
    assert brightness[20] == pytest.approx(100, abs=3)


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.mkv", "libx264"), ("a.mp4", "libx264")])
def test_a_screen_recording_keeps_its_long_pauses(name, codec, tmp_path):
    """These containers cannot be joined by appending: there, a long step is a frame that is shown for long."""
    steps = [0, 50, 60, 20_000, 20_050, 20_100, 40_000]
    info, times, _ = play(encode(tmp_path / name, numbered(7), codec=codec, times=steps))
    assert times == pytest.approx([step / 1000 for step in steps], abs=2e-3)
    assert info.cut_off == ""


@pytest.mark.parametrize("is_first", [False, True], ids=["behind the film", "before it"])
def test_the_film_is_shown_and_not_its_cover(is_first, tmp_path):
    cover = np.full((400, 400, 3), 255, np.uint8)
    path = write_films(tmp_path / "covered.mp4", (numbered(30), "mpeg4", PLAIN), ([cover], "mjpeg", COVER))

    def boxes(content, start, end):
        while start < end:
            length = struct.unpack_from(">I", content, start)[0]
            yield content[start + 4 : start + 8], start, start + length
            start += length

    if is_first:  # as taggers write it: the box that holds the cover stands before those of the tracks
        content = path.read_bytes()
        ((_, start, end),) = [box for box in boxes(content, 0, len(content)) if box[0] == b"moov"]
        order = {b"mvhd": 0, b"udta": 1}
        inner = sorted(boxes(content, start + 8, end), key=lambda box: order.get(box[0], 2))
        assert any(kind == b"udta" for kind, *_ in inner)
        path.write_bytes(content[: start + 8] + b"".join(content[one:two] for _, one, two in inner) + content[end:])
    info, times, _ = play(path)
    assert (info.width, info.height, len(times)) == (96, 64, 30)


@pytest.mark.parametrize("name", ["cover.avi", "cover.mkv", "cover.ts"])
def test_unmarked_cover_art_is_recognised_by_its_few_frames(name, tmp_path):
    cover, film = numbered(2, size=(480, 480)), numbered(30)
    info, times, _ = play(write_films(tmp_path / name, (cover, "mpeg4", PLAIN), (film, "mpeg4", PLAIN)))
    assert (info.width, info.height, len(times)) == (96, 64, 30)


@pytest.mark.parametrize(
    ("of_small", "of_large", "shown"),
    [
        (PLAIN, DEFAULT, (96, 64)),
        (DEFAULT, PLAIN, (32, 32)),
        (DEFAULT, DEFAULT, (96, 64)),
        (PLAIN, PLAIN, (96, 64)),
    ],
    ids=["the large one", "the small one", "both", "none"],
)
def test_of_two_films_the_default_one_is_shown_and_else_the_largest(of_small, of_large, shown, tmp_path):
    small, large = (numbered(10, size=(32, 32)), "mpeg4", of_small), (numbered(10), "mpeg4", of_large)
    assert next(iter_frames(write_films(tmp_path / "two.mkv", small, large))).size == shown


def test_sound_alone_or_with_a_cover_is_not_a_video(tmp_path):
    with pytest.raises(UnreadableError, match="no video stream .audio only"):
        probe_video(write_films(tmp_path / "sound.mp4", sound_frames=4), SETTINGS)
    song = write_films(tmp_path / "song.mp4", (numbered(1), "mjpeg", COVER), sound_frames=4)
    with pytest.raises(UnreadableError, match="only cover art"):
        probe_video(song, SETTINGS)


def test_a_change_of_the_pixel_aspect_is_followed(tmp_path):
    square, wide = (encode(tmp_path / f"{aspect}.ts", [pattern()] * 10, aspect=Fraction(aspect)) for aspect in (1, 2))
    frames = list(iter_frames(join(tmp_path / "joined.ts", square, wide)))
    assert {frame.size for frame in frames} == {(96, 64)}
    assert frames[0].image().shape == (64, 96, 3)
    last = frames[-1].image()
    assert last[4, 48].max() < 30  # above it, a bar: 192 x 64 in square pixels fit as 96 x 32
    assert last[40, 80].min() > 200


def test_a_held_last_frame_lasts_as_long_as_its_packet(tmp_path):
    def hold(number, packet):
        packet.duration = round(3 / packet.time_base) if number == 19 else packet.duration
        return packet

    info, _, _ = play(remux(encode(tmp_path / "source.mp4", numbered(20)), tmp_path / "held.mp4", hold))
    assert info.duration_seconds == pytest.approx(19 / RATE + 3, rel=1e-3)


def test_interlaced_frames_are_deinterlaced(tmp_path):
    """A bar moves between the two fields of a frame, whose rows then alternate at its edges."""
    woven = [np.full((64, 96, 3), 20, np.uint8) for _ in range(10)]
    for number, image in enumerate(woven):
        for field in (0, 1):
            place = 4 * (2 * number + field)
            image[field::2, place : place + 12] = 220
    options = {"flags": "+ildct+ilme", "q": "2"}
    path = encode(tmp_path / "interlaced.mpg", woven, codec="mpeg2video", rate=25, options=options)

    def comb(image):
        gray = image[..., 1].astype(float)
        return np.abs(gray[1:-1] - (gray[:-2] + gray[2:]) / 2).mean()

    with av.open(str(path)) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = list(iter_frames(path))
    assert [frame.time_seconds for frame in frames] == pytest.approx([k / 25 for k in range(10)], abs=1e-3)
    assert comb(stored[5]) > 10
    assert comb(frames[5].image()) < 0.3 * comb(stored[5])


def test_a_stream_that_changes_its_size_is_shown_at_one_scale(tmp_path):
    large, small = (
        encode(tmp_path / f"{size[0]}.ts", [cv2.resize(pattern(), size, interpolation=cv2.INTER_NEAREST)] * 10)
        for size in ((192, 128), (96, 64))
    )
    frames = list(iter_frames(join(tmp_path / "sizes.ts", large, small)))
    assert {frame.size for frame in frames} == {(192, 128)}
    images = [frame.image().astype(int) for frame in frames]
    assert {image.shape for image in images} == {(128, 192, 3)}
    assert np.abs(images[-1] - images[0]).mean() < 12
    assert frames[-1].luma().shape == (128, 192)
    square = encode(tmp_path / "square.ts", [np.full((64, 64, 3), 200, np.uint8)] * 10)
    last = list(iter_frames(join(tmp_path / "shapes.ts", large, square)))[-1].image(longest_side=96)
    assert last.shape == (64, 96, 3)
    assert last[32, 48].min() > 180  # in the middle, with its own shape,
    assert last[32, 2].max() < 30  # between bars


CUT_OFF = {
    "clip.mkv": {},
    "clip.avi": MOTION_JPEG,
    "clip.flv": {},
    "clip.mxf": {"codec": "mpeg2video"},
    "index_first.mp4": {"muxing": {"movflags": "faststart"}},
    "open_end.mp4": {"muxing": {"movflags": "faststart"}},
    # FFmpeg does not tell the length that was meant of these:
    "clip.wmv": {"codec": "wmv2"},
    "clip.ogv": {"codec": "libvpx"},
    "fragments.mp4": {"muxing": {"movflags": "frag_every_frame+empty_moov"}},
    "first_fragment.mp4": {"muxing": {"movflags": "frag_custom"}},
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_file_that_was_cut_off_says_how_much_of_it_is_there(name, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 96, 3), np.uint8)  # as many bytes for each second
    path = encode(tmp_path / name, noise, rate=25, **CUT_OFF[name])
    whole = probe_video(path, SETTINGS)
    assert whole.cut_off == ""
    content = bytearray(path.read_bytes())
    if name == "open_end.mp4":  # a box of length 0 extends to the end of the file, wherever that is
        place = content.index(b"mdat") - 4
        content[place : place + 4] = bytes(4)
    path.write_bytes(content[: len(content) * 7 // 10])
    info = probe_video(path, SETTINGS)
    assert info.duration_seconds < 0.9 * whole.duration_seconds
    if list(CUT_OFF).index(name) < 6:
        assert info.declared_seconds == pytest.approx(whole.duration_seconds, abs=0.15)
        assert info.cut_off == f"the file ends after {info.duration_seconds:.1f} of {info.declared_seconds:.1f} s"
    else:
        assert info.cut_off == f"the file ends early, after {info.duration_seconds:.1f} s"


def test_a_file_that_was_cut_off_or_whose_end_is_empty_is_judged_with_a_note_or_skipped(tmp_path, demo_videos):
    """An empty end, as downloads have that reserve their space first, only shows when frames are decoded."""
    detector = face_detector(SETTINGS.min_detection_score)
    whole = remux(demo_videos[0], tmp_path / "whole.mp4", muxing={"movflags": "faststart"}).read_bytes()
    beginning = whole[: len(whole) // 2]
    for content in (beginning, beginning + bytes(len(whole) - len(beginning))):
        path = tmp_path / "half.mp4"
        path.write_bytes(content)
        assert extract_clips(path, SETTINGS, detector).info.cut_off.startswith("the file ends after")
        with pytest.raises(IncompleteError, match="the file ends after"):
            extract_clips(path, SETTINGS.model_copy(update={"incomplete": "skip"}), detector)


def test_a_codec_that_nobody_knows_is_named_as_the_reason(tmp_path):
    path = encode(tmp_path / "odd.avi", numbered(5), **MOTION_JPEG)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"Q9Z7"))
    with pytest.raises(UnreadableError, match="no decoder is known for its video codec"):
        probe_video(path, SETTINGS)


def test_fragments_before_an_open_box_are_whole(tmp_path):
    movflags = "frag_every_frame+empty_moov+skip_trailer"
    path = encode(tmp_path / "fragments.mp4", numbered(10), muxing={"movflags": movflags})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"mdat") - 4
    assert place + struct.unpack_from(">I", content, place)[0] == len(content)
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    assert not ends_early(path)
    path.write_bytes(content[:place] + bytes.fromhex("00010000") + content[place + 4 :])
    assert ends_early(path)


def test_the_second_part_of_a_large_avi_may_be_cut_off_too(tmp_path):
    path = encode(tmp_path / "large.avi", numbered(20), **MOTION_JPEG)
    content = path.read_bytes()
    second = b"AVIXLIST" + struct.pack("<I", 1004) + b"movi" + bytes(1000)
    for declared, is_cut in ((len(second), False), (len(second) + 50_000, True)):
        path.write_bytes(content + b"RIFF" + struct.pack("<I", declared) + second)
        assert ends_early(path) is is_cut


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wmv", "mpeg4"), ("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.flv", "flv")]
)
def test_a_whole_file_with_longer_sound_is_not_said_to_be_truncated(name, codec, tmp_path):
    info, _, _ = play(write_films(tmp_path / name, (numbered(20), codec, PLAIN), sound_frames=300))
    assert info.duration_seconds == pytest.approx(1, rel=0.06)
    assert info.cut_off == ""


def test_a_live_recording_in_flv_with_sound_is_cut_off_in_the_middle_of_a_tag(tmp_path):
    path = write_films(tmp_path / "live.flv", (numbered(20), "flv", PLAIN), sound_frames=50)
    assert not probe_video(path, SETTINGS).is_truncated
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert probe_video(path, SETTINGS).is_truncated


def test_a_slow_video_with_reordered_frames_is_whole(tmp_path):
    """FLV counts its duration from the first decoding time, which is long before the first display time here."""
    path = encode(tmp_path / "slow.flv", numbered(20), rate=1, options={"bf": "3", "b_strategy": "0"})
    info, times, _ = play(path)
    assert (info.duration_seconds, info.cut_off) == (pytest.approx(20), "")
    assert times == pytest.approx([*range(20)])


def test_an_avi_without_its_index_is_whole(tmp_path):
    path = encode(tmp_path / "clip.avi", numbered(20), **MOTION_JPEG)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    info, times, _ = play(path)
    assert times == pytest.approx([k / RATE for k in range(20)])
    assert info.cut_off == ""


@pytest.mark.parametrize("rate", [1, 120])
def test_slow_and_fast_videos_keep_their_own_times(rate, tmp_path):
    info, times, _ = play(encode(tmp_path / "clip.mp4", numbered(12), rate=rate))
    assert times == pytest.approx([k / rate for k in range(12)])
    assert (info.fps, info.duration_seconds) == pytest.approx((rate, 12 / rate))


def test_everybody_in_a_conference_is_followed(tmp_path, demo_videos):
    heads = [
        [cv2.resize(frame.image(), (240, 180), interpolation=cv2.INTER_AREA) for frame in frames]
        for frames in (itertools.islice(iter_frames(video), 12) for video in demo_videos[:9])
    ]
    rows = [[np.hstack(side_by_side) for side_by_side in zip(*heads[k : k + 3], strict=True)] for k in (0, 3, 6)]
    path = encode(tmp_path / "conference.mp4", [np.vstack(above) for above in zip(*rows, strict=True)], rate=5)
    detector = face_detector(SETTINGS.min_detection_score)
    everybody = extract_clips(path, SETTINGS.model_copy(update={"tracks": "all"}), detector).clips
    assert [clip.track for clip in everybody] == [*range(9)]
    places = [{(x // 240, y // 180) for x, y in (crop.square.center for crop in clip.crops)} for clip in everybody]
    assert sorted(places, key=min) == [{(column, row)} for column in range(3) for row in range(3)]
    assert len(extract_clips(path, SETTINGS, detector).clips) == 1
