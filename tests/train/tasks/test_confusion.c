#include "train/tasks/confusion.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RIGHT, FIVE, TABLE };

Test(confusion, equal_logits_are_answered_by_the_first)
{
    static const float logits[] = {1, 2, 2, 0, /* */ 2, 1, 2, 0, /* */ -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    static const int32_t labels[] = {2, 0, 0};
    double sums[TABLE + 16] = {0};
    cr_assert_eq(ls_confusion_sums(4), TABLE + 16);
    ls_confusion_count(4, 3, logits, labels, sums);
    cr_expect_eq(sums[RIGHT], 2);
    cr_expect_eq(sums[FIVE], 3);
    cr_expect_eq(sums[TABLE + 2 * 4 + 1], 1, "a 2 was taken for a 1");
    cr_expect_eq(sums[TABLE], 2);
}

Test(confusion, what_is_not_a_number_is_never_right)
{
    static const float logits[] = {NAN, 1, 0, /* */ NAN, NAN, NAN, /* */ NAN, 3, 2};
    static const int32_t labels[] = {0, 0, 1};
    double sums[TABLE + 9] = {0};
    ls_confusion_count(3, 3, logits, labels, sums);
    cr_expect_eq(sums[RIGHT], 0);
    cr_expect_eq(sums[FIVE], 1, "the last: only one class stands before it");
}

/* By sorting, with many classes. */
Test(confusion, the_five_greatest_are_those_of_a_sorted_list)
{
    enum { CLASSES = 130, IMAGES = 60 };
    static float logits[IMAGES * CLASSES];
    static double sums[TABLE + 2 * CLASSES];
    int32_t labels[IMAGES];
    int right = 0, five = 0;
    srand48(7);
    for (int i = 0; i < IMAGES; i++) {
        float *own = logits + i * CLASSES;
        labels[i] = (int32_t)(i * 7 % CLASSES);
        for (int c = 0; c < CLASSES; c++)
            own[c] = (float)(lrand48() % 1000);
        own[labels[i]] = (float)(1000 - i % 3 * 20);
        int above = 0;
        for (int c = 0; c < CLASSES; c++)
            above += own[c] > own[labels[i]] || (own[c] == own[labels[i]] && c < labels[i]);
        right += above == 0;
        five += above < 5;
    }
    cr_assert(right < five && five < IMAGES, "the test needs all three kinds: %d %d", right, five);
    cr_assert_eq(ls_confusion_sums(CLASSES), TABLE + 2 * CLASSES);
    ls_confusion_count(CLASSES, IMAGES, logits, labels, sums);
    cr_expect_eq(sums[RIGHT], right);
    cr_expect_eq(sums[FIVE], five);
    double images = 0, found = 0;
    for (int c = 0; c < CLASSES; c++) {
        images += sums[TABLE + 2 * c];
        found += sums[TABLE + 2 * c + 1];
    }
    cr_expect_eq(images, IMAGES);
    cr_expect_eq(found, right);
}

static char folder[] = "/tmp/ls-confusion-XXXXXX";

static ls_images *images_of(int64_t classes, const char *const *names)
{
    char path[64];
    ls_image_writer *writer;
    ls_images *images;
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/set", folder);
    const ls_image_options options = {.shape = {1, 1, 1, classes}, .source = "a test", .class_names = names};
    cr_assert_eq(ls_image_writer_open(&writer, path, &options), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_image_writer_add(writer, (const uint8_t[]){7}, 0), LS_OK);
    cr_assert_eq(ls_image_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_images_open(&images, path, false), LS_OK, "%s", ls_fail_sentence());
    return images;
}

static void expect_file(ls_images *images, const double *sums, const char *want)
{
    char path[64], got[8192], line[256];
    cr_assert_eq(ls_confusion_report(images, folder, sums), LS_OK, "%s", ls_fail_sentence());
    snprintf(path, sizeof path, "%s/confusion.txt", folder);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = '\0';
    fclose(file);
    cr_expect_str_eq(got, want, "%s", got);
    ls_images_free(images);
    snprintf(line, sizeof line, "rm -r %s", folder);
    cr_assert_eq(system(line), 0);
}

Test(confusion, the_file_has_names_counts_and_recalls)
{
    static const char *const names[] = {"Ankle boot", "Bag", "Coat"};
    static const double sums[TABLE + 9] = {5, 8, 3, 1, 0, 1, 2, 1, 0, 0, 0};
    expect_file(images_of(3, names), sums,
                "# rows: the true class, columns: the answer\n"
                "class      Ankle-boot        Bag       Coat  images  recall\n"
                "Ankle-boot          3          1          0       4  0.7500\n"
                "Bag                 1          2          1       4  0.5000\n"
                "Coat                0          0          0       0       -\n"
                "# accuracy 0.6250, top-5 1.0000, mean recall 0.6250 over 8 images\n");
}

Test(confusion, many_classes_have_recalls_alone)
{
    static double sums[TABLE + 2 * 101] = {3, 4};
    sums[TABLE] = 3, sums[TABLE + 1] = 2, sums[TABLE + 200] = 2, sums[TABLE + 201] = 1;
    char want[8192] = "# rows: the true class\nclass  images  recall\n0           3  0.6667\n";
    for (int c = 1; c < 100; c++)
        snprintf(want + strlen(want), sizeof want - strlen(want), "%-5d       0       -\n", c);
    strcat(want, "100         2  0.5000\n# accuracy 0.6000, top-5 0.8000, mean recall 0.5833 over 5 images\n");
    expect_file(images_of(101, NULL), sums, want);
}
