/* Run folders made by hand, so that a test says to the letter what stands in them. */
#pragma once
#include "launch/report/page.h"

extern char run_folder[4096]; /* made by run_begin, under /tmp */

void run_begin(void);
void run_end(void);
/* RUN/NAME with these bytes; folders are made. */
void run_file(const char *name, const char *content);
void run_read(ls_report_run *run);                    /* run_folder, which must be readable */
char *run_page(const ls_report_run *runs, int count); /* malloc'ed */
