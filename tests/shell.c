#include "tests/shell.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

int ls_run_shell(const char *line, char *output, size_t room)
{
    char *whole;
    cr_assert_geq(asprintf(&whole, "{ %s\n} 2>&1", line), 0);
    FILE *pipe = popen(whole, "r");
    free(whole);
    cr_assert_not_null(pipe);
    size_t size = 0, got;
    char part[4096];
    while ((got = fread(part, 1, sizeof part, pipe)) > 0) {
        const size_t left = room - 1 - size, kept = got < left ? got : left;
        memcpy(output + size, part, kept);
        size += kept;
    }
    output[size] = '\0';
    const int how = pclose(pipe);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}
