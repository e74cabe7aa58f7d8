/* What rank files and the joining file share of HDF5: types, attributes, and its complaints as our sentences. */
#pragma once
#include "base/error.h"
#include "base/type.h"

#include <hdf5.h>

/* Before each use of HDF5: waits until no other thread uses it (a save goes on while training does), its complaints are
 * kept instead of printed, and filter plug-ins are turned off (a file may ask for one, and loading code because a file
 * says so is not for us). Not twice by one thread; ls_hdf5_end lets the next one in. */
void ls_hdf5_start(void);
void ls_hdf5_end(void);
/* The first complaint since then, at its deepest, as our sentence: "what: HDF5: complaint". */
ls_status ls_hdf5_fail(ls_status code, const char *what);

hid_t ls_hdf5_type(ls_type type);                    /* in the file; close with H5Tclose */
hid_t ls_hdf5_text(size_t size);                     /* '\0'-terminated text in `size` bytes; close with H5Tclose */
hid_t ls_hdf5_space(int ndim, const int64_t *shape); /* close with H5Sclose */
/* Attributes of the root, or of a dataset: one number, or a text of `size` bytes. */
bool ls_hdf5_put_i64(hid_t object, const char *name, int64_t value);
bool ls_hdf5_put_u64(hid_t object, const char *name, uint64_t value);
bool ls_hdf5_put_text(hid_t object, const char *name, const char *text, size_t size);
bool ls_hdf5_get_i64(hid_t object, const char *name, int64_t *value);
bool ls_hdf5_get_u64(hid_t object, const char *name, uint64_t *value);
bool ls_hdf5_get_text(hid_t object, const char *name, char *text, size_t size);
