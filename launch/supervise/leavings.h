/* What is left of a job that was killed. mpirun removes what it knows of, so when it is killed itself: its ranks for a moment (until
 * they notice), its session folder TMPDIR/ompi.HOST.UID/pid.PID, and their segments /dev/shm/vader_segment.HOST.UID.JOB.RANK. And
 * what it does not know of: /dev/shm/osc_sm.HOST.JOB.*, of ranks that were killed while they opened a window. Nobody else removes
 * these before the next boot. Of this machine only. */
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
/* The number of its ranks' job in names of files; 0: not known yet. To be asked while mpirun runs: its session folder says so. */
unsigned ls_leavings_job(pid_t mpirun);
/* After the end of the mpirun with this process number: kills and reaps what this process has for children, since beginning the
 * run again beside old ranks would have two of them in one folder; then removes the files. job: 0: not known. */
void ls_leavings_remove(pid_t mpirun, unsigned job);
