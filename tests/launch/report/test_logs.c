/* Logs into events, and the state of a run from all that its folder has. */
#include "tests/launch/report/folder_fixture.h"

#include "launch/report/findings.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(logs, .init = run_begin, .fini = run_end, .timeout = 30);

#define START                                                                                                          \
    " rank 0/2 node07 INFO train: task sft, 1.0M parameters, f32 weights, 2 rank(s) on 1 node(s) x 1 thread(s), "      \
    "numerics cpu avx2\n"
#define DATA " rank 0/2 node07 INFO train: 100 rows of 64 tokens, 8 grains x 2 rows a step, 30 steps; block schedule\n"

static const char metrics[] = "{\"step\": 14, \"loss\": 5}\n{\"step\": 15, \"loss\": 4.5}\n";

static char *sentence_of(const ls_report_run *run)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    ls_report_state_sentence(out, run);
    fclose(out);
    return text;
}

static void expect_state(ls_run_state state, const char *words)
{
    ls_report_run run;
    run_read(&run);
    char *text = sentence_of(&run);
    cr_assert_eq(run.state, state, "%d: %s", run.state, text);
    cr_assert(strstr(text, words), "%s", text);
    free(text);
    ls_report_free(&run);
}

Test(logs, events_of_all_ranks_stand_in_their_order)
{
    ls_report_run run;
    run_file("log/rank-0000.log",
             "23:59:50" START "23:59:51" DATA "23:59:55 rank 0/2 node07 step 1 INFO train: step 1/30  loss 3.4\n"
             "00:00:10 rank 0/2 node07 step 14 WARN checkpoint: one\n"
             "00:00:12 rank 0/2 node07 step 15 ERROR world: rank 1 (node08) died\nwithout a word\n"
             "00:05:00" START "00:05:01" DATA
             "00:05:02 rank 0/2 node07 INFO train: resuming from x/step-00000010: step 10 of 30\n"
             "00:05:09 rank 0/2 node07 step 12 INFO eval: step 12: held-out loss 3\n");
    run_file("log/rank-0001.log", "00:00:11 rank 1/2 node08 step 14 WARN dist: two\n");
    run_read(&run);
    cr_assert_eq(run.starts, 2);
    cr_assert_eq(run.goal, 30);
    cr_assert_eq(run.warnings, 2);
    cr_assert_eq(run.errors, 1);
    cr_assert_str_eq(run.host, "node07");
    cr_assert_eq(run.events, 6, "%d",
                 (int)run.events); /* two starts, one resume, three faults: not steps, data, evaluations */
    cr_assert(run.event[0].is_start && run.event[0].start == 1 && run.event[0].day == 0);
    cr_assert_str_eq(run.event[1].text, "one");
    cr_assert_eq(run.event[1].day, 1, "midnight passed");
    cr_assert_str_eq(run.event[2].text, "rank 1 (node08) died without a word");
    cr_assert(run.event[4].is_resume || run.event[5].is_resume);
    ls_report_free(&run);
}

Test(logs, dates_and_machines_come_from_the_line_that_opens_a_log)
{
    ls_report_run run;
    run_file("log/rank-0000.log", "23:59:50 rank 0/2 node07 INFO log: opened on 2026-12-31 by process 5, lockstep 1; "
                                  "Some CPU, 8 processors, 31.3 GiB\n"
                                  "23:59:51" START "00:00:10 rank 0/2 node07 step 14 WARN checkpoint: one\n"
                                  "03:00:00 rank 0/2 node07 INFO log: opened on 2027-03-01 by process 6, lockstep 1; "
                                  "Some CPU, 8 processors, 31.3 GiB\n"
                                  "03:00:01" START);
    run_file("log/rank-0001.log", "23:59:50 rank 1/2 node08 INFO log: opened on 2026-12-31 by process 5, lockstep 1; "
                                  "Other CPU, 4 processors, 7.0 GiB\n"
                                  "00:00:09 rank 1/2 node08 step 14 WARN dist: two\n");
    run_read(&run);
    char *page = run_page(&run, 1);
    cr_assert(strstr(page, ">start 1, 2026-12-31<") && strstr(page, ">start 1, 2027-01-01<") &&
              strstr(page, ">start 2, 2027-03-01<"));
    cr_assert_str_eq(run.machines,
                     "node07: Some CPU, 8 processors, 31.3 GiB\nnode08: Other CPU, 4 processors, 7.0 GiB\n");
    cr_assert_str_eq(run.event[1].text, "two", "a second earlier, by another rank");
    free(page);
    ls_report_free(&run);
}

Test(logs, one_sentence_of_many_ranks_is_one_event)
{
    ls_report_run run;
    run_file("log/rank-0000.log", "10:00:00 rank 0/3 a INFO train: weights of x\n10:00:00" START
                                  "10:00:10 rank 0/3 a step 3 ERROR world: rank 2 died\n");
    run_file("log/rank-0001.log", "10:00:10 rank 1/3 a step 3 ERROR world: rank 2 died\n");
    run_file("log/rank-0002.log", "10:00:10 rank 2/3 a step 3 ERROR world: something else\n");
    run_read(&run);
    cr_assert_eq(run.events, 4);
    cr_assert_eq(run.event[0].start, 1, "what a log without dates says before its first start");
    cr_assert_eq(run.event[2].alike, 2);
    cr_assert_eq(run.event[3].alike, 1);
    ls_report_free(&run);
}

Test(logs, lines_of_any_kind_do_no_harm)
{
    ls_report_run run;
    run_file("log/rank-0000.log",
             "no head\n\n12:00 rank\n10:00:00 rank 0/1 h\n10:00:00 rank 0/1 h step 5\n10:00:00 rank 0/1 h step 5 WARN\n"
             "10:00:00 rank 99999999999/1 h WARN x: y\n99:99:99 rank 0/1 h WARN \xff: \xfe<script>\n");
    run_file("log/rank-.log", "");
    run_file("log/other.txt", "10:00:00 rank 0/1 h ERROR x: not a log\n");
    run_read(&run);
    cr_assert_eq(run.errors, 0);
    char *page = run_page(&run, 1);
    cr_assert_null(strstr(page, "\xff"));
    free(page);
    ls_report_free(&run);
}

Test(logs, the_state_of_a_run)
{
    char here[64] = "", text[2048];
    gethostname(here, sizeof here - 1);
    here[strcspn(here, ".")] = '\0';
    snprintf(text, sizeof text,
             "10:00:00 rank 0/1 %s INFO train: task sft\n10:00:00 rank 0/1 %s INFO train: x, 8 grains x 2 rows a step, "
             "30 steps; y\n",
             here, here);
    run_file("log/rank-0000.log", text);
    expect_state(LS_RUN_EMPTY, "No step has been written yet.");
    run_file("metrics.jsonl", metrics);
    expect_state(LS_RUN_CUT, "Nothing is running, and step 15 of 30 was the last one written");

    char process[32]; /* this test is the run's process */
    snprintf(process, sizeof process, "%ld\n", (long)getpid());
    run_file("log/rank-0000.pid", process);
    expect_state(LS_RUN_RUNNING, "At step 15 of 30 when this page was written.");
    run_file("log/rank-0000.pid", "2147483646\n"); /* above any kernel's pid_max */
    expect_state(LS_RUN_CUT, "There is no checkpoint");
    run_file("checkpoints/step-00000010/x", "");
    run_file("checkpoints/step-00000020.partial/x", "");
    expect_state(LS_RUN_CUT, "The newest checkpoint is of step 10");
    run_file("checkpoints/step-00000015/x", "");
    expect_state(LS_RUN_STOPPED, "Stopped after step 15 of 30, with a checkpoint of that step");

    char failed[4096];
    snprintf(failed, sizeof failed,
             "%s10:01:00 rank 0/1 %s step 12 ERROR checkpoint: no space. Training goes on; last good: step 5\n", text,
             here);
    run_file("log/rank-0000.log", failed);
    expect_state(LS_RUN_STOPPED, "Stopped after step 15");
    strcat(failed, "10:01:09 rank 0/1 h step 15 ERROR world: rank <1> died\n");
    run_file("log/rank-0000.log", failed);
    expect_state(LS_RUN_FAILED, "<q>rank &lt;1&gt; died</q>");
    strcat(failed, text); /* and was started again */
    run_file("log/rank-0000.log", failed);
    expect_state(LS_RUN_STOPPED, "Stopped after step 15");
    run_file("metrics.jsonl", "{\"step\": 30, \"loss\": 1}\n");
    expect_state(LS_RUN_FINISHED, "All 30 steps are done.");
}

Test(logs, a_folder_that_is_no_run_is_refused)
{
    ls_report_run run;
    cr_assert_eq(ls_report_read(&run, run_folder), LS_ENOTFOUND);
    cr_assert(strstr(ls_fail_sentence(), "not a run folder"), "%s", ls_fail_sentence());
    ls_report_free(&run);
    cr_assert_eq(ls_report_read(&run, "/nowhere/at all"), LS_ENOTFOUND);
    ls_report_free(&run);
}
