/* The verbs of `lockstep launch`, one file each: launch_*.c. */
#pragma once

int ls_launch_mpirun(int argc, char **argv);
