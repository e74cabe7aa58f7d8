/* `lockstep report` from outside: of runs that lockstep itself made, killed and went on with. */
#include "tests/launch/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(report, .init = fixture_make, .fini = fixture_clean, .timeout = 100);

#define MPIRUN "mpirun --oversubscribe --bind-to none -n "

static void expect_in_page(const char *page, const char *words)
{
    cr_assert_eq(fixture_run("grep -qF -e '%s' $FOLDER/%s", words, page), 0, "%s is not in %s", words, page);
}

Test(report, a_run_that_was_killed_and_went_on)
{
    fixture_recipe("pretrain");
    /* killed as soon as step 5 is written: 2 is the last checkpoint then, so that steps are done again */
    cr_assert_eq(fixture_run(MPIRUN "2 $LOCKSTEP train $FOLDER/recipe.yaml max_steps=2"), 0, "%s", text);
    cr_assert_neq(
        fixture_run(MPIRUN "2 $LOCKSTEP train $FOLDER/recipe.yaml max_steps=2000 & child=$!\n"
                           "until grep -qs '\"step\": 5' $FOLDER/run/metrics.jsonl; do kill -0 $child || break; done\n"
                           "kill -KILL $(cat $FOLDER/run/log/rank-0001.pid); wait $child"),
        0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP report $FOLDER/run"), 0, "%s", text);
    cr_assert_eq(fixture_count("run/report.html: 1 run(s)"), 1, "%s", text);
    expect_in_page("run/report.html", "<span class=\"badge\">failed</span>");
    expect_in_page("run/report.html", "rank 1");
    expect_in_page("run/report.html", "died without a word");
    expect_in_page("run/report.html", "The newest checkpoint is of step 2:");
    cr_assert_eq(fixture_run("tail -n 1 $FOLDER/run/metrics.jsonl | sed 's/.*\"step\": \\([0-9]*\\),.*/\\1/'"), 0);
    const int last = atoi(text);
    cr_assert_geq(last, 5, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=%d", last + 2), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP report $FOLDER/run -o $FOLDER/second.html"), 0, "%s", text);
    char words[128];
    snprintf(words, sizeof words, "All %d steps are done.", last + 2);
    expect_in_page("second.html", words);
    expect_in_page("second.html", "resuming from ");
    expect_in_page("second.html", "start 3, 20");
    snprintf(words, sizeof words,
             "%d steps were done again after a resume: loss and gradient norm are equal to the last digit.", last - 2);
    expect_in_page("second.html", words);
}

Test(report, a_signal_is_told)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=100000 & child=$!\n"
                             "until test -s $FOLDER/run/metrics.jsonl; do kill -0 $child || break; done\n"
                             "$LOCKSTEP report $FOLDER/run -o $FOLDER/running.html; kill -TERM $child; wait $child"),
                 75, "%s", text);
    expect_in_page("running.html", "<span class=\"badge\">running</span>");
    cr_assert_eq(fixture_run("$LOCKSTEP report $FOLDER/run"), 0, "%s", text);
    expect_in_page("run/report.html", "<span class=\"badge\">stopped</span>");
    expect_in_page("run/report.html", "stopped by a signal at step ");
}

Test(report, what_ends_a_run_of_one_rank_is_told)
{
    fixture_recipe("pretrain");
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml max_steps=2"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP train $FOLDER/recipe.yaml"), 0, "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP report $FOLDER/run"), 0, "%s", text);
    expect_in_page("run/report.html", "All 4 steps are done.");
    expect_in_page("run/report.html", " processors, ");
    cr_assert_eq(fixture_run("ls $FOLDER/run/*.partial"), 2, "nothing is left beside it: %s", text);
}

Test(report, wrong_use_is_refused)
{
    cr_assert_eq(fixture_run("$LOCKSTEP report"), 2, "%s", text);
    cr_assert(strstr(text, "which run?"), "%s", text);
    cr_assert_eq(fixture_run("$LOCKSTEP report $FOLDER/data"), 1, "%s", text);
    cr_assert(strstr(text, "not a run folder"), "%s", text);
    cr_assert_eq(fixture_run("mkdir $FOLDER/run; touch $FOLDER/run/metrics.jsonl; $LOCKSTEP report $FOLDER/run -o "
                             "$FOLDER/no/such/place"),
                 1, "%s", text);
    cr_assert(strstr(text, "no/such/place: cannot write"), "%s", text);
}
