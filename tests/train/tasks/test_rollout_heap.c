/* After the first iteration a step of ppo, with everything that may stand beside a policy, takes nothing from the heap:
 * draws, rewards, samples, updates and metrics. Counted by standing in for malloc, from one line of metrics.jsonl to
 * the next. */
#include "launch/recipe.h"
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);

enum { STEPS = 8 };
static _Atomic int allocations, of_step[STEPS + 1], steps;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    allocations++;
    return __libc_realloc(block, size);
}

/* A step ends with its line. */
ssize_t write(int file, const void *bytes, size_t count)
{
    if (count > 30 && !strncmp(bytes, "{\"step\": ", 9) && memmem(bytes, count, "\"grad_norm\"", 11) && steps < STEPS)
        of_step[++steps] = atomic_exchange(&allocations, 0);
    return syscall(SYS_write, file, bytes, count);
}

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_answers();
    ls_expect(ls_shell("sed 's/^task: .*/task: reward/; s/^run: .*/run: judge/; s/^data: .*/data: {train: pairs}/; "
                       "s/^max_steps: .*/max_steps: "
                       "2/; s/24/48/g' sft.yaml > reward.yaml && lockstep train reward.yaml"),
              0, NULL);
}

TestSuite(rollout_heap, .init = begin, .fini = ls_fixture_end, .timeout = 60);

Test(rollout_heap, a_step_takes_nothing_after_the_first_iteration)
{
    char *overrides[] = {"ppo.critic=separate", "ppo.reward_model=judge",
                         "ppo.samples_every=1", "ppo.epochs=1",
                         "data.eval=",          "max_steps=8",
                         "log_every=100"};
    ls_world *world;
    ls_recipe *recipe;
    cr_assert_eq(ls_recipe_read(&recipe, "ppo.yaml", sizeof overrides / sizeof *overrides, overrides), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert_eq(ls_world_open(&world, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_train(world, ls_recipe_config(recipe)), LS_OK, "%s", ls_fail_sentence());
    ls_world_close(world);
    ls_recipe_free(recipe);
    cr_assert_eq(steps, STEPS);
    cr_expect_gt(of_step[1], 100, "everything is made in the first one: the count counts");
    for (int step = 3; step < STEPS; step++) /* the last line comes before the checkpoint */
        cr_expect_eq(of_step[step], 0, "step %d: %d blocks from the heap", step, of_step[step]);
    ls_expect(ls_shell("grep -c score run/samples.jsonl"), 0, "16",
              NULL); /* iterations of two steps, four answers each */
}
