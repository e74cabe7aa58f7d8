/* See leavings.h. The names are Open MPI 4's (orte/util/session_dir.c, opal/mca/btl/vader). */
#include "launch/supervise/leavings.h"
#include "base/flight.h"
#include "launch/process.h"

#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 10.0 /* seconds for killed processes to be gone; one inside a dead file server's call never is */

void ls_leavings_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* A process that has ended and was not waited for has no executable any more. */
static int lives(int process)
{
    char path[64], target[8];
    snprintf(path, sizeof path, "/proc/%d/exe", process);
    return readlink(path, target, sizeof target) > 0;
}

/* Its environment says so; the words in it end with '\0'. */
static int rank_of(int process)
{
    static const char name[] = "OMPI_COMM_WORLD_RANK=";
    char path[64], *word = NULL;
    size_t room = 0;
    int rank = -1;
    snprintf(path, sizeof path, "/proc/%d/environ", process);
    FILE *in = fopen(path, "r");
    while (in && rank < 0 && getdelim(&word, &room, '\0', in) > 0)
        if (!strncmp(word, name, sizeof name - 1))
            rank = atoi(word + sizeof name - 1);
    if (in)
        fclose(in);
    free(word);
    return rank;
}

static void add_children(ls_children *children, const char *path)
{
    FILE *in = fopen(path, "r");
    for (int child; in && fscanf(in, "%d", &child) == 1;) {
        children->alive += lives(child);
        if (!children->stopped && ls_flight_is_stopped(child)) {
            children->stopped = child;
            children->rank = rank_of(child);
        }
    }
    if (in)
        fclose(in);
}

ls_children ls_leavings_children(pid_t mpirun)
{
    char path[320];
    ls_children children = {.rank = -1};
    snprintf(path, sizeof path, "/proc/%d/task", (int)mpirun);
    DIR *threads = opendir(path);
    for (const struct dirent *thread; threads && (thread = readdir(threads));) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)mpirun, thread->d_name);
        add_children(&children, path);
    }
    if (threads)
        closedir(threads);
    return children;
}

static int kill_children(void)
{
    FILE *in = fopen("/proc/thread-self/children", "r");
    int count = 0;
    for (int child; in && fscanf(in, "%d", &child) == 1; count++)
        kill(child, SIGKILL);
    if (in)
        fclose(in);
    return count;
}

/* A killed child's own children come to us, so this goes on until there are none. */
static void end_children(void)
{
    const double until = ls_process_clock() + PATIENCE;
    while (kill_children() > 0 && ls_process_clock() < until) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        usleep(5000);
    }
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about, (void)kind, (void)place;
    remove(path);
    return 0;
}

/* Where mpirun keeps what is its own; false: longer than a path. `length`: of the folder of all of this user's. */
static bool session_folder(char session[PATH_MAX], pid_t mpirun, int *length)
{
    char host[HOST_NAME_MAX + 1] = "";
    const char *base = getenv("TMPDIR");
    gethostname(host, sizeof host - 1);
    *length = snprintf(session, PATH_MAX, "%s/ompi.%s.%u", base && *base ? base : "/tmp", host, (unsigned)geteuid());
    if (*length >= PATH_MAX - 32)
        return false;
    snprintf(session + *length, PATH_MAX - (size_t)*length, "/pid.%d", (int)mpirun);
    return true;
}

/* contact.txt: "1636106240.0;tcp://...": the first number is the job family of mpirun, its ranks are job 1 of it. */
unsigned ls_leavings_job(pid_t mpirun)
{
    char session[PATH_MAX], path[PATH_MAX + 16];
    unsigned long job = 0;
    int length;
    if (!session_folder(session, mpirun, &length))
        return 0;
    snprintf(path, sizeof path, "%s/contact.txt", session);
    FILE *in = fopen(path, "r");
    if (in && fscanf(in, "%lu", &job) != 1)
        job = 0;
    if (in)
        fclose(in);
    return job ? (unsigned)job + 1 : 0;
}

static void remove_segments(unsigned job)
{
    char host[HOST_NAME_MAX + 1] = "", vader[HOST_NAME_MAX + 64], window[HOST_NAME_MAX + 64];
    gethostname(host, sizeof host - 1);
    snprintf(vader, sizeof vader, "vader_segment.%s.%u.%x.", host, (unsigned)geteuid(), job);
    snprintf(window, sizeof window, "osc_sm.%s.%x.", host, job);
    DIR *folder = opendir("/dev/shm");
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (!strncmp(entry->d_name, vader, strlen(vader)) || !strncmp(entry->d_name, window, strlen(window)))
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}

void ls_leavings_remove(pid_t mpirun, unsigned job)
{
    char session[PATH_MAX];
    int length;
    end_children();
    if (job)
        remove_segments(job);
    if (!session_folder(session, mpirun, &length) || access(session, F_OK) != 0)
        return; /* mpirun removed it */
    nftw(session, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    session[length] = '\0';
    rmdir(session); /* others' jobs may be in it */
}
