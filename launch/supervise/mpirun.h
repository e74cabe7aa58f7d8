/* One run of mpirun under the supervisor's eyes: what it prints goes through, what the failed rank said is kept, and a signal
 * to the supervisor becomes an orderly end of the ranks. */
#pragma once
#include "base/error.h"

#include <stdbool.h>

enum { LS_LAST_WORDS = 1024 };

typedef struct {
    int exit_code;             /* of mpirun; 128 + signal when one ended it */
    double seconds;
    int asked;                 /* how often the supervisor was told to stop meanwhile */
    char words[LS_LAST_WORDS]; /* the sentence of the rank that failed first, "" when nothing failed */
} ls_mpirun_end;

typedef struct {
    int signals; /* a signalfd: SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGCHLD are blocked and read here */
    bool all_here; /* all ranks are children of mpirun: when they are gone and it stands still, it is ended */
    double deadline; /* a rank of this machine that is stopped for longer, and that the others do not miss, is ended; 0: not */
} ls_supervisor;

/* From here on those signals wait for ls_mpirun_run and ls_supervisor_pause. */
ls_status ls_supervisor_open(ls_supervisor *supervisor);
void ls_supervisor_close(ls_supervisor *supervisor);

/* Starts argv (mpirun and its arguments) and waits for its end. The first signal reaches the ranks as SIGUSR1: they finish the
 * step, save, and end with 75. It is not passed on as SIGTERM, because mpirun kills its ranks a second after that. The
 * second one does go on as SIGTERM. When it returns none of the ranks of this machine is left, however mpirun ended. */
ls_status ls_mpirun_run(ls_supervisor *supervisor, char *const argv[], ls_mpirun_end *end);
/* Sleeps. *asked: a signal said stop. */
ls_status ls_supervisor_pause(ls_supervisor *supervisor, double seconds, bool *asked);
