/* metrics.jsonl as it is found: of a run that goes on, that died, that went back, that diverged. */
#include "tests/launch/report/folder_fixture.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(metrics, .init = run_begin, .fini = run_end, .timeout = 30);

static double value_of(const ls_report_run *run, const char *name, int64_t i)
{
    const ls_report_series *series = ls_report_find(run, name);
    cr_assert_not_null(series, "%s", name);
    cr_assert_lt(i, series->count);
    return series->value[i];
}

Test(metrics, every_key_is_a_series)
{
    ls_report_run run;
    run_file("metrics.jsonl", "{\"step\": 0, \"eval_loss\": 5.5}\n"
                              "{\"step\": 1, \"loss\": 5.25, \"odd/key\": -3e-7}\n"
                              "{\"step\": 2, \"loss\": 4.125, \"odd/key\": 7}\n");
    run_read(&run);
    cr_assert_eq(run.series_count, 3);
    cr_assert_eq(run.bad_lines, 0);
    cr_assert_eq(value_of(&run, "loss", 1), 4.125);
    cr_assert_eq(value_of(&run, "odd/key", 0), -3e-7);
    cr_assert_eq(ls_report_find(&run, "eval_loss")->step[0], 0);
    cr_assert_eq(ls_report_last_step(&run), 2);
    ls_report_free(&run);
}

Test(metrics, lines_that_cannot_be_read_are_counted_and_left_out)
{
    ls_report_run run;
    run_file("metrics.jsonl", "{\"step\": 1, \"loss\": 5}\n"
                              "\xff\xfe not json\n"
                              "[1, 2]\n"
                              "{\"loss\": 1}\n"
                              "{\"step\": -4, \"loss\": 1}\n"
                              "{\"step\": 2, \"loss\": 4, \"note\": \"text\"}\n"
                              "{\"step\": 3, \"loss\": 3.5, \"lr\": 0.0");
    run_read(&run);
    cr_assert_eq(run.bad_lines, 5);
    cr_assert_eq(run.first_bad_line, 2);
    cr_assert(run.cut_line);
    cr_assert_eq(ls_report_find(&run, "loss")->count, 2);
    cr_assert_null(ls_report_find(&run, "note"));
    ls_report_free(&run);
}

Test(metrics, what_c_prints_for_no_number_is_read)
{
    ls_report_run run;
    run_file("metrics.jsonl", "{\"step\": 1, \"loss\": 5, \"grad_norm\": 1}\n"
                              "{\"step\": 2, \"loss\": nan, \"grad_norm\": inf}\n"
                              "{\"step\": 3, \"loss\": -nan, \"grad_norm\": -inf}\n"
                              "{\"step\": 4, \"loss\": 4, \"grad_norm\": 2}\n");
    run_read(&run);
    const ls_report_series *loss = ls_report_find(&run, "loss"), *norm = ls_report_find(&run, "grad_norm");
    cr_assert_eq(run.bad_lines, 0);
    cr_assert_eq(loss->not_finite, 2);
    cr_assert_eq(norm->not_finite, 2);
    cr_assert_eq(loss->first_not_finite, 2);
    cr_assert(isnan(loss->value[1]) && isnan(norm->value[2]));
    int64_t at = 0;
    cr_assert_eq(ls_report_least(loss, &at), 4);
    cr_assert_eq(at, 4);
    cr_assert_eq(ls_report_median(loss), 4.5);
    ls_report_free(&run);
}

Test(metrics, steps_done_again_take_the_place_of_the_first_ones)
{
    ls_report_run run;
    run_file("metrics.jsonl",
             "{\"step\": 1, \"loss\": 5, \"grad_norm\": 1}\n{\"step\": 2, \"loss\": 4, \"grad_norm\": 2}\n"
             "{\"step\": 3, \"loss\": 3, \"grad_norm\": 3}\n{\"step\": 4, \"loss\": 2, \"grad_norm\": 4}\n"
             "{\"step\": 2, \"loss\": 4, \"grad_norm\": 2}\n{\"step\": 3, \"loss\": 3, \"grad_norm\": 3}\n");
    run_read(&run);
    cr_assert_eq(ls_report_find(&run, "loss")->count, 3, "step 4 is not part of what the run is now");
    cr_assert_eq(run.rewinds, 1);
    cr_assert_eq(run.redone, 2);
    cr_assert_eq(run.parted, 0);
    ls_report_free(&run);

    run_file("metrics.jsonl",
             "{\"step\": 1, \"loss\": 5, \"grad_norm\": 1}\n{\"step\": 2, \"loss\": 4, \"grad_norm\": 2}\n"
             "{\"step\": 3, \"loss\": 3, \"grad_norm\": 3}\n"
             "{\"step\": 2, \"loss\": 4, \"grad_norm\": 2}\n{\"step\": 3, \"loss\": 3.00000001, \"grad_norm\": 3}\n");
    run_read(&run);
    cr_assert_eq(run.redone, 2);
    cr_assert_eq(run.parted, 1);
    cr_assert_eq(run.first_parted_step, 3);
    ls_report_free(&run);
}
