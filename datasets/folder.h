/* Folders that appear whole or not at all.
 *
 * A data set is made as NAME.partial, locked by its writer, and takes its name in one rename. What is removed is only
 * ever what this program wrote: a folder that holds anything else is refused, whatever the user forces. */
#pragma once
#include "base/error.h"
#include "base/type.h"

/* Tells whether a file of this name may be removed with its folder. */
typedef bool (*ls_data_folder_owns)(const char *name);

/* Makes `partial` (and missing parents) or clears what an earlier run left there; *lock is a file descriptor that holds
 * it until closed. LS_EEXIST: another process is writing it, or it holds files that are not ours. */
ls_status ls_data_folder_begin(const char *partial, ls_data_folder_owns owns, int *lock);
/* Writes the sums of its files (sums.h), fsyncs `partial` and gives it the name `folder`; with `replace` an older set of that name is exchanged for it and then
 * removed. LS_EEXIST: `folder` is there, and not to be replaced or not ours. On failure `partial` is still there. */
ls_status ls_data_folder_commit(const char *partial, const char *folder, bool replace, ls_data_folder_owns owns);
/* Refuses what ls_data_folder_commit would refuse, before any work is done. */
ls_status ls_data_folder_may_commit(const char *folder, bool replace, ls_data_folder_owns owns);
/* Removes a folder of ours; nothing when it is not there. */
ls_status ls_data_folder_remove(const char *folder, ls_data_folder_owns owns);
