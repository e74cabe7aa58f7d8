/* Loss scaling of `precision: fp16`: steps that overflow are skipped and halve the scale, on any rank count, after a kill and in an
 * audit alike; good ones double it; weights are those of a run without scaling, but for what f16 rounds; and when halving ends, the
 * guard speaks. The overflow is a real one: the scale starts at 2^32. */
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(loss_scale, .init = begin, .fini = ls_fixture_end, .timeout = 300);

#define MPIRUN(ranks) "mpirun --oversubscribe --bind-to none -n " #ranks " "
#define HIGH          "precision=fp16 'loss_scale={start: 4294967296, growth_interval: 2}' "

/* `skips` of the run's steps, in words of metrics.jsonl. */
static int count(const char *run, const char *what)
{
    return atoi(ls_shell("grep -c '%s' %s/metrics.jsonl", what, run)->output);
}

Test(loss_scale, overflows_are_skipped_alike_on_any_ranks_and_after_a_kill)
{
    char one[64], other[64];
    ls_expect(ls_shell("lockstep train tiny.yaml run=one max_steps=14 checkpoint.keep=99 hash_log=true " HIGH), 0,
              "step 1 is skipped: gradients overflow with loss scale 4294967296, which is now 2147483648; the weights stay as they were",
              "step 2 is skipped", NULL);
    const int skips = count("one", "\"skipped\": 1");
    cr_assert(skips >= 2 && skips < 12, "%d steps of 14 were skipped", skips);
    ls_hash_of("one", one);
    ls_expect(ls_shell("lockstep ckpt info one | grep loss_scale"), 0, "loss_scale/scale", "loss_scale/good_steps", "loss_scale/skipped", NULL);
    /* weights and moments after the first step are those after the second */
    ls_expect(ls_shell("sed 's/.*\"parameters\"/p/; s/\"gradients\".*\"moments\"/m/; s/\"task\".*//; s/\"train.step\"[^,}]*//; s/\"sampler.position\"[^,}]*//; s/\"loss_scale[^,}]*//g' one/hashes.jsonl > states; "
                       "sed -n 1p states > s1; sed -n 2p states > s2; sed -n 14p states > s14; cmp s1 s2 && ! cmp -s s1 s14"), 0, NULL);
    ls_expect(ls_shell("grep -o '\"loss_scale\": [0-9]*' one/metrics.jsonl | awk '{ if (NR > 1 && $2 > last) up++; last = $2 } END { exit !up }'"), 0, NULL);
    for (int ranks = 2; ranks <= 4; ranks++) {
        ls_expect(ls_shell("mpirun --oversubscribe --bind-to none -n %d lockstep train tiny.yaml run=r%d max_steps=14 batch.schedule=%s guard.audit_every=2 " HIGH,
                           ranks, ranks, ranks == 3 ? "round" : "block"), 0, NULL);
        char run[8] = {'r', (char)('0' + ranks)};
        ls_hash_of(run, other);
        cr_expect_str_eq(one, other, "%d ranks", ranks);
        cr_expect_eq(count(run, "\"skipped\": 1"), skips);
    }
    /* from a checkpoint among the skips, and from one among the good steps */
    ls_expect(ls_shell("for n in 2 9 14; do lockstep train tiny.yaml run=resumed max_steps=$n " HIGH "|| exit 1; done"), 0, NULL);
    ls_hash_of("resumed", other);
    cr_expect_str_eq(one, other);
}

static double eval_loss(const char *run)
{
    return atof(ls_shell("grep -o '\"eval_loss\": [0-9.]*' %s/metrics.jsonl | tail -n 1 | cut -d' ' -f2", run)->output);
}

/* A power of two changes no bit but those that f16 cuts off at its lower end; Adam's eps and clipping see gradients without it. */
Test(loss_scale, the_scale_does_not_show_in_the_result)
{
    ls_expect(ls_shell("lockstep train tiny.yaml run=f32 max_steps=8"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml run=few max_steps=8 precision=fp16 'loss_scale={start: 1024}'"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml run=many max_steps=8 precision=fp16 'loss_scale={start: 65536}'"), 0, NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml run=none max_steps=8 precision=fp16 'loss_scale={start: 1}'"), 0, NULL);
    const double f32 = eval_loss("f32"), few = eval_loss("few"), many = eval_loss("many"), none = eval_loss("none");
    cr_expect(fabs(few - f32) < 1e-3 && fabs(many - f32) < 1e-3, "f32 %g, fp16 with 2^10 %g, with 2^16 %g", f32, few, many);
    cr_expect(fabs(none - f32) > fabs(many - f32), "without a scale gradients are lost: %g is as near to %g as %g", none, f32, many);
}

Test(loss_scale, an_overflow_at_the_least_scale_is_the_guards)
{
    ls_expect(ls_shell(MPIRUN(2) "lockstep train tiny.yaml precision=fp16 guard.max_skips=1 'loss_scale={start: 4294967296, min: 2147483648}'"), 1,
              "step 1 is skipped: gradients overflow", "step 2 is skipped: the gradient norm is", "(1 in a row, guard.max_skips is 1)",
              "step 3: the gradient norm is", "in 2 steps in a row", "though the loss scale is 2147483648, the least that loss_scale.min allows", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml precision=fp16 'loss_scale={start: 1000}'"), 2, "loss_scale.start is 1000", "powers of two", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml precision=fp16 'loss_scale={start: 2, min: 4}'"), 2, "loss_scale.min is 4, above loss_scale.start, which is 2", NULL);
    ls_expect(ls_shell("lockstep train tiny.yaml precision=bf16 loss_scale.start=128"), 2, "loss_scale is set, but precision is bf16", NULL);
}
