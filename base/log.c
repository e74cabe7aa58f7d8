/* Log lines: made whole in a buffer and written by one call, so lines of threads and ranks never mix. See log.h. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below but `step`, and what is written */
static int own_rank, all_ranks = 1, file = -1;
static ls_log_level terminal_level = LS_LOG_INFO;
static char host[64];
static char progress[512]; /* what stands on the terminal's last line, "" when nothing does */
static _Atomic int64_t current_step = -1;

static void write_all(int to, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(to, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* a full disk must not stop training; the checkpoint will say so */
        text += written;
        length -= (size_t)written;
    }
}

/* node07.cluster.example -> node07 */
static void find_host(void)
{
    if (host[0])
        return;
    if (gethostname(host, sizeof host - 1))
        memcpy(host, "?", 2);
    host[strcspn(host, ".")] = '\0';
}

void ls_log_identity(int rank, int ranks)
{
    pthread_mutex_lock(&lock);
    own_rank = rank;
    all_ranks = ranks;
    pthread_mutex_unlock(&lock);
}

ls_status ls_log_file(const char *path)
{
    int opened = -1;
    if (path) {
        opened = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (opened < 0)
            return ls_fail(errno == ENOSPC ? LS_ESPACE : LS_EIO,
                           "%s: cannot open the log for appending (%s); choose another run folder", path, strerror(errno));
    }
    pthread_mutex_lock(&lock);
    int old = file;
    file = opened;
    pthread_mutex_unlock(&lock);
    if (old >= 0)
        close(old);
    return LS_OK;
}

void ls_log_terminal_level(ls_log_level level)
{
    pthread_mutex_lock(&lock);
    terminal_level = level;
    pthread_mutex_unlock(&lock);
}

void ls_log_step(int64_t step)
{
    atomic_store(&current_step, step);
}

void ls_log_progress(const char *text)
{
    pthread_mutex_lock(&lock);
    if (own_rank == 0) {
        bool terminal = isatty(STDERR_FILENO);
        char line[sizeof progress + 8];
        int length = 0;
        if (text)
            length = snprintf(line, sizeof line, terminal ? "\r\033[K%.500s" : "%.500s\n", text);
        else if (terminal && progress[0])
            length = snprintf(line, sizeof line, "\n");
        write_all(STDERR_FILENO, line, (size_t)length);
        snprintf(progress, sizeof progress, "%.500s", text && terminal ? text : "");
    }
    pthread_mutex_unlock(&lock);
}

/* "03:12:44 rank 3/8 node07 step 1840 WARN checkpoint: "; returns its length. */
static int write_head(char *line, size_t size, ls_log_level level, const char *part)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    char clock[16] = "", step_text[32] = "";
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local))
        strftime(clock, sizeof clock, "%H:%M:%S", &local);
    int64_t step = atomic_load(&current_step);
    if (step >= 0)
        snprintf(step_text, sizeof step_text, " step %lld", (long long)step);
    find_host();
    return snprintf(line, size, "%s rank %d/%d %s%s %s %s: ", clock, own_rank, all_ranks, host, step_text,
                    names[level & 3], part);
}

static void write_line(bool terminal, ls_log_level level, const char *part, const char *format, va_list args)
{
    char line[LINE_SIZE];
    pthread_mutex_lock(&lock);
    int head = write_head(line, sizeof line / 2, level, part);
    if (head > (int)sizeof line / 2 - 1)
        head = (int)sizeof line / 2 - 1;
    int body = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
    size_t length = (size_t)head + (size_t)(body < 0 ? 0 : body);
    if (length > sizeof line - 2)
        length = sizeof line - 2; /* a longer line is cut */
    line[length++] = '\n';

    if (file >= 0)
        write_all(file, line, length);
    bool seen = terminal && level >= terminal_level && (own_rank == 0 || level >= LS_LOG_WARN);
    if (seen && progress[0])
        write_all(STDERR_FILENO, "\r\033[K", 4);
    if (seen)
        write_all(STDERR_FILENO, line, length);
    if (seen && progress[0])
        write_all(STDERR_FILENO, progress, strlen(progress));
    pthread_mutex_unlock(&lock);
}

void ls_log_write(ls_log_level level, const char *part, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(true, level, part, format, args);
    va_end(args);
}

void ls_log_keep(ls_log_level level, const char *part, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(false, level, part, format, args);
    va_end(args);
}
