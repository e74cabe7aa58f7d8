/* See reader.h. */
#include "checkpoint/reader.h"

#include "base/hash.h"

#include <stdio.h>
#include <unistd.h>

/* Chunks read by one call: large enough for any disk, small enough that a chunk is hashed while still in cache. */
enum { CHUNKS_A_READ = 64 };

ls_status ls_reader_open(ls_reader *reader, const char *folder, const ls_manifest *manifest)
{
    *reader = (ls_reader){.manifest = manifest, .open = -1, .fd = -1};
    if (snprintf(reader->folder, sizeof reader->folder, "%s", folder) >= (int)sizeof reader->folder)
        return ls_fail(LS_EARG, "a path of more than %d bytes", LS_PATH - 1);
    return LS_OK;
}

void ls_reader_close(ls_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
    reader->open = -1;
}

static ls_status open_file(ls_reader *reader, int64_t file)
{
    if (reader->open == file)
        return LS_OK;
    ls_reader_close(reader);
    const ls_file_row *row = &reader->manifest->file[file];
    snprintf(reader->path, sizeof reader->path, "%s/%s", reader->folder, row->name);
    int64_t bytes;
    ls_status status = ls_disk_open(reader->path, &reader->fd, &bytes);
    if (status != LS_OK)
        return status;
    if (bytes != row->bytes) {
        ls_reader_close(reader);
        return ls_fail(LS_ECORRUPT, "%s: %lld bytes, %lld were written", reader->path, (long long)bytes,
                       (long long)row->bytes);
    }
    reader->open = file;
    return LS_OK;
}

static ls_status check(const ls_reader *reader, int64_t tensor, int64_t begin, int64_t count, const char *data)
{
    const ls_manifest *m = reader->manifest;
    const ls_tensor_row *row = &m->tensor[tensor];
    uint64_t hash[CHUNKS_A_READ];
    int64_t first = begin / LS_CHUNK;
    ls_hash_chunks((ls_type)row->type, data, count, first, hash);
    for (int64_t c = 0; c < ls_chunks_of(count); c++) {
        if (hash[c] == m->chunk[m->first_chunk[tensor] + first + c])
            continue;
        int64_t from = begin + c * LS_CHUNK, to = from + LS_CHUNK < begin + count ? from + LS_CHUNK : begin + count;
        return ls_fail(LS_ECORRUPT, "%s: tensor \"%s\": elements [%lld, %lld) are not those that were written",
                       reader->path, row->name, (long long)from, (long long)to);
    }
    return LS_OK;
}

/* The part of a slice that is asked for: [begin, end) of the tensor. */
static ls_status read_part(ls_reader *reader, const ls_slice_row *slice, int64_t begin, int64_t end, char *data)
{
    int64_t size = (int64_t)ls_type_size((ls_type)reader->manifest->tensor[slice->tensor].type);
    ls_status status = open_file(reader, slice->file);
    while (status == LS_OK && begin < end) {
        int64_t count = end - begin < CHUNKS_A_READ * LS_CHUNK ? end - begin : CHUNKS_A_READ * LS_CHUNK;
        status = ls_disk_read(reader->fd, reader->path, data, (size_t)(count * size),
                              slice->offset + (begin - slice->begin) * size);
        if (status == LS_OK)
            status = check(reader, slice->tensor, begin, count, data);
        begin += count;
        data += count * size;
    }
    return status;
}

ls_status ls_reader_read(ls_reader *reader, int64_t tensor, int64_t begin, int64_t count, void *data)
{
    const ls_manifest *m = reader->manifest;
    int64_t end = begin + count, size = (int64_t)ls_type_size((ls_type)m->tensor[tensor].type);
    ls_status status = LS_OK;
    for (int64_t s = m->first_slice[tensor]; status == LS_OK && s < m->first_slice[tensor + 1]; s++) {
        const ls_slice_row *slice = &m->slice[s];
        int64_t from = slice->begin > begin ? slice->begin : begin;
        int64_t to = slice->begin + slice->held < end ? slice->begin + slice->held : end;
        if (from < to)
            status = read_part(reader, slice, from, to, (char *)data + (from - begin) * size);
    }
    return status;
}
