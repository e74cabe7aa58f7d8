/* `lockstep` with three wrong tasks, for tests/launch/prove/test_prove.c: `prove` must catch each and name the step and the
 * tensor. From the third step on,
 *     hidden-state   adds a term whose weight comes from a generator that remembers how often it was asked
 *     rank-mean      divides a grain's loss by the tokens that this rank has counted so far in the step: a mean of means
 *     other-order    sums one grain of one parameter in another place of the tree when there is one rank
 * Everything else of them is task pretrain. With LS_TEST_NUMERICS set it says that it computes on another processor
 * (tests/launch/test_train.c). */
#include "dist/reduce.h"
#include "launch/command.h"
#include "train/run.h"

#include <stdlib.h>
#include <string.h>

static const char victim_name[] = "blocks/1/mlp/down/weight";
enum { FIRST_WRONG_STEP = 2 }; /* from 0 */

extern const ls_task ls_task_pretrain;
static const ls_parameter *victim;
static const ls_grain *now; /* the grain being computed, when the task is other-order */

static int find_victim(void *self, ls_parameter **parameters)
{
    const int count = ls_task_pretrain.parameters(self, parameters);
    for (int i = 0; i < count; i++)
        if (!strcmp((*parameters)[i].name, victim_name))
            victim = &(*parameters)[i];
    return count;
}

static ls_tensor *hidden_state(void *self, ls_tape *tape, const ls_grain *grain)
{
    static double weight = 1;
    ls_tensor *loss = ls_task_pretrain.grain_loss(self, tape, grain);
    weight += 0.25;
    if (grain->step < FIRST_WRONG_STEP)
        return loss;
    ls_tensor *squares = ls_sum(tape, ls_square(tape, ls_use(tape, victim)), LS_ALL);
    return ls_add(tape, loss, ls_scale(tape, squares, weight, 0));
}

static ls_tensor *rank_mean(void *self, ls_tape *tape, const ls_grain *grain)
{
    static int64_t step = -1, counted;
    if (grain->step != step)
        counted = 0;
    step = grain->step;
    counted += grain->counted;
    ls_tensor *loss = ls_task_pretrain.grain_loss(self, tape, grain);
    return grain->step < FIRST_WRONG_STEP ? loss : ls_scale(tape, loss, 100 / (double)counted, 0);
}

static ls_tensor *other_order(void *self, ls_tape *tape, const ls_grain *grain)
{
    now = grain;
    return ls_task_pretrain.grain_loss(self, tape, grain);
}

/* --wrap: grain 1's gradient of the victim waits and is added to grain 2's: (g0 + 0) + ((g2 + g1) + g3). */
ls_status __real_ls_reducer_add(ls_reducer *reducer, int64_t begin, int64_t count, float *gradient);
ls_status __wrap_ls_reducer_add(ls_reducer *reducer, int64_t begin, int64_t count, float *gradient);
ls_status __wrap_ls_reducer_add(ls_reducer *reducer, int64_t begin, int64_t count, float *gradient)
{
    static float *kept;
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE");
    const bool alone = !ranks || !strcmp(ranks, "1");
    if (now && now->step >= FIRST_WRONG_STEP && alone && begin == victim->offset) {
        if (!kept)
            kept = calloc((size_t)count, sizeof *kept);
        for (int64_t i = 0; i < count && kept; i++) {
            if (now->number == 1) {
                kept[i] = gradient[i];
                gradient[i] = 0;
            } else if (now->number == 2) {
                gradient[i] += kept[i];
            }
        }
    }
    return __real_ls_reducer_add(reducer, begin, count, gradient);
}

const char *__real_ls_numerics_id(void);
const char *__wrap_ls_numerics_id(void);
const char *__wrap_ls_numerics_id(void)
{
    const char *other = getenv("LS_TEST_NUMERICS");
    return other && *other ? other : __real_ls_numerics_id();
}

int main(int argc, char **argv)
{
    static ls_task wrong[3];
    static const ls_task *tasks[] = {&ls_task_pretrain, &wrong[0], &wrong[1], &wrong[2], NULL};
    static const char *const names[] = {"hidden-state", "rank-mean", "other-order"};
    ls_tensor *(*const losses[])(void *, ls_tape *, const ls_grain *) = {hidden_state, rank_mean, other_order};
    for (int i = 0; i < 3; i++) {
        wrong[i] = ls_task_pretrain;
        wrong[i].name = names[i];
        wrong[i].parameters = find_victim;
        wrong[i].grain_loss = losses[i];
    }
    ls_tasks = tasks;
    return ls_lockstep(argc, argv);
}
