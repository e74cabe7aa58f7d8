/* The checkpoint's format and how it is committed, while training goes on. The code is judged by this page.
 *
 *     RUN/checkpoints/
 *         step-00000100/               a checkpoint: exists under this name only when it is whole
 *             rank-0000.h5             what rank 0 held (and, for all, what is replicated)
 *             rank-0001.h5 ...         one file a rank of the run that wrote it
 *             checkpoint.h5            the joining file, written last
 *         best -> step-00000100        symbolic link to the best one so far, if the run watches that
 *         best.partial                 left by a crash: never read
 *         step-00000200.partial/       being written, or left by a crash: never read
 *         step-00000100.damaged-1/     set aside when its step was saved again: never read
 *         step-00000050.removed/       on its way out: never read
 *
 * Rank file. Plain HDF5. Each slice is a contiguous, uncompressed dataset [held] under its tensor's name
 * ("model/blocks/0/attention/query/weight") with the attribute `begin`, the number of its first element in the
 * row-major whole. Attributes of the root: step, save, rank, ranks. Numbers are little-endian; bf16 is a 16-bit HDF5
 * float with 8 exponent bits. Slices of 64 KiB and more start at a multiple of 4096, so they can be mapped.
 *
 * Joining file. Plain HDF5 behind a user block (bytes that HDF5 leaves to others) of 512 bytes:
 *
 *     offset  size  content
 *     0       20    "lockstep checkpoint\n"
 *     20      16    "schema 00000001\n"
 *     36      23    "bytes 0000000000123456\n"       size of this file
 *     59      22    "xxh3 0123456789abcdef\n"        of this whole file, these 16 digits taken as '0'
 *     81      431   zeros
 *
 * Its datasets:
 *     every tensor under its name   virtual: pieces of the rank files, named relative to the folder, so h5dump and
 *                                   h5py see whole tensors. Fill value where a rank file is missing: NaN; for
 *                                   integers the least value (i32, i64), 255 (u8): seen, not taken for zeros.
 *     /lockstep/files               name, bytes, xxh3 of each rank file, headers and all
 *     /lockstep/tensors             name, kind, type, flags, ndim, shape; ascending by name
 *     /lockstep/slices              tensor, file, begin, held, offset in the file; ascending by tensor and begin
 *     /lockstep/hashes              one XXH3 for each LS_CHUNK elements of each tensor (base/hash.h), in the same order
 *     /lockstep/recipe              text of the resolved recipe
 *
 * Attributes of the root: schema, step, save, numerics.
 *
 * All sums are XXH3-64 with a seed, so that a page of zeros, which a failed write may leave, never verifies, and they
 * cover headers. They are taken from memory while the bytes are on their way to the disk: a bad write shows. A chunk's hash
 * is taken of the state itself, a file's sum of the copies that are written: a copy that went bad shows when it is read.
 *
 * How it is read. The joining file is read into memory whole and checked against its own sum before HDF5 sees a byte
 * of it. After that no HDF5 is needed: slices are read with pread at their listed offsets, from listed files only, in
 * chunks that are checked as they come. So any number of ranks reads what any other number wrote, each rank exactly
 * the elements it holds, straight into their place. Nothing in the folder that is not listed is ever opened; virtual
 * datasets, external links and filter plug-ins are not followed.
 *
 * The save id is 64 random bits drawn for each save. It stands in every file and in every rank's report, so a file
 * of an older, killed attempt can not slip in. It is not part of the state.
 *
 * One hash of the logical state (`ckpt hash`): the tensor hashes of base/hash.h, chained in order of name. Names,
 * types, shapes and bits go in; who held what does not.
 *
 * Commit, line by line, and what a reader sees if power fails after each. B: on a thread of its own while training goes
 * on; the others come at a step's border, between the collectives of two steps:
 *
 *  1  rank 0: an old .partial, or a damaged folder of this step, is renamed to .damaged-K     the older checkpoints
 *  2  rank 0: is there room for all ranks' bytes?  mkdir step-N.partial; tells all the id     the older, a .partial
 *  3  each rank: writes rank-R.h5 into it                                                  B  the same
 *  4  each rank: fsync(rank-R.h5)                                                          B  the same
 *  5  all: report bytes, XXH3, save id, hashes; any failure: rank 0 removes .partial          the same
 *  6  rank 0: writes checkpoint.h5, listing exactly those reports                          B  the same
 *  7  rank 0: fsync(checkpoint.h5)                                                         B  the same
 *  8  rank 0: fsync(step-N.partial): the names of the files are on the disk too            B  the same
 *  9  rank 0: rename(step-N.partial, step-N)                                               B  the older, or the new
 * 10  rank 0: fsync(checkpoints): the new name is on the disk                              B  the new one
 * 11  rank 0: tells all                                                                       the new one
 * 12  rank 0, if this or an older one is the best and `best` names another: removes an old
 *     best.partial, symlink(step-B, best.partial), rename(best.partial, best), fsync(checkpoints) B the new one
 * 13  rank 0: removes what `keep` no longer covers: each is first renamed to .removed      B  the new one
 *
 * How a save runs beside training. The state is constant from the end of one step to the optimiser of the next. When a save
 * begins, what a task remembers (LS_STATE_TASK: scalars, rollouts) is copied at once; weights, moments and averages are taken
 * by the thread during forward and backward, copied into a pool of at most `checkpoint.buffer` bytes, and written from there.
 * Before anything of them changes, training waits for what is not yet taken, and for nothing else: not for the disk, if
 * the pool holds what the disk has not. So the file has the bits of line 1's moment, whenever it is written. At each
 * step's border every rank votes: busy, ready, failed. All see the same votes and so do the same: all ready, line 5 and
 * then rank 0's thread commits; one failed, or its disk took no byte for two minutes: that save is over, training is not.
 * Between two borders a save sends nothing, so it can neither sit in a collective nor come between those of a step. One
 * save is in flight at the most; the next one waits, as do the end of the run, a signal, and the save of a new best.
 * With `checkpoint.verify` each rank reads its file back after line 4, and rank 0 the joining file after 7.
 * A rank whose call to the disk never comes back is left its thread and its pool, and .partial is left as it is.
 *
 * At 9 the folder's files are all on the disk, so whichever name the power cut leaves is true. If 10 fails the save is
 * reported as failed although its folder is whole: that is safe, and the next start may choose it.
 * `best` changes by one rename at 12, after the commit of what it will name, and what it named is not removed before 13: it
 * names a whole checkpoint at every moment, the old best or the new. Which one is the best is part of the state that line 9
 * committed; a run that goes on after a crash before 12 writes the link again. Nothing else ever reads it but a user.
 * tests/checkpoint/test_commit.c stops the process at every write, sync, rename, mkdir and unlink of a save that runs beside
 * changes of the state, loses what was not synced, and looks; test_full_disk.c lets each of these calls fail,
 * test_saver_faults.c each allocation and each exchange between the ranks. */
#pragma once
#include "base/state.h"

enum {
    LS_CHECKPOINT_SCHEMA = 1,
    LS_CHECKPOINT_BLOCK = 512,     /* user block of the joining file */
    LS_CHECKPOINT_BLOCK_HASH = 64, /* where its 16 digits stand */
    LS_CHECKPOINT_NAME = 256,      /* a tensor's name with its '\0' */
    LS_CHECKPOINT_NUMERICS = 128,
    LS_CHECKPOINT_ALIGN_FROM = 65536,
    LS_CHECKPOINT_ALIGN = 4096,
};
#define LS_CHECKPOINT_JOINING   "checkpoint.h5"
#define LS_CHECKPOINT_RANK_FILE "rank-%04d.h5"

/* Rows of the tables, as in the file. */
typedef struct {
    char name[32];
    int64_t bytes;
    uint64_t xxh3;
} ls_file_row;

typedef struct {
    char name[LS_CHECKPOINT_NAME];
    int32_t kind, type, flags, ndim; /* as in ls_state_entry */
    int64_t shape[LS_MAX_DIMS];      /* 0 beyond ndim */
} ls_tensor_row;

typedef struct {
    int64_t tensor, file; /* numbers of rows */
    int64_t begin, held;  /* elements of the tensor */
    int64_t offset;       /* byte in the file */
} ls_slice_row;
