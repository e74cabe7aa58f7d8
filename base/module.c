/* See module.h. */
#include "base/module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 4352 };

static ls_status find(const ls_module *module, char path[ROOM])
{
    const char *const folders[] = {"", module->folder};
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        slash[1] = '\0';
    for (int i = 0; i < 2; i++) {
        snprintf(path, ROOM, "%s%s%s", program, folders[i], module->name);
        if (access(path, F_OK) == 0)
            return LS_OK;
    }
    return ls_fail(LS_ENOTFOUND, "%s", module->absent);
}

ls_status ls_module_load(const ls_module *module, const char *symbol, void *function)
{
    char path[ROOM];
    const ls_status status = find(module, path);
    if (status != LS_OK)
        return status;
    void *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!loaded)
        return ls_fail(LS_EIO, "%s: cannot load %s (%s); %s", module->what, path, dlerror(), module->libraries);
    void *address = dlsym(loaded, symbol);
    memcpy(function, &address, sizeof address);
    return address ? LS_OK : ls_fail(LS_EIO, "%s: %s is of another lockstep", module->what, path);
}
