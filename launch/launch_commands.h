/* The verbs of `lockstep launch`, one file each: launch_*.c. */
#pragma once

int ls_launch_mpirun(int argc, char **argv);
int ls_launch_slurm(int argc, char **argv);
int ls_launch_requeue(int argc, char **argv);
