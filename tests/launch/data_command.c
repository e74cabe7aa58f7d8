#include "tests/launch/data_command.h"
#include "launch/command.h"
#include "tests/datasets/fixture.h"

#include <argp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int data_command(char out[DATA_COMMAND_ROOM], const char *const *arguments)
{
    char *argv[24] = {"lockstep data"}, *copy[24];
    int argc = 1;
    argp_err_exit_status = 2; /* as ls_lockstep sets it */
    for (; arguments[argc - 1]; argc++)
        argv[argc] = copy[argc] = strdup(arguments[argc - 1]); /* argp changes argv's order */
    const int before[2] = {dup(1), dup(2)}, file = open(fixture_path("printed"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    fflush(stdout);
    dup2(file, 1);
    dup2(file, 2);
    const int exit_code = ls_command_data.run(argc, argv);
    fflush(stdout);
    dup2(before[0], 1);
    dup2(before[1], 2);
    close(before[0]);
    close(before[1]);
    const ssize_t bytes = pread(file, out, DATA_COMMAND_ROOM - 1, 0);
    out[bytes > 0 ? bytes : 0] = '\0';
    close(file);
    for (int i = 1; i < argc; i++)
        free(copy[i]);
    return exit_code;
}
