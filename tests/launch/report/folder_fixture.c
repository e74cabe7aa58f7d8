#include "tests/launch/report/folder_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char run_folder[4096];

void run_begin(void)
{
    strcpy(run_folder, "/tmp/lockstep-test-report-XXXXXX");
    cr_assert_not_null(mkdtemp(run_folder));
}

void run_end(void)
{
    char line[4200];
    snprintf(line, sizeof line, "rm -r '%s'", run_folder);
    cr_assert_eq(system(line), 0);
}

void run_file(const char *name, const char *content)
{
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", run_folder, name);
    for (char *slash = path + 5; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *out = fopen(path, "wb");
    cr_assert_not_null(out, "%s", path);
    fputs(content, out);
    fclose(out);
}

void run_read(ls_report_run *run)
{
    cr_assert_eq(ls_report_read(run, run_folder), LS_OK, "%s", ls_fail_sentence());
}

char *run_page(const ls_report_run *runs, int count)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    cr_assert_eq(ls_report_page(out, runs, count, 1795621579), LS_OK, "%s", ls_fail_sentence());
    fclose(out);
    return text;
}
