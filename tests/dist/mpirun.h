/* Starts a rank program under mpirun from a Criterion test (Criterion's own processes cannot call MPI_Init). */
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

typedef struct {
    int exit_code; /* 128 + signal, as a shell counts; 124: took longer than 60 s */
    double seconds;
    char output[16384]; /* both streams, the first so many bytes */
} mpirun_result;

/* `mpirun OPTIONS -n RANKS $LS_BUILD/tests/PROGRAM ARGUMENTS`; ranks 0: the program alone. */
__attribute__((format(printf, 4, 5))) static mpirun_result mpirun(const char *options, int ranks, const char *program,
                                                                  const char *arguments, ...)
{
    char words[512], command[2048], start[256] = "";
    va_list list;
    va_start(list, arguments);
    vsnprintf(words, sizeof words, arguments, list);
    va_end(list);
    if (ranks > 0)
        snprintf(start, sizeof start, "mpirun --oversubscribe --bind-to none %s -n %d", options, ranks);
    snprintf(command, sizeof command, "timeout 60 %s %s/tests/%s %s 2>&1", start, getenv("LS_BUILD"), program, words);
    mpirun_result result = {0};
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    FILE *pipe = popen(command, "r");
    char lost[4096];
    size_t length = fread(result.output, 1, sizeof result.output - 1, pipe);
    result.output[length] = '\0';
    while (fread(lost, 1, sizeof lost, pipe) > 0)
        ;
    int status = pclose(pipe);
    clock_gettime(CLOCK_MONOTONIC, &end);
    result.seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

/* How often `text` occurs in `where`. */
static inline int occurrences(const char *where, const char *text)
{
    int count = 0;
    for (const char *at = where; (at = strstr(at, text)); at += strlen(text))
        count++;
    return count;
}
