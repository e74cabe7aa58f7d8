/* fork, exec, wait with a deadline. See process.h. */
#include "launch/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

static void remember(int signal_number)
{
    stop_signal = signal_number;
}

void ls_process_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = remember};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

double ls_process_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* In the child. A pipe that closes by itself on exec tells the parent what exec said otherwise. */
static void become(char *const argv[], const char *output, int report)
{
    sigset_t none; /* a supervisor blocks what it reads by signalfd */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int in = open("/dev/null", O_RDONLY), out = output ? open(output, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (in >= 0 && dup2(in, 0) == 0 && (!output || (out >= 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2)))
        execvp(argv[0], argv);
    int why = errno;
    ssize_t told = write(report, &why, sizeof why);
    _exit(told == sizeof why ? 127 : 126);
}

ls_status ls_process_start(pid_t *process, char *const argv[], const char *output)
{
    int report[2], why = 0;
    if (pipe2(report, O_CLOEXEC))
        return ls_fail(LS_EIO, "%s: pipe: %s", argv[0], strerror(errno));
    *process = fork();
    if (*process == 0)
        become(argv, output, report[1]);
    int fork_error = errno;
    close(report[1]);
    if (*process < 0) {
        close(report[0]);
        return ls_fail(LS_EMEM, "%s: cannot start a process: %s", argv[0], strerror(fork_error));
    }
    ssize_t bytes;
    do
        bytes = read(report[0], &why, sizeof why);
    while (bytes < 0 && errno == EINTR);
    close(report[0]);
    if (bytes <= 0)
        return LS_OK;
    waitpid(*process, NULL, 0);
    return ls_fail(why == ENOENT ? LS_ENOTFOUND : LS_EIO, "cannot start %s: %s%s", argv[0], strerror(why),
                   strcmp(argv[0], "mpirun") ? "" : "; install Open MPI (Debian: openmpi-bin)");
}

void ls_process_end(pid_t process)
{
    kill(process, SIGTERM); /* mpirun passes it on to the ranks */
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR)
        ;
}

ls_status ls_process_wait(pid_t process, double seconds, bool *done, int *exit_code)
{
    const double deadline = ls_process_clock() + seconds;
    const struct timespec pause = {.tv_nsec = 500000};
    int how = 0;
    *done = false;
    for (;;) {
        pid_t ended = waitpid(process, &how, WNOHANG);
        if (ended == process)
            break;
        if (ended < 0 && errno != EINTR)
            return ls_fail(LS_EIO, "waiting for process %ld: %s", (long)process, strerror(errno));
        if (stop_signal) {
            ls_process_end(process);
            return ls_fail(LS_ESTOPPED, "stopped by signal %d", (int)stop_signal);
        }
        if (seconds >= 0 && ls_process_clock() >= deadline)
            return LS_OK;
        nanosleep(&pause, NULL);
    }
    *done = true;
    *exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    return LS_OK;
}
