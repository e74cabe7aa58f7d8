/* `lockstep data` in this process, with everything it printed: standard output and standard error as one text. */
#pragma once
#include "base/type.h"

enum { DATA_COMMAND_ROOM = 16384 };
/* Runs `lockstep data ARGUMENTS` (NULL ends them); returns the exit code. Bad usage ends the process with 2, by argp.
 */
int data_command(char out[DATA_COMMAND_ROOM], const char *const *arguments);
#define RUN(out, ...) data_command(out, (const char *const[]){__VA_ARGS__, NULL})
