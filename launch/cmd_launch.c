/* `lockstep launch`: finds the verb and hands over. The verbs are in files of their own, launch_*.c. */
#include "launch/command.h"
#include "launch/launch_commands.h"

static const ls_command verbs[] = {
    {"mpirun", "train under mpirun, and start again after a failure", ls_launch_mpirun},
    {"slurm", "write a job script, and submit it", ls_launch_slurm},
    {"requeue", "what a job script asks when its srun has ended", ls_launch_requeue},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static int run(int argc, char **argv)
{
    static const ls_verbs all = {"launch", "Keeps a training run going over failures, on the hosts that are left.",
                                  "tells more; so does docs/cluster.md.", verbs, VERBS};
    return ls_run_verb(&all, argc, argv);
}

const ls_command ls_command_launch = {"launch", "keep a run going over failures, with mpirun or Slurm", run};
