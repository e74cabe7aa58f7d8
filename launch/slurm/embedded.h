/* The job scripts of this folder, put into the program when it is built (launch/CMakeLists.txt), each ended by a NUL. */
#pragma once

extern const char ls_slurm_single_node[], ls_slurm_many_nodes[], ls_slurm_preemptible[], ls_slurm_seeds[];
