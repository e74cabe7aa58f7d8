/* Starting mpirun again and again. See supervise.h.
 *
 * It keeps nothing on the disk: where a run goes on is decided by rank 0 of the run itself, from the committed checkpoints
 * (checkpoint/latest.c), and how many ranks take part changes no bit. So a supervisor may be killed and started at will. */
#include "launch/supervise/supervise.h"
#include "launch/supervise/hosts.h"
#include "launch/supervise/mpirun.h"
#include "launch/supervise/progress.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOST_SECONDS 15.0 /* for a host to answer */
#define LONGEST_PAUSE 30.0

enum { EXIT_USAGE = 2, EXIT_STOPPED = 75 };

typedef struct {
    const ls_supervise_options *options;
    ls_supervisor supervisor;
    ls_hosts hosts;
    ls_progress progress;
    int ranks;                 /* of this start */
    char first[LS_LAST_WORDS]; /* of the first failure since the last checkpoint */
} keeper;

/* One plain line, and no rank's: "lockstep launch 03:12:44: ..." */
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    char line[2048], clock[16] = "";
    const time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local))
        strftime(clock, sizeof clock, "%H:%M:%S", &local);
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "lockstep launch %s: %s\n", clock, line);
}

static const char *place(int64_t step, char text[48])
{
    snprintf(text, 48, step < 0 ? "the beginning" : "step %lld", (long long)step);
    return text;
}

/* How many ranks there can be now: those of the hosts that answer. */
static ls_status count_ranks(keeper *k)
{
    k->ranks = k->options->ranks;
    if (!k->options->hostfile)
        return LS_OK;
    const ls_status status = ls_hosts_ask(&k->hosts, HOST_SECONDS);
    if (status)
        return status;
    const int slots = ls_hosts_slots(&k->hosts);
    if (slots < k->ranks) {
        char missing[1024];
        ls_hosts_missing(&k->hosts, missing, sizeof missing);
        if (!*missing)
            return ls_fail(LS_EARG, "%s has %d slots for %d ranks; raise slots= or lower -n", k->options->hostfile, slots, k->ranks);
        if (!slots)
            return ls_fail(LS_ECOMM, "no host of %s answers (%s); mend the network, or ssh without a password", k->options->hostfile, missing);
        tell("%s does not answer: %d rank(s) instead of %d, the same bits", missing, slots, k->ranks);
        k->ranks = slots;
    }
    return LS_OK;
}

static int cores_here(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

/* Not bound by mpirun: it would put each rank of a small job on one core, whatever its threads. */
static ls_status run_once(keeper *k, ls_mpirun_end *end)
{
    const ls_supervise_options *o = k->options;
    char ranks[16], *hosts = k->hosts.count ? ls_hosts_text(&k->hosts) : NULL;
    snprintf(ranks, sizeof ranks, "%d", k->ranks);
    char **argv = calloc((size_t)o->overrides + 16, sizeof *argv);
    if (!argv || (k->hosts.count && !hosts)) {
        free(argv);
        return ls_fail(LS_EMEM, "no memory to start mpirun");
    }
    int argc = 0;
    argv[argc++] = "mpirun";
    argv[argc++] = "--bind-to";
    argv[argc++] = "none";
    if (hosts) {
        argv[argc++] = "--host";
        argv[argc++] = hosts;
    } else if (k->ranks > cores_here()) {
        argv[argc++] = "--oversubscribe";
    }
    argv[argc++] = "-n";
    argv[argc++] = ranks;
    argv[argc++] = (char *)o->executable;
    argv[argc++] = "train";
    argv[argc++] = (char *)o->recipe;
    for (int i = 0; i < o->overrides; i++)
        argv[argc++] = o->override[i];
    const ls_status status = ls_mpirun_run(&k->supervisor, argv, end);
    free(argv);
    free(hosts);
    return status;
}

/* After a run that ended before its end: LS_OK to start again. */
static ls_status again(keeper *k, const ls_mpirun_end *end, bool *asked)
{
    char where[48];
    const int64_t before = k->progress.step;
    const ls_status status = ls_progress_failed(&k->progress, k->options->run);
    if (status)
        return status;
    if (k->progress.step > before || !*k->first)
        snprintf(k->first, sizeof k->first, "%s", end->words);
    const bool stopped = end->exit_code == EXIT_STOPPED;
    tell("ended after %.1f s (%s%s%s); newest checkpoint: %s; failure %d of %d without a newer one", end->seconds,
         stopped ? "stopped early" : end->words, stopped && *end->words ? ": " : "", stopped ? end->words : "",
         k->progress.step < 0 ? "none" : place(k->progress.step, where), k->progress.failures, k->options->retries);
    if (!k->options->retries)
        return ls_fail(LS_ESTATE, "%s failed, and --retries 0 asks for no other start: %s", k->options->run, end->words);
    if (k->progress.failures >= k->options->retries)
        return ls_fail(LS_ESTATE, "%s: %d failures in a row without a checkpoint newer than %s: another start will not mend it. The first one: %s",
                       k->options->run, k->progress.failures, place(k->progress.step, where), k->first);
    /* at once after progress; else 1, 2, 4 ... seconds, for a disk or a host that comes back */
    double pause = k->progress.failures ? 0.5 : 0;
    for (int i = 0; i < k->progress.failures && pause < LONGEST_PAUSE; i++)
        pause *= 2;
    return pause > 0 ? ls_supervisor_pause(&k->supervisor, pause, asked) : LS_OK;
}

static ls_status stopped(const keeper *k)
{
    return ls_fail(LS_ESTOPPED, "stopped as asked; run the same command again to go on with %s", k->options->run);
}

static ls_status keep_going(keeper *k)
{
    ls_status status = ls_progress_step(k->options->run, &k->progress.step);
    for (int starts = 1; !status; starts++) {
        char where[48];
        ls_mpirun_end end;
        bool asked = false;
        status = count_ranks(k);
        if (status)
            return status;
        tell("start %d: %d rank(s) from %s", starts, k->ranks, place(k->progress.step, where));
        status = run_once(k, &end);
        if (status)
            return status;
        if (end.exit_code == 0)
            return LS_OK;
        if (end.exit_code == EXIT_USAGE)
            return ls_fail(LS_ERECIPE, "not started again, another start would be refused too: %s", end.words);
        if (end.asked)
            return stopped(k);
        status = again(k, &end, &asked);
        if (!status && asked)
            return stopped(k);
    }
    return status;
}

ls_status ls_supervise(const ls_supervise_options *options)
{
    keeper k = {.options = options, .supervisor = {.signals = -1, .all_here = !options->hostfile, .deadline = options->ranks > 1 ? options->deadline : 0}};
    if (geteuid() == 0) { /* Open MPI asks root twice */
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    ls_status status = options->hostfile ? ls_hosts_read(&k.hosts, options->hostfile) : LS_OK;
    if (!status)
        status = ls_supervisor_open(&k.supervisor);
    if (!status)
        status = keep_going(&k);
    ls_supervisor_close(&k.supervisor);
    ls_hosts_free(&k.hosts);
    return status;
}
