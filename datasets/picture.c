/* See picture.h. */
#include "datasets/picture.h"
#include "datasets/images.h"
#include "datasets/picture/decoder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ls_picture_reader {
    ls_picture_options options;
    ls_picture_decode_function decode;
};

enum { MOST_BYTES = 1 << 30 };

/* The module stays loaded: libraries of codecs do not all survive being unloaded. */
static ls_status load_decoder(ls_picture_reader *reader)
{
    void *module = dlopen(LS_PICTURE_MODULE, RTLD_NOW | RTLD_LOCAL);
    void *function = module ? dlsym(module, LS_PICTURE_DECODE) : NULL;
    if (!function)
        return ls_fail(LS_ENOTFOUND,
                       "reading pictures needs " LS_PICTURE_MODULE " and FFmpeg's libavcodec: %s; install what "
                       "scripts/packages.txt lists, and build again",
                       dlerror());
    memcpy(&reader->decode, &function, sizeof function); /* C has no cast for this */
    return LS_OK;
}

static ls_status check_options(const ls_picture_options *o)
{
    const int64_t longer = o->height > o->width ? o->height : o->width;
    if (o->height < 1 || o->width < 1 || longer > LS_IMAGE_MAX_SIDE)
        return ls_fail(LS_EARG, "pictures of %lld x %lld are wanted, sides must be 1 .. %d", (long long)o->height,
                       (long long)o->width, LS_IMAGE_MAX_SIDE);
    if (o->channels != 1 && o->channels != 3)
        return ls_fail(LS_EARG, "pictures of %lld channels are wanted; 1 (grey) and 3 (red, green, blue) are made",
                       (long long)o->channels);
    if (o->shorter && (o->fit != LS_FIT_CROP || o->shorter < longer || o->shorter > LS_IMAGE_MAX_SIDE))
        return ls_fail(
            LS_EARG,
            "the shorter side is to become %lld, and %lld x %lld is to be cut from that: it must be %lld .. %d",
            (long long)o->shorter, (long long)o->height, (long long)o->width, (long long)longer, LS_IMAGE_MAX_SIDE);
    return LS_OK;
}

ls_status ls_picture_reader_open(ls_picture_reader **out, const ls_picture_options *options)
{
    *out = NULL;
    ls_status status = check_options(options);
    if (status != LS_OK)
        return status;
    ls_picture_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return ls_fail(LS_EMEM, "no memory to read pictures");
    reader->options = *options;
    status = load_decoder(reader);
    if (status == LS_OK)
        *out = reader;
    else
        free(reader);
    return status;
}

void ls_picture_reader_free(ls_picture_reader *reader)
{
    free(reader);
}

bool ls_picture_is_bad(ls_status status)
{
    return status == LS_EFORMAT || status == LS_ECORRUPT || status == LS_EIO || status == LS_ENOTFOUND;
}

/* ---- from RGBA to what is wanted ---- */

static uint8_t over(int colour, int background, int alpha)
{
    return (uint8_t)((colour * alpha + background * (255 - alpha) + 127) / 255);
}

/* rgba [pixels, 4] to [pixels, channels], in place: what is written lies before what is still to be read. Grey as
 * Pillow's convert("L"): ITU-R BT.601 with 16 bits behind the point. */
static void lay_on_background(const ls_picture_options *o, int64_t pixels, uint8_t *rgba)
{
    uint8_t *out = rgba;
    for (int64_t i = 0; i < pixels; i++) {
        const uint8_t *p = rgba + 4 * i, *b = o->background;
        const uint8_t r = over(p[0], b[0], p[3]), g = over(p[1], b[1], p[3]), blue = over(p[2], b[2], p[3]);
        if (o->channels == 1) {
            *out++ = (uint8_t)((19595u * r + 38470u * g + 7471u * blue + 0x8000u) >> 16);
            continue;
        }
        *out++ = r;
        *out++ = g;
        *out++ = blue;
    }
}

/* Half of the margin, halves to the even number, as Python rounds and so torchvision's CenterCrop cuts. */
static int64_t middle(int64_t size, int64_t part)
{
    const int64_t margin = size - part, half = margin / 2;
    return margin % 2 && half % 2 ? half + 1 : half;
}

/* The sizes after resizing. With `shorter`, and with a square without it, they are torchvision's Resize(shorter). */
static void choose_axes(const ls_picture_options *o, int64_t height, int64_t width, ls_resize_axis *down,
                        ls_resize_axis *across)
{
    *down = (ls_resize_axis){o->height, 0, o->height};
    *across = (ls_resize_axis){o->width, 0, o->width};
    if (o->fit == LS_FIT_STRETCH)
        return;
    const int64_t least_height = o->shorter ? o->shorter : o->height, least_width = o->shorter ? o->shorter : o->width;
    if (least_height * width >= least_width * height) { /* the height decides */
        down->size = least_height;
        across->size = least_height * width / height;
    } else {
        across->size = least_width;
        down->size = least_width * height / width;
    }
    down->first = middle(down->size, o->height);
    across->first = middle(across->size, o->width);
}

ls_status ls_picture_read_bytes(const ls_picture_reader *reader, const char *path, const uint8_t *bytes, size_t size,
                                uint8_t *pixels)
{
    const ls_picture_options *o = &reader->options;
    ls_decoded_picture picture;
    char why[256];
    switch (reader->decode(bytes, size, &picture, why, sizeof why)) {
    case LS_DECODE_GOOD: break;
    case LS_DECODE_FOREIGN: return ls_fail(LS_EFORMAT, "%s: %s", path, why);
    case LS_DECODE_DAMAGED: return ls_fail(LS_ECORRUPT, "%s: %s", path, why);
    case LS_DECODE_NO_MEMORY: return ls_fail(LS_EMEM, "%s: no memory to decode its %zu bytes", path, size);
    }
    ls_resize_axis down, across;
    lay_on_background(o, (int64_t)picture.height * picture.width, picture.rgba);
    choose_axes(o, picture.height, picture.width, &down, &across);
    const ls_status status = ls_picture_resize(picture.rgba, picture.height, picture.width, o->channels,
                                               (ls_picture_filter)o->filter, down, across, pixels);
    free(picture.rgba);
    return ls_fail_at(status, "%s", path);
}

/* ---- files ---- */

static ls_status read_file(int file, const char *path, uint8_t **bytes, size_t *size)
{
    struct stat about;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode))
        return ls_fail(LS_EFORMAT, "%s: not a file", path);
    if (about.st_size > MOST_BYTES)
        return ls_fail(LS_EFORMAT, "%s: %lld bytes, a picture file has at most %d", path, (long long)about.st_size,
                       MOST_BYTES);
    *bytes = malloc((size_t)about.st_size + 1);
    if (!*bytes)
        return ls_fail(LS_EMEM, "%s: no memory for its %lld bytes", path, (long long)about.st_size);
    for (*size = 0; *size < (size_t)about.st_size;) {
        const ssize_t got = read(file, *bytes + *size, (size_t)about.st_size - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ls_fail(LS_EIO, "%s: cannot be read (%s)", path, strerror(errno));
        if (got == 0)
            break; /* it became shorter: what there is will be found to be cut off */
        *size += (size_t)got;
    }
    return LS_OK;
}

ls_status ls_picture_read(const ls_picture_reader *reader, const char *path, uint8_t *pixels)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe of that name is not waited for */
    if (file < 0)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot be opened (%s)", path, strerror(errno));
    ls_status status = read_file(file, path, &bytes, &size);
    close(file);
    if (status == LS_OK)
        status = ls_picture_read_bytes(reader, path, bytes, size, pixels);
    free(bytes);
    return status;
}
