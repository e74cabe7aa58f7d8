/* fork, exec, poll. See mpirun.h. */
#include "launch/supervise/mpirun.h"
#include "launch/process.h"
#include "launch/supervise/leavings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALONE_SECONDS 10.0
#define SPEAK_SECONDS 3.0 /* after a deadline, for the ranks to tell of it themselves */
#define ABORT_SECONDS 20.0 /* after a rank said why it ends the job; it takes Open MPI two or three when it reaches all hosts */

typedef struct {
    char text[4096]; /* the line that is being received */
    size_t length;
    bool own;        /* the kept words are a rank's, not mpirun's about it */
    double abort;    /* when a rank was first heard to end the job; 0: none was */
    ls_mpirun_end *end;
} listener;

static void our_signals(sigset_t *set)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(set, numbers[i]);
}

ls_status ls_supervisor_open(ls_supervisor *supervisor)
{
    sigset_t set;
    our_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    ls_leavings_adopt();
    signal(SIGPIPE, SIG_IGN); /* the run is worth more than a closed terminal */
    supervisor->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return supervisor->signals < 0 ? ls_fail(LS_EIO, "signalfd: %s", strerror(errno)) : LS_OK;
}

void ls_supervisor_close(ls_supervisor *supervisor)
{
    if (supervisor->signals >= 0)
        close(supervisor->signals);
    supervisor->signals = -1;
}

/* In the child. In a process group of its own, or Ctrl-C would reach mpirun as well; and it does not outlive the supervisor,
 * or a second one could start the same run beside it. */
static void become(char *const argv[], int errors, int report)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const int in = open("/dev/null", O_RDONLY);
    if (in >= 0 && dup2(in, 0) == 0 && dup2(errors, 2) == 2)
        execvp(argv[0], argv);
    const int why = errno;
    const ssize_t told = write(report, &why, sizeof why);
    _exit(told == sizeof why ? 127 : 126);
}

static ls_status start(char *const argv[], pid_t *process, int *errors)
{
    int output[2], report[2], why = 0;
    if (pipe2(output, O_CLOEXEC))
        return ls_fail(LS_EIO, "%s: pipe: %s", argv[0], strerror(errno));
    if (pipe2(report, O_CLOEXEC)) {
        close(output[0]), close(output[1]);
        return ls_fail(LS_EIO, "%s: pipe: %s", argv[0], strerror(errno));
    }
    *process = fork();
    if (*process == 0)
        become(argv, output[1], report[1]);
    const int fork_error = errno;
    close(output[1]), close(report[1]);
    const ssize_t bytes = *process < 0 ? 0 : read(report[0], &why, sizeof why);
    close(report[0]);
    if (*process > 0 && bytes <= 0) {
        fcntl(output[0], F_SETFL, O_NONBLOCK);
        *errors = output[0];
        return LS_OK;
    }
    close(output[0]);
    if (*process < 0)
        return ls_fail(LS_EMEM, "%s: cannot start a process: %s", argv[0], strerror(fork_error));
    waitpid(*process, NULL, 0);
    return ls_fail(why == ENOENT ? LS_ENOTFOUND : LS_EIO, "cannot start %s: %s%s", argv[0], strerror(why),
                   strcmp(argv[0], "mpirun") ? "" : "; install Open MPI (Debian: openmpi-bin)");
}

static void keep(listener *l, const char *words, bool own)
{
    if (l->own)
        return; /* the first rank's sentence is the cause, what follows its echo */
    l->own = own;
    snprintf(l->end->words, sizeof l->end->words, "%.1000s", words);
}

static void hear_line(listener *l)
{
    static const char world[] = " ERROR world: ", train[] = "lockstep train: ";
    l->text[l->length] = '\0';
    l->length = 0;
    const char *from_world = strstr(l->text, world);
    if (from_world && !l->abort)
        l->abort = ls_process_clock();
    if (from_world)
        keep(l, from_world + sizeof world - 1, true);
    else if (!strncmp(l->text, train, sizeof train - 1))
        keep(l, l->text + sizeof train - 1, true);
    else if (l->text[strspn(l->text, " -\r")])
        keep(l, l->text, false);
}

/* Passes on what is there. False: nobody holds the other end any more. */
static bool listen_to(listener *l, int errors)
{
    char part[4096];
    ssize_t bytes;
    while ((bytes = read(errors, part, sizeof part)) > 0) {
        for (ssize_t at = 0, wrote; at < bytes; at += wrote)
            if ((wrote = write(STDERR_FILENO, part + at, (size_t)(bytes - at))) <= 0)
                break; /* no terminal any more: the ranks' own logs have it all */
        for (ssize_t i = 0; i < bytes; i++) {
            if (part[i] == '\n')
                hear_line(l);
            else if (l->length < sizeof l->text - 1)
                l->text[l->length++] = part[i];
        }
    }
    return bytes < 0;
}

/* What no rank can tell. Open MPI's mpirun can stand for ever when its ranks are killed while they start; it waits for ever for a
 * rank that was stopped when the others had ended already, and for a host that its network no longer reaches. */
typedef struct {
    bool had;     /* it has had children that lived */
    double alone; /* since when it has none; 0: it has some */
    unsigned job; /* ls_leavings_job */
    int stopped;  /* the child that is stopped, and since when */
    double since;
} lookout;

static void look_after(const ls_supervisor *supervisor, lookout *watch, pid_t mpirun, listener *l)
{
    const double now = ls_process_clock();
    const ls_children children = ls_leavings_children(mpirun);
    char words[256] = "";
    watch->job = watch->job ? watch->job : ls_leavings_job(mpirun);
    watch->had = watch->had || children.alive;
    if (children.alive)
        watch->alone = 0;
    else if (!watch->alone)
        watch->alone = now;
    if (children.stopped != watch->stopped) {
        watch->stopped = children.stopped;
        watch->since = now;
    }
    if (supervisor->all_here && watch->had && watch->alone && now - watch->alone > ALONE_SECONDS && !kill(mpirun, SIGKILL))
        snprintf(words, sizeof words, "mpirun stood still for %g s after all of its ranks had ended", ALONE_SECONDS);
    if (l->abort && now - l->abort > ABORT_SECONDS && !kill(mpirun, SIGKILL)) {
        snprintf(words, sizeof words, "mpirun stood still for %g s after a rank had ended the job; does it reach all hosts?", ABORT_SECONDS);
        l->abort = 0;
    }
    const double most = supervisor->deadline + SPEAK_SECONDS;
    if (supervisor->deadline > 0 && watch->stopped && now - watch->since > most && !kill(watch->stopped, SIGKILL)) {
        snprintf(words, sizeof words, "rank %d was stopped (process %d; a signal, or a debugger) for %g s, and no other rank waited for it; it is ended",
                 children.rank, watch->stopped, most);
        watch->stopped = 0;
    }
    if (!*words)
        return;
    dprintf(STDERR_FILENO, "lockstep launch: %s\n", words); /* at once: mpirun may take seconds to end */
    keep(l, words, true);
}

/* How many signals have said stop. */
static int read_signals(int signals)
{
    struct signalfd_siginfo info;
    int stops = 0;
    while (read(signals, &info, sizeof info) == sizeof info)
        stops += info.ssi_signo != SIGCHLD;
    return stops;
}

ls_status ls_mpirun_run(ls_supervisor *supervisor, char *const argv[], ls_mpirun_end *end)
{
    *end = (ls_mpirun_end){0};
    listener l = {.end = end};
    pid_t process = -1;
    int errors = -1, how = 0;
    const double began = ls_process_clock();
    const ls_status status = start(argv, &process, &errors);
    if (status)
        return status;
    bool open = true;
    lookout watch = {0};
    while (waitpid(process, &how, WNOHANG) != process) {
        struct pollfd watched[2] = {{.fd = supervisor->signals, .events = POLLIN}, {.fd = open ? errors : -1, .events = POLLIN}};
        poll(watched, 2, 1000); /* a second, in case two ends came as one SIGCHLD */
        for (int stops = read_signals(supervisor->signals); stops > 0; stops--)
            kill(process, end->asked++ ? SIGTERM : SIGUSR1);
        open = open && listen_to(&l, errors);
        look_after(supervisor, &watch, process, &l);
    }
    ls_leavings_remove(process, watch.job ? watch.job : ls_leavings_job(process)); /* first: ranks that are left would hold the pipe */
    if (open)
        listen_to(&l, errors);
    close(errors);
    end->exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    end->seconds = ls_process_clock() - began;
    return LS_OK;
}

ls_status ls_supervisor_pause(ls_supervisor *supervisor, double seconds, bool *asked)
{
    const double until = ls_process_clock() + seconds;
    *asked = false;
    for (double left = seconds; left > 0 && !*asked; left = until - ls_process_clock()) {
        struct pollfd watched = {.fd = supervisor->signals, .events = POLLIN};
        if (poll(&watched, 1, (int)(1000 * left) + 1) < 0 && errno != EINTR)
            return ls_fail(LS_EIO, "poll: %s", strerror(errno));
        *asked = read_signals(supervisor->signals) > 0;
    }
    return LS_OK;
}
