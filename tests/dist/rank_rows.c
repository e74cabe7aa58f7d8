/* Started under mpirun by test_rows_ranks.c: rank_rows TRANSPORT SCHEDULE [apart]
 *
 * Sums row gradients of steps of several sizes and compares this rank's rows with the definition, bit for bit; then
 * the norm and the gathering. Exits 0 when all held on this rank. */
#include "row_gradients.h"

#include <stdio.h>

enum { ROWS = 600, WIDTH = 96, GRAINS = 13 };

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "usage: rank_rows window|mpi|best block|round [apart]\n");
        return 2;
    }
    ls_world *world;
    ls_world_options world_options = {.deadline = 20, .node_per_rank = count > 3};
    if (ls_world_open(&world, &world_options) != LS_OK) {
        fprintf(stderr, "%s\n", ls_fail_sentence());
        return 1;
    }
    const int rank = ls_world_rank(world), ranks = ls_world_ranks(world);
    const ls_schedule schedule = strcmp(arguments[2], "round") == 0 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK;
    const ls_row_options options = {.rows = ROWS,
                                    .width = WIDTH,
                                    .max_grains = GRAINS,
                                    .schedule = schedule,
                                    .transport = strcmp(arguments[1], "best") == 0 ? NULL : arguments[1]};
    static int32_t row[ROWS];
    static float vector[ROWS * WIDTH];
    static const int64_t grains[] = {13, 8, 1, 3};
    row_step s = row_step_open((row_table){ROWS, WIDTH});
    ls_row_reducer *reducer;
    const char *wrong = ls_row_reducer_open(&reducer, world, &options) == LS_OK ? NULL : "opening";
    for (int step = 0; step < 4 && !wrong; step++) {
        ls_row_gradient sum, want = rows_wanted(&s.table, step, grains[step], row, vector);
        wrong = row_step_run(&s, reducer, schedule, step, grains[step], rank, ranks, &sum);
        if (!wrong)
            wrong = row_step_check(&s, &sum, &want, rank, ranks);
        if (!wrong)
            wrong = row_step_gather(&s, reducer, &sum, &want);
    }
    if (wrong) {
        char sentence[3072];
        snprintf(sentence, sizeof sentence, "%s does not hold (%s)", wrong, ls_fail_sentence());
        ls_world_abort(world, 9, sentence);
    }
    ls_row_reducer_close(reducer);
    row_step_close(&s);
    ls_world_close(world);
    return 0;
}
