/* `lockstep data images` and what the other verbs say of its sets, on the data sets that come with the program. */
#include "datasets/images.h"
#include "tests/datasets/fixture.h"
#include "tests/launch/data_command.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ---- folders of pictures ---- */

static void put(const char *name, const char *picture, const char *to)
{
    char from[1400], folder[512];
    size_t bytes;
    snprintf(folder, sizeof folder, "%s", fixture_path(to));
    mkdir(folder, 0700);
    *strrchr(folder, '/') = '\0';
    snprintf(from, sizeof from, "%s/tests/data/pictures/%s", getenv("LS_SOURCE"), picture);
    uint8_t *content = fixture_read(from, &bytes);
    snprintf(folder, sizeof folder, "%s/%s", fixture_path(to), name);
    fixture_write(folder, content, bytes);
    free(content);
}

static void make_pets(void)
{
    mkdir(fixture_path("pets"), 0700);
    put("1.png", "rgb.png", "pets/cat");
    put("2.jpg", "420.jpg", "pets/cat");
    put("3.jpg", "turned-6.jpg", "pets/cat");
    put("a.png", "moon.png", "pets/other");
    put("b.png", "grey-16bit.png", "pets/other");
}

/* Damages a file of the pets so that the decoder, and not only the container, has something to say about it. */
static void damage(const char *name)
{
    size_t bytes;
    uint8_t *content = fixture_read(fixture_path(name), &bytes);
    memset(content + bytes / 2 + 100, 0x55, bytes / 2 - 102);
    fixture_write(fixture_path(name), content, bytes);
    free(content);
}

static void check_same_files(const char *a, const char *b)
{
    static const char *const names[] = {"dataset.h5", "shard-00000.h5"};
    for (int i = 0; i < 2; i++) {
        char path[2][512];
        size_t bytes[2];
        snprintf(path[0], sizeof path[0], "%s/%s", fixture_path(a), names[i]);
        snprintf(path[1], sizeof path[1], "%s/%s", fixture_path(b), names[i]);
        uint8_t *one = fixture_read(path[0], &bytes[0]), *two = fixture_read(path[1], &bytes[1]);
        cr_assert(bytes[0] == bytes[1] && memcmp(one, two, bytes[0]) == 0, "%s differs", names[i]);
        free(one);
        free(two);
    }
}

Test(data_images, a_folder_of_pictures_packs_to_the_same_bytes_each_time)
{
    char out[DATA_COMMAND_ROOM], want[1024];
    make_pets();
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("set"), "--size", "24x32", fixture_path("pets")), 0, "%s", out);
    snprintf(want, sizeof want, "%s: 5 images of 24 x 32 x 3, 2 classes\n", fixture_path("set"));
    cr_assert_str_eq(out, want);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("again"), "--size", "24x32x3", fixture_path("pets")), 0, "%s",
                 out);
    check_same_files("set", "again");
    ls_images *set = open_set("set");
    cr_assert(!strcmp(ls_images_class_name(set, 0), "cat") && !strcmp(ls_images_class_name(set, 1), "other"));
    cr_assert(ls_images_label(set, 2) == 0 && ls_images_label(set, 3) == 1);
    ls_images_free(set);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("grey"), "--size", "16x16x1", "--shorter", "20", "--filter",
                     "area", "--background", "#000000", fixture_path("pets")),
                 0, "%s", out);
    cr_assert(strstr(out, "5 images of 16 x 16 x 1"), "%s", out);
}

Test(data_images, bad_pictures_end_it_or_are_named_counted_and_left_out)
{
    char out[DATA_COMMAND_ROOM], want[2048];
    make_pets();
    damage("pets/cat/2.jpg");
    put("4.png", "LICENSE-noto-emoji", "pets/cat");
    fixture_write(fixture_path("pets/other/c.jpeg"), (const uint8_t *)"", 0);
    fixture_write(fixture_path("pets/other/notes.txt"), (const uint8_t *)"", 0);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("set"), "--size", "24x24", fixture_path("pets")), 1);
    cr_assert(strstr(out, "lockstep data images: ") == out && strstr(out, "cat/2.jpg: damaged: ") &&
                  strstr(out, "--on-bad skip") && strchr(out, '\n') == out + strlen(out) - 1,
              "one line, and nothing of the decoder's own: %s", out);
    cr_assert_neq(access(fixture_path("set"), F_OK), 0, "nothing is left behind");
    cr_assert_neq(access(fixture_path("set.partial"), F_OK), 0);
    cr_assert_eq(
        RUN(out, "images", "-o", fixture_path("set"), "--size", "24x24", "--on-bad", "skip", fixture_path("pets")), 0);
    int lines = 0, left_out = 0;
    for (const char *line = out, *end; (end = strchr(line, '\n')); line = end + 1, lines++)
        left_out += strncmp(line, "left out: ", 10) == 0;
    cr_assert(lines == 5 && left_out == 3, "%s", out);
    snprintf(want, sizeof want, "%s: 4 images of 24 x 24 x 3, 2 classes; bad files left out: 3\n", fixture_path("set"));
    cr_assert(strstr(out, want) && strstr(out, "c.jpeg: an empty file") &&
                  strstr(out, "not called as pictures are: 1 files"),
              "%s", out);
    /* The rest is what a folder without them makes. */
    remove(fixture_path("pets/cat/2.jpg"));
    remove(fixture_path("pets/cat/4.png"));
    remove(fixture_path("pets/other/c.jpeg"));
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("clean"), "--size", "24x24", fixture_path("pets")), 0, "%s",
                 out);
    check_same_files("set", "clean");
}

Test(data_images, held_out_pictures_take_classes_and_size_from_the_training_set)
{
    char out[DATA_COMMAND_ROOM];
    make_pets();
    mkdir(fixture_path("held"), 0700);
    put("x.png", "palette.png", "held/other");
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("train"), "--size", "20x20x1", fixture_path("pets")), 0, "%s",
                 out);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("test"), "--like", fixture_path("train"), fixture_path("held")),
                 0, "%s", out);
    cr_assert(strstr(out, "1 images of 20 x 20 x 1, 2 classes"), "%s", out);
    ls_images *set = open_set("test");
    cr_assert_eq(ls_images_label(set, 0), 1);
    ls_images_free(set);
    put("y.png", "palette.png", "held/dog");
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("no"), "--like", fixture_path("train"), fixture_path("held")),
                 1);
    cr_assert(strstr(out, "\"dog\" is none of the 2 classes"), "%s", out);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("no"), fixture_path("pets")), 2);
    cr_assert(strstr(out, "--size 224x224"), "%s", out);
    cr_assert_eq(RUN(out, "images", "-o", fixture_path("no"), "--names", "a,b", fixture_path("pets")), 2);
    cr_assert(strstr(out, "leave --names out"), "%s", out);
}
