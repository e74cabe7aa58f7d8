/* An HDF5 file that exists in memory only: an HDF5 file driver over a range of address space.
 *
 * Why not let HDF5 write to the disk? Because its files can not be let go after a write failed (H5Fclose fails, the
 * file stays open, the library spins at exit), and a full disk must cost one checkpoint, not the training. So HDF5
 * draws in memory, where nothing fails but memory itself, and disk.h moves the bytes. Pages that HDF5 never writes -
 * the place of the tensors' data - take no memory: a rank file of 100 GB is drawn in a few hundred KiB. */
#pragma once
#include "checkpoint/hdf5_parts.h"

typedef struct {
    char *bytes;
    size_t size;     /* of the file */
    size_t reserved; /* address space */
} ls_memory_file;

/* An empty HDF5 file, to be closed with H5Fclose; then bytes[0, size) is the file. `user_block` bytes at its start are
 * zeros and the caller's; 0: none, and large datasets are aligned (HDF5 can not do both). */
ls_status ls_memory_file_create(ls_memory_file *file, size_t user_block, hid_t *h5);
/* Address space for `size` bytes, to put a file there; sets neither bytes nor size. `file` begins as all zeros. */
ls_status ls_memory_file_reserve(ls_memory_file *file, size_t size);
/* Opens the `size` bytes that are there, for reading. */
ls_status ls_memory_file_open(ls_memory_file *file, hid_t *h5);
void ls_memory_file_free(ls_memory_file *file); /* after H5Fclose; a file of zeros may be freed too */
