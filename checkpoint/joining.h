/* The joining file, checkpoint.h5: manifest to bytes and back. Layout: format.h. */
#pragma once
#include "checkpoint/manifest.h"
#include "checkpoint/memory_file.h"

/* The whole file in memory, its own sum included, ready to be written. Sets manifest->xxh3. */
ls_status ls_joining_draw(ls_manifest *manifest, ls_memory_file *file);
/* Its user block: schema, size and own sum. A part of drawing; tests stamp files that lie. */
void ls_joining_stamp(ls_memory_file *file, int schema, ls_manifest *manifest);
/* Reads and checks FOLDER/checkpoint.h5 (not the files it lists).
 * LS_ENOTFOUND: not there. LS_EFORMAT: not ours. LS_EVERSION: schema of a newer lockstep. LS_ECORRUPT: damaged. */
ls_status ls_joining_read(const char *folder, ls_manifest **manifest);
