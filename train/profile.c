/* The profiled window of a run: its recipe keys, switching the trace on and off, writing the files. See profile.h. */
#include "train/profile.h"

#include "train/internal.h"

#include "base/log.h"
#include "tensor/rate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

struct ls_profile {
    int64_t first, last; /* steps, counted from 1 as the log counts */
    ls_trace *trace;
    int64_t begun;       /* of the step being recorded, 0: none */
    int64_t steps;       /* recorded */
    ls_profile_table table;
};

/* "10..20", or one step. */
static bool read_window(const char *text, int64_t *first, int64_t *last)
{
    char *end;
    errno = 0;
    *first = *last = strtoll(text, &end, 10);
    if (end == text)
        return false;
    if (strncmp(end, "..", 2) == 0) {
        const char *second = end + 2;
        *last = strtoll(second, &end, 10);
        if (end == second)
            return false;
    }
    return *end == '\0' && errno == 0 && *first >= 1 && *last >= *first;
}

ls_status ls_profile_open(ls_profile **out, const ls_profile_options *options)
{
    *out = NULL;
    if (!options->steps || !*options->steps)
        return LS_OK;
    int64_t first, last;
    if (!read_window(options->steps, &first, &last))
        return ls_fail(LS_ERECIPE, "profile.steps is '%s'; it is a window of steps like 10..20, counted from 1", options->steps);
    ls_profile *profile = calloc(1, sizeof *profile);
    if (!profile)
        return ls_fail(LS_EMEM, "no memory for a profile");
    profile->first = first;
    profile->last = last;
    const ls_status status = ls_trace_create(&profile->trace, options->events);
    if (status != LS_OK)
        free(profile);
    else
        *out = profile;
    return status;
}

ls_trace *ls_profile_trace(const ls_profile *profile)
{
    return profile ? profile->trace : NULL;
}

void ls_profile_attach(ls_profile *profile, ls_run *run)
{
    if (!profile)
        return;
    ls_tape_trace(run->tape, profile->trace);
    ls_loader_trace(run->loader, profile->trace);
    ls_world_trace(run->world, profile->trace);
    if (run->rank == 0 && run->device->synchronize)
        ls_log_write(LS_LOG_INFO, "profile", "device %s only queues: an operator's time is the host's, not its kernels'%s (docs/profiling.md)", run->device->name,
                     run->config->run.cuda_graphs ? ", which run later as CUDA graphs" : "");
    if (run->rank == 0 && (profile->first > run->steps || profile->last <= run->step))
        ls_log_write(LS_LOG_WARN, "profile", "steps %lld..%lld are not among the steps to come, %lld..%lld: nothing will be recorded",
                     (long long)profile->first, (long long)profile->last, (long long)run->step + 1, (long long)run->steps);
}

void ls_profile_close(ls_profile *profile, ls_world *world)
{
    if (!profile)
        return;
    ls_world_trace(world, NULL);
    ls_trace_free(profile->trace);
    free(profile);
}

void ls_profile_step_begin(ls_profile *profile, const ls_run *run)
{
    if (!profile || run->step + 1 < profile->first || run->step + 1 > profile->last)
        return;
    ls_trace_switch(profile->trace, true);
    profile->begun = ls_trace_begin(profile->trace);
}

static FILE *create(const ls_run *run, const char *name, char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s/profile/%s", run->config->run.run, name);
    FILE *out = fopen(path, "w");
    if (!out)
        ls_fail(LS_EIO, "%s: cannot create (%s)", path, strerror(errno));
    return out;
}

static ls_status close_file(FILE *out, const char *path)
{
    const bool bad = ferror(out) != 0;
    return fclose(out) != 0 || bad ? ls_fail(LS_EIO, "%s: cannot write (%s)", path, strerror(errno)) : LS_OK;
}

static ls_status write_rank(const ls_profile *profile, const ls_run *run, int64_t zero)
{
    char path[PATH_ROOM], name[32];
    snprintf(path, sizeof path, "%s/profile", run->config->run.run);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return ls_fail(LS_EIO, "%s: cannot create (%s)", path, strerror(errno));
    snprintf(name, sizeof name, "rank-%04d.json", run->rank);
    FILE *out = create(run, name, path);
    if (!out)
        return LS_EIO;
    ls_profile_write_events(profile->trace, run->rank, ls_world_host(run->world), zero, out);
    return close_file(out, path);
}

static ls_status join_ranks(const ls_run *run)
{
    char path[PATH_ROOM];
    const size_t ranks = (size_t)run->ranks, room = strlen(run->config->run.run) + 64;
    char *names = malloc(ranks * room);
    const char **paths = malloc(ranks * sizeof *paths);
    FILE *out = NULL;
    ls_status status = LS_EMEM;
    if (!names || !paths) {
        ls_fail(LS_EMEM, "no memory to join the traces of %d ranks", run->ranks);
        goto done;
    }
    for (size_t rank = 0; rank < ranks; rank++) {
        paths[rank] = names + rank * room;
        snprintf(names + rank * room, room, "%s/profile/rank-%04zu.json", run->config->run.run, rank);
    }
    status = LS_EIO;
    out = create(run, "trace.json", path);
    if (!out)
        goto done;
    status = ls_profile_join(paths, run->ranks, out);
    const ls_status closed = close_file(out, path);
    status = status == LS_OK ? closed : status;
done:
    free(names);
    free(paths);
    return status;
}

static ls_status write_table(const ls_run *run, const ls_profile_table *table)
{
    char path[PATH_ROOM];
    FILE *out = create(run, "table.txt", path);
    if (!out)
        return LS_EIO;
    ls_profile_print(table, run->ranks, ls_type_name(run->flat.compute), out);
    return close_file(out, path);
}

/* Clocks of one node are one clock; ranks of another node count from their own rank's moment after the same barrier. */
static ls_status agree_on_zero(const ls_profile *profile, const ls_run *run, int64_t *zero)
{
    typedef struct {
        int64_t node, begin;
    } start;
    start *all = calloc((size_t)run->ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for the profile of %d ranks", run->ranks);
    int64_t first = INT64_MAX;
    for (int k = 0; k < LS_TRACE_LANES; k++)
        if (profile->trace->lane[k].count > 0 && profile->trace->lane[k].event[0].begin < first)
            first = profile->trace->lane[k].event[0].begin;
    const start mine = {ls_world_node(run->world), first};
    const ls_status status = ls_all_gather_bytes(run->world, &mine, sizeof mine, all, "profile");
    *zero = first;
    for (int rank = 0; rank < run->ranks; rank++)
        if (all[rank].node == mine.node && all[rank].begin < *zero)
            *zero = all[rank].begin;
    free(all);
    return status;
}

/* Sums the tables of all ranks, on every rank. */
static ls_status gather_tables(ls_profile *profile, const ls_run *run)
{
    ls_profile_table *all = calloc((size_t)run->ranks, sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for the profile of %d ranks", run->ranks);
    const ls_status status = ls_all_gather_bytes(run->world, &profile->table, sizeof profile->table, all, "profile");
    profile->table = (ls_profile_table){.steps = profile->steps};
    for (int rank = 0; rank < run->ranks && status == LS_OK; rank++)
        ls_profile_merge(&profile->table, &all[rank]);
    free(all);
    return status;
}

/* Collective. No thread writes to the trace any more. */
static ls_status write_all(ls_profile *profile, ls_run *run)
{
    int64_t zero = 0;
    profile->table = (ls_profile_table){.steps = profile->steps,
                                        .matmul = ls_device_matmul_rate(run->device, run->flat.compute),
                                        .memory = ls_device_memory_rate(run->device)};
    ls_profile_add_up(&profile->table, profile->trace);
    ls_status status = agree_on_zero(profile, run, &zero);
    if (status == LS_OK)
        status = gather_tables(profile, run);
    if (status != LS_OK)
        return status;
    ls_status written = write_rank(profile, run, zero);
    written = ls_agree(run->world, written, "profile");
    if (written == LS_OK && run->rank == 0)
        written = join_ranks(run);
    if (written == LS_OK && run->rank == 0)
        written = write_table(run, &profile->table);
    if (run->rank == 0 && written == LS_OK)
        ls_log_write(LS_LOG_INFO, "profile", "%lld steps: %s/profile/table.txt, and trace.json for https://ui.perfetto.dev", (long long)profile->steps,
                     run->config->run.run);
    else if (run->rank == 0)
        ls_log_write(LS_LOG_ERROR, "profile", "%s. Training goes on", ls_fail_sentence());
    return written == LS_ECOMM || written == LS_ETIMEOUT ? written : LS_OK;
}

ls_status ls_profile_step_end(ls_profile *profile, ls_run *run)
{
    if (!profile || profile->begun == 0)
        return LS_OK;
    ls_trace_end(profile->trace, LS_TRACE_MAIN, LS_TRACE_PHASE, "step", profile->begun, 0, 0);
    profile->begun = 0;
    profile->steps++;
    if (run->step < profile->last && run->step < run->steps && !run->stop)
        return LS_OK;
    ls_trace_switch(profile->trace, false);
    ls_tape_trace(run->tape, NULL);
    ls_world_trace(run->world, NULL);
    ls_loader_trace(run->loader, NULL);
    return write_all(profile, run);
}
