/* A child process: `mpirun ...` with its output in a file. */
#pragma once
#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* Starts argv[0] (looked up in PATH) with stdout and stderr appended to `output` (NULL: left as they are). LS_ENOTFOUND: no such program. */
ls_status ls_process_start(pid_t *process, char *const argv[], const char *output);
/* Waits at most `seconds` (< 0: for ever). *done false: it still runs. *exit_code: 128 + signal when one ended it.
 * LS_ESTOPPED: the user pressed Ctrl-C meanwhile; the child was ended and waited for. */
ls_status ls_process_wait(pid_t process, double seconds, bool *done, int *exit_code);
void ls_process_end(pid_t process); /* SIGTERM, and waits */
/* From here on Ctrl-C, SIGTERM and SIGHUP make ls_process_wait return LS_ESTOPPED, so that temporary folders go. */
void ls_process_catch_signals(void);
double ls_process_clock(void); /* seconds, monotonic */
