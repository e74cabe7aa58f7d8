/* The hosts of a run that mpirun starts, and which of them answer. */
#pragma once
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { LS_HOST_NAME = 256 };

typedef struct {
    char name[LS_HOST_NAME];
    int slots; /* ranks it takes */
    bool answers;
} ls_launch_host;

typedef struct {
    ls_launch_host *host;
    int count;
} ls_hosts;

/* Reads a hostfile as mpirun knows it: a line a host, `NAME slots=N`, with # before a comment. LS_EFORMAT with the line: no
 * slots, or a name twice (mpirun would guess; here it decides how many ranks are left when a host goes). */
ls_status ls_hosts_read(ls_hosts *hosts, const char *path);
void ls_hosts_free(ls_hosts *hosts);
/* Asks all hosts at once by the way mpirun goes itself (OMPI_MCA_plm_rsh_agent, else ssh): does `true` run there within
 * `seconds`? This machine answers always. */
ls_status ls_hosts_ask(ls_hosts *hosts, double seconds);
int ls_hosts_slots(const ls_hosts *hosts); /* of those that answer */
/* "n1:2,n3:2", those that answer, for `mpirun --host`; malloc'ed. */
char *ls_hosts_text(const ls_hosts *hosts);
/* "n2, n4", those that do not; "" when all do. */
void ls_hosts_missing(const ls_hosts *hosts, char *text, size_t bytes);
