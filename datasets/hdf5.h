/* The little that data sets ask of HDF5, with its failures as sentences of ours.
 *
 * A file holds attributes on its root group (a header, described by a table of rows that reader and writer share) and
 * one-dimensional arrays stored whole and uncompressed, which a reader maps. Nothing else is followed: no links, no
 * external or virtual storage, no filters, no plug-ins, so a file from outside cannot make us open another file or run
 * foreign code. HDF5 is called while files are opened and written, never from a training step, and its own error
 * print-out is silenced. */
#pragma once
#include "base/error.h"
#include "base/type.h"

#include <hdf5.h>

typedef enum { LS_H5_I64, LS_H5_U64, LS_H5_TEXT } ls_h5_kind;

/* One attribute and its field in a header struct: int64_t, uint64_t, or char[bytes] that ends in a NUL.
 * A table ends with a row whose name is NULL. */
typedef struct {
    const char *name;
    ls_h5_kind kind;
    size_t offset, bytes;
} ls_h5_attribute;

/* A file opened for reading: its bytes are mapped, so that arrays are pointers into it. */
typedef struct {
    hid_t id; /* H5I_INVALID_HID once closed */
    const char *path;
    const uint8_t *map;
    size_t bytes;
} ls_h5_input;

/* A file being made. It is laid out in memory and put on the disk by our own hand: after a write of its own that failed
 * (a full disk), HDF5 1.10 can neither close the file nor end the process without a crash. */
typedef struct {
    hid_t id;
    const char *path;
    void *bytes; /* the file, once HDF5 has closed it */
} ls_h5_output;

/* A new file, with checksums over HDF5's own structures (superblock 2), arrays at 64-byte borders, no time stamps: its
 * bytes are a function of what is written. Nothing is on the disk before ls_h5_finish. `path` must live until then, and
 * the output must not move. LS_EMEM. */
ls_status ls_h5_create(ls_h5_output *output, const char *path);
ls_status ls_h5_write_header(ls_h5_output *output, const ls_h5_attribute *rows, const void *header);
ls_status ls_h5_write_array(ls_h5_output *output, const char *name, hid_t type, int64_t count, const void *data);
/* Writes the file to its path and fsyncs; the output is gone, also on failure. LS_ESPACE, LS_EIO, LS_EMEM. */
ls_status ls_h5_finish(ls_h5_output *output);
/* Forgets a file that was not finished. */
void ls_h5_abandon(ls_h5_output *output);

/* Opens and maps. Its attribute `format` must be `format`, and its attribute `schema` at most `newest`.
 * LS_ENOTFOUND; LS_EFORMAT: not HDF5, or another program's; LS_ECORRUPT: truncated or damaged; LS_EVERSION.
 * On failure *input is empty and need not be closed. `path` must live as long as the input. */
ls_status ls_h5_open(ls_h5_input *input, const char *path, const char *format, int64_t newest);
/* LS_ECORRUPT: an attribute is missing, has another type, or is too long. */
ls_status ls_h5_read_header(const ls_h5_input *input, const ls_h5_attribute *rows, void *header);
/* *data points at `count` elements of `type` inside the map. LS_ECORRUPT: missing, other type or length, or outside the
 * file; LS_EFORMAT: stored in a way that cannot be mapped. */
ls_status ls_h5_map_array(const ls_h5_input *input, const char *name, hid_t type, int64_t count, const void **data);
/* Ends with HDF5; the map stays. */
void ls_h5_close(ls_h5_input *input);
void ls_h5_unmap(ls_h5_input *input);
