/* See image_views.h. */
#include "launch/image_views.h"
#include "datasets/sums.h"
#include "launch/data_commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool ls_folder_holds_images(const char *folder)
{
    char kind[16];
    return ls_data_set_kind(folder, kind) == LS_OK && strcmp(kind, "image") == 0;
}

/* ---- info, verify ---- */

static ls_status print_classes(const ls_images *set)
{
    const int64_t classes = ls_images_shape(set)->classes;
    int64_t *count = calloc((size_t)classes, sizeof *count);
    if (!count)
        return ls_fail(LS_EMEM, "%s: no memory to count its classes", ls_images_folder(set));
    for (int64_t i = 0; i < ls_images_count(set); i++)
        count[ls_images_label(set, i)]++;
    for (int64_t c = 0; c < classes; c++) {
        const char *name = ls_images_class_name(set, c);
        printf("  class %-10" PRId64 " ", c);
        ls_data_print_text(name, strlen(name), true);
        printf(": %" PRId64 "\n", count[c]);
    }
    free(count);
    return LS_OK;
}

ls_status ls_images_print_info(const char *folder)
{
    ls_images *set;
    ls_status status = ls_images_open(&set, folder, false);
    if (status != LS_OK)
        return status;
    const ls_image_shape *shape = ls_images_shape(set);
    printf("%s\n", folder);
    printf("  made from        %s\n", ls_images_source(set));
    printf("  images           %" PRId64 " of %" PRId64 " x %" PRId64 " x %" PRId64 "\n", ls_images_count(set),
           shape->height, shape->width, shape->channels);
    printf("  mean, deviation ");
    for (int64_t c = 0; c < shape->channels; c++)
        printf(" %.4f, %.4f%s", ls_images_mean(set)[c], ls_images_deviation(set)[c],
               c + 1 < shape->channels ? ";" : "\n");
    printf("  shards           %" PRId64 "\n", ls_images_files(set));
    printf("  hash             %016" PRIx64 "\n", ls_images_hash(set));
    status = print_classes(set);
    ls_images_free(set);
    return status;
}

ls_status ls_images_print_verified(const char *folder)
{
    ls_images *set;
    ls_status status = ls_images_open(&set, folder, true);
    if (status != LS_OK)
        return status;
    status = ls_sums_check(folder);
    if (status == LS_OK)
        printf("%s: whole; %" PRId64 " images in %" PRId64 " shards, hash %016" PRIx64 "\n", folder, ls_images_count(set),
           ls_images_files(set), ls_images_hash(set));
    ls_images_free(set);
    return status;
}

/* ---- show ---- */

typedef struct {
    const uint8_t *pixels;
    const ls_image_shape *shape;
    int64_t block;      /* side of the square of pixels that becomes one */
    int64_t rows, cols; /* after that */
} view;

typedef struct {
    int red, green, blue;
} colour;

/* Mean of a block of pixels; one or two channels are grey, a fourth is not looked at. */
static colour colour_at(const view *v, int64_t row, int64_t col)
{
    const ls_image_shape *s = v->shape;
    int64_t sum[3] = {0}, count = 0;
    for (int64_t y = row * v->block; y < (row + 1) * v->block && y < s->height; y++)
        for (int64_t x = col * v->block; x < (col + 1) * v->block && x < s->width; x++, count++)
            for (int64_t c = 0; c < 3; c++)
                sum[c] += v->pixels[(y * s->width + x) * s->channels + (s->channels < 3 ? 0 : c)];
    return count ? (colour){(int)(sum[0] / count), (int)(sum[1] / count), (int)(sum[2] / count)} : (colour){0};
}

/* The upper half of a cell in the text's colour, the lower in the ground's. */
static void print_half_blocks(const view *v)
{
    for (int64_t row = 0; row < v->rows; row += 2) {
        for (int64_t col = 0; col < v->cols; col++) {
            const colour up = colour_at(v, row, col), low = colour_at(v, row + 1, col);
            printf("\033[38;2;%d;%d;%dm\033[48;2;%d;%d;%dm\u2580", up.red, up.green, up.blue, low.red, low.green,
                   low.blue);
        }
        puts("\033[0m");
    }
}

/* Two characters a pixel, since characters are about twice as high as wide. Brightness by ITU-R BT.601. */
static void print_characters(const view *v)
{
    static const char ramp[] = " .:-=+*#%@";
    for (int64_t row = 0; row < v->rows; row++) {
        for (int64_t col = 0; col < v->cols; col++) {
            const colour at = colour_at(v, row, col);
            const int grey = (299 * at.red + 587 * at.green + 114 * at.blue) / 1000;
            const char c = ramp[grey * ((int)sizeof ramp - 1) / 256];
            putchar(c);
            putchar(c);
        }
        putchar('\n');
    }
}

static int64_t terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

ls_status ls_images_print(const char *folder, int64_t number, int64_t columns)
{
    ls_images *set;
    view v;
    int32_t label;
    ls_status status = ls_images_open(&set, folder, false);
    if (status != LS_OK)
        return status;
    v.shape = ls_images_shape(set);
    if (number < 0 || number >= ls_images_count(set))
        status = ls_fail(LS_EARG, "%s: there is no image %lld; it has 0 .. %lld", folder, (long long)number,
                         (long long)ls_images_count(set) - 1);
    else
        status = ls_images_get(set, number, &v.pixels, &label);
    if (status == LS_OK) {
        const bool colours = isatty(STDOUT_FILENO);
        const int64_t most = (columns ? columns : terminal_columns()) / (colours ? 1 : 2);
        v.block = (v.shape->width + most - 1) / (most > 0 ? most : 1);
        v.rows = (v.shape->height + v.block - 1) / v.block;
        v.cols = (v.shape->width + v.block - 1) / v.block;
        printf("-- image %" PRId64 ": %" PRId64 " x %" PRId64 " x %" PRId64 ", class %d (%s)\n", number,
               v.shape->height, v.shape->width, v.shape->channels, (int)label, ls_images_class_name(set, label));
        colours ? print_half_blocks(&v) : print_characters(&v);
    }
    ls_images_free(set);
    return status;
}
