/* What can happen to a disk, at a chosen call. The linker puts these functions in the place of the system calls that
 * checkpoint/ changes the disk with (-Wl,--wrap in tests.cmake), so the counting is exhaustive.
 *
 * Only calls that change the disk count: open with O_CREAT, pwrite, fsync, rename, symlink, mkdir, unlinkat, rmdir. */
#pragma once
#include <stdbool.h>

typedef enum {
    FAULT_NONE,      /* count only */
    FAULT_KILL,      /* the process ends before the call */
    FAULT_TORN,      /* ends after half of the bytes of a write */
    FAULT_POWER_OLD, /* power fails before the call: what was not synced is lost; renames not synced are undone */
    FAULT_POWER_NEW, /* the same, but the disk kept the renames */
    FAULT_ERROR,     /* the call fails with `error`, once */
    FAULT_ERROR_ALL, /* this call and all later ones fail with `error` */
    FAULT_SHORT,     /* this write and all later ones put half of their bytes and say so */
    FAULT_FLIP,      /* a write puts one bit wrong on the disk, and says it went well */
    FAULT_HANG,      /* this call and all later ones do not come back before faults_disarm */
} fault;

enum { FAULT_EXIT = 77 };

/* Starts counting at 0; the fault strikes at call `at`. */
void faults_arm(fault kind, int at, int error);
/* After arming: an error, or short writes, last for so many calls. */
void faults_last(int calls);
/* Called when the fault strikes, before it has its effect. */
void faults_tell(void (*tell)(const char *call));
/* Stops; returns the calls counted. */
int faults_disarm(void);
/* The name of the call that was struck, for a failed assertion. */
const char *faults_struck(void);
/* Free bytes that statvfs tells from now on; < 0: the truth. */
void faults_free_space(long long bytes);
