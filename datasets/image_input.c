/* See image_input.h. Sizes from a file are checked against its length before anything is allocated by them. */
#include "datasets/image_input.h"
#include "datasets/image_format.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

void ls_image_input_free(ls_image_input *input)
{
    free(input->pixels);
    free(input->label);
    *input = (ls_image_input){0};
}

/* The whole file, unpacked where it is gzipped, with a NUL behind it. */
static ls_status read_all(const char *path, uint8_t **bytes, size_t *size)
{
    *bytes = NULL;
    *size = 0;
    gzFile file = gzopen(path, "rb");
    if (!file)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: cannot open it (%s)", path, strerror(errno));
    gzbuffer(file, 1 << 17);
    size_t room = 0;
    ls_status status = LS_OK;
    for (int got = 1; got > 0;) {
        if (room - *size < (1u << 20)) {
            room = room ? room * 2 : 1u << 22;
            uint8_t *grown = realloc(*bytes, room + 1);
            if (!grown) {
                status = ls_fail(LS_EMEM, "%s: no memory for its %zu bytes", path, *size);
                break;
            }
            *bytes = grown;
        }
        got = gzread(file, *bytes + *size, 1u << 20);
        if (got < 0) {
            int code;
            const char *why = gzerror(file, &code);
            status = ls_fail(LS_ECORRUPT, "%s: damaged or cut off behind byte %zu of its contents (%s); copy it again", path, *size, why);
        } else {
            *size += (size_t)got;
        }
    }
    const int closed = gzclose_r(file);
    if (status == LS_OK && closed != Z_OK)
        status = ls_fail(LS_ECORRUPT, "%s: cut off behind byte %zu of its contents; copy it again", path, *size);
    if (status == LS_OK)
        (*bytes)[*size] = 0;
    return status;
}

/* ---- IDX ---- */

/* Reads the header: *axes sizes; *data is where the elements begin, exactly their product of bytes. */
static ls_status read_idx(const char *path, const uint8_t *bytes, size_t size, int least, int most, int64_t axis[4], int *axes,
                          const uint8_t **data)
{
    if (size < 4 || bytes[0] || bytes[1] || bytes[3] < 1)
        return ls_fail(LS_EFORMAT, "%s: not an IDX file (it does not begin with 0, 0, type, axes); is it another format, or the wrong file?", path);
    if (bytes[2] != 8)
        return ls_fail(LS_EFORMAT, "%s: IDX elements of type 0x%02x, unsigned bytes (0x08) are read", path, bytes[2]);
    *axes = bytes[3];
    if (*axes < least || *axes > most)
        return ls_fail(LS_EFORMAT, "%s: %d axes, %s have %d%s; are images and labels swapped?", path, *axes, most > 1 ? "images" : "labels",
                       least, most > least ? " or 4" : "");
    const size_t header = 4 + 4 * (size_t)*axes;
    size_t product = 1;
    for (int i = 0; i < *axes && header <= size; i++) {
        const uint8_t *at = bytes + 4 + 4 * i;
        axis[i] = (int64_t)at[0] << 24 | (int64_t)at[1] << 16 | (int64_t)at[2] << 8 | at[3];
        if (__builtin_mul_overflow(product, (size_t)axis[i], &product))
            product = SIZE_MAX - header;
    }
    if (header > size || product != size - header)
        return ls_fail(LS_EFORMAT, "%s: %zu bytes behind its header, which speaks of %zu; it is cut off or not what it says; copy it again", path,
                       header > size ? (size_t)0 : size - header, header > size ? (size_t)0 : product);
    *data = bytes + header;
    return LS_OK;
}

ls_status ls_image_input_idx_bytes(ls_image_input *input, const char *images_path, const uint8_t *images, size_t image_bytes,
                                   const char *labels_path, const uint8_t *labels, size_t label_bytes)
{
    int64_t axis[4] = {0}, count[4] = {0};
    int axes = 0, label_axes = 0;
    const uint8_t *pixels = NULL, *label = NULL;
    *input = (ls_image_input){0};
    ls_status status = read_idx(images_path, images, image_bytes, 3, 4, axis, &axes, &pixels);
    if (status == LS_OK)
        status = read_idx(labels_path, labels, label_bytes, 1, 1, count, &label_axes, &label);
    if (status != LS_OK)
        return status;
    if (axis[0] != count[0])
        return ls_fail(LS_EFORMAT, "%s holds %lld images, %s %lld labels; they do not belong together", images_path, (long long)axis[0], labels_path,
                       (long long)count[0]);
    input->shape = (ls_image_shape){axis[1], axis[2], axes == 4 ? axis[3] : 1, 1};
    if (axis[0] == 0)
        return ls_fail(LS_EFORMAT, "%s: holds no images", images_path);
    status = ls_image_check_shape(&input->shape, images_path);
    if (status != LS_OK)
        return status;
    input->count = axis[0];
    const size_t bytes = (size_t)(axis[0] * axis[1] * axis[2] * input->shape.channels);
    input->pixels = malloc(bytes);
    input->label = malloc((size_t)axis[0] * sizeof *input->label);
    if (!input->pixels || !input->label) {
        ls_image_input_free(input);
        return ls_fail(LS_EMEM, "%s: no memory for %zu bytes of pixels", images_path, bytes);
    }
    memcpy(input->pixels, pixels, bytes);
    for (int64_t i = 0; i < axis[0]; i++) {
        input->label[i] = label[i];
        input->shape.classes = label[i] >= input->shape.classes ? label[i] + 1 : input->shape.classes;
    }
    return LS_OK;
}

ls_status ls_image_input_idx(ls_image_input *input, const char *images, const char *labels)
{
    uint8_t *image_bytes = NULL, *label_bytes = NULL;
    size_t image_size, label_size;
    ls_status status = read_all(images, &image_bytes, &image_size);
    if (status == LS_OK)
        status = read_all(labels, &label_bytes, &label_size);
    if (status == LS_OK)
        status = ls_image_input_idx_bytes(input, images, image_bytes, image_size, labels, label_bytes, label_size);
    free(image_bytes);
    free(label_bytes);
    return status;
}

/* ---- CSV ---- */

typedef struct {
    const char *path;
    const ls_csv_options *options;
    ls_image_input *input;
    int64_t line, columns, room;
    double *number; /* [columns of the longest line so far] */
    int64_t numbers, number_room;
} csv;

static bool between_numbers(char c)
{
    return c == ',' || c == ';' || c == '\t' || c == ' ' || c == '\r';
}

/* The numbers of a line. LS_EFORMAT: something else stands there. */
static ls_status read_numbers(csv *c, const char *at, const char *end)
{
    c->numbers = 0;
    for (;;) {
        while (at < end && between_numbers(*at))
            at++;
        if (at == end)
            return LS_OK;
        char *behind;
        const double value = strtod(at, &behind);
        if (behind == at || behind > end || (behind < end && !between_numbers(*behind)) || !isfinite(value))
            return ls_fail(LS_EFORMAT, "%s:%lld: '%.*s' is no number", c->path, (long long)c->line,
                           (int)(end - at < 24 ? end - at : 24), at);
        if (c->numbers == c->number_room) {
            const size_t room = c->number_room ? (size_t)c->number_room * 2 : 1024;
            double *grown = realloc(c->number, room * sizeof *grown);
            if (!grown)
                return ls_fail(LS_EMEM, "%s:%lld: no memory for its numbers", c->path, (long long)c->line);
            c->number = grown;
            c->number_room = (int64_t)room;
        }
        c->number[c->numbers++] = value;
        at = behind;
    }
}

/* The first line says how many numbers a line has, and so the images' shape. */
static ls_status choose_shape(csv *c)
{
    const ls_csv_options *o = c->options;
    const int64_t pixels = c->numbers - 1, side = (int64_t)(sqrt((double)pixels) + 0.5);
    ls_image_shape *shape = &c->input->shape;
    *shape = o->height ? (ls_image_shape){o->height, o->width, o->channels, 1} : (ls_image_shape){side, side, 1, 1};
    if (pixels < 1 || shape->height * shape->width * shape->channels != pixels)
        return ls_fail(LS_EFORMAT, "%s:%lld: %lld numbers are a label and %lld pixels, which is no %s; say --size HEIGHTxWIDTH[xCHANNELS]", c->path,
                       (long long)c->line, (long long)c->numbers, (long long)pixels, o->height ? "image of that size" : "square");
    c->columns = c->numbers;
    return ls_image_check_shape(shape, c->path);
}

static ls_status add_image(csv *c)
{
    ls_image_input *in = c->input;
    const double scale = c->options->scale > 0 ? c->options->scale : 255;
    const int64_t pixels = c->columns - 1;
    if (in->count == c->room) {
        const size_t room = c->room ? (size_t)c->room * 2 : 1024;
        uint8_t *grown = realloc(in->pixels, room * (size_t)pixels);
        in->pixels = grown ? grown : in->pixels;
        int32_t *labels = realloc(in->label, room * sizeof *labels);
        in->label = labels ? labels : in->label;
        if (!grown || !labels)
            return ls_fail(LS_EMEM, "%s:%lld: no memory for %zu images", c->path, (long long)c->line, room);
        c->room = (int64_t)room;
    }
    const double label = c->number[c->options->label_first ? 0 : pixels], *pixel = c->number + (c->options->label_first ? 1 : 0);
    if (label != floor(label) || label < 0 || label >= LS_IMAGE_MAX_CLASSES)
        return ls_fail(LS_EFORMAT, "%s:%lld: label %g, a whole number from 0 to %d is needed; is the label the %s column? (--label first|last)", c->path,
                       (long long)c->line, label, LS_IMAGE_MAX_CLASSES - 1, c->options->label_first ? "first" : "last");
    for (int64_t i = 0; i < pixels; i++) {
        if (pixel[i] < 0 || pixel[i] > scale)
            return ls_fail(LS_EFORMAT, "%s:%lld: pixel %lld is %g, it must be from 0 to %g; say --scale GREATEST", c->path, (long long)c->line,
                           (long long)i, pixel[i], scale);
        in->pixels[in->count * pixels + i] = (uint8_t)(pixel[i] * 255 / scale + 0.5);
    }
    in->label[in->count++] = (int32_t)label;
    in->shape.classes = label >= (double)in->shape.classes ? (int64_t)label + 1 : in->shape.classes;
    return LS_OK;
}

static ls_status read_line(csv *c, const char *at, const char *end)
{
    ls_status status = read_numbers(c, at, end);
    if (status == LS_EFORMAT && c->line == 1 && c->numbers == 0)
        return LS_OK; /* names of columns */
    if (status != LS_OK || c->numbers == 0)
        return status;
    if (!c->columns && (status = choose_shape(c)) != LS_OK)
        return status;
    if (c->numbers != c->columns)
        return ls_fail(LS_EFORMAT, "%s:%lld: %lld numbers, the lines before have %lld", c->path, (long long)c->line, (long long)c->numbers,
                       (long long)c->columns);
    return add_image(c);
}

ls_status ls_image_input_csv_bytes(ls_image_input *input, const char *path, const char *text, size_t bytes, const ls_csv_options *options)
{
    *input = (ls_image_input){0};
    csv c = {.path = path, .options = options, .input = input};
    ls_status status = LS_OK;
    if (bytes && memchr(text, '\0', bytes < 4 ? bytes : 4))
        return ls_fail(LS_EFORMAT, "%s: not text; of an IDX file name the labels too (--labels FILE)", path);
    for (const char *at = text, *end = text + bytes; at < end && status == LS_OK;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        c.line++;
        status = read_line(&c, at, stop);
        at = stop + 1;
    }
    if (status == LS_OK && input->count == 0)
        status = ls_fail(LS_EFORMAT, "%s: holds no images", path);
    free(c.number);
    if (status != LS_OK)
        ls_image_input_free(input);
    return status;
}

ls_status ls_image_input_csv(ls_image_input *input, const char *path, const ls_csv_options *options)
{
    uint8_t *bytes;
    size_t size;
    ls_status status = read_all(path, &bytes, &size);
    if (status == LS_OK)
        status = ls_image_input_csv_bytes(input, path, (const char *)bytes, size, options);
    free(bytes);
    return status;
}
