/* `lockstep` for the tests on Slurm: task pretrain with a pause of LS_TEST_PAUSE_MS in each grain, so that a small run lasts long
 * enough to be preempted, killed or out of time, and leaves the two processors of a test machine to the others. A pause
 * changes no bit. */
#include "launch/command.h"
#include "train/run.h"

#include <stdlib.h>
#include <unistd.h>

extern const ls_task ls_task_pretrain;

static ls_tensor *grain_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    const char *pause = getenv("LS_TEST_PAUSE_MS");
    if (pause)
        usleep(1000 * (useconds_t)atoi(pause));
    return ls_task_pretrain.grain_loss(self, tape, grain);
}

int main(int argc, char **argv)
{
    static ls_task slow;
    static const ls_task *tasks[] = {&slow, NULL};
    slow = ls_task_pretrain;
    slow.grain_loss = grain_loss;
    ls_tasks = tasks;
    return ls_lockstep(argc, argv);
}
