/* Where shipped recipes are. See shipped.h. */
#include "launch/recipe/shipped.h"
#include "launch/recipe/convert.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const built_in[] = {LS_RECIPES_INSTALLED, LS_RECIPES_SOURCE};

/* Folder `index` of the search, false after the last. */
static bool search_folder(int index, char folder[PATH_MAX])
{
    const char *list = getenv("LOCKSTEP_RECIPES");
    for (; list && *list; index--) {
        size_t bytes = strcspn(list, ":");
        if (index == 0) {
            snprintf(folder, PATH_MAX, "%.*s", (int)bytes, list);
            return true;
        }
        list += bytes + (list[bytes] == ':');
    }
    if (index >= (int)(sizeof built_in / sizeof *built_in))
        return false;
    snprintf(folder, PATH_MAX, "%s", built_in[index]);
    return true;
}

typedef struct {
    char name[NAME_MAX + 1], path[PATH_MAX];
} shipped;

typedef struct {
    shipped *row;
    size_t count;
} shipped_list;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const shipped *)a)->name, ((const shipped *)b)->name);
}

static bool listed(const shipped_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->row[i].name, name))
            return true;
    return false;
}

static ls_status add_folder(shipped_list *list, const char *folder)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return LS_OK; /* not installed, or not built here: the next folder may have them */
    ls_status status = LS_OK;
    for (struct dirent *entry; !status && (entry = readdir(directory));) {
        char name[NAME_MAX + 1];
        size_t bytes = strlen(entry->d_name);
        if (bytes <= 5 || strcmp(entry->d_name + bytes - 5, ".yaml"))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(bytes - 5), entry->d_name);
        if (listed(list, name))
            continue;
        shipped *grown = realloc(list->row, (list->count + 1) * sizeof *grown);
        if (!grown) {
            status = ls_fail(LS_EMEM, "%s: no memory to list the recipes", folder);
            break;
        }
        list->row = grown;
        snprintf(grown[list->count].name, sizeof name, "%s", name);
        if (snprintf(grown[list->count].path, PATH_MAX, "%s/%s", folder, entry->d_name) < PATH_MAX)
            list->count++;
    }
    closedir(directory);
    return status;
}

static ls_status list_all(shipped_list *list)
{
    *list = (shipped_list){0};
    char folder[PATH_MAX];
    ls_status status = LS_OK;
    for (int i = 0; !status && search_folder(i, folder); i++)
        status = add_folder(list, folder);
    if (list->count)
        qsort(list->row, list->count, sizeof *list->row, by_name);
    return status;
}

ls_status ls_recipes_each(void (*each)(void *context, const char *name, const char *path), void *context)
{
    shipped_list list;
    ls_status status = list_all(&list);
    for (size_t i = 0; i < list.count && !status; i++)
        each(context, list.row[i].name, list.row[i].path);
    free(list.row);
    return status;
}

ls_status ls_recipe_find(const char *name, char path[PATH_MAX])
{
    if (access(name, F_OK) == 0 || strchr(name, '/')) { /* a path that is not there is told by who opens it */
        snprintf(path, PATH_MAX, "%s", name);
        return LS_OK;
    }
    shipped_list list;
    ls_status status = list_all(&list);
    char nearest[PATH_MAX] = "";
    int best = 1 << 20;
    bool found = false;
    for (size_t i = 0; i < list.count && !status && !found; i++) {
        found = !strcmp(name, list.row[i].name);
        int distance = ls_edit_distance(name, list.row[i].name);
        if (distance < best) {
            best = distance;
            snprintf(nearest, sizeof nearest, "; nearest shipped recipe: %s", list.row[i].name);
        }
        if (found)
            snprintf(path, PATH_MAX, "%s", list.row[i].path);
    }
    free(list.row);
    if (status || found)
        return status;
    return ls_fail(LS_ENOTFOUND, "%s: no such file and no such shipped recipe%s; `lockstep recipes` lists them", name, nearest);
}
