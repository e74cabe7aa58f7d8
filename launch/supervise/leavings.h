/* What an mpirun leaves behind that was killed itself: its ranks for a moment (until they notice), its session folder
 * TMPDIR/ompi.HOST.UID/pid.PID, and its ranks' segments /dev/shm/vader_segment.HOST.UID.JOB.RANK, which nobody removes before the next
 * boot. Of this machine only. */
#pragma once
#include <sys/types.h>

/* Whoever loses its parent below this process becomes its child from now on. */
void ls_leavings_adopt(void);
typedef struct {
    int alive;
    int stopped; /* process number of one that a signal or a debugger stopped; 0: none */
    int rank;    /* of that one; -1: it does not say */
} ls_children;
/* The children of this mpirun: its ranks of this machine. */
ls_children ls_leavings_children(pid_t mpirun);
/* After the end of the mpirun with this process number: kills and reaps what this process has for children; `killed`: and
 * removes the files. Beginning the run again beside old ranks would have two of them in one folder. */
void ls_leavings_remove(pid_t mpirun, int killed);
