/* See confusion.h. The file is read by people and by `awk`: words are apart by blanks, lines of text begin with #.
 *     # rows: the true class, columns: the answer
 *     class             T-shirt Trouser ...   images   recall
 *     T-shirt                51       0 ...       60   0.8500                                                        */
#include "train/tasks/confusion.h"

#include "base/log.h"
#include "train/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RIGHT, RIGHT_OF_FIVE, TABLE };
enum { WIDEST_NAME = 24, NAMED_IN_LOG = 3 };

static bool whole_table(int64_t classes)
{
    return classes <= LS_CONFUSION_CLASSES;
}

int64_t ls_confusion_sums(int64_t classes)
{
    return TABLE + (whole_table(classes) ? classes * classes : 2 * classes);
}

/* How many classes stand before class `of`: greater ones, equal ones with a lower number, and those that cannot be
 * compared. */
static int64_t rank_of(int64_t classes, const float *logits, int64_t of)
{
    int64_t before = 0;
    for (int64_t c = 0; c < classes; c++)
        if (c != of)
            before += !(logits[c] < logits[of] || (logits[c] == logits[of] && c > of));
    return logits[of] == logits[of] ? before : INT64_MAX;
}

static int64_t answer(int64_t classes, const float *logits)
{
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (logits[c] > logits[best] || logits[best] != logits[best])
            best = c;
    return best;
}

void ls_confusion_count(int64_t classes, int64_t images, const float *logits, const int32_t *labels, double *sums)
{
    for (int64_t i = 0; i < images; i++) {
        const float *own = logits + i * classes;
        const int64_t label = labels[i], rank = rank_of(classes, own, label);
        sums[RIGHT] += rank == 0;
        sums[RIGHT_OF_FIVE] += rank < 5;
        if (whole_table(classes)) {
            sums[TABLE + label * classes + answer(classes, own)]++;
        } else {
            sums[TABLE + 2 * label]++;
            sums[TABLE + 2 * label + 1] += rank == 0;
        }
    }
}

static double images_of(const double *sums, int64_t classes, int64_t label)
{
    double images = 0;
    for (int64_t c = 0; whole_table(classes) && c < classes; c++)
        images += sums[TABLE + label * classes + c];
    return whole_table(classes) ? images : sums[TABLE + 2 * label];
}

static double right_of(const double *sums, int64_t classes, int64_t label)
{
    return whole_table(classes) ? sums[TABLE + label * classes + label] : sums[TABLE + 2 * label + 1];
}

/* A name without blanks, so that columns stay columns. */
static const char *word(const ls_images *images, int64_t label, char text[WIDEST_NAME + 1])
{
    snprintf(text, WIDEST_NAME + 1, "%s", ls_images_class_name(images, label));
    for (char *c = text; *c; c++)
        if (*c == ' ' || *c == '\t')
            *c = '-';
    return text;
}

static void print_table(FILE *out, const ls_images *images, const double *sums)
{
    const int64_t classes = ls_images_shape(images)->classes;
    const bool whole = whole_table(classes);
    char name[WIDEST_NAME + 1];
    int width = 5;
    for (int64_t c = 0; c < classes; c++) {
        const int length = (int)strlen(word(images, c, name));
        width = length > width ? length : width;
    }
    double all = 0, recalls = 0;
    int64_t seen = 0;
    fprintf(out, "# rows: the true class%s\n%-*s", whole ? ", columns: the answer" : "", width, "class");
    for (int64_t c = 0; whole && c < classes; c++)
        fprintf(out, " %*s", width, word(images, c, name));
    fprintf(out, "  images  recall\n");
    for (int64_t label = 0; label < classes; label++) {
        const double of = images_of(sums, classes, label), right = right_of(sums, classes, label);
        fprintf(out, "%-*s", width, word(images, label, name));
        for (int64_t c = 0; whole && c < classes; c++)
            fprintf(out, " %*.0f", width, sums[TABLE + label * classes + c]);
        if (of > 0)
            fprintf(out, " %7.0f  %.4f\n", of, right / of);
        else
            fprintf(out, " %7.0f       -\n", of);
        all += of;
        seen += of > 0;
        recalls += of > 0 ? right / of : 0;
    }
    if (all > 0)
        fprintf(out, "# accuracy %.4f, top-5 %.4f, mean recall %.4f over %.0f images\n", sums[RIGHT] / all, sums[RIGHT_OF_FIVE] / all,
                recalls / (double)seen, all);
}

/* The class that comes next in order of recall after one with recall `above` and number `after`; -1: none. */
static int64_t next_worst(const double *sums, int64_t classes, double above, int64_t after)
{
    int64_t worst = -1;
    double least = 2;
    for (int64_t c = 0; c < classes; c++) {
        const double of = images_of(sums, classes, c), recall = of > 0 ? right_of(sums, classes, c) / of : 2;
        const bool later = recall > above || (recall == above && c > after);
        if (later && recall < least) {
            least = recall;
            worst = c;
        }
    }
    return worst;
}

/* "Shirt 0.62 (10 of 60 taken for Coat)" */
static int describe(const ls_images *images, const double *sums, int64_t label, char *text, size_t room)
{
    const int64_t classes = ls_images_shape(images)->classes;
    const double of = images_of(sums, classes, label);
    int used = snprintf(text, room, "%s %.2f", ls_images_class_name(images, label), right_of(sums, classes, label) / of);
    int64_t other = -1;
    for (int64_t c = 0; whole_table(classes) && c < classes; c++)
        if (c != label && sums[TABLE + label * classes + c] > (other < 0 ? 0 : sums[TABLE + label * classes + other]))
            other = c;
    if (other >= 0 && used < (int)room)
        used += snprintf(text + used, room - (size_t)used, " (%.0f of %.0f taken for %s)", sums[TABLE + label * classes + other], of,
                         ls_images_class_name(images, other));
    return used;
}

static void tell_worst(const ls_images *images, const char *path, const double *sums)
{
    const int64_t classes = ls_images_shape(images)->classes;
    char text[512] = "";
    int used = 0;
    double recall = -1;
    int64_t label = -1;
    for (int i = 0; i < NAMED_IN_LOG && used < (int)sizeof text; i++) {
        label = next_worst(sums, classes, recall, label);
        if (label < 0)
            break;
        recall = right_of(sums, classes, label) / images_of(sums, classes, label);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s", i ? ", " : "");
        if (used < (int)sizeof text)
            used += describe(images, sums, label, text + used, sizeof text - (size_t)used);
    }
    ls_log_write(LS_LOG_INFO, "classify", "least recall: %s; all classes: %s", text, path);
}

ls_status ls_confusion_report(const ls_images *images, const char *folder, const double *sums)
{
    char path[4096], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/confusion.txt", folder);
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return ls_fail(LS_EMEM, "%s: no memory for its table", path);
    print_table(out, images, sums);
    const bool whole = fclose(out) == 0;
    const ls_status status = whole ? ls_run_write_file(path, text, size) : ls_fail(LS_EMEM, "%s: no memory for its table", path);
    free(text);
    if (status == LS_OK)
        tell_worst(images, path, sums);
    return status;
}
