/* libyaml's documents to our nodes. See yaml.h. */
#include "launch/recipe/yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_NODES = 4096, MAX_DEPTH = 8, MAX_PATH_TEXT = 512 };

typedef struct {
    yaml_document_t document;
    ls_arena *arena;
    const char *place, *override;
    int nodes;
} builder;

static char *keep(ls_arena *arena, const char *text, size_t bytes)
{
    char *copy = ls_arena_take(arena, bytes + 1);
    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

static ls_yaml_node *new_node(ls_arena *arena, ls_yaml_kind kind, int line, const char *override)
{
    ls_yaml_node *node = ls_arena_take(arena, sizeof *node);
    if (node)
        *node = (ls_yaml_node){.kind = kind, .line = line, .override = override};
    return node;
}

__attribute__((format(printf, 3, 4))) static ls_status fail_here(const builder *b, int line, const char *format, ...)
{
    char what[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (b->override)
        return ls_fail(LS_ERECIPE, "%s: %s", b->place, what);
    return ls_fail(LS_ERECIPE, "%s:%d: %s", b->place, line, what);
}

static ls_status build(builder *b, int index, int depth, const char *path, ls_yaml_node **out);

static ls_status build_pair(builder *b, const yaml_node_pair_t *pair, int depth, const char *path, ls_yaml_node *map,
                            ls_yaml_node ***end)
{
    const yaml_node_t *key = yaml_document_get_node(&b->document, pair->key);
    int line = (int)key->start_mark.line + 1;
    if (key->type != YAML_SCALAR_NODE)
        return fail_here(b, line, "a key must be a word");
    const char *name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length || strchr(name, '.'))
        return fail_here(b, line, "%s%s%s: a key has no dot in it; write sections as `section: {key: value}`", path,
                         *path ? "." : "", name);
    char inner[MAX_PATH_TEXT];
    snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", name);
    const ls_yaml_node *before = ls_yaml_find(map, name);
    if (before)
        return fail_here(b, line, "%s: given twice, first on line %d", inner, before->line);
    ls_yaml_node *child;
    ls_status status = build(b, pair->value, depth + 1, inner, &child);
    if (status)
        return status;
    child->key = keep(b->arena, name, strlen(name));
    if (!child->key)
        return ls_arena_status(b->arena);
    child->line = line; /* the key's line is where a person looks, even when the value is a block below it */
    **end = child;
    *end = &child->next;
    return LS_OK;
}

static ls_status build(builder *b, int index, int depth, const char *path, ls_yaml_node **out)
{
    const yaml_node_t *from = yaml_document_get_node(&b->document, index);
    int line = (int)from->start_mark.line + 1;
    if (depth > MAX_DEPTH || ++b->nodes > MAX_NODES)
        return fail_here(b, line, "%s: too deep or too large (at most %d levels and %d values)", *path ? path : "document",
                         MAX_DEPTH, MAX_NODES);
    static const ls_yaml_kind kinds[] = {
        [YAML_SCALAR_NODE] = LS_YAML_SCALAR, [YAML_SEQUENCE_NODE] = LS_YAML_LIST, [YAML_MAPPING_NODE] = LS_YAML_MAP};
    ls_yaml_node *node = new_node(b->arena, kinds[from->type], line, b->override);
    if (!node)
        return ls_arena_status(b->arena);
    ls_yaml_node **end = &node->first;
    if (from->type == YAML_SCALAR_NODE) {
        const char *text = (const char *)from->data.scalar.value;
        if (strlen(text) != from->data.scalar.length)
            return fail_here(b, line, "%s: a zero byte in a value", path);
        node->text = keep(b->arena, text, from->data.scalar.length);
        node->quoted = from->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    } else if (from->type == YAML_SEQUENCE_NODE) {
        for (const yaml_node_item_t *item = from->data.sequence.items.start; item < from->data.sequence.items.top; item++) {
            ls_status status = build(b, *item, depth + 1, path, end);
            if (status)
                return status;
            end = &(*end)->next;
        }
    } else {
        for (const yaml_node_pair_t *pair = from->data.mapping.pairs.start; pair < from->data.mapping.pairs.top; pair++) {
            ls_status status = build_pair(b, pair, depth, path, node, &end);
            if (status)
                return status;
        }
    }
    *out = node;
    return ls_arena_status(b->arena);
}

/* The next document of the stream into b->document. */
static ls_status load(builder *b, yaml_parser_t *parser)
{
    if (yaml_parser_load(parser, &b->document))
        return LS_OK;
    if (parser->error == YAML_MEMORY_ERROR)
        return ls_fail(LS_EMEM, "%s: no memory to read it", b->place);
    return fail_here(b, (int)parser->problem_mark.line + 1, "not YAML: %s%s%s", parser->problem ? parser->problem : "?",
                     parser->context ? " " : "", parser->context ? parser->context : "");
}

static ls_status parse(ls_yaml_node **root, const char *text, size_t bytes, const char *place, const char *override,
                       ls_arena *arena)
{
    *root = NULL;
    builder b = {.arena = arena, .place = place, .override = override};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return ls_fail(LS_EMEM, "%s: no memory to read it", place);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    ls_status status = load(&b, &parser);
    if (status)
        goto parser_only;
    if (!yaml_document_get_root_node(&b.document)) {
        *root = new_node(arena, LS_YAML_SCALAR, 1, override);
        if (*root)
            (*root)->text = "";
        status = ls_arena_status(arena);
        goto done;
    }
    status = build(&b, 1, 0, "", root); /* libyaml numbers nodes from 1, the root first */
    if (status)
        goto done;
    yaml_document_delete(&b.document);
    status = load(&b, &parser);
    if (status)
        goto parser_only;
    const yaml_node_t *second = yaml_document_get_root_node(&b.document);
    if (second)
        status = fail_here(&b, (int)second->start_mark.line + 1, "a second document; one file is one recipe");
done:
    yaml_document_delete(&b.document);
parser_only:
    yaml_parser_delete(&parser);
    return status;
}

ls_status ls_yaml_parse(ls_yaml_node **root, const char *text, size_t bytes, const char *place, ls_arena *arena)
{
    return parse(root, text, bytes, place, NULL, arena);
}

ls_status ls_yaml_read(ls_yaml_node **root, const char *path, ls_arena *arena)
{
    *root = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return ls_fail(errno == ENOENT ? LS_ENOTFOUND : LS_EIO, "%s: %s", path, strerror(errno));
    ls_status status = LS_OK;
    char *text = malloc(MAX_BYTES + 1);
    if (!text) {
        status = ls_fail(LS_EMEM, "%s: no memory to read it", path);
        goto done;
    }
    errno = 0;
    size_t bytes = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file)) /* a folder opens but does not read */
        status = ls_fail(LS_EIO, "%s: %s", path, strerror(errno));
    else if (bytes > MAX_BYTES)
        status = ls_fail(LS_ERECIPE, "%s: larger than %d bytes: not a recipe", path, MAX_BYTES);
    else
        status = parse(root, text, bytes, path, NULL, arena);
    if (!status && ls_yaml_is_null(*root))
        (*root)->kind = LS_YAML_MAP;
done:
    free(text);
    fclose(file);
    return status;
}

/* The child `key` of `map`, made when missing, emptied into a map when it was something else. */
static ls_yaml_node *step_into(ls_yaml_node *map, const char *key, size_t bytes, ls_arena *arena, const char *override)
{
    ls_yaml_node **end = &map->first;
    for (; *end; end = &(*end)->next)
        if (strlen((*end)->key) == bytes && !memcmp((*end)->key, key, bytes))
            return *end;
    ls_yaml_node *child = new_node(arena, LS_YAML_MAP, 0, override);
    if (!child || !(child->key = keep(arena, key, bytes)))
        return NULL;
    return *end = child;
}

ls_status ls_yaml_override(ls_yaml_node *root, const char *override, ls_arena *arena)
{
    const char *equals = strchr(override, '=');
    if (!equals || equals == override || *override == '.' || equals[-1] == '.')
        return ls_fail(LS_ERECIPE, "command line: %s: not of the form key.path=value", override);
    char place[1024];
    snprintf(place, sizeof place, "command line: %s", override);
    ls_yaml_node *value;
    ls_status status = parse(&value, equals + 1, strlen(equals + 1), place, override, arena);
    if (status)
        return status;
    ls_yaml_node *node = root;
    for (const char *key = override; key < equals;) {
        size_t bytes = strcspn(key, ".=");
        if (node->kind != LS_YAML_MAP) /* seed.x=1: let the schema say that seed has no key x */
            *node = (ls_yaml_node){.kind = LS_YAML_MAP, .override = override, .key = node->key, .next = node->next};
        node = step_into(node, key, bytes, arena, override);
        if (!node)
            return ls_arena_status(arena);
        key += bytes + 1;
    }
    value->key = node->key;
    value->next = node->next;
    *node = *value;
    return LS_OK;
}

ls_yaml_node *ls_yaml_find(const ls_yaml_node *map, const char *key)
{
    if (map->kind != LS_YAML_MAP)
        return NULL;
    for (ls_yaml_node *child = map->first; child; child = child->next)
        if (!strcmp(child->key, key))
            return child;
    return NULL;
}

bool ls_yaml_is_null(const ls_yaml_node *node)
{
    return node->kind == LS_YAML_SCALAR && !node->quoted &&
           (!*node->text || !strcmp(node->text, "~") || !strcmp(node->text, "null"));
}

const char *ls_yaml_shown(const ls_yaml_node *node, char text[80])
{
    if (node->kind == LS_YAML_SCALAR)
        snprintf(text, 80, "\"%.60s%s\"", node->text, strlen(node->text) > 60 ? "..." : "");
    else
        snprintf(text, 80, "%s", node->kind == LS_YAML_LIST ? "a list" : "a section");
    return text;
}
