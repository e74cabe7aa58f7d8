/* `lockstep` on a machine with a fault, for test_guard.c, test_audit.c and test_deadline.c. What goes wrong stands in
 * LS_FAULT, "KIND RANK FIRST LAST", on one rank (-1: on each) in the steps FIRST to LAST, counted from 0:
 *
 *     nan       the loss of the step's last grain is not finite
 *     product   one bit of one matrix product of each grain is flipped
 *     once      the same, but only once
 *     moves     the same, in the first and in the fourth grain that the rank computes: another one when the step is repeated
 *     copy      one bit of the working weights is flipped after the step
 *     spike     the loss is 50 times as large in a grain that begins with sample FIRST (LAST is not used)
 *     hang      the main thread waits for ever
 *     slow      the main thread sleeps eight times as long as the forward pass took
 *     lazy      it sleeps 1 s a grain
 */
#include "launch/command.h"
#include "tensor/cpu/product.h"
#include "train/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TASKS = 64 };

static struct {
    char kind[16];
    int rank;
    long long first, last;
} fault;
static const ls_task *original;        /* of the run's task */
static const ls_task *const *all_tasks; /* as they were */
static int64_t step = -1;
static bool armed; /* the next product is the wrong one */
static int moves;  /* grains since the fault began */

static bool is_faulty(const char *kind)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    return !strcmp(fault.kind, kind) && (fault.rank < 0 || fault.rank == (rank ? atoi(rank) : 0)) && step >= fault.first && step <= fault.last;
}

static ls_status init(ls_run *run, const void *options, void **self)
{
    for (const ls_task *const *task = all_tasks; *task; task++)
        if (!strcmp((*task)->name, ls_run_config(run)->task->name))
            original = *task;
    return original->init(run, options, self);
}

static ls_tensor *grain_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    step = grain->step;
    while (is_faulty("hang"))
        pause();
    if (is_faulty("lazy"))
        sleep(1);
    armed = is_faulty("product") || is_faulty("once");
    if (is_faulty("moves")) {
        armed = moves == 0 || moves == 3;
        moves++;
    }
    if (is_faulty("once"))
        fault.kind[0] = '\0';
    const int64_t begin = ls_trace_clock();
    ls_tensor *loss = original->grain_loss(self, tape, grain);
    if (is_faulty("slow"))
        usleep((useconds_t)(8 * (ls_trace_clock() - begin) / 1000));
    if (is_faulty("nan") && grain->number == 3)
        return ls_scale(tape, loss, HUGE_VAL, 0);
    if (!strcmp(fault.kind, "spike") && grain->samples[0] == fault.first)
        return ls_scale(tape, loss, 50, 0);
    return loss;
}

static void flip(float *number)
{
    uint32_t bits;
    memcpy(&bits, number, sizeof bits);
    bits ^= 1u << 20;
    memcpy(number, &bits, sizeof bits);
}

static const ls_product_kernels *right;

static void multiply(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, const float *b, int64_t b_row, float *c, int64_t ldc, bool add)
{
    right->multiply(m, k, a, a_row, a_k, b, b_row, c, ldc, add);
    if (armed && m > 0)
        flip(c + (m - 1) * ldc); /* not row 0: the first token looks at itself alone, whatever its query */
    armed = false;
}

static void multiply_strips(int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_k, int64_t a_strip, const float *b, float *c, int64_t ldc,
                            bool add, ls_product_ahead *ahead)
{
    right->multiply_strips(m, k, a, a_row, a_k, a_strip, b, c, ldc, add, ahead);
    if (armed && m > 0)
        flip(c + (m - 1) * ldc); /* not row 0: the first token looks at itself alone, whatever its query */
    armed = false;
}

const ls_product_kernels *__real_ls_product_kernels_for(ls_numerics level, ls_type type);
const ls_product_kernels *__wrap_ls_product_kernels_for(ls_numerics level, ls_type type);
const ls_product_kernels *__wrap_ls_product_kernels_for(ls_numerics level, ls_type type)
{
    static ls_product_kernels wrong;
    right = __real_ls_product_kernels_for(level, type);
    wrong = *right;
    wrong.multiply = multiply;
    wrong.multiply_strips = multiply_strips;
    return &wrong;
}

ls_status __real_ls_flat_publish(ls_flat *flat, ls_reducer *reducer, ls_world *world);
ls_status __wrap_ls_flat_publish(ls_flat *flat, ls_reducer *reducer, ls_world *world);
ls_status __wrap_ls_flat_publish(ls_flat *flat, ls_reducer *reducer, ls_world *world)
{
    const ls_status status = __real_ls_flat_publish(flat, reducer, world);
    if (is_faulty("copy"))
        flip((float *)flat->parameters[2].data + 5);
    return status;
}

int main(int argc, char **argv)
{
    static ls_task faulty[MOST_TASKS];
    static const ls_task *list[MOST_TASKS + 1];
    const char *text = getenv("LS_FAULT");
    if (text && sscanf(text, "%15s %d %lld %lld", fault.kind, &fault.rank, &fault.first, &fault.last) != 4)
        return 3;
    all_tasks = ls_tasks;
    for (int i = 0; ls_tasks[i] && i < MOST_TASKS; i++) {
        faulty[i] = *ls_tasks[i];
        faulty[i].init = init;
        faulty[i].grain_loss = grain_loss;
        list[i] = &faulty[i];
    }
    ls_tasks = list;
    return ls_lockstep(argc, argv);
}
