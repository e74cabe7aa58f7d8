/* Audits: a rank that flips one bit of one product is found and named, whichever it is; audits change nothing where
 * nothing is wrong. Faults are planted by faulty_lockstep.c. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    char path[4096];
    ls_fixture_begin();
    ls_fixture_data();
    snprintf(path, sizeof path, "%s/tests/train_faulty_lockstep", getenv("LS_BUILD"));
    setenv("FAULTY", path, 1);
}

TestSuite(audit, .init = begin, .fini = ls_fixture_end, .timeout = 150);

#define MPIRUN(ranks) "mpirun --oversubscribe --bind-to none -n " #ranks " "

static void without_fault(char hash[64])
{
    unsetenv("LS_FAULT");
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=well"), 0, NULL);
    ls_hash_of("well", hash);
}

Test(audit, a_rank_that_computes_wrongly_is_named_whichever_it_is)
{
    char fault[64], said[64];
    for (int rank = 0; rank < 3; rank++) {
        snprintf(fault, sizeof fault, "product %d 2 99", rank);
        snprintf(said, sizeof said, ": rank %d (", rank);
        setenv("LS_FAULT", fault, 1);
        const ls_answer *answer = ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=run%d guard.audit_every=1", rank);
        ls_expect(answer, 75, said, "computes wrongly: the gradient of grain", "No checkpoint is written", "without that machine", NULL);
        cr_expect_null(strstr(answer->output, " or rank "), "%s", answer->output);
        ls_expect(ls_shell("ls run%d/checkpoints; lockstep status run%d", rank, rank), 0, "step-00000002", NULL);
    }
}

/* The second audit is of rank 1, its first grain. */
Test(audit, what_was_wrong_once_is_computed_again_and_leaves_no_trace)
{
    char well[64], repeated[64];
    without_fault(well);
    setenv("LS_FAULT", "once 1 1 1", 1);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml guard.audit_every=1 guard.on_fault=repeat"), 0, "the step is computed again", "rank 1 (", NULL);
    ls_hash_of("run", repeated);
    cr_expect_str_eq(well, repeated);
    /* without an audit it would have been believed */
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=believed"), 0, NULL);
    ls_hash_of("believed", repeated);
    cr_expect_str_neq(well, repeated, "the fault was there");
    setenv("LS_FAULT", "product 1 3 99", 1);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml run=lasting guard.audit_every=1 guard.on_fault=repeat"), 75, "the step is computed again", "computes wrongly", NULL);
}

/* Rank 0 has two grains a step: the first is wrong, and when the step is repeated the second. */
Test(audit, every_grain_of_a_suspect_is_audited)
{
    setenv("LS_FAULT", "moves 0 1 1", 1);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml guard.audit_every=2 guard.on_fault=repeat"), 75, "computed grain 0 wrongly; the step is computed again",
              "rank 0 (", "the gradient of grain 1", NULL);
}

Test(audit, two_ranks_and_one_find_what_does_not_last)
{
    setenv("LS_FAULT", "once 1 1 1", 1);
    ls_expect(ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml guard.audit_every=1"), 75, "rank 1 (", "computes wrongly", NULL);
    setenv("LS_FAULT", "product 1 2 99", 1);
    ls_expect(ls_shell(MPIRUN(2) "$FAULTY train tiny.yaml run=lasting guard.audit_every=1"), 75, "rank 1 (", " or ", "rank 0 (", NULL);
    setenv("LS_FAULT", "once 0 2 2", 1);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=alone batch.grains=1 guard.audit_every=1"), 75, "rank 0 (", "computes wrongly", NULL);
}

Test(audit, audits_change_nothing)
{
    char well[64], audited[64];
    without_fault(well);
    ls_expect(ls_shell(MPIRUN(3) "$FAULTY train tiny.yaml guard.audit_every=2 batch.schedule=round"), 0, NULL);
    ls_hash_of("run", audited);
    cr_expect_str_eq(well, audited);
    ls_expect(ls_shell("$FAULTY train tiny.yaml run=alone guard.audit_every=1"), 0, NULL);
    ls_hash_of("alone", audited);
    cr_expect_str_eq(well, audited);
}
