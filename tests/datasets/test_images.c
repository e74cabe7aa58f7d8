/* Image sets on disk: what is written is what is read; a file that lies is refused with its name. */
#include "datasets/images.h"
#include "datasets/loader.h"
#include "tests/datasets/fixture.h"
#include "tests/datasets/image_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(images, .fini = fixture_clean);

enum { H = 5, W = 4, C = 3, BYTES = H * W * C, CLASSES = 7, IMAGES = 50 };
static const ls_image_shape shape = {H, W, C, CLASSES};

/* 20 images a shard: three shards. */
static void pack(const char *name)
{
    image_fixture_pack(name, shape, IMAGES, 20 * BYTES);
}

static bool same_images(const ls_images *set)
{
    bool same = ls_images_count(set) == IMAGES;
    for (int64_t n = 0; same && n < IMAGES; n++) {
        const uint8_t *pixels;
        int32_t label;
        same = ls_images_get(set, n, &pixels, &label) == LS_OK && label == image_fixture_label(n, CLASSES) &&
               label == ls_images_label(set, n);
        for (int64_t i = 0; same && i < BYTES; i++)
            same = pixels[i] == image_fixture_byte(n, i);
    }
    return same;
}

Test(images, what_is_written_is_read_with_the_statistics_of_its_pixels)
{
    pack("set");
    ls_images *set;
    cr_assert_eq(ls_images_open(&set, fixture_path("set"), true), LS_OK, "%s", ls_fail_sentence());
    cr_assert(same_images(set));
    cr_assert_eq(ls_images_files(set), 3);
    cr_assert_eq(memcmp(ls_images_shape(set), &shape, sizeof shape), 0);
    cr_assert_str_eq(ls_images_class_name(set, 6), "6");
    cr_assert_str_eq(ls_images_source(set), "a test");
    for (int64_t c = 0; c < C; c++) {
        double mean = 0, squares = 0;
        for (int64_t n = 0; n < IMAGES; n++)
            for (int64_t i = c; i < BYTES; i += C)
                mean += image_fixture_byte(n, i) / 255.0 / (IMAGES * H * W);
        for (int64_t n = 0; n < IMAGES; n++)
            for (int64_t i = c; i < BYTES; i += C)
                squares += pow(image_fixture_byte(n, i) / 255.0 - mean, 2) / (IMAGES * H * W);
        cr_assert_float_eq(ls_images_mean(set)[c], mean, 1e-12);
        cr_assert_float_eq(ls_images_deviation(set)[c], sqrt(squares), 1e-12);
    }
    ls_images_free(set);
}

Test(images, the_writer_refuses_what_cannot_be)
{
    ls_image_writer *writer;
    const uint8_t pixels[BYTES] = {0};
    static const ls_image_shape wrong[] = {{0, 4, 3, 7}, {5, 16385, 3, 7}, {5, 4, 5, 7},
                                           {5, 4, 0, 7}, {5, 4, 3, 0},     {5, 4, 3, 65537}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_eq(ls_image_writer_open(&writer, fixture_path("x"), &(ls_image_options){.shape = wrong[i]}), LS_EARG);
    static const char *const names[CLASSES] = {"a", "b\nc", "d", "e", "f", "g", "h"};
    cr_assert_eq(
        ls_image_writer_open(&writer, fixture_path("x"), &(ls_image_options){.shape = shape, .class_names = names}),
        LS_EARG);
    cr_assert_eq(ls_image_writer_open(&writer, fixture_path("x"), &(ls_image_options){.shape = shape}), LS_OK);
    cr_assert_eq(ls_image_writer_add(writer, pixels, 7), LS_EARG);
    ls_image_writer_discard(writer);
    cr_assert_eq(ls_image_writer_open(&writer, fixture_path("x"), &(ls_image_options){.shape = shape}), LS_OK);
    cr_assert_eq(ls_image_writer_commit(writer), LS_EARG, "no images");
    cr_assert(access(fixture_path("x"), F_OK) != 0 && access(fixture_path("x.partial"), F_OK) != 0);
    pack("set");
    cr_assert_eq(ls_image_writer_open(&writer, fixture_path("set"), &(ls_image_options){.shape = shape}), LS_EEXIST);
}

/* ---- files that lie ---- */

static void expect(const char *name, ls_status status, const char *words)
{
    ls_images *set;
    const ls_status got = ls_images_open(&set, fixture_path(name), true);
    cr_assert_eq(got, status, "got %s: %s", ls_status_name(got), ls_fail_sentence());
    cr_assert_null(set);
    cr_assert(strstr(ls_fail_sentence(), words), "wanted '%s' in: %s", words, ls_fail_sentence());
}

Test(images, missing_and_exchanged_shards_and_sets_of_text_are_told)
{
    expect("set", LS_ENOTFOUND, "lockstep data images");
    pack("set");
    size_t bytes;
    uint8_t *first = fixture_read(fixture_path("set/shard-00000.h5"), &bytes);
    fixture_write(fixture_path("set/shard-00001.h5"), first, bytes);
    free(first);
    expect("set", LS_ECORRUPT, "shard-00001.h5: a whole shard (number 0)");
    unlink(fixture_path("set/shard-00001.h5"));
    expect("set", LS_ENOTFOUND, "shard-00001.h5: missing");
    const int64_t lengths[] = {4, 5};
    fixture_pack("text", lengths, 2, 0, false);
    expect("text", LS_EFORMAT, "kind 'text'");
}

Test(images, a_file_cut_short_anywhere_is_noticed)
{
    pack("set");
    static const char *const files[] = {"set/dataset.h5", "set/shard-00002.h5"};
    for (int f = 0; f < 2; f++) {
        size_t bytes;
        uint8_t *content = fixture_read(fixture_path(files[f]), &bytes);
        for (size_t keep = 0; keep < bytes; keep += keep < 200 ? 7 : 61) {
            ls_images *set;
            fixture_write(fixture_path(files[f]), content, keep);
            const ls_status status = ls_images_open(&set, fixture_path("set"), true);
            cr_assert(status == LS_ECORRUPT || status == LS_EFORMAT, "%s cut to %zu of %zu: %s", files[f], keep, bytes,
                      ls_status_name(status));
            cr_assert(strstr(ls_fail_sentence(), strchr(files[f], '/') + 1), "%s", ls_fail_sentence());
        }
        fixture_write(fixture_path(files[f]), content, bytes);
        free(content);
    }
}

/* HDF5 leaves gaps that no reader looks at; a bit there may be harmless, but never harmful and unnoticed. */
static int flip_bytes(const char *file)
{
    size_t bytes;
    int noticed = 0;
    uint8_t *content = fixture_read(fixture_path(file), &bytes);
    for (size_t at = 0; at < bytes; at += 23) {
        ls_images *set;
        content[at] ^= (uint8_t)(1u << at % 8);
        fixture_write(fixture_path(file), content, bytes);
        content[at] ^= (uint8_t)(1u << at % 8);
        if (ls_images_open(&set, fixture_path("set"), true) == LS_OK)
            cr_assert(same_images(set), "%s: byte %zu of %zu is damaged and nobody says so", file, at, bytes);
        else
            cr_assert(strstr(ls_fail_sentence(), "set/"), "byte %zu: %s", at, ls_fail_sentence());
        noticed += !set;
        ls_images_free(set);
    }
    fixture_write(fixture_path(file), content, bytes);
    free(content);
    return noticed;
}

Test(images, a_flipped_bit_is_noticed_or_harmless, .timeout = 60)
{
    pack("set");
    cr_assert_gt(flip_bytes("set/shard-00001.h5"), 100);
    cr_assert_gt(flip_bytes("set/dataset.h5"), 100);
}

/* ---- two sets of one run ---- */

static void pack_named(const char *name, int64_t classes, const char *const *names)
{
    ls_image_writer *writer;
    const uint8_t pixels[BYTES] = {1, 2, 3};
    const ls_image_options options = {.shape = {H, W, C, classes}, .class_names = names};
    cr_assert_eq(ls_image_writer_open(&writer, fixture_path(name), &options), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_image_writer_add(writer, pixels, 0), LS_OK);
    cr_assert_eq(ls_image_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
}

Test(images, sets_whose_class_numbers_mean_other_things_are_not_read_together)
{
    static const char *const pets[] = {"cat", "dog", "hen"}, *const fewer[] = {"cat", "dog"},
                             *const others[] = {"cat", "hen"};
    pack_named("pets", 3, pets);
    pack_named("fewer", 2, fewer);
    pack_named("others", 2, others);
    pack_named("numbers", 2, NULL);
    ls_data_options options = fixture_options("pets", 0, 1);
    ls_data *train, *held_out;
    cr_assert_eq(ls_data_open(&train, &options), LS_OK, "%s", ls_fail_sentence());
    options = fixture_options("fewer", 0, 1);
    options.like = train;
    cr_assert_eq(ls_data_open(&held_out, &options), LS_OK, "%s", ls_fail_sentence());
    ls_data_free(held_out);
    options = fixture_options("others", 0, 1);
    options.like = train;
    cr_assert_eq(ls_data_open(&held_out, &options), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "class 1 is \"hen\"") && strstr(ls_fail_sentence(), "\"dog\"") &&
                  strstr(ls_fail_sentence(), "--like"),
              "%s", ls_fail_sentence());
    options = fixture_options("numbers", 0, 1);
    options.like = train;
    cr_assert_eq(ls_data_open(&held_out, &options), LS_ERECIPE, "names against numbers");
    options = fixture_options("others", 0, 1);
    options.sources.count = 2;
    options.sources.source[0] = options.sources.source[1];
    options.sources.source[0].path = fixture_path("pets");
    options.sources.source[1].path = fixture_path("others");
    options.sources.source[0].weight = options.sources.source[1].weight = 1;
    cr_assert_eq(ls_data_open(&held_out, &options), LS_ERECIPE, "a mixture as well");
    ls_data_free(train);
}
