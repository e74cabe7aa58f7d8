"""Makes the files of tests/data/pictures, and pictures.txt and pictures.bin beside this file: what Pillow and torchvision
make of them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch torchvision numpy 'pillow<13'
    /tmp/venv/bin/python tests/golden/make_picture_golden.py CHELSEA.png EMOJI_A.png EMOJI_B.png

CHELSEA.png is the photograph of that name in scikit-image, the others are from noto-emoji (tests/data/pictures/SOURCE.md).
tests/datasets/test_picture.c holds lockstep's reader against the golden files. A line of pictures.txt:

    FILE HEIGHT WIDTH CHANNELS crop|stretch SHORTER bilinear|area BACKGROUND MEAN_DIFFERENCE     (pixels: pictures.bin, in order)

Pillow 13 resizes some pictures along the columns first, lockstep and Pillow until 12 always along the rows.
MEAN_DIFFERENCE is what may lie between the two, 0 for PNG. Run once: other versions of the encoders write other files.
"""
import pathlib
import struct
import sys
import zlib

import numpy
import torchvision.transforms as T
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
PICTURES = HERE.parent / "data" / "pictures"
FILTER = {"bilinear": T.InterpolationMode.BILINEAR, "area": T.InterpolationMode.BOX}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(name, width, height, depth, color, rows, interlace=0):
    """Kinds that Pillow does not write. rows: bytes of each row, unfiltered."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    (PICTURES / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def packed_bits(values, depth):
    bits = "".join(format(v, f"0{depth}b") for v in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def make_pictures(chelsea, emoji):
    photo = Image.open(chelsea).convert("RGB").crop((120, 60, 270, 170)).resize((41, 30), Image.BICUBIC)
    grey, pixels = photo.convert("L"), numpy.array(photo)
    photo.save(PICTURES / "rgb.png", optimize=True)
    grey.save(PICTURES / "grey.png", optimize=True)
    photo.convert("1").save(PICTURES / "bits.png")
    photo.quantize(64).save(PICTURES / "palette.png")
    photo.quantize(9).save(PICTURES / "palette-16.png", bits=4)
    photo.quantize(32).save(PICTURES / "palette-alpha.png", transparency=bytes(range(0, 256, 8)))
    photo.save(PICTURES / "rgb-one-colour-transparent.png", transparency=photo.getpixel((5, 5)))
    both = grey.copy()
    both.putalpha(ImageOps.mirror(grey))
    both.save(PICTURES / "grey-alpha.png")
    write_png("grey-4bit.png", 41, 30, 4, 0, [packed_bits(row >> 4, 4) for row in numpy.array(grey)])
    deep = numpy.array([numpy.array(Image.open(chelsea).convert("RGB").getchannel(c).convert("F").crop((120, 60, 270, 170))
                                    .resize((41, 30), Image.BOX)) for c in range(3)]).transpose(1, 2, 0)
    deep = numpy.clip(deep * 257 + 0.5, 0, 65535).astype(">u2")
    write_png("rgb-16bit.png", 41, 30, 16, 2, [row.tobytes() for row in deep])
    write_png("grey-16bit.png", 41, 30, 16, 0, [row[:, 1].copy().tobytes() for row in deep])
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    write_png("interlaced.png", 41, 30, 8, 2, [row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]], 1)
    turned = Image.Exif()
    for orientation in range(2, 9):
        turned[0x112] = orientation
        photo.save(PICTURES / f"turned-{orientation}.jpg", quality=85, subsampling=0, exif=turned)
    turned[0x112] = 6
    photo.save(PICTURES / "turned-6.png", exif=turned, optimize=True)
    photo.save(PICTURES / "420.jpg", quality=85)
    photo.save(PICTURES / "422.jpg", quality=85, subsampling=1)
    photo.save(PICTURES / "444.jpg", quality=85, subsampling=0)
    photo.save(PICTURES / "progressive.jpg", quality=85, progressive=True)
    photo.save(PICTURES / "restarts.jpg", quality=85, restart_marker_blocks=2)
    photo.convert("CMYK").save(PICTURES / "cmyk.jpg", quality=85)
    grey.save(PICTURES / "grey.jpg", quality=85)
    for name, path in zip(("door.png", "moon.png"), emoji):
        (PICTURES / name).write_bytes(pathlib.Path(path).read_bytes())


def upright_rgb(name, background):
    picture = Image.open(PICTURES / name)
    if name in ("rgb-16bit.png", "grey-16bit.png"):  # Pillow takes the high byte, or nothing; here it is rounded
        raw = zlib.decompress((PICTURES / name).read_bytes().split(b"IDAT")[1].split(b"IEND")[0][:-8])
        values = numpy.frombuffer(b"".join(raw[1 + i:1 + i + len(raw) // 30 - 1] for i in range(0, len(raw), len(raw) // 30)), ">u2")
        values = ((values.astype(numpy.int64) * 255 + 32767) // 65535).astype(numpy.uint8).reshape(30, 41, -1)
        return Image.fromarray(values if values.shape[2] == 3 else numpy.repeat(values, 3, 2))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "CMYK":
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    ground = Image.new("RGB", picture.size, tuple(bytes.fromhex(background)))
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground


def wanted(name, height, width, channels, fit, shorter, kind, background):
    picture = upright_rgb(name, background)
    if channels == 1:
        picture = picture.convert("L")
    if fit == "stretch":
        return T.Resize((height, width), FILTER[kind])(picture)
    return T.CenterCrop((height, width))(T.Resize(shorter or max(height, width), FILTER[kind])(picture))


def cases():
    yield from ((p.name, 30, 41, 3, "stretch", 0, "bilinear", "ffffff") for p in sorted(PICTURES.glob("*.*"))
                if p.suffix in (".png", ".jpg") and not p.name.startswith("turned") and p.name not in ("door.png", "moon.png"))
    yield from ((f"turned-{o}.jpg", *((41, 30) if o >= 5 else (30, 41)), 3, "stretch", 0, "area", "ffffff") for o in range(2, 9))
    yield ("turned-6.png", 41, 30, 3, "stretch", 0, "area", "ffffff")
    yield ("moon.png", 24, 24, 3, "crop", 0, "bilinear", "ffffff")
    yield ("moon.png", 24, 24, 3, "crop", 0, "bilinear", "1040c0")
    yield ("door.png", 20, 17, 1, "crop", 22, "area", "000000")
    yield ("grey-alpha.png", 16, 16, 1, "crop", 0, "bilinear", "ffffff")
    yield ("rgb.png", 21, 21, 3, "crop", 24, "bilinear", "ffffff")
    yield ("rgb.png", 20, 23, 3, "crop", 29, "bilinear", "ffffff")
    yield ("rgb.png", 12, 12, 3, "crop", 0, "area", "ffffff")
    yield ("rgb.png", 9, 33, 3, "stretch", 0, "bilinear", "ffffff")
    yield ("rgb.png", 64, 64, 1, "crop", 0, "bilinear", "ffffff")
    yield ("rgb.png", 7, 5, 3, "stretch", 0, "area", "ffffff")


def main():
    PICTURES.mkdir(exist_ok=True)
    make_pictures(sys.argv[1], sys.argv[2:4])
    lines, pixels = [], b""
    for case in cases():
        lossy = 1.0 if case[0] == "cmyk.jpg" else 0.1 if case[0].endswith(".jpg") else 0
        lines.append(" ".join(map(str, case)) + f" {lossy:g}")
        pixels += numpy.array(wanted(*case)).tobytes()
    (HERE / "pictures.txt").write_text("\n".join(lines) + "\n")
    (HERE / "pictures.bin").write_bytes(pixels)


main()
