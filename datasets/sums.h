/* FOLDER/sums: size and XXH3 of each file of a data set, for those bytes that no array and no header covers.
 *
 * HDF5 leaves gaps between its structures, about a fifth of a small set's files. What lies there is never read, so a run
 * needs nothing of this; but a file that changed in a gap is a file that a disk or a copy spoilt. Text, a line a file in
 * the order of their names, and the sum of these lines at the end:
 *
 *     0123456789abcdef 9078 dataset.h5
 *     89abcdef01234567 6144 shard-00000.h5
 *     fedcba9876543210 sums
 *
 * Sets of before have none. */
#pragma once
#include "base/error.h"

#define LS_SUMS_FILE "sums"

/* Writes and fsyncs it for the files that are there. */
ls_status ls_sums_write(const char *folder);
/* Reads every byte of the files it lists. LS_ECORRUPT: the file that is another. LS_OK: none is, or there are no sums. */
ls_status ls_sums_check(const char *folder);
