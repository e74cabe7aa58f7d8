/* One data set of a run, as numbered rows. What a row is depends on the set's kind: of text it is planned (rows.h), of
 * images it is one image. data.c deals rows to grains and knows no kind; each kind is one table here. */
#pragma once
#include "datasets/images.h"
#include "datasets/rows.h"

typedef struct ls_source ls_source;

typedef struct {
    const char *kind; /* the set's attribute */
    /* Opens source->path, sets rows, samples, positions, placed and hash. */
    ls_status (*open)(ls_source *source, const ls_data_options *options);
    void (*close)(ls_source *source);
    /* Takes over what must be the first source's. LS_ERECIPE: the two cannot be mixed. */
    ls_status (*fits)(ls_source *source, const ls_source *first);
    ls_status (*counted)(const ls_source *source, int64_t row, int64_t *counted);
    /* Fills row number `at` of a grain, whose own random numbers are `stream`. Allocates nothing; any thread. */
    ls_status (*fill)(const ls_source *source, int64_t row, int64_t at, const ls_random *stream, ls_grain_memory *memory, int64_t *counted);
} ls_source_kind;

struct ls_source {
    const ls_source_kind *kind;
    const char *path;
    int64_t rows, samples, positions, placed; /* positions of all rows, and how many of them hold something */
    int64_t first_sample;                     /* samples are numbered through all sources */
    uint64_t hash;

    ls_shards *shards; /* text */
    ls_row_plan plan;
    ls_images *images; /* images */
    float *level;      /* [2, channels, 256]: what training sees of a byte, and byte / 255 (augment.h) */
    float scale[LS_IMAGE_MAX_CHANNELS], shift[LS_IMAGE_MAX_CHANNELS];
    ls_augment_options augment;
};

extern const ls_source_kind ls_source_text, ls_source_pairs, ls_source_outcomes, ls_source_images;
