/* Saving, choosing and loading against the plain disk: seconds until every rank has done its part.
 *
 *     mpirun --bind-to none -n 2 build/release/bench/checkpoint_bench_save FOLDER [MiB]
 *
 * The peer is what the disk gives: each rank writes as many bytes from memory into a file of its own, in pieces of 1
 * MiB, and syncs it. Saves and plain writes alternate, the best of each is told. Choosing reads every byte and checks
 * it, all ranks sharing the work; loading reads again, from the page cache. */
#include "checkpoint/checkpoint.h"
#include "checkpoint/disk.h"
#include "dist/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 3, PIECE = 1 << 20 };

static ls_world *world;

static void need(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds since `begin` when the last rank is there. */
static double all_since(double begin)
{
    need(ls_barrier(world, "bench"));
    return now() - begin;
}

static double plain_write(const char *folder, const char *bytes, int64_t size)
{
    char path[LS_PATH];
    int fd;
    snprintf(path, sizeof path, "%s/plain-%d", folder, ls_world_rank(world));
    need(ls_barrier(world, "bench"));
    double begin = now();
    need(ls_disk_create(path, &fd));
    for (int64_t at = 0; at < size; at += PIECE)
        need(ls_disk_write(fd, path, bytes + at, size - at < PIECE ? (size_t)(size - at) : PIECE, at));
    need(ls_disk_sync(fd, path));
    close(fd);
    double seconds = all_since(begin);
    unlink(path);
    return seconds;
}

static void tell(const char *what, double seconds, double mebibytes)
{
    if (ls_world_rank(world) == 0)
        printf("%-28s %7.3f s  %8.0f MiB/s\n", what, seconds, mebibytes / seconds);
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

int main(int count, char **arguments)
{
    if (count < 2 || ls_world_open(&world, NULL) != LS_OK) {
        fprintf(stderr, "bench_save: %s\n", count < 2 ? "which folder?" : ls_fail_sentence());
        return 2;
    }
    const char *folder = arguments[1];
    int64_t mebibytes = count > 2 ? atoll(arguments[2]) : 256, elements = mebibytes * (1 << 18), begin, held;
    ls_slice(elements, ls_world_rank(world), ls_world_ranks(world), &begin, &held);
    float *memory = malloc((size_t)held * sizeof *memory);
    for (int64_t i = 0; memory && i < held; i++)
        memory[i] = (float)(begin + i);
    ls_state_tree *tree = ls_state_create();
    need(memory && tree ? LS_OK : ls_fail(LS_EMEM, "no memory for %lld MiB", (long long)mebibytes));
    need(ls_state_add(tree, &(ls_state_entry){.name = "model/weight",
                                              .type = LS_F32,
                                              .ndim = 2,
                                              .begin = begin,
                                              .held = held,
                                              .shape = {elements / 1024, 1024},
                                              .data = memory}));
    const ls_checkpoint_options options = {.keep = 1, .numerics = "bench"};
    double saved = 1e9, plain = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        double start = now();
        need(ls_checkpoint_save(world, tree, folder, turn, &options));
        saved = least(saved, all_since(start));
        plain = least(plain, plain_write(folder, (const char *)memory, held * (int64_t)sizeof *memory));
    }
    int64_t step;
    char path[4096];
    uint64_t hash;
    double start = now();
    need(ls_checkpoint_latest(world, folder, 0, &step, path));
    double chosen = all_since(start);
    start = now();
    need(ls_checkpoint_load(world, tree, path));
    double loaded = all_since(start);
    start = now();
    need(ls_state_hash(world, tree, -1, NULL, &hash));
    double hashed = all_since(start);
    if (ls_world_rank(world) == 0)
        printf("%lld MiB on %d rank(s)\n", (long long)mebibytes, ls_world_ranks(world));
    tell("save, committed", saved, (double)mebibytes);
    tell("plain write and sync", plain, (double)mebibytes);
    tell("choose (every byte checked)", chosen, (double)mebibytes);
    tell("load (every chunk checked)", loaded, (double)mebibytes);
    tell("hash of the live state", hashed, (double)mebibytes);
    ls_state_free(tree);
    free(memory);
    ls_world_close(world);
    return 0;
}
