/* What a checkpoint costs training, when it is written beside it and when training waits.
 *
 *     bench/checkpoint/background.sh [turns=N] [KEY=VALUE...]
 *     build/release/bench/checkpoint_bench_background RECIPE [turns=N] [KEY=VALUE...]
 *
 * from the top of the repository. Each of the turns (3): two plain steps; a save that training waits for; dd with
 * conv=fsync of as many bytes to the same disk, while nothing else runs here; a save beside as many steps as it takes,
 * with the time that training stood still for it, and how much longer those steps took than plain ones. Prints the
 * medians and their ratios. The run folder is build/bench/save; it is removed. Under mpirun all ranks take part, and
 * rank 0 prints its own. */
#include "dist/comm.h"
#include "launch/recipe.h"
#include "train/saving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TURNS = 20, PLAIN_STEPS = 2 };
static const char folder[] = "build/bench/save";

static ls_world *world;
static ls_run run;

typedef struct {
    double plain, waiting, still, longer, steps, written, dd, bytes;
} turn;

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static double step(void)
{
    const double begin = ls_now();
    need(ls_run_step(&run));
    return ls_now() - begin;
}

/* Seconds that dd takes to put as many zeros on the disk. */
static double dd(double bytes)
{
    char command[256];
    snprintf(command, sizeof command, "dd if=/dev/zero of=%s/zeros bs=1M count=%.0f conv=fsync status=none", folder,
             bytes / (1 << 20));
    const double begin = ls_now();
    if (run.rank == 0 && system(command) != 0)
        need(ls_fail(LS_EIO, "%s", command));
    const double seconds = ls_now() - begin;
    snprintf(command, sizeof command, "rm %s/zeros", folder);
    if (run.rank == 0 && system(command) != 0)
        need(ls_fail(LS_EIO, "%s", command));
    need(ls_barrier(world, "bench"));
    return seconds;
}

static double wait_for_save(void)
{
    const double begin = ls_now();
    need(ls_saving_save(&run, true));
    return ls_now() - begin;
}

/* A disk that was written fast is slow for a while (a cache, a limit on what a virtual machine may write), so a step
 * lies before each writing, and turns alternate in what is written first. */
static turn take_turn(bool dd_first, double bytes)
{
    turn t = {0};
    for (int k = 0; k < PLAIN_STEPS; k++)
        t.plain += step() / PLAIN_STEPS;
    t.dd = dd_first ? dd(bytes) : 0;
    if (dd_first)
        step();
    t.waiting = wait_for_save();
    step();
    t.dd = dd_first ? t.dd : dd(bytes);
    if (!dd_first)
        step();
    need(ls_saving_save(&run, false));
    while (ls_saver_in_flight(ls_saving_saver(&run)) >= 0) {
        t.longer += step() - t.plain;
        t.steps++;
    }
    const ls_saver_report report = ls_saver_last(ls_saving_saver(&run));
    t.still = report.waited;
    t.written = report.written;
    t.bytes = (double)report.bytes;
    return t;
}

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static double median(const turn *turns, int count, size_t field)
{
    double value[MOST_TURNS];
    for (int k = 0; k < count; k++)
        memcpy(&value[k], (const char *)&turns[k] + field, sizeof *value);
    qsort(value, (size_t)count, sizeof *value, by_value);
    return value[count / 2];
}
#define MEDIAN(field) median(turns, count, offsetof(turn, field))

static void tell(const turn *turns, int count)
{
    const double bytes = MEDIAN(bytes), waiting = MEDIAN(waiting), still = MEDIAN(still), plain = MEDIAN(plain);
    const double dd_seconds = MEDIAN(dd), written = MEDIAN(written);
    for (int k = 0; k < count; k++)
        printf("turn %d: plain step %.3f s | save, waited for %.3f s | dd %.3f s | beside training: on the disk after "
               "%.3f s, training "
               "stood still %.3f s, %.0f steps took %+.3f s\n",
               k + 1, turns[k].plain, turns[k].waiting, turns[k].dd, turns[k].written, turns[k].still, turns[k].steps,
               turns[k].longer);
    printf("medians of %d turns, %.2f GB on rank 0\n", count, 1e-9 * bytes);
    printf("plain step                        %8.3f s\n", plain);
    printf("save that training waits for      %8.3f s   %6.0f MB/s, %3.0f %% of dd\n", waiting, 1e-6 * bytes / waiting,
           100 * dd_seconds / waiting);
    printf("dd conv=fsync of as many bytes    %8.3f s   %6.0f MB/s\n", dd_seconds, 1e-6 * bytes / dd_seconds);
    printf("save beside training, written in  %8.3f s   %6.0f MB/s, %3.0f %% of dd\n", written, 1e-6 * bytes / written,
           100 * dd_seconds / written);
    printf("training stands still for it      %8.3f s   %.2f %% of the save that it waits for\n", still,
           100 * still / waiting);
    printf("the steps beside it take          %+8.3f s   more, %.2f %% of that save (two cores that compute also copy, "
           "hash and write)\n",
           MEDIAN(longer), 100 * MEDIAN(longer) / waiting);
}

int main(int count, char **argument)
{
    char *override[64];
    char run_folder[64];
    int overrides = 0, turns = 3;
    static turn taken[MOST_TURNS];
    ls_recipe *recipe;
    for (int i = 2; i < count; i++) {
        if (strncmp(argument[i], "turns=", 6) == 0)
            turns = atoi(argument[i] + 6);
        else if (overrides < 60)
            override[overrides++] = argument[i];
    }
    if (count < 2 || turns < 1 || turns > MOST_TURNS || ls_world_open(&world, NULL) != LS_OK)
        return fprintf(stderr, "usage: checkpoint_bench_background RECIPE [turns=1..%d] [KEY=VALUE...]\n", MOST_TURNS),
               2;
    snprintf(run_folder, sizeof run_folder, "run=%s", folder);
    override[overrides++] = run_folder;
    override[overrides++] = (char *)"checkpoint.keep=1";
    if (ls_world_rank(world) == 0 && system("rm -rf build/bench/save") != 0)
        need(ls_fail(LS_EIO, "%s cannot be removed", folder));
    need(ls_barrier(world, "bench"));
    need(ls_recipe_read(&recipe, argument[1], overrides, override));
    need(ls_run_open(&run, world, ls_recipe_config(recipe), true));
    step(); /* to warm up */
    wait_for_save();
    for (int k = 0; k < turns; k++)
        taken[k] = take_turn(k % 2 == 0, (double)ls_saver_last(ls_saving_saver(&run)).bytes);
    if (run.rank == 0)
        tell(taken, turns);
    ls_run_close(&run);
    ls_recipe_free(recipe);
    if (ls_world_rank(world) == 0 && system("rm -r build/bench/save") != 0)
        fprintf(stderr, "%s is left behind\n", folder);
    ls_world_close(world);
    return 0;
}
