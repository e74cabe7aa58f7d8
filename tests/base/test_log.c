#include "base/log.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64] = "/tmp/ls-test-log-XXXXXX";

static void open_file(void)
{
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    ls_log_terminal_level(LS_LOG_ERROR + 1);
    cr_assert_eq(ls_log_file(path), LS_OK);
}

static void close_file(void)
{
    ls_log_file(NULL);
    unlink(path);
}

static bool matches(const char *line, const char *pattern)
{
    regex_t regex;
    cr_assert_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&regex, line, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

Test(log, a_line_says_when_who_and_where, .init = open_file, .fini = close_file)
{
    ls_log_identity(3, 8);
    ls_log_write(LS_LOG_INFO, "data", "before the first step");
    ls_log_step(1840);
    ls_log_write(LS_LOG_WARN, "checkpoint", "%d left", 3);
    FILE *file = fopen(path, "r");
    char line[4096];
    cr_assert_not_null(fgets(line, sizeof line, file));
    cr_assert(matches(line, "^[0-9]{2}:[0-9]{2}:[0-9]{2} rank 3/8 [^ ]+ INFO data: before the first step\n$"), "%s", line);
    cr_assert_not_null(fgets(line, sizeof line, file));
    cr_assert(matches(line, "^[0-9:]{8} rank 3/8 [^ ]+ step 1840 WARN checkpoint: 3 left\n$"), "%s", line);
    cr_assert_null(fgets(line, sizeof line, file));
    fclose(file);
}

Test(log, a_line_too_long_is_cut_and_still_ends, .init = open_file, .fini = close_file)
{
    char *text = malloc(10001);
    memset(text, 'x', 10000);
    text[10000] = '\0';
    ls_log_write(LS_LOG_INFO, "data", "%s", text);
    ls_log_write(LS_LOG_INFO, "data", "next");
    free(text);
    FILE *file = fopen(path, "r");
    char line[8192];
    cr_assert_not_null(fgets(line, sizeof line, file));
    cr_assert(strlen(line) > 3000 && strlen(line) <= 4096);
    cr_assert_not_null(fgets(line, sizeof line, file));
    cr_assert(strstr(line, "data: next\n"));
    fclose(file);
}

Test(log, what_is_kept_is_not_seen, .init = open_file, .fini = close_file)
{
    char seen[64] = "/tmp/ls-test-log-seen-XXXXXX", line[4096];
    const int fd = mkstemp(seen), terminal = dup(STDERR_FILENO);
    cr_assert(fd >= 0 && terminal >= 0);
    ls_log_terminal_level(LS_LOG_INFO);
    dup2(fd, STDERR_FILENO);
    ls_log_keep(LS_LOG_ERROR, "train", "kept %d", 1);
    ls_log_write(LS_LOG_ERROR, "train", "told %d", 2);
    dup2(terminal, STDERR_FILENO);
    FILE *file = fopen(path, "r");
    cr_assert(fgets(line, sizeof line, file) && strstr(line, "ERROR train: kept 1\n"), "%s", line);
    cr_assert(fgets(line, sizeof line, file) && strstr(line, "ERROR train: told 2\n"), "%s", line);
    fclose(file);
    file = fopen(seen, "r");
    cr_assert(fgets(line, sizeof line, file) && strstr(line, "ERROR train: told 2\n"), "%s", line);
    cr_assert_null(fgets(line, sizeof line, file));
    fclose(file);
    close(fd);
    close(terminal);
    unlink(seen);
}

static void *speak(void *who)
{
    for (int i = 0; i < 500; i++)
        ls_log_write(LS_LOG_INFO, "train", "%s said in full", (const char *)who);
    return NULL;
}

Test(log, lines_of_threads_do_not_mix, .init = open_file, .fini = close_file)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, speak, "other"), 0);
    speak("main");
    pthread_join(thread, NULL);
    FILE *file = fopen(path, "r");
    char line[4096];
    int lines = 0;
    for (; fgets(line, sizeof line, file); lines++)
        cr_assert(matches(line, "train: (main|other) said in full\n$"), "%s", line);
    cr_assert_eq(lines, 1000);
    fclose(file);
}

Test(log, a_file_that_cannot_be_opened_is_named)
{
    cr_assert_eq(ls_log_file("/no/such/folder/log"), LS_EIO);
    cr_assert(strstr(ls_fail_sentence(), "/no/such/folder/log"));
}
