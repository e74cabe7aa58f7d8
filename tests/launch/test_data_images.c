/* `lockstep data images` and what the other verbs say of its sets, on the data sets that come with the program. */
#include "datasets/images.h"
#include "tests/datasets/fixture.h"
#include "tests/launch/data_command.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(data_images, .fini = fixture_clean);

static const char *shipped(const char *name)
{
    static char path[4][1024];
    static int next;
    char *to = path[next++ % 4];
    snprintf(to, sizeof path[0], "%s/data-sets/%s", getenv("LS_SOURCE"), name);
    return to;
}

static ls_images *open_set(const char *name)
{
    ls_images *set;
    cr_assert_eq(ls_images_open(&set, fixture_path(name), true), LS_OK, "%s", ls_fail_sentence());
    return set;
}

static void check_same(const ls_images *part, int64_t first, const ls_images *all)
{
    const ls_image_shape *shape = ls_images_shape(all);
    for (int64_t i = 0; i < ls_images_count(part); i++) {
        const uint8_t *got, *want;
        int32_t label, want_label;
        cr_assert_eq(ls_images_get(part, i, &got, &label), LS_OK);
        cr_assert_eq(ls_images_get(all, first + i, &want, &want_label), LS_OK);
        cr_assert_eq(label, want_label);
        cr_assert_eq(label, ls_images_label(part, i));
        cr_assert_eq(memcmp(got, want, (size_t)(shape->height * shape->width * shape->channels)), 0);
    }
}

Test(data_images, ranges_of_the_digits_are_its_two_halves)
{
    char out[DATA_COMMAND_ROOM];
    const char *digits = shipped("digits/digits.csv.gz");
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("all"), "--scale", "16", digits), 0, "%s", out);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("train"), "--scale", "16", "--range", "0..897", digits), 0, "%s",
                 out);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("test"), "--scale", "16", "--range", "898..1796", digits), 0,
                 "%s", out);
    ls_images *all = open_set("all"), *train = open_set("train"), *test = open_set("test");
    cr_assert_eq(ls_images_count(all), 1797);
    cr_assert_eq(ls_images_count(train), 898);
    cr_assert_eq(ls_images_count(test), 899);
    cr_assert_eq(ls_images_shape(test)->classes, 10);
    check_same(train, 0, all);
    check_same(test, 898, all);
    ls_images_free(all);
    ls_images_free(train);
    ls_images_free(test);
    cr_assert_neq(RUN(out, "images", "-o", fixture_path("no"), "--scale", "16", "--range", "898..1797", digits), 0);
    cr_assert(strstr(out, "--range 898..1797") && strstr(out, "0..1796"), "%s", out);
}

static void pack_fashion(const char *to, const char *range)
{
    char out[DATA_COMMAND_ROOM];
    cr_assert_eq(RUN(out, "images", "-o", fixture_path(to), "--range", range, "--names",
                     "T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot", "--labels",
                     shipped("fashion-mnist-900/train600-labels-idx1-ubyte.gz"),
                     shipped("fashion-mnist-900/train600-images-idx3-ubyte.gz")),
                 0, "%s", out);
}

Test(data_images, info_verify_and_show_know_images)
{
    char out[DATA_COMMAND_ROOM];
    pack_fashion("test", "480..599");
    cr_assert_eq(RUN(out, "info", fixture_path("test")), 0, "%s", out);
    cr_assert(strstr(out, "images           120 of 28 x 28 x 1") && strstr(out, "class 9          Boot: 12"), "%s",
              out);
    cr_assert_eq(RUN(out, "verify", fixture_path("test")), 0, "%s", out);
    cr_assert(strstr(out, "test: whole; 120 images in 1 shards"), "%s", out);
    cr_assert_eq(RUN(out, "show", "--sample", "2", fixture_path("test")), 0, "%s", out);
    cr_assert(strstr(out, "image 2: 28 x 28 x 1, class 1 (Trouser)\n"), "%s", out);
    const char *line = strchr(out, '\n') + 1;
    int lines = 0, ink = 0;
    for (const char *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
        cr_assert_eq(end - line, 56, "line %d is %td wide", lines, end - line);
        for (const char *c = line; c < end; c += 2) {
            cr_assert_eq(c[0], c[1]);
            ink += *c != ' ';
        }
    }
    cr_assert_eq(lines, 28);
    cr_assert(ink > 100 && ink < 500, "%d pixels are drawn of a pair of trousers", ink);
    cr_assert_eq(RUN(out, "show", "--columns", "28", fixture_path("test")), 0, "%s", out);
    line = strchr(out, '\n') + 1;
    cr_assert_eq(strchr(line, '\n') - line, 28);
    cr_assert_neq(RUN(out, "show", "--sample", "120", fixture_path("test")), 0);
    cr_assert(strstr(out, "no image 120; it has 0 .. 119"), "%s", out);
}

Test(data_images, a_damaged_set_is_named_and_a_good_one_beside_it_still_told)
{
    char out[DATA_COMMAND_ROOM], path[512];
    pack_fashion("bad", "0..19");
    pack_fashion("good", "0..19");
    size_t bytes;
    snprintf(path, sizeof path, "%s/shard-00000.h5", fixture_path("bad"));
    uint8_t *content = fixture_read(path, &bytes);
    content[bytes / 2] ^= 1;
    fixture_write(path, content, bytes);
    free(content);
    cr_assert_neq(RUN(out, "verify", fixture_path("bad"), fixture_path("good")), 0);
    cr_assert(strstr(out, "bad/shard-00000.h5: block 0 of its pixels") && strstr(out, "good: whole; 20 images"), "%s",
              out);
}

static void check_stretches(const char *name, int64_t count)
{
    ls_images *set = open_set(name);
    cr_assert_eq(ls_images_count(set), count);
    for (int64_t from = 0; from < count; from += 20) {
        int held[10] = {0};
        for (int64_t i = from; i < from + 20; i++)
            held[ls_images_label(set, i)]++;
        for (int c = 0; c < 10; c++)
            cr_assert_eq(held[c], 2, "images %lld .. %lld: class %d %d times", (long long)from, (long long)from + 19, c,
                         held[c]);
    }
    ls_images_free(set);
}

Test(data_images, the_parts_of_fashion_mnist_hold_every_class_alike)
{
    pack_fashion("train", "0..479");
    pack_fashion("test", "480..599");
    check_stretches("train", 480);
    check_stretches("test", 120);
}

Test(data_images, bad_usage_is_told_apart, .exit_code = 2)
{
    char out[DATA_COMMAND_ROOM];
    RUN(out, "images", "-o", fixture_path("no"), "--range", "9..1", "x.csv");
}
