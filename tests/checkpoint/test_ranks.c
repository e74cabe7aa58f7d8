/* Real processes under mpirun: what four wrote is read by three, two and one, and back by four, with one hash. */
#include "fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs the rank program; its exit code, and the hash that rank 0 printed. */
static int ranks(int count, const char *what, const char *run, int step, int seed, uint64_t *hash)
{
    char command[4096];
    snprintf(command, sizeof command, "mpirun --oversubscribe -n %d %s/tests/checkpoint_rank_checkpoint %s %s %d %d",
             count, getenv("LS_BUILD"), what, run, step, seed);
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    char line[256];
    *hash = 0;
    while (fgets(line, sizeof line, pipe))
        sscanf(line, "%" SCNx64, hash);
    return pclose(pipe);
}

Test(ranks, four_write_any_number_reads)
{
    const char *run = new_folder();
    uint64_t written, read, file;
    cr_assert_eq(ranks(4, "save", run, 5, 21, &written), 0);
    cr_assert_eq(ls_checkpoint_hash(run, &file), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(file, written);
    for (int count = 3; count >= 1; count--) {
        cr_assert_eq(ranks(count, "load", run, 0, 21, &read), 0, "%d ranks", count);
        cr_assert_eq(read, written, "%d ranks", count);
    }
    cr_assert_eq(ranks(3, "save", run, 6, 22, &written), 0);
    cr_assert_eq(ranks(4, "load", run, 0, 22, &read), 0);
    cr_assert_eq(read, written);
    cr_assert_neq(ranks(2, "load", run, 0, 23, &read), 0, "another state: the comparison can fail");
}
