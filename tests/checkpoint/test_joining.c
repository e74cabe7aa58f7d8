/* Others see whole tensors under their names: HDF5's own h5dump reads what four ranks wrote, and sees what is missing.
 */
#include "fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool have_h5dump(void)
{
    return system("h5dump --version > /dev/null 2>&1") == 0;
}

/* The bytes of one tensor as h5dump writes them; returns how many. */
static size_t dump(const char *folder, const char *name, void *out, size_t room)
{
    char command[4096], path[1024];
    snprintf(path, sizeof path, "%s/dumped", folder);
    unlink(path);
    snprintf(command, sizeof command, "cd / && h5dump -d '/%s' -b LE -o %s %s/checkpoint.h5 > /dev/null 2>&1", name,
             path, folder);
    cr_assert_eq(system(command), 0, "%s", command);
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(out, 1, room, file) : 0;
    if (file)
        fclose(file);
    unlink(path);
    return bytes;
}

Test(joining, h5dump_shows_whole_named_tensors)
{
    if (!have_h5dump())
        cr_skip("h5dump is not installed (hdf5-tools)");
    const char *run = new_folder();
    char moved[1024], command[2048];
    save(run, 1, 3, 4);
    snprintf(moved, sizeof moved, "%s/elsewhere", run); /* names are relative: a folder may be moved */
    snprintf(command, sizeof command, "mv %s/checkpoints/step-00000001 %s", run, moved);
    cr_assert_eq(system(command), 0);
    static unsigned char seen[1 << 20], want[1 << 20];
    for (int t = 1; t < TENSORS; t++) {
        const ls_state_entry *row = state_row(t);
        size_t bytes = (size_t)ls_state_elements(row) * ls_type_size(row->type);
        if (bytes == 0 || row->type == LS_BF16) /* h5dump -b knows the machine's types only: below */
            continue;
        state_values(3, t, 0, ls_state_elements(row), want);
        cr_assert_eq(dump(moved, row->name, seen, sizeof seen), bytes, "%s", row->name);
        cr_assert_eq(memcmp(seen, want, bytes), 0, "%s", row->name);
    }
}

/* The printed numbers of a dataset, in order; returns how many. */
static int print_numbers(const char *folder, const char *name, double *out, int room)
{
    char command[4096];
    snprintf(command, sizeof command, "h5dump -y -w 1 -d '/%s' %s/checkpoint.h5", name, folder);
    FILE *pipe = popen(command, "r");
    char line[256];
    int count = 0;
    bool data = false;
    while (fgets(line, sizeof line, pipe)) {
        char *end;
        double value = strtod(line, &end);
        if (data && end != line && count < room)
            out[count++] = value;
        data = data || strstr(line, "DATA {");
    }
    pclose(pipe);
    return count;
}

Test(joining, bf16_is_a_number_to_others)
{
    if (!have_h5dump())
        cr_skip("h5dump is not installed (hdf5-tools)");
    const char *run = new_folder();
    char folder[1024];
    save(run, 1, 3, 2);
    snprintf(folder, sizeof folder, "%s/checkpoints/step-00000001", run);
    enum { COUNT = 50 * 90 };
    static uint16_t want[COUNT];
    static double seen[COUNT];
    state_values(3, 7, 0, COUNT, want);
    cr_assert_eq(print_numbers(folder, "task/codebook", seen, COUNT), COUNT);
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)want[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        if (isnan(value) || isinf(value)) /* printed as nan, -nan or inf */
            continue;
        cr_assert_leq(fabs(seen[i] - (double)value), 1e-5 * fabs((double)value), "%d: %g is shown as %g", i,
                      (double)value, seen[i]);
    }
}

Test(joining, a_missing_rank_file_is_seen_by_others)
{
    if (!have_h5dump())
        cr_skip("h5dump is not installed (hdf5-tools)");
    const char *run = new_folder();
    char folder[1024], path[2048];
    save(run, 1, 3, 2);
    snprintf(folder, sizeof folder, "%s/checkpoints/step-00000001", run);
    snprintf(path, sizeof path, "%s/rank-0001.h5", folder);
    unlink(path);
    static float moment[37 * 1000], want[37 * 1000];
    cr_assert_eq(dump(folder, "optimizer/first_moment/embedding", moment, sizeof moment), sizeof moment);
    state_values(3, 3, 0, 37 * 1000, want);
    cr_assert_eq(memcmp(moment, want, LS_CHUNK * sizeof *moment), 0, "rank 0's part is there");
    for (int i = 37 * 1000 - LS_CHUNK; i < 37 * 1000; i++)
        cr_assert(isnan(moment[i]), "element %d of the missing part is %g", i, (double)moment[i]);
    static int32_t counts[5000];
    cr_assert_eq(dump(folder, "task/counts", counts, sizeof counts), sizeof counts);
    cr_assert_eq(counts[4999], INT32_MIN);
}
