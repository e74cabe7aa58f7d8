/* `lockstep doctor` on machines that are ill: each illness is made for real, and must be named with exit code 1. How fast anything is
 * decides no test but the throttled rank's, which stands still nine tenths of the time. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(doctor, .init = fixture_make, .fini = fixture_clean, .timeout = 200);

#define MPIRUN "OMP_NUM_THREADS=1 mpirun --oversubscribe --bind-to none -n "

static void expect_failure(int code, const char *part, const char *words)
{
    char *line = strstr(text, part);
    cr_assert(line, "no line '%s': %s", part, text);
    line[strcspn(line, "\n")] = '\0';
    cr_assert(strstr(line, words), "not '%s': %s", words, line);
    cr_assert_eq(code, 1);
}

Test(doctor, says_one_line_a_check_and_needs_nothing_to_be_wrong)
{
    fixture_recipe("pretrain");
    cr_assert_leq(fixture_run(MPIRUN "2 $LOCKSTEP doctor $FOLDER/recipe.yaml"), 1, "%s", text);
    const char *parts[] = {"mpi", "binding", "compute", "network", "clock", "recipe", "memory", "disk"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char line[32];
        snprintf(line, sizeof line, " %-9s ", parts[i]);
        cr_assert_eq(fixture_count(line), 1, "%s: %s", parts[i], text);
    }
    cr_assert(strstr(text, "ok    mpi       Open MPI v") && strstr(text, "ok    recipe    "), "%s", text);
    cr_assert(strstr(text, " MiB for checkpoints") || strstr(text, "saving will be slow"), "%s", text);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run && test -z \"$(ls -A $FOLDER | grep doctor)\""), 0, "it leaves nothing behind");
}

Test(doctor, finds_two_ranks_on_one_core)
{
    if (fixture_run("test $(nproc) -ge 2"))
        cr_skip_test("one core alone cannot be shared wrongly");
    const int code = fixture_run(MPIRUN "2 taskset -c 0 $LOCKSTEP doctor --folder $FOLDER");
    expect_failure(code, "fail  binding ", "ranks 0 and 1 on ");
}

Test(doctor, finds_a_read_only_folder)
{
    if (fixture_run("unshare -m true"))
        cr_skip_test("unshare is refused here: no read-only file system can be made");
    const int code = fixture_run("mkdir $FOLDER/run && unshare -m sh -c 'mount -t tmpfs -o ro none $FOLDER/run && $LOCKSTEP doctor --folder $FOLDER/run/new'");
    expect_failure(code, "fail  disk ", "cannot be written (Read-only file system)");
}

Test(doctor, finds_a_full_disk)
{
    if (fixture_run("unshare -m true"))
        cr_skip_test("unshare is refused here: no small file system can be made");
    const int code = fixture_run("mkdir $FOLDER/run && unshare -m sh -c 'mount -t tmpfs -o size=8m none $FOLDER/run && $LOCKSTEP doctor --folder $FOLDER/run; "
                                 "code=$?; test -z \"$(ls -A $FOLDER/run)\" || echo probe remains; exit $code'");
    cr_assert(!strstr(text, "probe remains"), "%s", text);
    expect_failure(code, "fail  disk ", "is full (No space left on device after 8 of 64 MiB)");
}

Test(doctor, finds_a_disk_too_small_for_the_recipe)
{
    if (fixture_run("unshare -m true"))
        cr_skip_test("unshare is refused here: no small file system can be made");
    fixture_recipe("pretrain");
    const int code = fixture_run("mkdir $FOLDER/run && unshare -m sh -c 'mount -t tmpfs -o size=80m none $FOLDER/run && $LOCKSTEP doctor $FOLDER/recipe.yaml "
                                 "model.width=256 model.hidden=1024 model.layers=4'");
    expect_failure(code, "fail  disk ", "the run's checkpoints take ");
}

Test(doctor, finds_a_throttled_rank)
{
    const int code = fixture_run("cat > $FOLDER/throttled <<'E'\n"
                                 "#!/bin/sh\n"
                                 "test $OMPI_COMM_WORLD_RANK = 1 || exec \"$@\"\n"
                                 "\"$@\" & child=$!\n"
                                 "while kill -STOP $child; do sleep 0.09; kill -CONT $child; sleep 0.01; done 2>/dev/null\n"
                                 "wait $child\n"
                                 "E\n"
                                 "chmod +x $FOLDER/throttled; " MPIRUN "2 $FOLDER/throttled $LOCKSTEP doctor --folder $FOLDER");
    /* a machine that does other work slows the other rank too, and then it is a warning */
    const char *line = strstr(text, "fail  compute ");
    cr_assert_eq(code, line ? 1 : 0, "%s", text);
    line = line ? line : strstr(text, "warn  compute ");
    cr_assert(line && strstr(line, "   rank 1 on ") && strstr(line, "held by a quota (cgroup cpu.max), stopped now and then"), "%s", text);
}

Test(doctor, finds_a_foreign_mpi)
{
    if (fixture_run("command -v mpiexec.hydra"))
        cr_skip_test("no other MPI is installed (Debian: mpich)");
    const int code = fixture_run("mpiexec.hydra -n 2 $LOCKSTEP doctor");
    cr_assert_eq(fixture_count("fail  mpi "), 2, "each believes to be alone, and says so: %s", text);
    expect_failure(code, "fail  mpi ", "the mpirun of another MPI started 2 processes (PMI_SIZE), but each sees itself alone");
    fixture_recipe("pretrain");
    cr_assert_neq(fixture_run("mpiexec.hydra -n 2 $LOCKSTEP train $FOLDER/recipe.yaml"), 0);
    cr_assert_eq(fixture_run("test ! -e $FOLDER/run"), 0, "nor do they train");
}
