/* Any bytes as an HDF5 file of a data set (a shard, the list of shards, lexical units): either they are refused with a
 * sentence that names the file, or header and arrays lie whole inside them. fuzz_shard.c tells lies in files that HDF5
 * itself wrote; here HDF5 reads what nobody wrote. Run by tests/fuzz/mutate.c for ctest, and by the preset `fuzz` with
 * clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "datasets/image_format.h"
#include "datasets/units.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void clean_up(void)
{
    unlink(path);
}

static void put(const uint8_t *data, size_t size)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static bool refused(ls_status status)
{
    if (status == LS_OK)
        return false;
    require(status == LS_EFORMAT || status == LS_ECORRUPT || status == LS_EVERSION);
    require(strstr(ls_fail_sentence(), path));
    return true;
}

/* Every byte of the array is touched, so that a wrong border shows. */
static void map(const ls_h5_input *input, const char *name, hid_t type, int64_t count)
{
    const void *data;
    if (refused(ls_h5_map_array(input, name, type, count, &data)))
        return;
    const uint8_t *begin = data;
    const size_t bytes = (size_t)count * H5Tget_size(type);
    unsigned sum = 0;
    require(begin >= input->map && begin + bytes <= input->map + input->bytes);
    for (size_t i = 0; i < bytes; i++)
        sum += begin[i];
    require(sum <= 255u * bytes);
}

typedef struct {
    const char *format;
    const ls_h5_attribute *rows;
} kind;

static void read_as(const kind *k)
{
    union {
        ls_shard_header shard;
        ls_dataset_header set;
        ls_image_shard_header image_shard;
        ls_image_set_header image_set;
    } header = {0};
    ls_h5_input input;
    if (refused(ls_h5_open(&input, path, k->format, LS_SHARD_SCHEMA)))
        return;
    if (!refused(ls_h5_read_header(&input, k->rows, &header)))
        for (const ls_h5_attribute *row = k->rows; row->name; row++)
            require(row->kind != LS_H5_TEXT || memchr((const char *)&header + row->offset, '\0', row->bytes));
    /* Lengths that a header may speak of: those of the seeds, none, and what no file has. */
    for (const int64_t *count = (const int64_t[]){0, 1, 2, 3, 4, 7, INT64_MAX, -1}; *count >= 0; count++) {
        map(&input, "tokens", H5T_STD_I32LE, *count);
        map(&input, "loss_mask", H5T_STD_U8LE, *count);
        map(&input, "offset", H5T_STD_I64LE, *count);
        map(&input, "shard_sum", H5T_STD_U64LE, *count);
        map(&input, "logp", H5T_IEEE_F32LE, *count);
    }
    ls_h5_close(&input);
    ls_h5_unmap(&input);
}

static void read_units(void)
{
    ls_units_file *file;
    ls_units units;
    if (refused(ls_units_open(&file, path, &units)))
        return;
    for (int64_t i = 0; i < units.units; i++)
        require(units.unit_len[i] >= 2 && units.unit_start[i] >= 0);
    ls_units_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const kind kinds[] = {{LS_SHARD_FORMAT, ls_shard_header_rows},
                                 {LS_DATASET_FORMAT, ls_dataset_header_rows},
                                 {LS_SHARD_FORMAT, ls_image_shard_rows},
                                 {LS_DATASET_FORMAT, ls_image_set_rows}};
    if (!path[0]) {
        snprintf(path, sizeof path, "/tmp/lockstep-fuzz-%ld.h5", (long)getpid());
        atexit(clean_up);
    }
    put(data, size);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        read_as(&kinds[k]);
    read_units();
    return 0;
}
