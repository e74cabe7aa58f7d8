/* A training step as `lockstep train` takes it: the loop's own, with loader, reducer, clipping, optimiser, metrics and all.
 *
 *     build/release/bench/train_bench_step RECIPE [steps=N] [memory] [KEY=VALUE...]
 *
 * from the top of the repository, on what bench/train/text.sh and pictures.sh make. Nothing is saved. Prints tokens/s (of task
 * classify images/s; median of N steps, 3, after one to warm up) with the grain and the share of the machine's matrix product rate, best of a measurement
 * before and one after the steps; or, with `memory`, the most memory that was resident, less what was before the run was
 * opened, and how much of it is beyond 16 bytes a parameter (weight, gradient, two moments in f32: nobody has less).
 * Under mpirun all ranks take part, and rank 0 prints. */
#include "bench/figure.h"
#include "dist/comm.h"
#include "launch/recipe.h"
#include "tensor/rate.h"
#include "train/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_STEPS = 100 };

typedef struct {
    const char *recipe;
    int steps, overrides;
    bool memory;
    char *override[64];
    char folder[64], run[96];
} arguments;

static ls_world *world;

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static double resident_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static int by_value(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static bool images(const ls_train_config *config)
{
    return strcmp(config->task->name, "classify") == 0;
}

/* "gpt2-124m bf16 4 x 256 G=4", "vit-s16 f32 16 images G=1", as the peer calls it. */
static void name_of(const arguments *given, const ls_train_config *config, char *name, size_t bytes)
{
    const int64_t rows = config->batch.grain * config->batch.grains;
    char step[48] = "images";
    if (!images(config))
        snprintf(step, sizeof step, "x %lld", (long long)config->batch.tokens);
    const char *slash = strrchr(given->recipe, '/'), *stem = slash ? slash + 1 : given->recipe;
    snprintf(name, bytes, "%.*s %s %lld %s G=%lld", (int)strcspn(stem, "."), stem, config->run.precision ? "bf16" : "f32", (long long)rows,
             step, (long long)config->batch.grains);
}

static void tell_memory(const ls_run *run, const char *name, double before)
{
    const double all = resident_mib() - before, floor = 16.0 * (double)run->flat.trainable / 1048576;
    char text[160];
    snprintf(text, sizeof text, "%s memory beyond 16 B a parameter", name);
    ls_figure(text, all - floor, "MiB", 1, "");
    snprintf(text, sizeof text, "%s memory in all", name);
    ls_figure(text, all, "MiB", 1, "");
}

/* The rate of all ranks together, as they compute it at once. */
static double matmul_rate(const ls_run *run)
{
    double all[1024] = {0}, sum = 0;
    const double mine = ls_device_matmul_rate(run->device, run->flat.compute);
    need(run->ranks <= 1024 ? ls_all_gather_bytes(world, &mine, sizeof mine, all, "bench") : LS_OK);
    for (int rank = 0; rank < run->ranks && rank < 1024; rank++)
        sum += all[rank];
    return sum;
}

static void measure(const arguments *given, const ls_train_config *config, double before)
{
    static ls_run run;
    double seconds[MOST_STEPS], flops = 0;
    char name[128], note[256];
    need(ls_run_open(&run, world, config, true));
    name_of(given, config, name, sizeof name);
    double rate = given->memory ? 0 : matmul_rate(&run);
    for (int step = -1; step < given->steps; step++) { /* one to warm up */
        flops = ls_tape_flops(run.tape);
        const double begin = ls_now();
        need(ls_run_step(&run));
        if (step >= 0)
            seconds[step] = ls_now() - begin;
        flops = ls_tape_flops(run.tape) - flops;
    }
    if (run.rank == 0 && given->memory)
        tell_memory(&run, name, before);
    if (!given->memory) {
        rate = fmax(rate, matmul_rate(&run));
        qsort(seconds, (size_t)given->steps, sizeof *seconds, by_value);
        const double median = seconds[given->steps / 2];
        const int64_t rows = config->batch.grain * config->batch.grains, things = images(config) ? rows : rows * config->batch.tokens;
        snprintf(note, sizeof note, "grain %lld rows; %.0f %% of %.0f GFLOP/s; %.3f to %.3f s a step; %d ranks x %d threads",
                 (long long)config->batch.grain, 100e-9 * flops * run.ranks / median / rate, rate,
                 seconds[0], seconds[given->steps - 1], run.ranks, ls_team_threads(run.team));
        if (run.rank == 0)
            ls_figure(name, (double)things / median, images(config) ? "images/s" : "tokens/s", 0, note);
        snprintf(note, sizeof note, "%s share of the matmul rate", name);
        if (run.rank == 0)
            ls_figure(note, 100e-9 * flops * run.ranks / median / rate, "%", 0, "");
    }
    ls_run_close(&run);
}

static void read_arguments(arguments *given, int count, char **argument)
{
    *given = (arguments){.recipe = count > 1 ? argument[1] : "", .steps = 3};
    for (int i = 2; i < count; i++) {
        if (strncmp(argument[i], "steps=", 6) == 0)
            given->steps = atoi(argument[i] + 6);
        else if (strcmp(argument[i], "memory") == 0)
            given->memory = true;
        else if (given->overrides < 63)
            given->override[given->overrides++] = argument[i];
    }
    if (!*given->recipe || given->steps < 1 || given->steps > MOST_STEPS) {
        fprintf(stderr, "usage: train_bench_step RECIPE [steps=1..%d] [memory] [KEY=VALUE...]\n", MOST_STEPS);
        exit(2);
    }
}

/* A run folder of this process's own: a run that is gone on with would measure another step. */
static void make_folder(arguments *given)
{
    strcpy(given->folder, "/tmp/ls-bench-XXXXXX");
    if (ls_world_rank(world) == 0 && !mkdtemp(given->folder))
        need(ls_fail(LS_EIO, "%s: cannot make a folder", given->folder));
    need(ls_broadcast(world, given->folder, sizeof given->folder, 0, "bench"));
    snprintf(given->run, sizeof given->run, "run=%s/run", given->folder);
    given->override[given->overrides++] = given->run;
}

static void remove_folder(const arguments *given)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", given->folder);
    if (ls_world_rank(world) == 0 && system(command) != 0)
        fprintf(stderr, "%s is left behind\n", given->folder);
}

int main(int count, char **argument)
{
    arguments given;
    ls_recipe *recipe;
    read_arguments(&given, count, argument);
    if (ls_world_open(&world, NULL) != LS_OK)
        return fprintf(stderr, "%s\n", ls_fail_sentence()), 1;
    make_folder(&given);
    need(ls_recipe_read(&recipe, given.recipe, given.overrides, given.override));
    measure(&given, ls_recipe_config(recipe), resident_mib());
    ls_recipe_free(recipe);
    remove_folder(&given);
    ls_world_close(world);
    return 0;
}
