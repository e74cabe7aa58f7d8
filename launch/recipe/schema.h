/* Schema: which keys a recipe may hold, as the option tables say, and the structs they fill.
 *
 * Section "" is the top level; every other section is a map under its name. Each error names the place and the full key:
 *     recipes/x.yaml:7: optimizer.lrr: no such key; nearest: optimizer.lr
 *     command line: optimizer.lr=abc: expected a number in [0, 10], read "abc" */
#pragma once
#include "launch/recipe/convert.h"

enum { LS_SCHEMA_SECTIONS = 16 };

typedef struct {
    const char *file; /* for errors */
    const char *within; /* in front of each key in errors: "optimizer.groups[2]."; NULL: nothing */
    ls_arena *arena;  /* where text goes */
    int sections;
    struct {
        const char *name;
        const ls_option *options; /* ends with a NULL key */
        void *values;             /* the struct the offsets point into, zeroed */
    } section[LS_SCHEMA_SECTIONS];
} ls_schema;

void ls_schema_add(ls_schema *schema, const char *name, const ls_option *options, void *values);

/* Defaults first, then what the tree says. LS_ERECIPE: unknown key with the nearest one, wrong type, out of range,
 * required key missing. */
ls_status ls_schema_fill(const ls_schema *schema, const ls_yaml_node *root);
/* The table's default into an option's field, which is zeroed or holds a value of the option. */
ls_status ls_schema_default(const ls_schema *schema, int section, const ls_option *option, void *field);

typedef enum {
    LS_SCHEMA_ALL,
    LS_SCHEMA_FIXED,         /* keys that may not change when a run is resumed */
    LS_SCHEMA_FIXED_DEFAULTS /* of these the ones that hold their default */
} ls_schema_part;
/* The filled structs as YAML, in the tables' order, the same text for the same values; NULL text that is the default is
 * left out. In the arena; NULL: no memory. */
char *ls_schema_write(const ls_schema *schema, ls_schema_part part);

/* "x.yaml:7: optimizer.lr: " or "command line: optimizer.lr=abc: " in front of the current sentence. */
ls_status ls_schema_fail_at(const ls_schema *schema, const ls_yaml_node *node, const char *key);
