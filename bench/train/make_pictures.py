#!/usr/bin/env python3
"""Random pictures for the step benchmarks: PNG files in a folder a class. Their content does not change what a step costs.

usage: make_pictures.py FOLDER SIDE COUNT [CLASSES]"""
import pathlib
import random
import struct
import sys
import zlib


def png(side, rng):
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + rng.randbytes(3 * side) for _ in range(side))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows, 1)) + part(b"IEND", b"")


def main():
    folder, side, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    classes = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    rng = random.Random(1)
    for i in range(count):
        place = folder / f"class-{i % classes}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:05}.png").write_bytes(png(side, rng))


main()
