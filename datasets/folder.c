/* Commit by rename. See folder.h. */
#include "datasets/folder.h"
#include "datasets/sums.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static ls_status system_failed(const char *path, const char *what)
{
    return ls_fail(errno == ENOSPC ? LS_ESPACE : LS_EIO, "%s: cannot %s (%s)", path, what, strerror(errno));
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* LS_OK: not there, or a folder of nothing but our files. */
static ls_status check_ours(const char *folder, ls_data_folder_owns owns)
{
    DIR *open = opendir(folder);
    if (!open)
        return errno == ENOENT ? LS_OK : ls_fail(LS_EEXIST, "%s: exists and is no folder that can be read (%s); choose another name",
                                                 folder, strerror(errno));
    ls_status status = LS_OK;
    for (struct dirent *file; status == LS_OK && (file = readdir(open));)
        if (!is_dot(file->d_name) && !owns(file->d_name) && strcmp(file->d_name, LS_SUMS_FILE) != 0)
            status = ls_fail(LS_EEXIST, "%s: holds `%s`, which is no part of a data set, so the folder is not replaced; choose another name",
                             folder, file->d_name);
    closedir(open);
    return status;
}

static ls_status remove_files(const char *folder, ls_data_folder_owns owns)
{
    ls_status status = check_ours(folder, owns);
    DIR *open = status == LS_OK ? opendir(folder) : NULL;
    if (!open)
        return status;
    for (struct dirent *file; status == LS_OK && (file = readdir(open));)
        if (!is_dot(file->d_name) && unlinkat(dirfd(open), file->d_name, 0) != 0)
            status = system_failed(folder, "remove its files");
    closedir(open);
    return status;
}

ls_status ls_data_folder_remove(const char *folder, ls_data_folder_owns owns)
{
    ls_status status = remove_files(folder, owns);
    if (status == LS_OK && rmdir(folder) != 0 && errno != ENOENT)
        return system_failed(folder, "remove it");
    return status;
}

/* Folder that `path` lies in, malloc'ed: "." for a bare name. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static ls_status make_parents(const char *path)
{
    char *part = strdup(path);
    ls_status status = part ? LS_OK : ls_fail(LS_EMEM, "%s: no memory for its path", path);
    for (char *slash = part ? strchr(part + 1, '/') : NULL; slash && status == LS_OK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status = system_failed(part, "make this folder");
        *slash = '/';
    }
    free(part);
    return status;
}

ls_status ls_data_folder_begin(const char *partial, ls_data_folder_owns owns, int *lock)
{
    *lock = -1;
    ls_status status = make_parents(partial);
    if (status != LS_OK)
        return status;
    if (mkdir(partial, 0777) != 0 && errno != EEXIST)
        return system_failed(partial, "make this folder");
    *lock = open(partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return system_failed(partial, "open this folder");
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        status = ls_fail(LS_EEXIST, "%s: another process is writing it; wait for it, or choose another name", partial);
    else
        status = remove_files(partial, owns); /* left by a run that was killed */
    if (status != LS_OK) {
        close(*lock);
        *lock = -1;
    }
    return status;
}

static ls_status sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ls_status status = fd < 0 || fsync(fd) != 0 ? system_failed(folder, "bring this folder to the disk") : LS_OK;
    if (fd >= 0)
        close(fd);
    return status;
}

ls_status ls_data_folder_may_commit(const char *folder, bool replace, ls_data_folder_owns owns)
{
    if (access(folder, F_OK) != 0)
        return LS_OK;
    return replace ? check_ours(folder, owns)
                   : ls_fail(LS_EEXIST, "%s: exists already; choose another name, or say --force to replace it", folder);
}

/* File systems that cannot exchange two names: between the renames there is no `folder`, and `aside` is the old one. */
static ls_status replace_in_two(const char *partial, const char *folder, ls_data_folder_owns owns)
{
    char *aside;
    if (asprintf(&aside, "%s.replaced", folder) < 0)
        return ls_fail(LS_EMEM, "%s: no memory for its path", folder);
    ls_status status = ls_data_folder_remove(aside, owns);
    if (status == LS_OK && rename(folder, aside) != 0)
        status = system_failed(folder, "set the old data set aside");
    if (status == LS_OK && rename(partial, folder) != 0)
        status = system_failed(partial, "give it its name");
    if (status == LS_OK)
        status = ls_data_folder_remove(aside, owns);
    free(aside);
    return status;
}

static ls_status exchange(const char *partial, const char *folder, ls_data_folder_owns owns)
{
    ls_status status = check_ours(folder, owns);
    if (status != LS_OK)
        return status;
    if (renameat2(AT_FDCWD, partial, AT_FDCWD, folder, RENAME_EXCHANGE) == 0)
        return LS_OK;
    return errno == EINVAL || errno == ENOSYS ? replace_in_two(partial, folder, owns) : system_failed(folder, "replace it");
}

ls_status ls_data_folder_commit(const char *partial, const char *folder, bool replace, ls_data_folder_owns owns)
{
    ls_status status = ls_data_folder_may_commit(folder, replace, owns);
    if (status != LS_OK || (status = ls_sums_write(partial)) != LS_OK || (status = sync_folder(partial)) != LS_OK)
        return status;
    bool there = access(folder, F_OK) == 0;
    if (there)
        status = exchange(partial, folder, owns);
    else if (rename(partial, folder) != 0) /* fails if a folder with files came up meanwhile */
        status = system_failed(partial, "give it its name");
    if (status != LS_OK)
        return status;
    char *parent = parent_of(folder);
    status = parent ? sync_folder(parent) : ls_fail(LS_EMEM, "%s: no memory for its path", folder);
    free(parent);
    return status == LS_OK && there ? ls_data_folder_remove(partial, owns) : status;
}
