/* See rank_file.h; the file's layout is in format.h. */
#include "checkpoint/rank_file.h"

#include "base/hash.h"
#include "checkpoint/disk.h"
#include "checkpoint/memory_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRETCH = 16 << 20 }; /* bytes between two words with the disk */

/* A part of the file and where its bytes are. */
typedef struct {
    const char *bytes;
    int64_t size;
    ls_type type; /* of a slice, and the number of its first chunk in the tensor */
    int64_t first_chunk;
    uint64_t *chunk; /* where its chunks' hashes go; NULL: a part of the drawing */
} extent;

struct ls_rank_file {
    ls_memory_file drawing;
    char path[LS_PATH];
    int rank, fd;
    bool direct;             /* written past the page cache */
    extent *extent;          /* in file order, without gaps */
    int64_t extents, next;   /* next: the one being taken */
    int64_t in_extent;       /* bytes of it that are taken */
    int64_t at;              /* bytes of the file that are written */
    int64_t started, waited; /* bytes that the disk was told to write, and those of them that it has written */
    ls_state_reader reader;
    char *whole;             /* a chunk, where there is a reader */
    ls_hasher *hasher;       /* of the bytes as they leave memory */
    ls_hasher *reread;       /* of the bytes as they come back, so many of them */
    int64_t checked;
};

static bool draw_slice(hid_t h5, const ls_state_entry *entry, ls_slice_row *slice, hid_t link, hid_t list)
{
    hid_t type = ls_hdf5_type(entry->type), space = ls_hdf5_space(entry->ndim == 0 ? 0 : 1, &slice->held);
    hid_t set = H5Dcreate2(h5, entry->name, type, space, link, list, H5P_DEFAULT);
    haddr_t offset = set < 0 ? HADDR_UNDEF : H5Dget_offset(set);
    bool ok = offset != HADDR_UNDEF && ls_hdf5_put_i64(set, "begin", slice->begin);
    slice->offset = (int64_t)offset;
    H5Dclose(set);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static ls_status draw(ls_rank_file *file, ls_share *share, int64_t step, uint64_t save, int ranks)
{
    ls_hdf5_start();
    hid_t h5, link = H5Pcreate(H5P_LINK_CREATE), list = H5Pcreate(H5P_DATASET_CREATE);
    ls_status status = ls_memory_file_create(&file->drawing, 0, &h5);
    if (status == LS_OK) {
        bool ok = H5Pset_create_intermediate_group(link, 1) >= 0 && H5Pset_layout(list, H5D_CONTIGUOUS) >= 0 &&
                  H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0 &&
                  H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0 && ls_hdf5_put_i64(h5, "step", step) &&
                  ls_hdf5_put_u64(h5, "save", save) && ls_hdf5_put_i64(h5, "rank", file->rank) &&
                  ls_hdf5_put_i64(h5, "ranks", ranks);
        for (int64_t s = 0; ok && s < share->slices; s++)
            ok = draw_slice(h5, share->entry[share->slice[s].tensor], &share->slice[s], link, list);
        if (!ok)
            status = ls_hdf5_fail(LS_EMEM, file->path);
        if (H5Fclose(h5) < 0 && status == LS_OK)
            status = ls_hdf5_fail(LS_EMEM, file->path);
    }
    H5Pclose(list);
    H5Pclose(link);
    ls_hdf5_end();
    return status;
}

static int by_offset(const void *a, const void *b)
{
    const ls_slice_row *const *x = a, *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

/* The file as alternating stretches of the drawing and of the tensors. */
static ls_status lay_out(ls_rank_file *file, const ls_share *share)
{
    size_t count = (size_t)share->slices;
    const ls_slice_row **order = calloc(count + 1, sizeof *order);
    file->extent = calloc(2 * count + 1, sizeof *file->extent);
    ls_status status =
        order && file->extent ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for %zu slices", file->path, count);
    if (status != LS_OK)
        goto done;
    for (size_t s = 0; s < count; s++)
        order[s] = &share->slice[s];
    qsort(order, count, sizeof *order, by_offset);
    int64_t at = 0;
    for (size_t s = 0; s < count; s++) {
        const int64_t tensor = order[s]->tensor, begin = order[s]->offset;
        const ls_type type = share->entry[tensor]->type;
        const int64_t size = order[s]->held * (int64_t)ls_type_size(type);
        file->extent[file->extents++] = (extent){.bytes = file->drawing.bytes + at, .size = begin - at};
        file->extent[file->extents++] = (extent){.bytes = share->data[tensor],
                                                 .size = size,
                                                 .type = type,
                                                 .first_chunk = order[s]->begin / LS_CHUNK,
                                                 .chunk = share->chunk + share->first_chunk[order[s] - share->slice]};
        at = begin + size;
    }
    file->extent[file->extents++] =
        (extent){.bytes = file->drawing.bytes + at, .size = (int64_t)file->drawing.size - at};
done:
    free(order);
    return status;
}

ls_status ls_rank_file_draw(ls_rank_file **out, ls_share *share, int64_t step, uint64_t save, int rank, int ranks)
{
    *out = NULL;
    ls_rank_file *file = calloc(1, sizeof *file);
    if (!file)
        return ls_fail(LS_EMEM, "no memory for a rank file");
    file->rank = rank;
    file->fd = -1;
    snprintf(file->path, sizeof file->path, LS_CHECKPOINT_RANK_FILE, rank);
    file->hasher = ls_hasher_create(LS_HASH_SEED);
    ls_status status =
        file->hasher ? draw(file, share, step, save, ranks) : ls_fail(LS_EMEM, "%s: no memory", file->path);
    if (status == LS_OK)
        status = lay_out(file, share);
    if (status == LS_OK)
        *out = file;
    else
        ls_rank_file_free(file);
    return status;
}

int64_t ls_rank_file_bytes(const ls_rank_file *file)
{
    return (int64_t)file->drawing.size;
}

ls_status ls_rank_file_place(ls_rank_file *file, const char *folder)
{
    if (snprintf(file->path, sizeof file->path, "%s/" LS_CHECKPOINT_RANK_FILE, folder, file->rank) >=
        (int)sizeof file->path)
        return ls_fail(LS_EARG, "a path of more than %d bytes", LS_PATH - 1);
    return LS_OK;
}

ls_status ls_rank_file_create(ls_rank_file *file)
{
    const ls_status status = ls_disk_create(file->path, &file->fd);
    file->direct = status == LS_OK && ls_disk_direct(file->fd, true);
    return status;
}

/* Starts the disk on [from, at) and waits for what was started before it, so that at most two stretches are dirty: the
 * disk works while the next bytes are hashed, the kernel never has to stop us for gigabytes at once, and the fsync at
 * the end is short. Not every file system can; fsync has the last word. */
static ls_status drain(ls_rank_file *file)
{
    const int64_t from = file->started, before = from - file->waited;
    unsigned wait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if ((sync_file_range(file->fd, from, file->at - from, SYNC_FILE_RANGE_WRITE) != 0 ||
         (before > 0 && sync_file_range(file->fd, file->waited, before, wait) != 0)) &&
        (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        return ls_disk_fail(file->path, "write");
    file->waited = from;
    file->started = file->at;
    return LS_OK;
}

/* The chunks of a slice that end in its bytes [from, to), which have just been copied: hashed where they still are in
 * the cache. */
static void hash_chunks(const extent *e, int64_t from, int64_t to)
{
    const int64_t size = (int64_t)ls_type_size(e->type), chunk = LS_CHUNK * size;
    const int64_t first = from / chunk, past = to == e->size ? (to + chunk - 1) / chunk : to / chunk;
    if (past <= first)
        return;
    const int64_t end = past * chunk < e->size ? past * chunk : e->size;
    ls_hash_chunks(e->type, e->bytes + first * chunk, (end - first * chunk) / size, e->first_chunk + first,
                   e->chunk + first);
}

/* The same where the tensor cannot be read twice: of the copy, whose chunks may have begun in an earlier piece and lie as the
 * file has them, so each is put together and aligned first. */
static void hash_copied(ls_rank_file *file, const extent *e, int64_t from, int64_t to, const char *copied)
{
    const int64_t size = (int64_t)ls_type_size(e->type), chunk = LS_CHUNK * size;
    while (from < to) {
        const int64_t begin = from / chunk * chunk, whole = begin + chunk < e->size ? begin + chunk : e->size;
        const int64_t end = whole < to ? whole : to;
        memcpy(file->whole + (from - begin), copied, (size_t)(end - from));
        if (end == whole)
            ls_hash_chunks(e->type, file->whole, (whole - begin) / size, e->first_chunk + begin / chunk, e->chunk + begin / chunk);
        copied += end - from;
        from = end;
    }
}

/* `size` bytes from byte `from` of the extent on. */
static ls_status take_bytes(ls_rank_file *file, const extent *e, int64_t from, int64_t size, char *to)
{
    if (!file->reader.read || !e->chunk) {
        memcpy(to, e->bytes + from, (size_t)size);
        if (e->chunk)
            hash_chunks(e, from, from + size);
        return LS_OK;
    }
    const ls_status status = file->reader.read(file->reader.context, to, e->bytes + from, (size_t)size);
    if (status == LS_OK)
        hash_copied(file, e, from, from + size, to);
    return status;
}

ls_status ls_rank_file_read_by(ls_rank_file *file, const ls_state_reader *reader)
{
    file->reader = *reader;
    file->whole = reader->read ? aligned_alloc(64, LS_CHUNK * sizeof(double)) : NULL;
    return reader->read && !file->whole ? ls_fail(LS_EMEM, "%s: no memory for a chunk", file->path) : LS_OK;
}

ls_status ls_rank_file_take(ls_rank_file *file, char *piece, int64_t room, int64_t *taken)
{
    ls_status status = LS_OK;
    for (*taken = 0; status == LS_OK && file->next < file->extents && *taken < room;) {
        const extent *e = &file->extent[file->next];
        const int64_t left = e->size - file->in_extent, size = left < room - *taken ? left : room - *taken;
        if (size > 0)
            status = take_bytes(file, e, file->in_extent, size, piece + *taken);
        *taken += size;
        file->in_extent += size;
        if (file->in_extent == e->size) {
            file->in_extent = 0;
            file->next++;
        }
    }
    return status;
}

/* Past the page cache where that can be: the kernel then neither copies the bytes nor keeps them, which is most of what
 * a write costs the processor that training needs. The file's end, which is no whole page, goes the other way, as does
 * all where the file system cannot. */
static ls_status write_piece(ls_rank_file *file, const char *piece, int64_t size)
{
    if (file->direct && size % LS_DISK_PAGE != 0)
        file->direct = !ls_disk_direct(file->fd, false);
    ls_status status = ls_disk_write(file->fd, file->path, piece, (size_t)size, file->at);
    if (status != LS_OK && file->direct && errno == EINVAL) {
        file->direct = !ls_disk_direct(file->fd, false);
        status = ls_disk_write(file->fd, file->path, piece, (size_t)size, file->at);
    }
    return status;
}

ls_status ls_rank_file_put(ls_rank_file *file, const char *piece, int64_t size)
{
    ls_hasher_add(file->hasher, piece, (size_t)size);
    const ls_status status = write_piece(file, piece, size);
    if (status != LS_OK)
        return status;
    file->at += size;
    if (file->direct)
        file->started = file->waited = file->at;
    return file->at - file->started >= STRETCH ? drain(file) : LS_OK;
}

ls_status ls_rank_file_end(ls_rank_file *file)
{
    ls_status status = ls_disk_sync(file->fd, file->path);
    if (close(file->fd) != 0 && status == LS_OK)
        status = ls_disk_fail(file->path, "close");
    file->fd = -1;
    return status;
}

ls_status ls_rank_file_reopen(ls_rank_file *file)
{
    int64_t bytes;
    const ls_status status = ls_disk_open(file->path, &file->fd, &bytes);
    if (status != LS_OK)
        return status;
    posix_fadvise(file->fd, 0, 0,
                  POSIX_FADV_DONTNEED); /* what is synced may go; a hint, and not every file system can */
    file->checked = 0;
    file->reread = ls_hasher_create(LS_HASH_SEED);
    return file->reread ? LS_OK : ls_fail(LS_EMEM, "%s: no memory to read it back", file->path);
}

ls_status ls_rank_file_check(ls_rank_file *file, char *piece, int64_t room, bool *done)
{
    const int64_t left = file->at - file->checked, size = left < room ? left : room;
    *done = size == left;
    ls_status status = ls_disk_read(file->fd, file->path, piece, (size_t)size, file->checked);
    if (status == LS_OK)
        ls_hasher_add(file->reread, piece, (size_t)size);
    file->checked += size;
    const uint64_t written = ls_hasher_digest(file->hasher), read = ls_hasher_digest(file->reread);
    if (status == LS_OK && *done && written != read)
        status = ls_fail(
            LS_ECORRUPT,
            "%s: what the disk gives back is not what was written (XXH3 %016llx, was %016llx): do not trust this disk",
            file->path, (unsigned long long)read, (unsigned long long)written);
    return status;
}

ls_file_row ls_rank_file_row(const ls_rank_file *file)
{
    ls_file_row row = {.bytes = file->at, .xxh3 = ls_hasher_digest(file->hasher)};
    snprintf(row.name, sizeof row.name, LS_CHECKPOINT_RANK_FILE, file->rank);
    return row;
}

void ls_rank_file_free(ls_rank_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    ls_hasher_free(file->hasher);
    ls_hasher_free(file->reread);
    ls_memory_file_free(&file->drawing);
    free(file->extent);
    free(file->whole);
    free(file);
}
