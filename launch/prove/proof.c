/* Judging trials. See proof.h. */
#include "launch/prove/proof.h"

#include <stdio.h>
#include <string.h>

void ls_proof_heading(void)
{
    fputs("ranks  threads  schedule  seconds        loss  hash              result\n", stdout);
}

static void print_row(const ls_trial *trial, const ls_trial_result *result, double loss, const char *verdict)
{
    printf("%5d  %7d  %-8s  %7.2f  %10.6f  %016llx  %s", trial->ranks, trial->threads, trial->schedule, result->seconds,
           loss, (unsigned long long)result->hash, verdict);
    if (trial->resume_ranks)
        printf(" (rank %d killed after step %lld, resumed from step %lld on %d rank%s)", result->killed_rank,
               (long long)result->killed_step, (long long)result->resumed_step, trial->resume_ranks,
               trial->resume_ranks == 1 ? "" : "s");
    putchar('\n');
    fflush(stdout);
}

static void print_trial(const ls_trial *trial)
{
    printf("%d rank%s x %d thread%s, %s%s", trial->ranks, trial->ranks == 1 ? "" : "s", trial->threads,
           trial->threads == 1 ? "" : "s", trial->schedule, trial->resume_ranks ? ", killed and resumed" : "");
}

static void print_parting(const ls_proof *p, const ls_trial *trial, const ls_parting *parting)
{
    if (!strcmp(parting->kind, "loss"))
        printf("       first difference: step %lld, the loss; every tensor is equal\n", (long long)parting->step);
    else if (!strcmp(parting->kind, "steps"))
        printf("       first difference: step %lld is not in both\n", (long long)parting->step);
    else
        printf("       first difference: step %lld, %s, %s\n", (long long)parting->step, parting->kind, parting->tensor);
    printf("         %-18s ", parting->here);
    print_trial(&p->first);
    printf("\n         %-18s ", parting->there);
    print_trial(trial);
    putchar('\n');
    if (*parting->gradient && strcmp(parting->kind, "gradients"))
        printf("         its gradients differ as well, first in %s\n", parting->gradient);
    else if (strcmp(parting->kind, "gradients") && strcmp(parting->kind, "steps"))
        printf("         its gradients are equal: what parted came after the reduction\n");
}

/* Compares a finished trial with the first one, prints its row. */
static ls_status judge(ls_proof *p, const ls_trial *trial, const ls_trial_result *result)
{
    char log[PATH_MAX + 64];
    ls_hashes *hashes;
    snprintf(log, sizeof log, "%s/hashes.jsonl", result->run);
    ls_status status = ls_hashes_read(&hashes, log);
    if (status)
        return status;
    double loss = ls_hashes_last_loss(hashes);
    if (!p->reference) {
        p->reference = hashes;
        p->first = *trial;
        p->first_result = *result;
        print_row(trial, result, loss, "the others must equal this");
        return LS_OK;
    }
    ls_parting parting;
    ls_hashes_compare(p->reference, hashes, &parting);
    bool same = !parting.differs && result->hash == p->first_result.hash;
    print_row(trial, result, loss, same ? "same" : "NOT THE SAME");
    if (parting.differs)
        print_parting(p, trial, &parting);
    else if (!same)
        printf("       every step is equal, but the checkpoints are not: something in the state tree is not hashed\n");
    p->different += !same;
    ls_hashes_free(hashes);
    return LS_OK;
}

ls_status ls_proof_try(ls_proof *p, int ranks, int threads, const char *schedule, int resume_ranks)
{
    ls_trial trial = {.number = ++p->trials, .ranks = ranks, .threads = threads, .schedule = schedule, .resume_ranks = resume_ranks};
    ls_trial_result result;
    ls_status status = ls_trial_run(&p->setting, &trial, &result);
    if (!status)
        status = judge(p, &trial, &result);
    if (status == LS_ESTATE && p->reference) { /* one that fails where another works is a difference to be told */
        p->failed++;
        printf("%5d  %7d  %-8s  %7.2f  FAILED: %s\n", ranks, threads, schedule, result.seconds, ls_fail_sentence());
        return LS_OK;
    }
    return status;
}

void ls_proof_end(ls_proof *p)
{
    ls_hashes_free(p->reference);
    p->reference = NULL;
}
