/* Pictures: against what Pillow and torchvision make of the same files, and what is said of files that are not right.
 */
#include "datasets/picture.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(picture, .fini = fixture_clean);

enum { H = 30, W = 41, MOST = 64 * 64 * 3 };

static const char *source(const char *folder, const char *name)
{
    static char path[4][1024];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, sizeof path[0], "%s/tests/%s/%s", getenv("LS_SOURCE"), folder, name);
    return to;
}

static ls_picture_reader *open_reader(const ls_picture_options *options)
{
    ls_picture_reader *reader;
    cr_assert_eq(ls_picture_reader_open(&reader, options), LS_OK, "%s", ls_fail_sentence());
    return reader;
}

/* Of the pictures' own size, on white. */
static ls_picture_reader *plain_reader(void)
{
    return open_reader(&(ls_picture_options){
        .height = H, .width = W, .channels = 3, .fit = LS_FIT_STRETCH, .background = {255, 255, 255}});
}

typedef struct {
    char name[64];
    ls_picture_options options;
    double off; /* mean difference allowed */
} golden;

static bool next_golden(FILE *file, golden *g)
{
    char fit[16], filter[16];
    long long height, width, channels, shorter;
    unsigned background;
    if (fscanf(file, "%63s %lld %lld %lld %15s %lld %15s %x %lf", g->name, &height, &width, &channels, fit, &shorter,
               filter, &background, &g->off) != 9)
        return false;
    g->options = (ls_picture_options){.height = height,
                                      .width = width,
                                      .channels = channels,
                                      .shorter = shorter,
                                      .fit = strcmp(fit, "crop") ? LS_FIT_STRETCH : LS_FIT_CROP,
                                      .filter = strcmp(filter, "area") ? LS_FILTER_BILINEAR : LS_FILTER_AREA};
    for (int i = 0; i < 3; i++)
        g->options.background[i] = (uint8_t)(background >> 8 * (2 - i));
    return true;
}

Test(picture, pixels_are_those_of_pillow_and_torchvision)
{
    size_t bytes;
    uint8_t *all = fixture_read(source("golden", "pictures.bin"), &bytes), *want = all;
    FILE *list = fopen(source("golden", "pictures.txt"), "r");
    cr_assert_not_null(list);
    int cases = 0;
    golden g;
    for (; next_golden(list, &g); cases++) {
        uint8_t got[MOST];
        const size_t count = (size_t)(g.options.height * g.options.width * g.options.channels);
        cr_assert(count <= sizeof got && want + count <= all + bytes);
        ls_picture_reader *reader = open_reader(&g.options);
        cr_assert_eq(ls_picture_read(reader, source("data/pictures", g.name), got), LS_OK, "%s", ls_fail_sentence());
        double off = 0;
        for (size_t i = 0; i < count; i++)
            off += abs((int)got[i] - (int)want[i]) / (double)count;
        cr_assert(off <= g.off, "%s as %lld x %lld x %lld: off by %g on average, %g is allowed", g.name,
                  (long long)g.options.height, (long long)g.options.width, (long long)g.options.channels, off, g.off);
        ls_picture_reader_free(reader);
        want += count;
    }
    fclose(list);
    cr_assert_eq(want, all + bytes);
    cr_assert_eq(cases, 37);
    free(all);
}

/* ---- files that are not right ---- */

static void check_refused(const ls_picture_reader *reader, const uint8_t *bytes, size_t size, ls_status status,
                          const char *word)
{
    uint8_t pixels[MOST];
    cr_assert_eq(ls_picture_read_bytes(reader, "x.png", bytes, size, pixels), status, "%s, %zu bytes", word, size);
    cr_assert(ls_picture_is_bad(status));
    cr_assert(strncmp(ls_fail_sentence(), "x.png: ", 7) == 0 && strstr(ls_fail_sentence(), word), "%s",
              ls_fail_sentence());
}

Test(picture, a_file_cut_anywhere_is_refused)
{
    static const char *const names[] = {"420.jpg",  "progressive.jpg",   "restarts.jpg",
                                        "grey.jpg", "palette-alpha.png", "moon.png"};
    ls_picture_reader *reader = plain_reader();
    uint8_t pixels[MOST];
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        size_t bytes;
        uint8_t *content = fixture_read(source("data/pictures", names[n]), &bytes);
        cr_assert_eq(ls_picture_read_bytes(reader, names[n], content, bytes, pixels), LS_OK, "%s", ls_fail_sentence());
        for (size_t cut = 0; cut < bytes; cut++) {
            uint8_t *part = malloc(cut + !cut); /* to the byte, so that the sanitizer sees a read behind it */
            memcpy(part, content, cut);
            const ls_status status = ls_picture_read_bytes(reader, names[n], part, cut, pixels);
            cr_assert(status == LS_ECORRUPT || (cut < 8 && status == LS_EFORMAT), "%s cut to %zu of %zu: %s", names[n],
                      cut, bytes, status ? ls_fail_sentence() : "taken");
            free(part);
        }
        free(content);
    }
    ls_picture_reader_free(reader);
}

Test(picture, a_bit_turned_over_in_a_png_is_found)
{
    ls_picture_reader *reader = plain_reader();
    size_t bytes;
    uint8_t *content = fixture_read(source("data/pictures", "palette.png"), &bytes), pixels[MOST];
    for (size_t i = 0; i < bytes; i++) {
        content[i] ^= (uint8_t)(1 << i % 8);
        const ls_status status = ls_picture_read_bytes(reader, "x.png", content, bytes, pixels);
        cr_assert(status == LS_ECORRUPT || (i < 8 && status == LS_EFORMAT) || (i + 4 >= bytes && !status),
                  "byte %zu of %zu: %d", i, bytes, status);
        content[i] ^= (uint8_t)(1 << i % 8);
    }
    free(content);
    ls_picture_reader_free(reader);
}

/* JPEG has no sums: a turned bit may pass for another picture, but must not bring anything down or print. */
Test(picture, a_bit_turned_over_in_a_jpeg_does_no_harm)
{
    ls_picture_reader *reader = plain_reader();
    size_t bytes;
    uint8_t *content = fixture_read(source("data/pictures", "turned-6.jpg"), &bytes), pixels[MOST];
    int refused = 0;
    for (size_t i = 0; i < bytes; i++) {
        content[i] ^= (uint8_t)(1 << i % 8);
        const ls_status status = ls_picture_read_bytes(reader, "x.jpg", content, bytes, pixels);
        cr_assert(!status || status == LS_ECORRUPT || status == LS_EFORMAT, "byte %zu: %s", i, ls_fail_sentence());
        refused += status != LS_OK;
        content[i] ^= (uint8_t)(1 << i % 8);
    }
    cr_assert(refused > 50, "%d of %zu", refused, bytes);
    free(content);
    ls_picture_reader_free(reader);
}

Test(picture, what_is_no_picture_is_said_to_be_what_it_is)
{
    ls_picture_reader *reader = plain_reader();
    static const uint8_t gif[] = "GIF89a...", webp[] = "RIFF....WEBPVP8 ", bmp[] = "BM......", text[] = "hello",
                         tiff[] = "II*\0....", page[] = "<!DOCTYPE html><html>404",
                         jpeg_only[] = {0xff, 0xd8, 0xff, 0xd9};
    check_refused(reader, text, 0, LS_EFORMAT, "an empty file");
    check_refused(reader, gif, sizeof gif, LS_EFORMAT, "this is GIF");
    check_refused(reader, webp, sizeof webp, LS_EFORMAT, "this is WebP");
    check_refused(reader, bmp, sizeof bmp, LS_EFORMAT, "this is BMP");
    check_refused(reader, tiff, sizeof tiff, LS_EFORMAT, "this is TIFF");
    check_refused(reader, page, sizeof page, LS_EFORMAT, "this is HTML");
    check_refused(reader, text, sizeof text, LS_EFORMAT, "not a picture: it begins with 0x6865");
    check_refused(reader, jpeg_only, sizeof jpeg_only, LS_ECORRUPT, "damaged");
    uint8_t pixels[MOST];
    cr_assert_eq(ls_picture_read(reader, fixture_path("nothing.png"), pixels), LS_ENOTFOUND);
    cr_assert_eq(mkdir(fixture_path("folder.png"), 0700), 0);
    cr_assert_eq(ls_picture_read(reader, fixture_path("folder.png"), pixels), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "folder.png: not a file"), "%s", ls_fail_sentence());
    cr_assert_eq(mkfifo(fixture_path("pipe.png"), 0600), 0);
    cr_assert_eq(ls_picture_read(reader, fixture_path("pipe.png"), pixels), LS_EFORMAT, "a pipe is not waited for");
    ls_picture_reader_free(reader);
}

Test(picture, a_small_file_that_claims_a_great_picture_takes_no_memory)
{
    ls_picture_reader *reader = plain_reader();
    /* 60000 x 60000 pixels of 16 bits: 28 GB. Its sum is right, so the size alone refuses it. */
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0, 0,    13,
                                  'I',  'H', 'D', 'R', 0,    0,    0xea, 0x60, 0,    0, 0xea, 0x60,
                                  16,   6,   0,   0,   0,    0xd0, 0x42, 0xa9, 0x01, 0, 0,    0,
                                  0,    'I', 'E', 'N', 'D',  0xae, 0x42, 0x60, 0x82};
    check_refused(reader, png, sizeof png, LS_ECORRUPT, "60000x60000");
    ls_picture_reader_free(reader);
}

Test(picture, damage_of_what_makes_no_pixels_is_no_damage)
{
    ls_picture_reader *reader = plain_reader();
    size_t bytes;
    uint8_t *content = fixture_read(source("data/pictures", "turned-3.jpg"), &bytes), upright[MOST], pixels[MOST];
    uint8_t *exif = memmem(content, bytes, "Exif", 4);
    cr_assert_not_null(exif);
    cr_assert_eq(ls_picture_read(reader, source("data/pictures", "444.jpg"), upright), LS_OK);
    memset(exif + 6, 0xee, 8); /* the byte order and where its directory stands */
    cr_assert_eq(ls_picture_read_bytes(reader, "x.jpg", content, bytes, pixels), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(memcmp(pixels, upright, H * W * 3), 0, "an Exif block that says nothing turns nothing");
    free(content);
    ls_picture_reader_free(reader);
}

Test(picture, sizes_that_cannot_be_are_refused)
{
    static const ls_picture_options wrong[] = {
        {.height = 0, .width = 8, .channels = 3},
        {.height = 8, .width = 16385, .channels = 3},
        {.height = 8, .width = 8, .channels = 2},
        {.height = 8, .width = 8, .channels = 4},
        {.height = 8, .width = 9, .channels = 3, .shorter = 8},
        {.height = 8, .width = 8, .channels = 3, .shorter = 8, .fit = LS_FIT_STRETCH},
    };
    ls_picture_reader *reader;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_eq(ls_picture_reader_open(&reader, &wrong[i]), LS_EARG, "%zu", i);
}

Test(picture, long_and_thin_pictures_are_cut_without_being_made_whole)
{
    /* Resized to cover 16384 x 16384, a picture of 41 x 1 would be 671744 pixels wide: only the cut is worked out. */
    size_t bytes;
    ls_picture_reader *reader =
        open_reader(&(ls_picture_options){.height = 2000, .width = 1, .channels = 1, .background = {0}});
    uint8_t *content = fixture_read(source("data/pictures", "grey.png"), &bytes), *pixels = malloc(2000);
    cr_assert_eq(ls_picture_read_bytes(reader, "x.png", content, bytes, pixels), LS_OK, "%s", ls_fail_sentence());
    free(content);
    free(pixels);
    ls_picture_reader_free(reader);
}
