"""Images of every kind are read as a viewer shows them, and other documents are named in the error."""

import struct
import sys

import cv2
import numpy as np
import pytest
from hostile_corpus import jpeg, png
from PIL import Image, ImageCms

from dfutils.errors import TooLargeError, UnreadableError
from dfutils.extraction import images
from dfutils.extraction.images import iter_images
from dfutils.extraction.recognition import is_image
from dfutils.extraction.video import iter_frames, probe_video
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings()
LARGE = 10**9


def picture(width=48, height=32):
    """Smooth, so that lossy formats keep it, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.dstack([255 * x // width, 255 * y // height, np.full_like(x, 90)]).astype(np.uint8))


@pytest.fixture
def save(tmp_path):
    def run(name, image=None, **options):
        (image or picture()).save(tmp_path / name, **options)
        return tmp_path / name

    return run


def read(path, max_pixels=LARGE):
    """Return the first frame."""
    return next(iter_images(path, max_pixels=max_pixels))[0].astype(int)


SHOWN = np.asarray(picture(), int)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.gif", "a.tif", "a.jp2", "a.avif", "a.heic"])
def test_every_format_is_read_by_its_content(name, save, tmp_path):
    if name.endswith(".heic"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    if name.endswith(".avif") and not Image.registered_extensions().get(".avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = save(name).rename(tmp_path / "named.mp4")
    assert is_image(path)
    info = probe_video(path, SETTINGS)
    assert (info.width, info.height, info.duration_seconds, info.times_seconds) == (48, 32, 0, (0.0,))
    assert np.abs(read(path) - SHOWN).mean() < (12 if name == "a.gif" else 6)


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_exif_orientation_is_applied(suffix, save, monkeypatch):
    stored = read(save(f"stored.{suffix}"))
    halves = stored.reshape(16, 2, 24, 2, 3).mean((1, 3))
    monkeypatch.setattr(images, "_STRIP_ROWS", 5)  # the image is reduced in several strips
    exif = Image.Exif()
    for orientation, turned in UPRIGHT.items():
        exif[0x0112] = orientation
        path = save(f"{orientation}.{suffix}", exif=exif)
        assert np.array_equal(read(path), turned(stored))
        small = read(path, max_pixels=24 * 16)
        assert small.shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
        assert np.abs(small - turned(halves)).mean() < 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(mode, save):
    source = picture().convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        source = Image.fromarray(np.asarray(source).astype(np.uint16) * 257)
    path = save("pixels.tif" if mode == "CMYK" else "pixels.png", source)
    expected = picture().convert("L" if mode in ("LA", "I;16") else mode if mode in ("L", "1", "P") else "RGB")
    assert np.abs(read(path) - np.asarray(expected.convert("RGB"), int)).max() <= 1


def test_sixteen_bits_of_colour_become_eight(tmp_path):
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), SHOWN[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read(path), SHOWN)


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_what_is_transparent_is_white(suffix, save):
    layer = np.dstack([SHOWN, np.full(SHOWN.shape[:2], 255)]).astype(np.uint8)
    layer[:, 24:, 3] = 0
    shown = read(save(f"cut-out.{suffix}", Image.fromarray(layer), **({"lossless": True} if suffix == "webp" else {})))
    assert (shown[:, 25:] == 255).all()
    assert np.abs(shown[:, :23] - SHOWN[:, :23]).mean() < 12
    layer[..., 3] = 128
    half = read(save("half.png", Image.fromarray(layer)))
    assert np.abs(half - (SHOWN * 128 + 255 * 127) / 255).max() <= 1


def test_a_profile_is_followed_and_a_damaged_one_ignored(save):
    wide = ImageCms.createProfile("sRGB")
    plain = read(save("s.png", icc_profile=ImageCms.ImageCmsProfile(wide).tobytes()))
    assert np.array_equal(plain, SHOWN)
    assert np.array_equal(read(save("broken.png", icc_profile=b"no profile at all" * 20)), SHOWN)
    # Its red and blue have changed places: what follows it shows them so.
    profile = bytearray(ImageCms.ImageCmsProfile(wide).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    profile = bytes(profile).replace(b"sRGB", b"odd!").replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))
    odd = read(save("odd.png", icc_profile=profile))
    assert odd[:, -1, 2].mean() > odd[:, 0, 2].mean() + 100


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_a_moving_picture_is_a_short_film(suffix, save):
    frames = [Image.new("RGB", (48, 32), (0, 0, 40 * number)) for number in range(5)]
    path = save(
        f"moving.{suffix}", frames[0], save_all=True, append_images=frames[1:], duration=[200, 200, 200, 400, 200]
    )
    assert is_image(path)
    info = probe_video(path, SETTINGS)
    assert info.times_seconds == pytest.approx([0, 0.2, 0.4, 0.6, 1.0])
    assert info.duration_seconds == pytest.approx(1.2)
    shown = list(iter_frames(path))
    assert [frame.time_seconds for frame in shown] == pytest.approx(info.times_seconds)
    assert [frame.image()[0, 0, 2] for frame in shown] == pytest.approx([0, 40, 80, 120, 160], abs=8)


def test_an_animation_of_too_many_frames_is_refused(save):
    path = save("long.gif", save_all=True, append_images=[picture().rotate(90 * turn) for turn in (1, 2, 3)])
    few = SETTINGS.model_copy(update={"limits": MediaLimits(frames=3)})
    with pytest.raises(TooLargeError, match=r"long\.gif: has 4 frames, more than 3\. Cut it, or raise limits\.frames"):
        probe_video(path, few)


def test_an_animation_without_durations_or_with_a_still_is_shown_as_in_browsers(save):
    frames = [Image.new("RGB", (48, 32), (0, 0, 100 * number)) for number in range(3)]
    options = {"save_all": True, "append_images": frames[1:]}
    hasty = save("hasty.gif", frames[0], duration=0, **options)
    assert probe_video(hasty, SETTINGS).times_seconds == pytest.approx([0, 0.1, 0.2])
    still = save("with-still.png", frames[0], default_image=True, duration=100, **options)
    assert [frame.image()[0, 0, 2] for frame in iter_frames(still)] == [100, 200]
    assert len(probe_video(still, SETTINGS).times_seconds) == 2


def test_a_float_image_has_one_white_for_all_its_strips(save, monkeypatch):
    monkeypatch.setattr(images, "_STRIP_ROWS", 4)
    values = np.linspace(0, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[3, 3] = np.inf
    shown = read(save("float.tif", Image.fromarray(values)), max_pixels=32 * 32)
    assert np.abs(shown[4:, :, 0] - values[8:].reshape(28, 2, 32, 2).mean((1, 3))).max() < 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_large_picture_is_reduced_while_it_is_read(suffix, save):
    path = save(f"large.{suffix}", picture(480, 320))
    shown = read(path, max_pixels=48 * 32 + 40)
    assert shown.shape == (32, 48, 3)
    assert np.abs(shown - SHOWN).mean() < 6
    assert read(path, max_pixels=480 * 320).shape == (320, 480, 3)


@pytest.mark.parametrize("content", [png(20_000, 10_001), jpeg(20_000, 10_001)], ids=["png", "jpeg"])
def test_the_size_is_known_and_refused_before_anything_is_decoded(content, tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(content)
    with pytest.raises(TooLargeError, match="20000 × 10001 pixels are more than the limit of 200,000,000"):
        read(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "jp2"])
def test_a_truncated_image_is_reported_as_such(suffix, save):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    path = save(f"cut.{suffix}", noise)
    content = path.read_bytes()
    for kept in (len(content) // 2, len(content) - 40) if suffix in ("tif", "jp2") else (len(content) // 2,):
        path.write_bytes(content[:kept])
        with pytest.raises(UnreadableError, match="truncated"):
            read(path)


def test_exif_tags_that_are_damaged_or_of_the_wrong_type_do_no_harm(save):
    assert np.abs(read(save("damaged.jpg", exif=b"Exif\0\0" + b"\xff" * 40)) - SHOWN).mean() < 6
    entries = struct.pack("<HHHII", 2, 0x0100, 5, 1, 38) + struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0)
    tags = b"II*\0\x08\0\0\0" + entries + struct.pack("<II", 3, 7)  # the width as a fraction
    assert read(save("odd.jpg", exif=b"Exif\0\0" + tags)).shape == (48, 32, 3)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\n <!DOCTYPE html><html>404", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b'<?xml version="1.0"?>', "an XML document"),
        (b"<!-- made by a server --><html>", "a web page"),
        ("<html>".encode("utf-16"), "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"ID3\4", "an audio file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "an audio file"),
        (b"", "empty"),
    ],
)
def test_other_documents_are_named_in_the_error(content, kind, tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=f"face.jpg: is {kind}"):
        is_image(path)


def test_a_folder_and_what_is_not_there_are_no_files(tmp_path):
    with pytest.raises(UnreadableError, match=rf"^{tmp_path}: is not a file\. Give a video or an image"):
        is_image(tmp_path)
    with pytest.raises(UnreadableError, match=r"gone\.png: cannot be opened \(No such file .*\)\. Check path"):
        is_image(tmp_path / "gone.png")


def test_a_heic_picture_names_what_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(images, "_FORMATS", tuple(name for name in images._FORMATS if name != "HEIF"))
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert is_image(path)
    with pytest.raises(UnreadableError, match="HEIC image. Run `pip install pillow-heif`"):
        read(path)


def test_a_heic_image_under_a_foreign_brand_is_read(save):
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = save("a.heic")
    content = path.read_bytes()
    assert content[8:12] == b"heic"
    length = int.from_bytes(content[:4], "big")
    assert b"heic" in content[16:length] or b"mif1" in content[16:length]
    path.write_bytes(content[:8] + b"XYZ1" + content[12:])
    assert is_image(path)
    assert np.abs(read(path) - SHOWN).mean() < 6


@pytest.mark.parametrize("white", [255, 65535, 2_000_000])
def test_white_of_a_32_bit_image_follows_its_brightest_pixel(white, save):
    values = np.linspace(0, white, 32 * 48).reshape(32, 48).astype(np.int32)
    shown = read(save("deep.tiff", Image.fromarray(values)))
    assert np.abs(shown[..., 0] - values * (255 / white)).max() <= 1


def test_a_dark_16_bit_image_stays_dark(save):
    assert read(save("dark.png", Image.fromarray(np.full((32, 48), 200, np.uint16)))).max() <= 1


def test_jpeg_images_in_a_row_are_a_film(save):
    one = save("a.jpg").read_bytes()
    path = save("a.jpg").with_name("a.mjpeg")
    path.write_bytes(one * 5)
    assert not is_image(path)
    assert len(list(iter_frames(path))) == len(probe_video(path, SETTINGS).times_seconds) == 5
    path.write_bytes(one + b"junk of the camera" + one)
    assert is_image(path)


def test_a_photograph_followed_by_previews_and_depth_maps_is_one_image(save):
    photo, preview = save("a.jpg").read_bytes(), save("b.jpg", picture(16, 8)).read_bytes()
    path = save("c.jpg")
    path.write_bytes(photo + preview + preview)
    assert is_image(path)
    segment = preview * 3  # in a segment of its own, as makers of cameras put them
    path.write_bytes(photo[:2] + b"\xff\xe3" + (len(segment) + 2).to_bytes(2, "big") + segment + photo[2:])
    assert is_image(path)
    assert np.abs(read(path) - SHOWN).mean() < 6


def tiff(path, values, *, photometric=1, planes=1):
    """Write a plain TIFF of unsigned integers, which Pillow would not write like this."""
    values = np.ascontiguousarray(values.transpose(2, 0, 1) if planes == 2 else values)
    height, width = values.shape[-2:] if planes == 2 else values.shape[:2]
    count = values.size // (height * width)
    bits = values.dtype.itemsize * 8
    place = 8 + 2 + 12 * 10 + 4
    strip = values.nbytes // planes if planes == 1 else values.nbytes // 3
    strips = 3 if planes == 2 else 1
    more = struct.pack(f"<{count}H", *[bits] * count) if count > 1 else b""
    offsets_at = place + len(more)
    arrays = struct.pack("<3I", *(offsets_at + 24 + k * strip for k in range(3))) + struct.pack("<3I", *[strip] * 3)
    data_at = offsets_at + 24 if strips == 3 else offsets_at
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, count, place if count > 1 else bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, strips, offsets_at if strips == 3 else data_at), (277, 3, 1, count),
        (278, 4, 1, height), (279, 4, strips, offsets_at + 12 if strips == 3 else strip), (284, 3, 1, planes),
    ]  # fmt: skip
    content = b"II*\0" + struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path.write_bytes(content + more + (arrays if strips == 3 else b"") + values.tobytes())
    return path


def test_white_is_zero_in_some_gray_images_of_16_bits(tmp_path):
    values = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
    shown = read(tiff(tmp_path / "a.tiff", values, photometric=0))[..., 0]
    assert np.abs(shown - (65535 - values.astype(float)) / 257).max() <= 1


def test_unsigned_integers_of_32_bits_are_no_negative_ones(tmp_path):
    values = np.linspace(0, 2**32 - 1, 32 * 48).reshape(32, 48).astype(np.uint32)
    shown = read(tiff(tmp_path / "a.tiff", values))[..., 0]
    assert np.abs(shown - values / 2**24).max() <= 1.5


def test_what_pillow_would_show_wrongly_is_refused(tmp_path):
    values = np.linspace(0, 65535, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint16)
    with pytest.raises(UnreadableError, match=r"cannot be decoded .* Save it again as PNG"):
        read(tiff(tmp_path / "a.tiff", values, photometric=2, planes=2))


def test_a_video_that_lists_an_image_brand_stays_a_video_and_a_short_box_is_no_crash(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x1cftypisom\0\0\2\0isommif1heic")
    assert not is_image(path)
    path.write_bytes(b"\0\0\0\x04ftypheic" + bytes(100))
    with pytest.raises(UnreadableError):
        probe_video(path, SETTINGS)


@pytest.mark.parametrize("last", [b"!", b","])
def test_an_animation_cut_after_the_first_byte_of_a_block_is_reported(last, save):
    path = save("a.gif", save_all=True, append_images=[picture(), picture().rotate(180)], duration=100)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(last)] + last)
    with pytest.raises(UnreadableError):
        list(iter_images(path, max_pixels=LARGE))


def test_the_limit_of_pillow_is_as_before_even_while_two_images_are_read(save):
    before = Image.MAX_IMAGE_PIXELS
    one, two = (iter_images(save(name), max_pixels=LARGE) for name in ("a.png", "b.png"))
    next(one)
    next(two)
    one.close()
    assert before == Image.MAX_IMAGE_PIXELS
    two.close()
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_name_does_not_decide_why_an_image_cannot_be_read(tmp_path):
    path = tmp_path / "geoffrey.png"  # with an "eof" in it
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        read(path)
