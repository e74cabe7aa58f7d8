/* Whatever is stopped, wherever: what is read afterwards is the old checkpoint or the new one, whole, and saving goes
 * on. The process is ended at every call that changes the disk, in turn, until a save goes through (sqlite's crash
 * tests). */
#include "faults.h"
#include "fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OLD = 1, NEW = 2, RANKS = 2 };

/* In a process of its own: saves step 1, then step 2 with keep = 1 and a fault in wait. Prints the calls it counted. */
static int crash(const char *run, fault kind, int at, int *calls)
{
    int pipe_ends[2];
    cr_assert_eq(pipe(pipe_ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        job old = {.run = run, .step = OLD, .seed = OLD, .keep = 1},
            new = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
        if (on_ranks(RANKS, save_body, &old) != LS_OK)
            _exit(1);
        faults_arm(kind, at, 0);
        ls_status status = on_ranks(RANKS, save_body, &new);
        int counted = faults_disarm();
        if (status != LS_OK || write(pipe_ends[1], &counted, sizeof counted) != sizeof counted)
            _exit(2);
        _exit(0);
    }
    int status;
    close(pipe_ends[1]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    if (read(pipe_ends[0], calls, sizeof *calls) != sizeof *calls)
        *calls = -1;
    close(pipe_ends[0]);
    cr_assert(WIFEXITED(status), "call %d: the process was killed by signal %d", at, WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Which checkpoint a reader finds; it must load to the bit. */
static int64_t look(const char *run, int at)
{
    job j = {.run = run, .seed = OLD};
    ls_status status = on_ranks(1, load_body, &j);
    if (j.loaded == NEW) {
        j.seed = NEW;
        status = on_ranks(1, load_body, &j);
    }
    cr_assert_eq(status, LS_OK, "call %d: %s", at, sentence);
    cr_assert(j.loaded == OLD || j.loaded == NEW, "call %d: step %ld", at, (long)j.loaded);
    return j.loaded;
}

static void crash_everywhere(fault kind, const char *name)
{
    int points = 0, first_new = -1, calls;
    for (int at = 0;; at++) {
        const char *run = new_folder();
        int code = crash(run, kind, at, &calls);
        cr_assert(code == 0 || code == FAULT_EXIT, "call %d: exit code %d", at, code);
        int64_t found = look(run, at);
        if (found == NEW && first_new < 0)
            first_new = at;
        cr_assert(first_new < 0 || found == NEW, "call %d: the new checkpoint is gone again", at);
        if (code == 0)
            break;
        points++;
        job again = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
        cr_assert_eq(on_ranks(RANKS, save_body, &again), LS_OK, "call %d: %s", at, sentence);
        cr_assert_eq(look(run, at), NEW);
    }
    cr_assert_eq(points, calls, "every call was a point");
    cr_assert_gt(points, 35);
    cr_assert_gt(first_new, 25);
    cr_assert_lt(first_new, points);
    fprintf(stderr, "%s at each of %d calls: the older checkpoint before call %d, the newer from there on\n", name,
            points, first_new);
}

Test(commit, killed_at_every_call)
{
    crash_everywhere(FAULT_KILL, "killed");
}

Test(commit, killed_in_the_middle_of_every_write)
{
    crash_everywhere(FAULT_TORN, "torn");
}

Test(commit, power_lost_at_every_call)
{
    crash_everywhere(FAULT_POWER_OLD, "power lost");
}

Test(commit, power_lost_at_every_call_on_a_disk_that_kept_the_renames)
{
    crash_everywhere(FAULT_POWER_NEW, "power lost after renames");
}

/* What an older attempt left is neither read nor in the way. */
Test(commit, leftovers_are_set_aside)
{
    const char *run = new_folder();
    char path[4096];
    int calls;
    cr_assert_eq(crash(run, FAULT_KILL, 10, &calls), FAULT_EXIT);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000002.partial", run);
    cr_assert_eq(access(path, F_OK), 0);
    save(run, NEW, NEW, 3);
    cr_assert_neq(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000002.damaged-1", run);
    cr_assert_eq(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000002/rank-0002.h5", run);
    cr_assert_eq(truncate(path, 10), 0);
    save(run, NEW, NEW, 3);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000002.damaged-2", run);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(look(run, 0), NEW);
    job next = {.run = run, .step = 3, .seed = 3, .keep = 1};
    cr_assert_eq(on_ranks(1, save_body, &next), LS_OK);
    cr_assert_neq(access(path, F_OK), 0, "older than the last one kept: gone");
}
