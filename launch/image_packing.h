/* What `lockstep data images` does once its arguments are read: numbered images from files or from a folder of
 * pictures, those of a range, into a data set and where asked a held-out one beside it. */
#pragma once
#include "datasets/image_input.h"
#include "datasets/picture.h"

typedef struct {
    const char *input, *out;
    const char *labels;         /* IDX */
    ls_csv_options csv;         /* CSV */
    ls_picture_options picture; /* a folder of pictures; height 0: not said */
    const char *like;           /* a folder's classes are those of this data set; also its size, where none is said */
    bool skip_bad;              /* pictures: leave bad files out, naming them on stderr; else the first one ends it */
    const char *names;          /* of classes, separated by commas; NULL: numbers, or the folders' names */
    int64_t first, last;        /* numbers of the images that are taken */
    double holdout;             /* share of them that goes to OUT-holdout, decided by seed and number */
    uint64_t seed;
    bool force;
} ls_image_packing;

/* Prints a line a set. */
ls_status ls_pack_images(const ls_image_packing *packing);
