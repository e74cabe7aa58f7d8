/* The recipe's tree against the option tables. See schema.h. */
#include "launch/recipe/schema.h"

#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 256 };

void ls_schema_add(ls_schema *schema, const char *name, const ls_option *options, void *values)
{
    int i = schema->sections++;
    schema->section[i].name = name;
    schema->section[i].options = options;
    schema->section[i].values = values;
}

static void join(char *key, const char *section, const char *option)
{
    snprintf(key, KEY_SIZE, "%s%s%s", section, *section ? "." : "", option);
}

ls_status ls_schema_fail_at(const ls_schema *schema, const ls_yaml_node *node, const char *key)
{
    char whole[2 * KEY_SIZE];
    if (schema->within) {
        snprintf(whole, sizeof whole, "%s%s", schema->within, key);
        key = whole;
    }
    if (!node->override)
        return ls_fail_at(LS_ERECIPE, "%s:%d: %s", schema->file, node->line, key);
    size_t path = strcspn(node->override, "=");
    if (strlen(key) == path && !memcmp(key, node->override, path)) /* it names the key already */
        return ls_fail_at(LS_ERECIPE, "command line: %s", node->override);
    return ls_fail_at(LS_ERECIPE, "command line: %s: %s", node->override, key);
}

/* A forgotten section ("lr" for optimizer.lr) is as near as one wrong letter; otherwise letters count. */
static int key_distance(const char *read, const char *valid)
{
    const char *read_dot = strrchr(read, '.'), *valid_dot = strrchr(valid, '.');
    int whole = ls_edit_distance(read, valid);
    int last = 1 + ls_edit_distance(read_dot ? read_dot + 1 : read, valid_dot ? valid_dot + 1 : valid);
    return last < whole ? last : whole;
}

static ls_status unknown_key(const ls_schema *schema, const ls_yaml_node *node, const char *key)
{
    char nearest[KEY_SIZE] = "";
    int best = 1 << 20;
    for (int s = 0; s < schema->sections; s++) {
        char valid[KEY_SIZE];
        snprintf(valid, sizeof valid, "%s", schema->section[s].name);
        if (*valid && key_distance(key, valid) < best) {
            best = key_distance(key, valid);
            memcpy(nearest, valid, sizeof nearest);
        }
        for (const ls_option *option = schema->section[s].options; option && option->key; option++) {
            join(valid, schema->section[s].name, option->key);
            if (key_distance(key, valid) < best) {
                best = key_distance(key, valid);
                memcpy(nearest, valid, sizeof nearest);
            }
        }
    }
    ls_fail(LS_ERECIPE, "no such key; nearest: %s", nearest);
    return ls_schema_fail_at(schema, node, key);
}

/* One element of a list is a schema of one section, filled as a whole recipe is. */
static ls_status fill_item(const ls_schema *schema, const ls_option *option, const char *key, const ls_yaml_node *node, int number,
                           void *values)
{
    const ls_option_section *item = option->choices;
    char name[KEY_SIZE + 32], within[KEY_SIZE + 33];
    snprintf(name, sizeof name, "%s[%d]", key, number + 1);
    snprintf(within, sizeof within, "%s.", name);
    ls_schema alone = {.file = schema->file, .within = within, .arena = schema->arena};
    ls_schema_add(&alone, "", item->options, values);
    if (node->kind == LS_YAML_MAP)
        return ls_schema_fill(&alone, node);
    char read[80];
    ls_fail(LS_ERECIPE, "expected {key: value, ...}, read %s", ls_yaml_shown(node, read));
    return ls_schema_fail_at(schema, node, name);
}

static ls_status fill_list(const ls_schema *schema, const ls_option *option, const char *key, const ls_yaml_node *node,
                           ls_option_list *list)
{
    const ls_option_section *item = option->choices;
    *list = (ls_option_list){0};
    if (ls_yaml_is_null(node))
        return LS_OK;
    char want[512], read[80];
    ls_option_describe(option, want, sizeof want);
    if (node->kind != LS_YAML_LIST) {
        ls_fail(LS_ERECIPE, "expected %s, read %s", want, ls_yaml_shown(node, read));
        return ls_schema_fail_at(schema, node, key);
    }
    int count = 0;
    for (const ls_yaml_node *child = node->first; child; child = child->next)
        count++;
    if (count > (int)option->max) {
        ls_fail(LS_ERECIPE, "%d elements: expected %s", count, want);
        return ls_schema_fail_at(schema, node, key);
    }
    list->item = ls_arena_take(schema->arena, (size_t)count * item->size + 1);
    if (!list->item)
        return ls_arena_status(schema->arena);
    memset(list->item, 0, (size_t)count * item->size);
    for (const ls_yaml_node *child = node->first; child; child = child->next, list->count++) {
        void *values = (char *)list->item + (size_t)list->count * item->size;
        const ls_status status = fill_item(schema, option, key, child, list->count, values);
        if (status)
            return status;
    }
    return LS_OK;
}

static ls_status fill_option(const ls_schema *schema, int s, const ls_option *option, const ls_yaml_node *node)
{
    const ls_yaml_node *at = node;
    void *field = (char *)schema->section[s].values + option->offset;
    char key[KEY_SIZE];
    join(key, schema->section[s].name, option->key);
    if (option->kind == LS_OPTION_LIST)
        return fill_list(schema, option, key, node, field);
    ls_status status = ls_option_read(option, node, field, schema->arena, &at);
    return status == LS_ERECIPE ? ls_schema_fail_at(schema, at, key) : status;
}

ls_status ls_schema_default(const ls_schema *schema, int s, const ls_option *option, void *field)
{
    if (!option->fallback)
        return LS_OK;
    char place[KEY_SIZE];
    join(place, schema->section[s].name, option->key);
    ls_yaml_node *node;
    ls_status status = ls_yaml_parse(&node, option->fallback, strlen(option->fallback), place, schema->arena);
    const ls_yaml_node *at = node;
    if (!status)
        status = ls_option_read(option, node, field, schema->arena, &at);
    return ls_fail_at(status, "default of %s in its option table", place);
}

static const ls_option *find_option(const ls_schema *schema, int s, const char *key)
{
    for (const ls_option *option = schema->section[s].options; option && option->key; option++)
        if (!strcmp(option->key, key))
            return option;
    return NULL;
}

static int find_section(const ls_schema *schema, const char *name)
{
    for (int s = 0; s < schema->sections; s++)
        if (*schema->section[s].name && !strcmp(schema->section[s].name, name))
            return s;
    return -1;
}

static int top_level(const ls_schema *schema)
{
    for (int s = 0; s < schema->sections; s++)
        if (!*schema->section[s].name)
            return s;
    return -1;
}

static ls_status fill_section(const ls_schema *schema, int s, const ls_yaml_node *map)
{
    if (map->kind != LS_YAML_MAP) {
        if (ls_yaml_is_null(map)) /* `optimizer:` with every line under it commented out */
            return LS_OK;
        char read[80];
        ls_fail(LS_ERECIPE, "expected a section (`%s: {key: value, ...}`), read %s", map->key, ls_yaml_shown(map, read));
        return ls_schema_fail_at(schema, map, map->key);
    }
    for (const ls_yaml_node *child = map->first; child; child = child->next) {
        const ls_option *option = find_option(schema, s, child->key);
        char key[KEY_SIZE];
        join(key, map->key, child->key);
        ls_status status = option ? fill_option(schema, s, option, child) : unknown_key(schema, child, key);
        if (status)
            return status;
    }
    return LS_OK;
}

static ls_status check_required(const ls_schema *schema, const ls_yaml_node *root)
{
    for (int s = 0; s < schema->sections; s++) {
        const ls_yaml_node *map = *schema->section[s].name ? ls_yaml_find(root, schema->section[s].name) : root;
        for (const ls_option *option = schema->section[s].options; option && option->key; option++) {
            if (!(option->flags & LS_OPTION_REQUIRED) || (map && ls_yaml_find(map, option->key)))
                continue;
            char key[KEY_SIZE], want[512];
            join(key, schema->section[s].name, option->key);
            ls_option_describe(option, want, sizeof want);
            return ls_fail(LS_ERECIPE, "%s: %s%s: required key is missing: %s (%s)", schema->file, schema->within ? schema->within : "", key,
                           option->sentence, want);
        }
    }
    return LS_OK;
}

ls_status ls_schema_fill(const ls_schema *schema, const ls_yaml_node *root)
{
    if (root->kind != LS_YAML_MAP)
        return ls_fail(LS_ERECIPE, "%s:%d: expected `key: value` lines", schema->file, root->line);
    for (int s = 0; s < schema->sections; s++)
        for (const ls_option *option = schema->section[s].options; option && option->key; option++) {
            ls_status status = ls_schema_default(schema, s, option, (char *)schema->section[s].values + option->offset);
            if (status)
                return status;
        }
    int top = top_level(schema);
    for (const ls_yaml_node *child = root->first; child; child = child->next) {
        const ls_option *option = top < 0 ? NULL : find_option(schema, top, child->key);
        int s = find_section(schema, child->key);
        ls_status status = option   ? fill_option(schema, top, option, child)
                           : s >= 0 ? fill_section(schema, s, child)
                                    : unknown_key(schema, child, child->key);
        if (status)
            return status;
    }
    return check_required(schema, root);
}
