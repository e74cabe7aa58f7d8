/* Any bytes as a checkpoint's joining file: as they are, and with the size and the sum that belong to them, as one who
 * means harm would write. Either they are refused with a sentence that names the file, or the tables keep their word
 * and everything that is done with a checkpoint can be done. The rank files they list are holes of the listed size, so
 * no tensor's sum can be right and every read that is allowed is tried. Run by tests/fuzz/mutate.c for ctest, and by
 * the preset `fuzz` with clang's libFuzzer (tests/fuzz/CMakeLists.txt). */
#include "checkpoint/checkpoint.h"
#include "checkpoint/joining.h"
#include "checkpoint/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_FILES = 4, MOST_BYTES = 1 << 20 };

static char folder[] = "/tmp/lockstep-fuzz-XXXXXX";

static void require(bool holds)
{
    if (!holds)
        abort();
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const void *bytes, size_t size)
{
    const int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void put_hole(const ls_file_row *row)
{
    require(!strchr(row->name, '/') && memchr(row->name, '\0', sizeof row->name));
    put(row->name, "", 0);
    require(truncate(path_of(row->name), row->bytes) == 0);
}

static void clean_up(void)
{
    char name[32];
    unlink(path_of(LS_CHECKPOINT_JOINING));
    for (int f = 0; f < MOST_FILES; f++) {
        snprintf(name, sizeof name, LS_CHECKPOINT_RANK_FILE, f);
        unlink(path_of(name));
    }
    rmdir(folder);
}

static bool count_row(void *count, const ls_state_entry *entry, uint64_t hash)
{
    (void)hash;
    require(entry->name[0] && entry->ndim >= 0 && entry->ndim <= LS_MAX_DIMS && ls_type_size(entry->type) > 0);
    ++*(int64_t *)count;
    return true;
}

/* What the commands ask of a checkpoint. */
static void use(const ls_manifest *m)
{
    ls_checkpoint_info info;
    uint64_t hash, again;
    int64_t rows = 0, bytes = ls_manifest_bytes(m);
    char *recipe;
    require(ls_checkpoint_about(folder, &info) == LS_OK && info.tensors == m->tensors && info.state_bytes == bytes);
    require(memchr(info.numerics, '\0', sizeof info.numerics));
    require(ls_checkpoint_list(folder, count_row, &rows) == LS_OK && rows == m->tensors);
    require(ls_checkpoint_hash(folder, &hash) == LS_OK && ls_checkpoint_hash(folder, &again) == LS_OK && hash == again);
    require(ls_checkpoint_recipe_text(folder, &recipe) == LS_OK);
    free(recipe);
    if (m->files > MOST_FILES || bytes > MOST_BYTES)
        return;
    for (int64_t f = 0; f < m->files; f++) {
        if (m->file[f].bytes > MOST_BYTES)
            return;
        put_hole(&m->file[f]);
    }
    for (int64_t t = 0; t < m->tensors && t < 8; t++) {
        ls_state_entry entry;
        void *values = NULL;
        const ls_status status = ls_checkpoint_read(folder, m->tensor[t].name, &entry, &values);
        require((status == LS_OK) == (values != NULL));
        require(status == LS_OK || (status == LS_ECORRUPT && strstr(ls_fail_sentence(), m->tensor[t].name)));
        free(values);
    }
    require(ls_checkpoint_verify(folder) == (m->files > 0 ? LS_ECORRUPT : LS_OK));
}

/* Every number that other code uses as an index or a length. */
static void check(const ls_manifest *m)
{
    for (int64_t t = 0; t < m->tensors; t++) {
        int64_t covered = 0;
        require(ls_manifest_find(m, m->tensor[t].name) == t);
        for (int64_t s = m->first_slice[t]; s < m->first_slice[t + 1]; s++) {
            const ls_slice_row *slice = &m->slice[s];
            require(slice->tensor == t && slice->begin == covered && slice->held > 0);
            require(m->files == 0 || (slice->file >= 0 && slice->file < m->files && slice->offset >= 0));
            covered += slice->held;
        }
        require(covered == ls_tensor_row_elements(&m->tensor[t]));
    }
    require(m->first_slice[m->tensors] == m->slices && m->first_chunk[m->tensors] == m->chunks);
}

static void read_it(const void *bytes, size_t size)
{
    ls_manifest *manifest;
    put(LS_CHECKPOINT_JOINING, bytes, size);
    const ls_status status = ls_joining_read(folder, &manifest);
    if (status == LS_OK) {
        check(manifest);
        use(manifest);
        ls_manifest_free(manifest);
        return;
    }
    require(!manifest && (status == LS_EFORMAT || status == LS_ECORRUPT || status == LS_EVERSION));
    require(strstr(ls_fail_sentence(), folder) && ls_verify_is_damage(status) == (status != LS_EVERSION));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        require(mkdtemp(folder));
        atexit(clean_up);
        ready = true;
    }
    read_it(data, size);
    if (size < LS_CHECKPOINT_BLOCK)
        return 0;
    ls_memory_file file = {.bytes = malloc(size), .size = size};
    ls_manifest stamped = {0};
    require(file.bytes);
    memcpy(file.bytes, data, size);
    ls_joining_stamp(&file, LS_CHECKPOINT_SCHEMA, &stamped);
    read_it(file.bytes, size);
    free(file.bytes);
    return 0;
}
