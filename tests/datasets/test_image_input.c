/* IDX and CSV files: what they hold, and what is said of those that lie. */
#include "datasets/image_input.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

TestSuite(image_input, .fini = fixture_clean);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- IDX ---- */

#define IMAGES_OF(n, h, w) 0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, h, 0, 0, 0, w
#define LABELS_OF(n)       0, 0, 8, 1, 0, 0, 0, n

static ls_status read_pair(ls_image_input *input, const uint8_t *images, size_t image_bytes, const uint8_t *labels,
                           size_t label_bytes)
{
    return ls_image_input_idx_bytes(input, "i.idx", images, image_bytes, "l.idx", labels, label_bytes);
}

Test(image_input, idx_holds_images_of_one_channel_or_more)
{
    static const uint8_t grey[] = {IMAGES_OF(2, 1, 3), 1, 2, 3, 4, 5, 6}, labels[] = {LABELS_OF(2), 4, 0};
    static const uint8_t colour[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 8, 7, 6, 5, 4},
                         one[] = {LABELS_OF(1), 255};
    ls_image_input in;
    cr_assert_eq(read_pair(&in, grey, sizeof grey, labels, sizeof labels), LS_OK, "%s", ls_fail_sentence());
    cr_assert(in.count == 2 && in.shape.height == 1 && in.shape.width == 3 && in.shape.channels == 1 &&
              in.shape.classes == 5);
    cr_assert(memcmp(in.pixels, grey + 16, 6) == 0 && in.label[0] == 4 && in.label[1] == 0);
    ls_image_input_free(&in);
    cr_assert_eq(read_pair(&in, colour, sizeof colour, one, sizeof one), LS_OK, "%s", ls_fail_sentence());
    cr_assert(in.shape.width == 2 && in.shape.channels == 3 && in.shape.classes == 256 &&
              memcmp(in.pixels, colour + 20, 6) == 0);
    ls_image_input_free(&in);
}

typedef struct {
    const uint8_t *images, *labels;
    size_t image_bytes, label_bytes;
    const char *words;
} bad_pair;
#define BYTES(...)                                                                                                     \
    (const uint8_t[])                                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define PAIR(i, l, words)                                                                                              \
    {                                                                                                                  \
        i, l, sizeof(i), sizeof(l), words                                                                              \
    }

Test(image_input, idx_that_lies_is_refused)
{
    static const uint8_t good[] = {IMAGES_OF(2, 1, 1), 1, 2}, labels[] = {LABELS_OF(2), 0, 1};
    static const uint8_t nothing[1] = {0}, text[] = "label,pixel\n", floats[] = {0, 0, 13, 3, 0, 0, 0, 2},
                         short_by_one[] = {IMAGES_OF(2, 1, 2), 1, 2, 3}, long_by_one[] = {IMAGES_OF(2, 1, 1), 1, 2, 3},
                         only_axes[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0}, none[] = {IMAGES_OF(0, 1, 1)},
                         no_labels[] = {LABELS_OF(0)}, flat[] = {IMAGES_OF(2, 0, 5)}, three[] = {LABELS_OF(3), 0, 1, 2},
                         huge[] = {0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2},
                         five[] = {0, 0, 8, 5, 0, 0, 0, 1},
                         many[] = {0, 0, 8, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5};
    const bad_pair cases[] = {
        PAIR(nothing, labels, "i.idx: not an IDX file"),
        PAIR(text, labels, "i.idx: not an IDX file"),
        PAIR(floats, labels, "i.idx: IDX elements of type 0x0d"),
        PAIR(short_by_one, labels, "3 bytes behind its header, which speaks of 4"),
        PAIR(long_by_one, labels, "3 bytes behind its header, which speaks of 2"),
        PAIR(only_axes, labels, "i.idx: "),
        PAIR(labels, good, "are images and labels swapped?"),
        PAIR(none, no_labels, "holds no images"),
        PAIR(flat, labels, "sides must be"),
        PAIR(good, three, "2 images, l.idx 3 labels"),
        PAIR(good, BYTES(LABELS_OF(1), 0), "2 images, l.idx 1 labels"),
        PAIR(huge, labels, "i.idx: "),
        PAIR(five, labels, "5 axes"),
        PAIR(good, text, "l.idx: not an IDX file"),
        PAIR(many, BYTES(LABELS_OF(1), 0), "5 channels"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_image_input in;
        const ls_status status =
            read_pair(&in, cases[i].images, cases[i].image_bytes, cases[i].labels, cases[i].label_bytes);
        cr_assert(status == LS_EFORMAT || status == LS_EARG, "case %zu, %s: %s", i, cases[i].words,
                  ls_status_name(status));
        cr_assert(strstr(ls_fail_sentence(), cases[i].words), "case %zu, %s: %s", i, cases[i].words,
                  ls_fail_sentence());
        cr_assert(!in.pixels && !in.label);
    }
}

static void write_gzip(const char *path, const void *bytes, unsigned count)
{
    gzFile file = gzopen(path, "wb");
    cr_assert_eq(gzwrite(file, bytes, count), (int)count);
    gzclose(file);
}

Test(image_input, files_are_read_plain_and_gzipped_and_refused_cut_off)
{
    enum { N = 100, SIDE = 12, BYTES_ALL = 16 + N * SIDE * SIDE };
    static uint8_t images[BYTES_ALL] = {IMAGES_OF(N, SIDE, SIDE)}, labels[8 + N] = {LABELS_OF(N)};
    for (int i = 16; i < BYTES_ALL; i++)
        images[i] = (uint8_t)(i * 2654435761u >> 13);
    ls_image_input plain, packed;
    fixture_write(fixture_path("i"), images, sizeof images);
    fixture_write(fixture_path("l"), labels, sizeof labels);
    write_gzip(fixture_path("i.gz"), images, sizeof images);
    write_gzip(fixture_path("l.gz"), labels, sizeof labels);
    cr_assert_eq(ls_image_input_idx(&plain, fixture_path("i"), fixture_path("l")), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_image_input_idx(&packed, fixture_path("i.gz"), fixture_path("l.gz")), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert_eq(memcmp(plain.pixels, packed.pixels, N * SIDE * SIDE), 0);
    ls_image_input_free(&plain);
    ls_image_input_free(&packed);
    size_t bytes;
    uint8_t *content = fixture_read(fixture_path("i.gz"), &bytes);
    for (size_t cut = 0; cut < bytes; cut += cut < 40 ? 1 : 97) {
        fixture_write(fixture_path("cut.gz"), content, cut);
        const ls_status status = ls_image_input_idx(&plain, fixture_path("cut.gz"), fixture_path("l"));
        cr_assert(status == LS_ECORRUPT || status == LS_EFORMAT, "cut to %zu: %s", cut, ls_status_name(status));
        cr_assert(strstr(ls_fail_sentence(), "cut.gz: "), "%s", ls_fail_sentence());
    }
    for (size_t at = 10; at < bytes; at += 97) {
        content[at] ^= 0x10;
        fixture_write(fixture_path("flipped.gz"), content, bytes);
        content[at] ^= 0x10;
        cr_assert_neq(ls_image_input_idx(&plain, fixture_path("flipped.gz"), fixture_path("l")), LS_OK, "byte %zu", at);
    }
    free(content);
    cr_assert_eq(ls_image_input_idx(&plain, fixture_path("gone"), fixture_path("l")), LS_ENOTFOUND);
}

/* ---- CSV ---- */

static ls_status read_csv(ls_image_input *in, const char *text, const ls_csv_options *options)
{
    return ls_image_input_csv_bytes(in, "x.csv", text, strlen(text), options);
}

Test(image_input, csv_of_any_separator_with_the_label_on_either_side)
{
    ls_image_input in;
    cr_assert_eq(
        read_csv(&in, "a,b,c,d,class\n0.0,16,8,4,3\r\n1;2;3;4;0\n\n5\t6\t7\t8\t9", &(ls_csv_options){.scale = 16}),
        LS_OK, "%s", ls_fail_sentence());
    cr_assert(in.count == 3 && in.shape.height == 2 && in.shape.width == 2 && in.shape.channels == 1 &&
              in.shape.classes == 10);
    static const uint8_t want[] = {0, 255, 128, 64, 16, 32, 48, 64, 80, 96, 112, 128}; /* v 255 / 16, rounded */
    cr_assert_eq(memcmp(in.pixels, want, sizeof want), 0);
    cr_assert(in.label[0] == 3 && in.label[1] == 0 && in.label[2] == 9);
    ls_image_input_free(&in);
    cr_assert_eq(read_csv(&in, "7,1,2,3,4,5,6\n",
                          &(ls_csv_options){.label_first = true, .height = 1, .width = 2, .channels = 3}),
                 LS_OK);
    cr_assert(in.label[0] == 7 && in.shape.channels == 3 && in.pixels[0] == 1 && in.pixels[5] == 6);
    ls_image_input_free(&in);
}

Test(image_input, csv_that_is_not_right_is_refused_with_its_line)
{
    static const struct {
        const char *text, *words;
        ls_csv_options options;
    } cases[] = {
        {"", "holds no images", {0}},
        {"a,b,c\n", "holds no images", {0}},
        {"1,2,3,4,0\n1,2,x,4,0\n", "x.csv:2: 'x,4,0' is no number", {0}},
        {"1,2,3,4,0\n1,2,3,0\n", "x.csv:2: 4 numbers, the lines before have 5", {0}},
        {"1,2,3,4,0\n1,2,300,4,0\n", "x.csv:2: pixel 2 is 300, it must be from 0 to 255", {0}},
        {"1,2,-3,4,0\n", "pixel 2 is -3", {0}},
        {"1,2,3,4,0.5\n", "x.csv:1: label 0.5", {0}},
        {"1,2,3,4,-1\n", "label -1", {0}},
        {"1,2,3,4,65536\n", "label 65536", {0}},
        {"0.5,2,3,4,7\n", "is the label the first column?", {.label_first = true}},
        {"1,2,3,0\n", "no square; say --size", {0}},
        {"1,2,3,4,0\n", "no image of that size", {.height = 2, .width = 3, .channels = 1}},
        {"5\n", "x.csv:1: 1 numbers", {0}},
        {"nan,2,3,4,0\n1,1e999,3,4,0\n", "x.csv:2: '1e999,3,4,0' is no number", {0}},
        {"1,2,3,4,0\n1,2,3,4a,0\n", "x.csv:2: '4a,0' is no number", {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_image_input in;
        cr_assert_eq(read_csv(&in, cases[i].text, &cases[i].options), LS_EFORMAT, "case %zu: %s", i, cases[i].words);
        cr_assert(strstr(ls_fail_sentence(), cases[i].words), "case %zu, %s: %s", i, cases[i].words,
                  ls_fail_sentence());
        cr_assert(!in.pixels && !in.label);
    }
    ls_image_input in;
    cr_assert_eq(ls_image_input_csv_bytes(&in, "x.csv", "\0\0\10\3", 4, &(ls_csv_options){0}), LS_EFORMAT);
    cr_assert(strstr(ls_fail_sentence(), "--labels"), "%s", ls_fail_sentence());
}

/* ---- the seeds of tests/fuzz/fuzz_image.c, whole, cut and with bits turned over ---- */

static uint32_t state = 7;
static uint32_t draw(size_t below)
{
    state = state * 1664525 + 1013904223;
    return (uint32_t)((state >> 4) % below);
}

/* A copy of exactly `size` bytes, so that the sanitizer sees a read behind it. */
static void run_target(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int damage_all(const char *folder, int times)
{
    char path[1400];
    int files = 0;
    snprintf(path, sizeof path, "%s/tests/%s", getenv("LS_SOURCE"), folder);
    DIR *directory = opendir(path);
    cr_assert_not_null(directory, "%s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/tests/%s/%s", getenv("LS_SOURCE"), folder, entry->d_name);
        size_t size;
        uint8_t *bytes = fixture_read(path, &size);
        run_target(bytes, size);
        for (int i = 0; i < times; i++) {
            run_target(bytes, draw(size + 1));
            const size_t at = draw(size);
            const uint8_t before = bytes[at];
            bytes[at] ^= (uint8_t)(1 << draw(8)); /* they gather, but for every third */
            run_target(bytes, size);
            bytes[at] = i % 3 ? bytes[at] : before;
        }
        free(bytes);
        files++;
    }
    closedir(directory);
    return files;
}

Test(image_input, seeds_whole_cut_and_damaged, .timeout = 100)
{
    cr_assert_eq(damage_all("fuzz/seeds/image", 200), 6);
    cr_assert_geq(damage_all("data/pictures", 30), 29);
}
