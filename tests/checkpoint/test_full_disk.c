/* A disk that is full, broken or read-only costs one checkpoint: every rank says the same sentence, what was there
 * before is untouched, nothing looks whole that is not, and the next save goes through. */
#include "faults.h"
#include "fixture.h"

#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OLD = 1, NEW = 2, RANKS = 3 };

static int64_t newest(const char *run)
{
    job j = {.run = run, .seed = OLD};
    if (on_ranks(1, load_body, &j) == LS_OK)
        return j.loaded;
    j.seed = NEW;
    cr_assert_eq(on_ranks(1, load_body, &j), LS_OK, "%s", sentence);
    return j.loaded;
}

static void fail_everywhere(rank_body body, fault kind, int error, ls_status want)
{
    int failed = 0, survived = 0;
    for (int at = 0;; at++) {
        const char *run = new_folder();
        save(run, OLD, OLD, RANKS);
        job j = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
        faults_arm(kind, at, error);
        ls_status status = on_ranks(RANKS, body, &j);
        bool struck = strcmp(faults_struck(), "nothing") != 0;
        const char *call = faults_struck();
        faults_disarm();
        if (status != LS_OK) {
            failed++;
            cr_assert_eq(status, want, "call %d (%s): %s", at, call, sentence);
            cr_assert(strstr(sentence, strerror(error)), "call %d (%s): %s", at, call, sentence);
            cr_assert(strstr(sentence, "checkpoints"), "call %d (%s): where? %s", at, call, sentence);
        } else if (struck) {
            survived++; /* what `keep` removes is not worth a failed save */
        }
        char partial[4096];
        snprintf(partial, sizeof partial, "%s/checkpoints/step-%08d.partial", run, NEW);
        cr_assert(kind == FAULT_ERROR_ALL || access(partial, F_OK) != 0, "call %d (%s): %s is left", at, call, partial);
        int64_t found = newest(run);
        /* only a failed sync of the parent folder leaves a whole checkpoint behind a failure */
        cr_assert(found == (status == LS_OK ? NEW : OLD) || (found == NEW && strcmp(call, "fsync") == 0),
                  "call %d (%s): found step %ld", at, call, (long)found);
        cr_assert_eq(on_ranks(RANKS, body, &j), LS_OK, "call %d: the next save: %s", at, sentence);
        cr_assert_eq(newest(run), NEW);
        if (!struck)
            break;
    }
    cr_assert_gt(failed, 30);
    cr_assert_gt(survived, 2);
    fprintf(stderr, "%s: %d calls cost the save, %d did not\n", strerror(error), failed, survived);
}

Test(full_disk, fills_up_at_every_call)
{
    fail_everywhere(save_body, FAULT_ERROR_ALL, ENOSPC, LS_ESPACE);
}

Test(full_disk, breaks_at_every_call)
{
    fail_everywhere(save_async_body, FAULT_ERROR, EIO, LS_EIO);
}

/* bghira/SimpleTuner#2353: full at the last checkpoint. The space is counted before a byte is written. */
Test(full_disk, is_known_before_a_byte_is_written)
{
    const char *run = new_folder();
    save(run, OLD, OLD, RANKS);
    job j = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
    faults_free_space(300000);
    faults_arm(FAULT_NONE, 0, 0);
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_ESPACE);
    cr_assert_eq(faults_disarm(), 0, "the disk was not touched");
    cr_assert(strstr(sentence, "no space left (needs ") && strstr(sentence, "has 0.000279"), "%s", sentence);
    cr_assert_eq(newest(run), OLD);
    faults_free_space(10000000);
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
}

static ls_status room_body(ls_world *world, void *context)
{
    const job *j = context;
    state s;
    state_make(&s, 1, ls_world_rank(world), ls_world_ranks(world));
    ls_status status = ls_checkpoint_room(world, s.tree, j->run, j->keep);
    state_free(&s);
    return status;
}

/* ... and before the first step: room for all that will be kept, and one being written, less what is there already. */
Test(full_disk, is_known_at_the_start)
{
    const char *folder = new_folder();
    char run[1024];
    snprintf(run, sizeof run, "%s/not/yet/there", folder);
    job j = {.run = run, .step = OLD, .seed = OLD, .keep = 3};
    faults_free_space(1500000);
    cr_assert_eq(on_ranks(RANKS, room_body, &j), LS_ESPACE);
    cr_assert(strstr(sentence, "checkpoint.keep (now 3)") && strstr(sentence, "has 0.0014"), "%s", sentence);
    j.keep = 1;
    cr_assert_eq(on_ranks(RANKS, room_body, &j), LS_OK, "%s", sentence);
    j.keep = 3;
    faults_free_space(-1);
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
    j.step++;
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_OK, "%s", sentence);
    faults_free_space(1500000);
    cr_assert_eq(on_ranks(RANKS, room_body, &j), LS_OK, "two of the four are there: %s", sentence);
}

/* A file system that refuses to write past the page cache says so with EINVAL: the same piece is then written the other way. */
Test(full_disk, without_direct_writes_goes_the_other_way)
{
    const char *run = new_folder();
    job j = {.run = run, .step = OLD, .seed = OLD};
    faults_arm(FAULT_ERROR, 3, EINVAL); /* checkpoints, .partial, rank-0000.h5, its first write */
    cr_assert_eq(on_ranks(1, save_async_body, &j), LS_OK, "%s", sentence);
    cr_assert_str_eq(faults_struck(), "pwrite");
    faults_disarm();
    cr_assert_eq(newest(run), OLD);
    faults_arm(FAULT_ERROR, 3, EIO);
    j.step = NEW;
    cr_assert_eq(on_ranks(1, save_async_body, &j), LS_EIO, "no other reason is taken for that");
    faults_disarm();
}

Test(full_disk, a_file_size_limit_is_known_before_too)
{
    const char *run = new_folder();
    struct rlimit old, limit;
    save(run, OLD, OLD, RANKS);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    job j = {.run = run, .step = NEW, .seed = NEW, .keep = 1};
    ls_status status = on_ranks(RANKS, save_body, &j);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_assert_eq(status, LS_ESPACE, "%s", sentence);
    cr_assert(strstr(sentence, "ulimit -f"), "%s", sentence);
    cr_assert_eq(newest(run), OLD);
}

Test(full_disk, a_run_folder_that_cannot_be_made_is_named)
{
    const char *folder = new_folder();
    char file[1024], run[2048];
    snprintf(file, sizeof file, "%s/file", folder);
    close(open(file, O_CREAT | O_WRONLY, 0666));
    snprintf(run, sizeof run, "%s/run", file);
    job j = {.run = run, .step = NEW, .seed = NEW};
    cr_assert_eq(on_ranks(RANKS, save_body, &j), LS_EIO);
    cr_assert(strstr(sentence, file), "%s", sentence);
    j.run = "/proc/lockstep"; /* read-only even for root */
    cr_assert_neq(on_ranks(RANKS, save_body, &j), LS_OK);
    cr_assert(strstr(sentence, "/proc/lockstep"), "%s", sentence);
}
