/* The joining file: tables, virtual datasets, user block. See format.h for the layout and why.
 *
 * Reading trusts the file only after its own sum agreed, and even then as little as a stranger: fixed paths, hard
 * links, plain contiguous tables no larger than the file. A matching sum proves that nothing broke, not that nobody
 * meant harm. */
#include "checkpoint/joining.h"

#include "base/hash.h"
#include "checkpoint/disk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tables. */

#define MEMBER(type, row, member, kind) (H5Tinsert(type, #member, offsetof(row, member), kind) >= 0)

static bool text_member(hid_t type, const char *name, size_t offset, size_t size)
{
    hid_t text = ls_hdf5_text(size);
    bool ok = H5Tinsert(type, name, offset, text) >= 0;
    H5Tclose(text);
    return ok;
}

static hid_t file_table(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(ls_file_row));
    bool ok = text_member(type, "name", offsetof(ls_file_row, name), sizeof((ls_file_row *)0)->name) &&
              MEMBER(type, ls_file_row, bytes, H5T_STD_I64LE) && MEMBER(type, ls_file_row, xxh3, H5T_STD_U64LE);
    return ok ? type : -1;
}

static hid_t tensor_table(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(ls_tensor_row));
    hid_t shape = H5Tarray_create2(H5T_STD_I64LE, 1, (hsize_t[]){LS_MAX_DIMS});
    bool ok = text_member(type, "name", offsetof(ls_tensor_row, name), LS_CHECKPOINT_NAME) &&
              MEMBER(type, ls_tensor_row, kind, H5T_STD_I32LE) && MEMBER(type, ls_tensor_row, type, H5T_STD_I32LE) &&
              MEMBER(type, ls_tensor_row, flags, H5T_STD_I32LE) && MEMBER(type, ls_tensor_row, ndim, H5T_STD_I32LE) &&
              MEMBER(type, ls_tensor_row, shape, shape);
    H5Tclose(shape);
    return ok ? type : -1;
}

static hid_t slice_table(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(ls_slice_row));
    bool ok = MEMBER(type, ls_slice_row, tensor, H5T_STD_I64LE) && MEMBER(type, ls_slice_row, file, H5T_STD_I64LE) &&
              MEMBER(type, ls_slice_row, begin, H5T_STD_I64LE) && MEMBER(type, ls_slice_row, held, H5T_STD_I64LE) &&
              MEMBER(type, ls_slice_row, offset, H5T_STD_I64LE);
    return ok ? type : -1;
}

/* Closes `type`. */
static bool put_table(hid_t group, const char *name, hid_t type, int64_t rows, const void *data)
{
    hid_t space = ls_hdf5_space(1, &rows);
    hid_t table = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = table >= 0 && (rows == 0 || H5Dwrite(table, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(table);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool put_recipe(hid_t group, const char *text)
{
    hid_t type = ls_hdf5_text(strlen(text) + 1), space = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(group, "recipe", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) >= 0;
    H5Dclose(set);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static bool put_tables(hid_t h5, const ls_manifest *m)
{
    hid_t group = H5Gcreate2(h5, "lockstep", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = group >= 0 && put_table(group, "files", file_table(), m->files, m->file) &&
              put_table(group, "tensors", tensor_table(), m->tensors, m->tensor) &&
              put_table(group, "slices", slice_table(), m->slices, m->slice) &&
              put_table(group, "hashes", H5Tcopy(H5T_STD_U64LE), m->chunks, m->chunk) &&
              put_recipe(group, m->recipe ? m->recipe : "") && ls_hdf5_put_i64(h5, "schema", LS_CHECKPOINT_SCHEMA) &&
              ls_hdf5_put_i64(h5, "step", m->step) && ls_hdf5_put_u64(h5, "save", m->save) &&
              ls_hdf5_put_text(h5, "numerics", m->numerics, sizeof m->numerics);
    H5Gclose(group);
    return ok;
}

/* Virtual datasets. A slice is a range of the flat tensor; HDF5 maps boxes. */

typedef struct {
    const ls_tensor_row *row;
    const char *file;
    char source[LS_CHECKPOINT_NAME + 1]; /* the slice's path in that file */
    int64_t held, mapped;                /* elements of the slice, and how many of them have a box */
    hid_t list;                          /* the dataset's creation properties */
    hsize_t start[LS_MAX_DIMS], count[LS_MAX_DIMS];
} mapping;

static bool map_box(mapping *map)
{
    hsize_t box = 1, at = (hsize_t)map->mapped;
    for (int d = 0; d < map->row->ndim; d++)
        box *= map->count[d];
    hid_t whole = ls_hdf5_space(map->row->ndim, map->row->shape), slice = ls_hdf5_space(1, &map->held);
    bool ok = H5Sselect_hyperslab(whole, H5S_SELECT_SET, map->start, NULL, map->count, NULL) >= 0 &&
              H5Sselect_hyperslab(slice, H5S_SELECT_SET, &at, NULL, &box, NULL) >= 0 &&
              H5Pset_virtual(map->list, whole, map->file, map->source, slice) >= 0;
    H5Sclose(whole);
    H5Sclose(slice);
    map->mapped += (int64_t)box;
    return ok;
}

/* Elements [begin, end) of the part of the tensor that start[0..d) fixes: first the rest of a row of dimension d, then
 * whole rows as one box, then the beginning of a last row; each partial row is cut the same way one dimension down. */
static bool map_range(mapping *map, int d, int64_t begin, int64_t end)
{
    const int64_t *shape = map->row->shape;
    int64_t stride = 1;
    for (int i = d + 1; i < map->row->ndim; i++) {
        stride *= shape[i];
        map->start[i] = 0;
        map->count[i] = (hsize_t)shape[i];
    }
    while (begin < end) {
        int64_t row = begin / stride, inside = begin % stride, next = end - begin;
        map->start[d] = (hsize_t)row;
        if (inside == 0 && next >= stride) {
            map->count[d] = (hsize_t)(next / stride);
            next = next / stride * stride;
            if (!map_box(map))
                return false;
        } else {
            map->count[d] = 1;
            if (next > stride - inside)
                next = stride - inside;
            if (!map_range(map, d + 1, inside, inside + next))
                return false;
            for (int i = d + 1; i < map->row->ndim; i++) {
                map->start[i] = 0;
                map->count[i] = (hsize_t)shape[i];
            }
        }
        begin += next;
    }
    return true;
}

static bool map_slice(const ls_manifest *m, const ls_slice_row *slice, hid_t list)
{
    mapping map = {
        .row = &m->tensor[slice->tensor], .file = m->file[slice->file].name, .held = slice->held, .list = list};
    snprintf(map.source, sizeof map.source, "/%s", map.row->name);
    if (map.row->ndim > 0)
        return map_range(&map, 0, slice->begin, slice->begin + slice->held);
    hid_t scalar = H5Screate(H5S_SCALAR);
    bool ok = H5Pset_virtual(list, scalar, map.file, map.source, scalar) >= 0;
    H5Sclose(scalar);
    return ok;
}

static bool set_fill(hid_t list, ls_type type)
{
    const double nan_value = NAN;
    const int64_t least = type == LS_I32 ? INT32_MIN : INT64_MIN;
    const uint8_t most = UINT8_MAX;
    switch (type) {
    case LS_F32:
    case LS_BF16:
    case LS_F16:
    case LS_F64: return H5Pset_fill_value(list, H5T_NATIVE_DOUBLE, &nan_value) >= 0;
    case LS_I32:
    case LS_I64: return H5Pset_fill_value(list, H5T_NATIVE_INT64, &least) >= 0;
    case LS_U8: return H5Pset_fill_value(list, H5T_NATIVE_UINT8, &most) >= 0;
    }
    return false;
}

static bool put_tensor(hid_t h5, const ls_manifest *m, int64_t t, hid_t link)
{
    const ls_tensor_row *row = &m->tensor[t];
    hid_t type = ls_hdf5_type((ls_type)row->type), space = ls_hdf5_space(row->ndim, row->shape);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), set = -1;
    bool ok = set_fill(list, (ls_type)row->type);
    for (int64_t s = m->first_slice[t]; ok && s < m->first_slice[t + 1]; s++)
        ok = map_slice(m, &m->slice[s], list);
    if (ok)
        set = H5Dcreate2(h5, row->name, type, space, link, list, H5P_DEFAULT);
    H5Dclose(set);
    H5Pclose(list);
    H5Sclose(space);
    H5Tclose(type);
    return set >= 0;
}

/* User block. */

/* The sum of the whole file with the 16 digits of the sum itself taken as '0'. */
static uint64_t own_hash(char *bytes, size_t size)
{
    char digits[16];
    memcpy(digits, bytes + LS_CHECKPOINT_BLOCK_HASH, sizeof digits);
    memset(bytes + LS_CHECKPOINT_BLOCK_HASH, '0', sizeof digits);
    uint64_t hash = ls_hash_bytes(bytes, size, LS_HASH_SEED);
    memcpy(bytes + LS_CHECKPOINT_BLOCK_HASH, digits, sizeof digits);
    return hash;
}

static int print_block(char block[LS_CHECKPOINT_BLOCK], int schema, size_t size, uint64_t hash)
{
    memset(block, 0, LS_CHECKPOINT_BLOCK);
    return snprintf(block, LS_CHECKPOINT_BLOCK, "lockstep checkpoint\nschema %08d\nbytes %016zu\nxxh3 %016llx\n",
                    schema, size, (unsigned long long)hash);
}

void ls_joining_stamp(ls_memory_file *file, int schema, ls_manifest *m)
{
    char block[LS_CHECKPOINT_BLOCK];
    print_block(block, schema, file->size, 0);
    memcpy(file->bytes, block, sizeof block);
    m->xxh3 = own_hash(file->bytes, file->size);
    print_block(block, schema, file->size, m->xxh3);
    memcpy(file->bytes, block, sizeof block);
}

ls_status ls_joining_draw(ls_manifest *m, ls_memory_file *file)
{
    ls_hdf5_start();
    hid_t h5, link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    ls_status status = ls_memory_file_create(file, LS_CHECKPOINT_BLOCK, &h5);
    if (status == LS_OK) {
        bool ok = put_tables(h5, m);
        for (int64_t t = 0; ok && t < m->tensors; t++)
            ok = put_tensor(h5, m, t, link);
        if (!ok)
            status = ls_hdf5_fail(LS_EMEM, LS_CHECKPOINT_JOINING);
        if (H5Fclose(h5) < 0 && status == LS_OK)
            status = ls_hdf5_fail(LS_EMEM, LS_CHECKPOINT_JOINING);
    }
    H5Pclose(link);
    ls_hdf5_end();
    if (status != LS_OK) {
        ls_memory_file_free(file);
        return status;
    }
    ls_joining_stamp(file, LS_CHECKPOINT_SCHEMA, m);
    return LS_OK;
}

/* Reading. */

/* Magic first, then version, then size, then sum: each sentence is the truest that can be said. */
static ls_status check_block(const char *path, char *bytes, size_t size, uint64_t *hash)
{
    static const char magic[] = "lockstep checkpoint\nschema ";
    if (size < LS_CHECKPOINT_BLOCK || memcmp(bytes, magic, sizeof magic - 1) != 0)
        return ls_fail(LS_EFORMAT, "%s: not a checkpoint of lockstep", path);
    int schema = atoi(bytes + sizeof magic - 1); /* ends at the line's end, or at the sum's disagreement below */
    if (schema > LS_CHECKPOINT_SCHEMA) {
        char expected[LS_CHECKPOINT_BLOCK];
        int length = print_block(expected, schema, size, own_hash(bytes, size));
        if (memcmp(bytes, expected, (size_t)length) == 0)
            return ls_fail(LS_EVERSION, "%s: schema %d, this lockstep reads up to %d; upgrade lockstep", path, schema,
                           LS_CHECKPOINT_SCHEMA);
    }
    char block[LS_CHECKPOINT_BLOCK];
    *hash = own_hash(bytes, size);
    print_block(block, LS_CHECKPOINT_SCHEMA, size, *hash);
    if (memcmp(bytes, block, sizeof block) != 0)
        return ls_fail(LS_ECORRUPT, "%s: its %zu bytes are not those that were written (XXH3 is %016llx)", path, size,
                       (unsigned long long)*hash);
    return LS_OK;
}

static ls_status read_bytes(const char *path, ls_memory_file *file)
{
    int fd;
    int64_t bytes;
    ls_status status = ls_disk_open(path, &fd, &bytes);
    if (status != LS_OK)
        return status;
    status = ls_memory_file_reserve(file, (size_t)bytes + 1); /* + 1: the version's number ends somewhere */
    if (status == LS_OK)
        status = ls_disk_read(fd, path, file->bytes, (size_t)bytes, 0);
    file->size = status == LS_OK ? (size_t)bytes : 0;
    close(fd);
    return status;
}

/* A plain, contiguous or compact dataset behind a hard link, its storage in this file. */
static hid_t open_plain(hid_t group, const char *name)
{
    H5L_info_t link;
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
        return -1;
    hid_t set = H5Dopen2(group, name, H5P_DEFAULT), list = set < 0 ? -1 : H5Dget_create_plist(set);
    H5D_layout_t layout = list < 0 ? H5D_VIRTUAL : H5Pget_layout(list);
    bool plain = (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) && H5Pget_external_count(list) == 0;
    H5Pclose(list);
    if (plain)
        return set;
    H5Dclose(set);
    return -1;
}

/* Reads a table of one dimension; closes `type`. *rows is malloc'ed even when there are none. */
static bool get_table(hid_t group, const char *name, hid_t type, size_t most, int64_t *count, void **rows)
{
    hid_t set = open_plain(group, name), space = set < 0 ? -1 : H5Dget_space(set);
    hsize_t dims = 0;
    size_t size = H5Tget_size(type);
    bool ok = space >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
              H5Sget_simple_extent_dims(space, &dims, NULL) == 1 && dims <= most / size;
    if (ok && (*rows = malloc((size_t)dims * size + 1)))
        ok = dims == 0 || H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *rows) >= 0;
    *count = (int64_t)dims;
    H5Sclose(space);
    H5Dclose(set);
    H5Tclose(type);
    return ok && *rows;
}

static char *get_recipe(hid_t group, size_t most)
{
    hid_t set = open_plain(group, "recipe"), stored = set < 0 ? -1 : H5Dget_type(set);
    hid_t space = set < 0 ? -1 : H5Dget_space(set);
    size_t size =
        stored < 0 || H5Tget_class(stored) != H5T_STRING || H5Tis_variable_str(stored) ? 0 : H5Tget_size(stored);
    char *text = NULL;
    if (size > 0 && size <= most && H5Sget_simple_extent_npoints(space) == 1 && (text = calloc(size + 1, 1))) {
        hid_t type = ls_hdf5_text(size);
        if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text) < 0) {
            free(text);
            text = NULL;
        }
        H5Tclose(type);
    }
    H5Sclose(space);
    H5Tclose(stored);
    H5Dclose(set);
    return text;
}

static bool get_tables(hid_t h5, size_t most, ls_manifest *m)
{
    H5L_info_t link;
    if (H5Lget_info(h5, "lockstep", &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
        return false;
    hid_t group = H5Gopen2(h5, "lockstep", H5P_DEFAULT);
    bool ok = group >= 0 && get_table(group, "files", file_table(), most, &m->files, (void **)&m->file) &&
              get_table(group, "tensors", tensor_table(), most, &m->tensors, (void **)&m->tensor) &&
              get_table(group, "slices", slice_table(), most, &m->slices, (void **)&m->slice) &&
              get_table(group, "hashes", H5Tcopy(H5T_STD_U64LE), most, &m->chunks, (void **)&m->chunk) &&
              (m->recipe = get_recipe(group, most)) && ls_hdf5_get_i64(h5, "step", &m->step) &&
              ls_hdf5_get_u64(h5, "save", &m->save) &&
              ls_hdf5_get_text(h5, "numerics", m->numerics, sizeof m->numerics);
    H5Gclose(group);
    return ok;
}

static ls_status read_tables(const char *path, ls_memory_file *file, ls_manifest *m)
{
    hid_t h5;
    ls_hdf5_start();
    ls_status status = ls_memory_file_open(file, &h5);
    if (status != LS_OK) {
        ls_hdf5_end();
        return ls_fail_at(status, "%s", path);
    }
    if (!get_tables(h5, file->size, m))
        status = ls_fail(LS_ECORRUPT, "%s: a table is missing or not as it should be", path);
    H5Fclose(h5);
    ls_hdf5_end();
    return status;
}

static ls_status read_manifest(const char *path, ls_memory_file *file, ls_manifest *m)
{
    const ls_status status = read_tables(path, file, m);
    if (status != LS_OK)
        return status;
    m->first_slice = calloc((size_t)m->tensors + 1, sizeof *m->first_slice);
    m->first_chunk = calloc((size_t)m->tensors + 1, sizeof *m->first_chunk);
    if (!m->first_slice || !m->first_chunk)
        return ls_fail(LS_EMEM, "%s: no memory for %lld tensors", path, (long long)m->tensors);
    return ls_fail_at(ls_manifest_index(m, LS_ECORRUPT), "%s", path);
}

ls_status ls_joining_read(const char *folder, ls_manifest **manifest)
{
    char path[LS_PATH];
    *manifest = NULL;
    if (snprintf(path, sizeof path, "%s/" LS_CHECKPOINT_JOINING, folder) >= (int)sizeof path)
        return ls_fail(LS_EARG, "a path of more than %d bytes", LS_PATH - 1);
    ls_memory_file file = {0};
    ls_manifest *m = calloc(1, sizeof *m);
    ls_status status = m ? read_bytes(path, &file) : ls_fail(LS_EMEM, "%s: no memory", path);
    if (status == LS_OK)
        status = check_block(path, file.bytes, file.size, &m->xxh3);
    if (status == LS_OK)
        status = read_manifest(path, &file, m);
    ls_memory_file_free(&file);
    if (status == LS_OK)
        *manifest = m;
    else
        ls_manifest_free(m);
    return status;
}
