/* A command line, run by sh, with everything it printed. */
#pragma once
#include "base/type.h"

/* Fills `output` with stdout and stderr, cut at `room` - 1 bytes; what does not fit is read and dropped, so the command
 * never stops on a full pipe. Returns the exit code, or 128 + the signal it died of. */
int ls_run_shell(const char *line, char *output, size_t room);
