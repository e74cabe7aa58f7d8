/* Starting, watching and killing a training run. See trial.h. */
#include "launch/prove/trial.h"
#include "checkpoint/checkpoint.h"
#include "launch/prove/hashes.h"
#include "launch/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { OWN_ARGUMENTS = 24, TEXT = 64, KILL_ATTEMPTS = 4 };

/* Checkpoints of the killed trial: often enough that a resume goes on from one, seldom enough that steps are redone. */
static int64_t checkpoint_every(const ls_trial_setting *setting, const ls_trial *trial)
{
    int64_t every = setting->steps / 5;
    return !trial->resume_ranks ? 0 : every ? every : 1;
}

static ls_status start(const ls_trial_setting *setting, const ls_trial *trial, int on_ranks, const ls_trial_result *result,
                       pid_t *process)
{
    char ranks[TEXT], run[PATH_MAX + 8], steps[TEXT], schedule[TEXT], threads[TEXT], every[TEXT];
    snprintf(ranks, sizeof ranks, "%d", on_ranks);
    snprintf(run, sizeof run, "run=\"%s\"", result->run);
    snprintf(steps, sizeof steps, "max_steps=%lld", (long long)setting->steps);
    snprintf(schedule, sizeof schedule, "batch.schedule=%s", trial->schedule);
    snprintf(threads, sizeof threads, "threads=%d", trial->threads);
    snprintf(every, sizeof every, "checkpoint.every=%lld", (long long)checkpoint_every(setting, trial));
    /* Unbound, so that two threads of one rank may use two cores; evaluations that change no state would only take time. */
    const char *head[] = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks, setting->executable, "train",
                          setting->recipe};
    const char *tail[] = {run, steps, schedule, threads, every, "hash_log=true", setting->evaluates ? NULL : "data.eval="};
    enum { HEAD = sizeof head / sizeof *head, TAIL = sizeof tail / sizeof *tail };
    char **argv = calloc((size_t)(HEAD + setting->overrides + TAIL + 1), sizeof *argv);
    if (!argv)
        return ls_fail(LS_EMEM, "no memory to start a trial");
    int argc = 0;
    for (int i = 0; i < HEAD; i++)
        argv[argc++] = (char *)head[i];
    for (int i = 0; i < setting->overrides; i++)
        argv[argc++] = setting->override[i];
    for (int i = 0; i < TAIL && tail[i]; i++) /* the last word wins */
        argv[argc++] = (char *)tail[i];
    setenv("OMP_NUM_THREADS", strchr(threads, '=') + 1, 1);
    ls_status status = ls_process_start(process, argv, result->output);
    free(argv);
    return status;
}

/* The sentence that train itself gave, or the last line: mpirun and MPI_Abort add many of their own. */
static void last_words(const char *output, char *words, size_t bytes)
{
    FILE *file = fopen(output, "r");
    char *line = NULL;
    size_t room = 0;
    bool own = false;
    snprintf(words, bytes, "it printed nothing");
    while (file && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        bool is_own = !strncmp(line, "lockstep train: ", 16) || strstr(line, " ERROR world: ");
        if (is_own || (!own && line[strspn(line, " -")]))
            snprintf(words, bytes, "%s", line);
        own |= is_own;
    }
    free(line);
    if (file)
        fclose(file);
}

static ls_status train_failed(const ls_trial_result *result, int exit_code)
{
    char words[1024];
    last_words(result->output, words, sizeof words);
    return ls_fail(LS_ESTATE, "train ended with exit code %d: %s", exit_code, words);
}

static ls_status run_to_end(const ls_trial_setting *setting, const ls_trial *trial, int on_ranks, const ls_trial_result *result)
{
    pid_t process;
    bool done;
    int exit_code = 0;
    ls_status status = start(setting, trial, on_ranks, result, &process);
    if (!status)
        status = ls_process_wait(process, -1, &done, &exit_code);
    return status || exit_code == 0 ? status : train_failed(result, exit_code);
}

static uint32_t random_below(uint32_t bound)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        bits = (uint32_t)getpid();
    return bits % bound;
}

static ls_status kill_rank(const ls_trial_result *result, int rank)
{
    char path[PATH_MAX + 64];
    long process = 0;
    snprintf(path, sizeof path, "%s/log/rank-%04d.pid", result->run, rank);
    FILE *file = fopen(path, "r");
    bool read = file && fscanf(file, "%ld", &process) == 1;
    if (file)
        fclose(file);
    if (!read || process <= 1)
        return ls_fail(LS_EFORMAT, "%s: does not name the process of rank %d", path, rank);
    if (kill((pid_t)process, SIGKILL) && errno != ESRCH)
        return ls_fail(LS_EIO, "rank %d (process %ld) cannot be killed: %s", rank, process, strerror(errno));
    return LS_OK;
}

/* Starts the run and kills a rank once `step` steps are logged. *killed false: it was over first. */
static ls_status run_until_killed(const ls_trial_setting *setting, const ls_trial *trial, int64_t step,
                                  ls_trial_result *result, bool *killed)
{
    char log[PATH_MAX + 64];
    snprintf(log, sizeof log, "%s/hashes.jsonl", result->run);
    pid_t process;
    bool done = false;
    int exit_code = 0;
    *killed = false;
    ls_status status = start(setting, trial, trial->ranks, result, &process);
    while (!status && !done) {
        int64_t logged = *killed ? 0 : ls_hashes_count(log);
        if (!*killed && logged >= step && logged < setting->steps) {
            result->killed_step = logged;
            status = kill_rank(result, result->killed_rank);
            *killed = true;
            if (status)
                ls_process_end(process);
        }
        if (!status)
            status = ls_process_wait(process, *killed ? -1 : 0.0005, &done, &exit_code);
    }
    if (status)
        return status;
    if (!*killed && exit_code)
        return train_failed(result, exit_code);
    *killed &= exit_code != 0; /* 0: the signal came when there was nothing left to do */
    return *killed ? ls_hashes_mend(log) : LS_OK;
}

static ls_status kill_and_resume(const ls_trial_setting *setting, const ls_trial *trial, ls_trial_result *result)
{
    bool killed = false;
    ls_status status = LS_OK;
    result->killed_rank = (int)random_below((uint32_t)trial->ranks);
    /* A random step, behind the second checkpoint's so that the first is written and there is something to resume from, before
     * the last step. */
    int64_t first = 2 * checkpoint_every(setting, trial) + 1, choices = setting->steps - first;
    int64_t step = first + (choices > 1 ? random_below((uint32_t)choices) : 0);
    if (step >= setting->steps)
        step = setting->steps > 1 ? setting->steps - 1 : 1;
    for (int attempt = 0; !status && !killed; attempt++, step = (step + 1) / 2) {
        if (attempt == KILL_ATTEMPTS)
            return ls_fail(LS_ESTATE, "%lld steps were over before a rank could be killed, %d times: raise --steps",
                           (long long)setting->steps, KILL_ATTEMPTS);
        snprintf(result->run, sizeof result->run, "%.4000s/%d-killed-%d", setting->folder, trial->number, attempt);
        status = run_until_killed(setting, trial, step, result, &killed);
    }
    char log[PATH_MAX + 64];
    snprintf(log, sizeof log, "%s/hashes.jsonl", result->run);
    int64_t before = ls_hashes_count(log);
    if (!status)
        status = run_to_end(setting, trial, trial->resume_ranks, result);
    ls_hashes *hashes = NULL;
    if (!status)
        status = ls_hashes_read(&hashes, log);
    if (!status && ls_hashes_lines(hashes) > before)
        result->resumed_step = ls_hashes_step(hashes, before) - 1;
    else if (!status)
        result->resumed_step = setting->steps; /* the last checkpoint was already there */
    ls_hashes_free(hashes);
    return status;
}

ls_status ls_trial_run(const ls_trial_setting *setting, const ls_trial *trial, ls_trial_result *result)
{
    *result = (ls_trial_result){.killed_rank = -1};
    snprintf(result->run, sizeof result->run, "%.4000s/%d-ranks%d-threads%d-%s", setting->folder, trial->number,
             trial->ranks, trial->threads, trial->schedule);
    snprintf(result->output, sizeof result->output, "%.4000s/%d.log", setting->folder, trial->number);
    double began = ls_process_clock();
    ls_status status = trial->resume_ranks ? kill_and_resume(setting, trial, result)
                                           : run_to_end(setting, trial, trial->ranks, result);
    result->seconds = ls_process_clock() - began;
    return status ? status : ls_checkpoint_hash(result->run, &result->hash);
}
