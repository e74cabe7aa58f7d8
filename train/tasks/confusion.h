/* Counts of right and wrong answers of a classifier, and the table of what was taken for what.
 *
 * The counts of n images are sums of doubles that are whole numbers, so any order of addition gives the same:
 *     [0] right   [1] right class among the five greatest
 *     [2 ..]      up to LS_CONFUSION_CLASSES classes: [true class][answer]; beyond, for each class: images, right ones
 * An answer is the greatest logit, the first of equals. A logit that is not a number is never right. */
#pragma once
#include "datasets/images.h"

enum { LS_CONFUSION_CLASSES = 100 };

int64_t ls_confusion_sums(int64_t classes);
/* Adds the counts of logits [images, classes] into sums [ls_confusion_sums]. */
void ls_confusion_count(int64_t classes, int64_t images, const float *logits, const int32_t *labels, double *sums);
/* Writes FOLDER/confusion.txt and says in the log which classes are found worst. LS_EIO, LS_ESPACE. */
ls_status ls_confusion_report(const ls_images *images, const char *folder, const double *sums);
