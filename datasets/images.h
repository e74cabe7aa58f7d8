/* Image data sets: HDF5 shards of images of one shape, channels last, each with the number of its class.
 *
 * The folder is made and committed as a text set is (shard.c holds the essay on power failures, and it is the same code):
 *
 * dataset.h5       format "lockstep-dataset", kind "image", lockstep, source, schema, shards, samples, height, width,
 *                  channels, classes, list_sum, header_sum
 *     /shard_samples, /shard_bytes i64 [k]   /shard_sum u64 [k]
 *     /class_names u8 [n]                    names in order of their numbers, each ended by a newline
 *     /mean, /deviation f64 [channels]       of all pixels, in 0 .. 1: what training subtracts and divides by
 *     list_sum                               XXH3 over the five arrays in this order, each hash the seed of the next
 * shard-NNNNN.h5   format "lockstep-shard", kind "image", schema, number, samples, height, width, channels, classes,
 *                  index_sum, header_sum
 *     /pixels u8 [samples * height * width * channels]   (h5py: reshape(samples, height, width, channels))
 *     /label i32 [samples]
 *     /block_sum u64 [b]                     XXH3 of each 256 KiB of pixels, seed S + block
 *     index_sum                              XXH3(block_sum; XXH3(label; S))
 *
 * A block is checked when it is first touched, everything else at opening: no byte is used unchecked. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct ls_images ls_images;
typedef struct ls_image_writer ls_image_writer;

enum { LS_IMAGE_MAX_CHANNELS = 4, LS_IMAGE_MAX_SIDE = 16384, LS_IMAGE_MAX_CLASSES = 65536 };

typedef struct {
    int64_t height, width, channels, classes;
} ls_image_shape;

typedef struct {
    ls_image_shape shape;
    const char *source;             /* what it was packed from, for `data info` */
    const char *const *class_names; /* [classes]; NULL: "0", "1", ... */
    int64_t bytes_per_shard;        /* of pixels; 0: 64 MiB */
    bool replace;                   /* an older data set of that name is replaced at commit; other folders never */
} ls_image_options;

/* Writes folder.partial/ and renames it at the end. LS_EARG: a shape that cannot be; LS_EEXIST, LS_ESPACE, LS_EIO. */
ls_status ls_image_writer_open(ls_image_writer **writer, const char *folder, const ls_image_options *options);
/* pixels [height, width, channels]. LS_EARG: a label outside [0, classes). After a failure only discard is allowed. */
ls_status ls_image_writer_add(ls_image_writer *writer, const uint8_t *pixels, int32_t label);
int64_t ls_image_writer_count(const ls_image_writer *writer);
/* Frees the writer, also on failure (then nothing carries the name). LS_EARG: no images were added. */
ls_status ls_image_writer_commit(ls_image_writer *writer);
void ls_image_writer_discard(ls_image_writer *writer);

/* "text" or "image": what the set in `folder` holds. */
ls_status ls_data_set_kind(const char *folder, char kind[16]);
/* LS_ENOTFOUND, LS_EFORMAT (not ours, or not images), LS_EVERSION, LS_ECORRUPT: file, what differs, what to do.
 * `verify` also reads every byte. */
ls_status ls_images_open(ls_images **images, const char *folder, bool verify);
void ls_images_free(ls_images *images);
const ls_image_shape *ls_images_shape(const ls_images *images);
int64_t ls_images_count(const ls_images *images);
int64_t ls_images_files(const ls_images *images);
const double *ls_images_mean(const ls_images *images);      /* [channels], in 0 .. 1 */
const double *ls_images_deviation(const ls_images *images); /* [channels], above 0 */
const char *ls_images_class_name(const ls_images *images, int64_t number);
const char *ls_images_source(const ls_images *images);
const char *ls_images_folder(const ls_images *images);
uint64_t ls_images_hash(const ls_images *images);
/* *pixels points into the mapped file. LS_ECORRUPT: not the bytes that were written. Thread-safe, allocates nothing. */
ls_status ls_images_get(const ls_images *images, int64_t number, const uint8_t **pixels, int32_t *label);
/* Its label alone; reads no pixels. */
int32_t ls_images_label(const ls_images *images, int64_t number);
