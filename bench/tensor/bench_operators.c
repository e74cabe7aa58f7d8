/* Time of every operator, from the same descriptions as its tests (tests/tensor/operators/).
 *
 *     bench_operators [f32|bf16] [threads] [part of a name]
 *
 * One row an operator: milliseconds of forward, and of forward and backward, the best of several runs within some 50
 * ms; and a rate: GFLOP/s of forward where arithmetic counts, else GB/s, counting each input and the result once. */
#include "tests/tensor/operators.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    double forward, both, bytes;
} timing;

static ls_type input_type(const operator_description *d, int input, ls_type type)
{
    return d->gains & 1u << input ? LS_F32 : type;
}

/* One run; the variables' gradients stay in the tape, and so does the time for them in `both`. */
static timing run_once(const operator_description *d, ls_tape *tape, ls_type type, void *const *data)
{
    const operator_case *c = &d->bench;
    timing t = {0};
    ls_tensor *in[OPERATOR_INPUTS];
    ls_tape_reset(tape, 5, 2, 3);
    for (int i = 0; i < d->inputs; i++) {
        in[i] = ls_variable(tape, input_type(d, i, type), c->in[i].ndim, c->in[i].shape, data[i]);
        t.bytes += (double)in[i]->count * (double)ls_type_size(in[i]->type);
    }
    double begin = seconds_now();
    ls_tensor *y = operator_build(d, c, tape, in);
    t.forward = seconds_now() - begin;
    t.bytes += (double)y->count * (double)ls_type_size(y->type);
    ls_tensor *loss = y->count == 1 ? y : ls_sum(tape, y, LS_ALL);
    begin = seconds_now();
    ls_backward(tape, loss, 1, NULL, NULL);
    t.both = t.forward + seconds_now() - begin;
    return t;
}

static ls_status bench(const operator_description *d, ls_tape *tape, ls_type type)
{
    void *data[OPERATOR_INPUTS] = {0};
    for (int i = 0; i < d->inputs; i++) {
        data[i] = malloc((size_t)operator_input_count(&d->bench, i) * sizeof(float));
        operator_fill(d, &d->bench, i, input_type(d, i, type), data[i]);
    }
    timing best = run_once(d, tape, type, data); /* the first one touches the pages */
    best.forward = best.both = 1e9;
    double begin = seconds_now();
    for (int runs = 0; runs < 3 || seconds_now() - begin < 0.05; runs++) {
        timing t = run_once(d, tape, type, data);
        best.forward = t.forward < best.forward ? t.forward : best.forward;
        best.both = t.both < best.both ? t.both : best.both;
    }
    double work = d->flops ? d->flops(&d->bench) : best.bytes;
    printf("%-20s %9.3f %9.3f %9.1f %s\n", d->name, 1e3 * best.forward, 1e3 * best.both, 1e-9 * work / best.forward,
           d->flops ? "GFLOP/s" : "GB/s");
    for (int i = 0; i < d->inputs; i++)
        free(data[i]);
    return ls_tape_status(tape);
}

int main(int argc, char **argv)
{
    ls_type type = argc > 1 && strcmp(argv[1], "bf16") == 0 ? LS_BF16 : LS_F32;
    const char *part = argc > 3 ? argv[3] : "";
    ls_team *team = NULL;
    ls_device *device = NULL;
    ls_tape *tape = NULL;
    ls_status status = ls_team_create(&team, argc > 2 ? atoi(argv[2]) : 0, 1);
    if (status == LS_OK)
        status = ls_device_create_cpu(&device, team);
    if (status == LS_OK)
        status = ls_tape_create(&tape, device, (size_t)1 << 34);
    if (status == LS_OK)
        printf("%s, %s, %d threads\n%-20s %9s %9s %9s\n", ls_type_name(type), device->name, ls_team_threads(team),
               "operator", "forward", "both [ms]", "rate");
    for (const operator_description *const *family = operator_families; *family && status == LS_OK; family++)
        for (const operator_description *d = *family; d->name && status == LS_OK; d++)
            if (strstr(d->name, part))
                status = bench(d, tape, type);
    if (status != LS_OK)
        fprintf(stderr, "bench_operators: %s\n", ls_fail_sentence());
    ls_tape_free(tape);
    if (device)
        device->free(device);
    ls_team_free(team);
    return ls_status_exit_code(status);
}
