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

/* What is tried: each save the best so far if `best`, the second one while the state changes if `async`. */
typedef struct {
    fault kind;
    bool best, async;
    const char *name;
} attempt;

/* In a process of its own: saves step 1, then step 2 with keep = 1 and a fault in wait. Prints the calls it counted. */
static int crash(const char *run, const attempt *a, int at, int *calls)
{
    int pipe_ends[2];
    cr_assert_eq(pipe(pipe_ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        job old = {.run = run, .step = OLD, .seed = OLD, .keep = 1, .best = a->best ? OLD : 0},
            new = {.run = run, .step = NEW, .seed = NEW, .keep = 1, .best = a->best ? NEW : 0};
        if (on_ranks(RANKS, save_body, &old) != LS_OK)
            _exit(1);
        faults_arm(a->kind, at, 0);
        ls_status status = on_ranks(RANKS, a->async ? save_async_body : save_body, &new);
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

/* What `best` names is whole, and not newer than what a run would go on from. */
static int64_t look_at_best(const char *run, int64_t newest, int at)
{
    char path[4096];
    int64_t step = ls_checkpoint_best(run);
    cr_assert(step == OLD || (step == NEW && newest == NEW), "call %d: best is %ld, the newest %ld", at, (long)step,
              (long)newest);
    snprintf(path, sizeof path, "%s/checkpoints/best", run);
    cr_assert_eq(ls_checkpoint_verify(path), LS_OK, "call %d: %s", at, ls_fail_sentence());
    return step;
}

static void crash_everywhere(const attempt *a)
{
    int points = 0, first_new = -1, first_best = -1, calls;
    for (int at = 0;; at++) {
        const char *run = new_folder();
        int code = crash(run, a, at, &calls);
        cr_assert(code == 0 || code == FAULT_EXIT, "call %d: exit code %d", at, code);
        int64_t found = look(run, at);
        if (found == NEW && first_new < 0)
            first_new = at;
        cr_assert(first_new < 0 || found == NEW, "call %d: the new checkpoint is gone again", at);
        if (a->best && look_at_best(run, found, at) == NEW && first_best < 0)
            first_best = at;
        if (code == 0)
            break;
        points++;
        job again = {.run = run, .step = NEW, .seed = NEW, .keep = 1, .best = a->best ? NEW : 0};
        cr_assert_eq(on_ranks(RANKS, a->async ? save_async_body : save_body, &again), LS_OK, "call %d: %s", at,
                     sentence);
        cr_assert_eq(look(run, at), NEW);
        cr_assert(!a->best || look_at_best(run, NEW, at) == NEW);
    }
    cr_assert_eq(points, calls, "every call was a point");
    cr_assert_gt(points, 35);
    cr_assert_gt(first_new, 25);
    cr_assert_lt(first_new, points);
    cr_assert(!a->best || (first_best > first_new + 2 && first_best < points - 2), "the link's calls were points: %d",
              first_best);
    fprintf(stderr, "%s at each of %d calls of %s: the older checkpoint before call %d, the newer from there on\n",
            a->name, points, a->async ? "a save in the background" : "a save", first_new);
}

Test(commit, killed_at_every_call)
{
    crash_everywhere(&(attempt){FAULT_KILL, true, true, "killed"});
}

Test(commit, killed_in_the_middle_of_every_write)
{
    crash_everywhere(&(attempt){FAULT_TORN, false, false, "torn"});
}

Test(commit, power_lost_at_every_call)
{
    crash_everywhere(&(attempt){FAULT_POWER_OLD, true, true, "power lost"});
}

Test(commit, power_lost_at_every_call_on_a_disk_that_kept_the_renames)
{
    crash_everywhere(&(attempt){FAULT_POWER_NEW, true, true, "power lost after renames"});
}

/* What an older attempt left is neither read nor in the way. */
Test(commit, leftovers_are_set_aside)
{
    const char *run = new_folder();
    char path[4096];
    int calls;
    cr_assert_eq(crash(run, &(attempt){.kind = FAULT_KILL}, 10, &calls), FAULT_EXIT);
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

/* keep = 1, and the best stays beside the newest until another is better. */
Test(commit, the_best_is_kept_until_there_is_a_better_one)
{
    const char *run = new_folder();
    char path[4096];
    static const int best[] = {0, 1, 1, 1, 4, 4}; /* after step i */
    for (int step = 1; step <= 5; step++) {
        job j = {.run = run, .step = step, .seed = (uint64_t)step, .keep = 1, .best = best[step]};
        cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
        cr_assert_eq(ls_checkpoint_best(run), best[step]);
        for (int other = 1; other <= step; other++) {
            snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, other);
            cr_assert_eq(access(path, F_OK) == 0, other == step || other == best[step], "step %d after step %d", other,
                         step);
        }
    }
    job watched_no_more = {.run = run, .step = 6, .seed = 6, .keep = 1};
    cr_assert_eq(on_ranks(1, save_body, &watched_no_more), LS_OK);
    cr_assert_eq(ls_checkpoint_best(run), 4, "what best names stays");
    job never_saved = {.run = run, .step = 7, .seed = 7, .keep = 1, .best = 5};
    cr_assert_eq(on_ranks(1, save_body, &never_saved), LS_OK);
    cr_assert_eq(ls_checkpoint_best(run), 4, "a step that is not there is not the best");
    cr_assert_eq(ls_checkpoint_point_best(run, 7), LS_OK);
    cr_assert_eq(ls_checkpoint_best(run), 7);
}

Test(commit, the_best_is_found_by_that_name_wherever_the_run_is)
{
    const char *run = new_folder(), *moved = new_folder();
    char from[4096], to[4096];
    job j = {.run = run, .step = 1, .seed = 1, .best = 1};
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
    save(run, 2, 2, RANKS);
    snprintf(from, sizeof from, "%s/checkpoints", run);
    snprintf(to, sizeof to, "%s/checkpoints", moved);
    cr_assert_eq(rename(from, to), 0);
    snprintf(to, sizeof to, "%s/checkpoints/best", moved);
    ls_checkpoint_info info;
    cr_assert_eq(ls_checkpoint_about(to, &info), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(info.step, 1);
    job loaded = {.path = to, .seed = 1};
    cr_assert_eq(on_ranks(3, load_body, &loaded), LS_OK, "%s", sentence);
}
