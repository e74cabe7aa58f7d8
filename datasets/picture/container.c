/* See container.h. PNG: ISO/IEC 15948, 5.3 (chunks). JPEG: ITU-T T.81, annex B (markers). Exif orientation: CIPA
 * DC-008, 4.6.4, tag 274; the TIFF structure around it: TIFF 6.0, section 2. */
#include "datasets/picture/container.h"

#include <string.h>
#include <zlib.h>

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

ls_container ls_container_of(const uint8_t *bytes, size_t size, const char **name)
{
    static const struct {
        const char *begin, *name;
        size_t bytes, at;
    } others[] = {{"GIF8", "GIF", 4, 0},         {"WEBP", "WebP", 4, 8},      {"BM", "BMP", 2, 0},
                  {"II*\0", "TIFF", 4, 0},       {"MM\0*", "TIFF", 4, 0},     {"ftypavif", "AVIF", 8, 4},
                  {"ftyphei", "HEIF", 7, 4},     {"\0\0\1\0", "ICO", 4, 0},   {"<svg", "SVG", 4, 0},
                  {"\xff\x0a", "JPEG XL", 2, 0}, {"P5", "PGM", 2, 0},         {"P6", "PPM", 2, 0},
                  {"%PDF", "PDF", 4, 0},         {"<!DOCTYPE", "HTML", 9, 0}, {"<html", "HTML", 5, 0}};
    *name = NULL;
    if (size >= sizeof png_signature && memcmp(bytes, png_signature, sizeof png_signature) == 0)
        return LS_CONTAINER_PNG;
    if (size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
        return LS_CONTAINER_JPEG;
    for (size_t i = 0; i < sizeof others / sizeof *others && !*name; i++)
        if (size >= others[i].at + others[i].bytes &&
            memcmp(bytes + others[i].at, others[i].begin, others[i].bytes) == 0)
            *name = others[i].name;
    return LS_CONTAINER_UNKNOWN;
}

/* ---- Exif ---- */

typedef struct {
    const uint8_t *bytes;
    size_t size;
    bool big; /* byte order */
} tiff;

/* 0 outside. */
static uint32_t number(const tiff *t, size_t at, int bytes)
{
    uint32_t value = 0;
    if (at > t->size || (size_t)bytes > t->size - at)
        return 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)t->bytes[at + (size_t)i] << 8 * (t->big ? bytes - 1 - i : i);
    return value;
}

/* Of the first directory; 1 where it does not say, or says nonsense. */
static int exif_orientation(const uint8_t *bytes, size_t size)
{
    enum { ORIENTATION = 0x112, SHORT = 3, ENTRY = 12 };
    if (size < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0))
        return 1;
    const tiff t = {bytes, size, bytes[0] == 'M'};
    const size_t directory = number(&t, 4, 4);
    const uint32_t entries = number(&t, directory, 2);
    for (uint32_t i = 0; i < entries; i++) {
        const size_t at = directory + 2 + (size_t)ENTRY * i;
        if (number(&t, at, 2) != ORIENTATION || number(&t, at + 2, 2) != SHORT)
            continue;
        const uint32_t value = number(&t, at + 8, 2);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

void ls_orientation_source(int orientation, int width, int height, int x, int y, int *from_x, int *from_y)
{
    const bool turned = orientation >= 5; /* width and height change places */
    const int across = turned ? y : x, down = turned ? x : y;
    const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    *from_x = mirror_x ? width - 1 - across : across;
    *from_y = mirror_y ? height - 1 - down : down;
}

/* ---- the two containers ---- */

typedef struct {
    uint8_t *out;
    size_t kept;
} copy;

static void keep(copy *c, const uint8_t *bytes, size_t count)
{
    memcpy(c->out + c->kept, bytes, count);
    c->kept += count;
}

/* Of a chunk's name and data. */
static bool sum_is_right(const uint8_t *chunk, size_t length)
{
    const uint8_t *sum = chunk + 8 + length;
    const uint32_t written = (uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | sum[3];
    return crc32_z(0, chunk + 4, length + 4) == written;
}

/* Chunks: length, name, data, CRC of name and data. Every CRC is checked, since a damaged name makes a chunk of pixels
 * or of colours look like one that may be left out. */
static ls_strip strip_png(const uint8_t *bytes, size_t size, copy *c, int *orientation)
{
    static const char wanted[][5] = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"};
    keep(c, bytes, sizeof png_signature);
    for (size_t at = sizeof png_signature; size - at >= 12;) {
        const uint8_t *chunk = bytes + at;
        const size_t length = (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 | chunk[3];
        if (length > size - at - 12)
            return LS_STRIP_CUT;
        if (!sum_is_right(chunk, length))
            return LS_STRIP_DAMAGED;
        if (memcmp(chunk + 4, "eXIf", 4) == 0)
            *orientation = exif_orientation(chunk + 8, length);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (memcmp(chunk + 4, wanted[i], 4) == 0)
                keep(c, chunk, length + 12);
        if (memcmp(chunk + 4, "IEND", 4) == 0)
            return LS_STRIP_WHOLE;
        at += length + 12;
    }
    return LS_STRIP_CUT;
}

/* APP0 (JFIF) and APP14 (Adobe: which colours the components are) are needed; other APPn and comments are not. */
static bool is_extra(uint8_t marker)
{
    return (marker >= 0xe1 && marker <= 0xef && marker != 0xee) || marker == 0xfe;
}

/* Markers: 0xff, code, and but for a few a length of two bytes that counts itself. Behind a start of scan follow coded
 * bytes, in which 0xff stands before 0 or a restart marker only. */
static ls_strip strip_jpeg(const uint8_t *bytes, size_t size, copy *c, int *orientation)
{
    enum { START_OF_SCAN = 0xda, END_OF_IMAGE = 0xd9, APP1 = 0xe1 };
    keep(c, bytes, 2);
    for (size_t at = 2; at + 1 < size;) {
        if (bytes[at] != 0xff || bytes[at + 1] == 0xff ||
            bytes[at + 1] == 0) { /* filling, or rubbish between markers */
            at++;
            continue;
        }
        const uint8_t marker = bytes[at + 1];
        if (marker == END_OF_IMAGE) {
            keep(c, bytes + at, 2);
            return LS_STRIP_WHOLE;
        }
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) { /* alone */
            at += 2;
            continue;
        }
        if (size - at < 4)
            return LS_STRIP_CUT;
        const size_t length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length < 2 || length > size - at - 2)
            return LS_STRIP_CUT;
        if (marker == APP1 && length >= 8 && memcmp(bytes + at + 4, "Exif\0\0", 6) == 0)
            *orientation = exif_orientation(bytes + at + 10, length - 8);
        if (!is_extra(marker))
            keep(c, bytes + at, length + 2);
        at += length + 2;
        if (marker != START_OF_SCAN)
            continue;
        const size_t begin = at;
        while (at + 1 < size && !(bytes[at] == 0xff && bytes[at + 1] != 0 && bytes[at + 1] != 0xff &&
                                  (bytes[at + 1] < 0xd0 || bytes[at + 1] > 0xd7)))
            at++;
        keep(c, bytes + begin, at - begin);
    }
    return LS_STRIP_CUT;
}

ls_strip ls_container_strip(ls_container kind, const uint8_t *bytes, size_t size, uint8_t *out, size_t *kept,
                            int *orientation)
{
    copy c = {out, 0};
    *orientation = 1;
    const ls_strip result = kind == LS_CONTAINER_PNG    ? strip_png(bytes, size, &c, orientation)
                            : kind == LS_CONTAINER_JPEG ? strip_jpeg(bytes, size, &c, orientation)
                                                        : LS_STRIP_DAMAGED;
    *kept = c.kept;
    return result;
}
