/* Values by kind. See convert.h. */
#include "launch/recipe/convert.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *keep(ls_arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = ls_arena_take(arena, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

static ls_status wrong(const ls_option *option, const ls_yaml_node *node)
{
    char want[512], read[80];
    if (ls_yaml_is_null(node))
        return ls_fail(LS_ERECIPE, option->flags & LS_OPTION_REQUIRED ? "has no value, and there is no default"
                                                                      : "has no value; leave the key out for its default");
    ls_option_describe(option, want, sizeof want);
    return ls_fail(LS_ERECIPE, "expected %s, read %s", want, ls_yaml_shown(node, read));
}

/* 1000^n, 1024^n; 0: not a suffix. */
static double suffix_factor(const char *suffix)
{
    static const struct {
        const char *text;
        double factor;
    } rows[] = {{"", 1},          {"k", 1e3},         {"M", 1e6},           {"G", 1e9},             {"T", 1e12},
                {"Ki", 0x1p10},   {"Mi", 0x1p20},     {"Gi", 0x1p30},       {"Ti", 0x1p40}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(suffix, rows[i].text))
            return rows[i].factor;
    return 0;
}

static bool number(const ls_yaml_node *node, double *value)
{
    if (node->kind != LS_YAML_SCALAR || node->quoted || !*node->text)
        return false;
    const char *text = node->text;
    size_t plain = strspn(text, "+-.0123456789eE");
    char *end;
    double mantissa = strtod(text, &end);
    if (end == text || end > text + plain || !isdigit((unsigned char)text[strcspn(text, "0123456789")]))
        return false; /* strtod would also take inf, nan and 0x10 */
    double factor = suffix_factor(end);
    *value = mantissa * factor;
    return factor != 0 && isfinite(*value);
}

static bool integer(const ls_yaml_node *node, int64_t *value)
{
    double as_double;
    if (!number(node, &as_double))
        return false;
    char *end;
    errno = 0;
    long long exact = strtoll(node->text, &end, 10);
    if (!*end && errno == 0) { /* a seed may use every digit, and a double would round it */
        *value = exact;
        return true;
    }
    if (as_double != floor(as_double) || fabs(as_double) > 0x1p53)
        return false;
    *value = (int64_t)as_double;
    return true;
}

static bool in_range(const ls_option *option, double value)
{
    return (option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max);
}

static ls_status read_number(const ls_option *option, const ls_yaml_node *node, bool whole, void *field)
{
    double value;
    int64_t count = 0;
    if (whole ? !integer(node, &count) : !number(node, &value))
        return wrong(option, node);
    if (whole)
        value = (double)count;
    if (!in_range(option, value)) {
        char want[512];
        ls_option_describe(option, want, sizeof want);
        return ls_fail(LS_ERECIPE, "%s is out of range: expected %s", node->text, want);
    }
    if (whole)
        *(int64_t *)field = count;
    else
        *(double *)field = value;
    return LS_OK;
}

/* "10 min": a number, spaces or none, and a unit. */
static ls_status read_every(const ls_option *option, const ls_yaml_node *node, ls_option_every *every)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}};
    *every = (ls_option_every){0};
    if (node->kind != LS_YAML_SCALAR || node->quoted || !isdigit((unsigned char)*node->text))
        return wrong(option, node);
    char amount[64];
    const size_t digits = strspn(node->text, "0123456789.");
    const char *unit = node->text + digits + strspn(node->text + digits, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        char *end;
        if (strcmp(unit, units[i].name))
            continue;
        every->seconds = units[i].seconds * strtod(node->text, &end);
        return end == node->text + digits && every->seconds > 0 && isfinite(every->seconds) ? LS_OK : wrong(option, node);
    }
    const bool steps = !strcmp(unit, "steps") || !strcmp(unit, "step");
    snprintf(amount, sizeof amount, "%.*s", (int)(digits < sizeof amount ? digits : 0), node->text);
    const ls_yaml_node count = {.kind = LS_YAML_SCALAR, .text = steps ? amount : node->text};
    if (!integer(&count, &every->steps) || every->steps < 0 || (double)every->steps > option->max)
        return wrong(option, node);
    return LS_OK;
}

static ls_status read_bool(const ls_option *option, const ls_yaml_node *node, bool *field)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    if (node->kind == LS_YAML_SCALAR && !node->quoted)
        for (int i = 0; i < 6; i++)
            if (!strcmp(node->text, words[i])) {
                *field = i & 1;
                return LS_OK;
            }
    return wrong(option, node);
}

static ls_status read_text(const ls_option *option, const ls_yaml_node *node, const char **field, ls_arena *arena)
{
    if (ls_yaml_is_null(node) && !(option->flags & LS_OPTION_REQUIRED)) {
        *field = NULL;
        return LS_OK;
    }
    if (node->kind != LS_YAML_SCALAR || ls_yaml_is_null(node))
        return wrong(option, node);
    *field = keep(arena, node->text);
    return ls_arena_status(arena);
}

/* The choice `index` of "a|b|c"; NULL past the end. */
static const char *choice(const char *words, int index, size_t *bytes)
{
    for (; index > 0; index--) {
        words += strcspn(words, "|");
        if (!*words++)
            return NULL;
    }
    *bytes = strcspn(words, "|");
    return words;
}

static ls_status read_choice(const ls_option *option, const ls_yaml_node *node, int *field)
{
    if (node->kind != LS_YAML_SCALAR || ls_yaml_is_null(node))
        return wrong(option, node);
    size_t bytes;
    const char *word;
    for (int i = 0; (word = choice(option->choices, i, &bytes)); i++)
        if (strlen(node->text) == bytes && !memcmp(word, node->text, bytes)) {
            *field = i;
            return LS_OK;
        }
    char want[512], nearest[64];
    ls_option_describe(option, want, sizeof want);
    ls_nearest_choice(option->choices, node->text, nearest, sizeof nearest);
    return ls_fail(LS_ERECIPE, "expected %s, read \"%.60s\"; nearest: %s", want, node->text, nearest);
}

static ls_status read_list(const ls_option *option, const ls_yaml_node *node, bool whole, int room, int *count, void *values,
                           const ls_yaml_node **at)
{
    if (node->kind != LS_YAML_LIST)
        return wrong(option, node);
    *count = 0;
    for (const ls_yaml_node *item = node->first; item; item = item->next, ++*count) {
        *at = item;
        if (*count == room)
            return ls_fail(LS_ERECIPE, "too many values: at most %d", room);
        ls_status status = read_number(option, item, whole, (char *)values + 8 * *count);
        if (status)
            return status;
    }
    *at = node;
    return LS_OK;
}

static ls_status read_source(const ls_option *option, const ls_yaml_node *item, ls_option_sources *sources, ls_arena *arena,
                             const ls_yaml_node **at)
{
    *at = item;
    if (sources->count == LS_MAX_SOURCES)
        return ls_fail(LS_ERECIPE, "too many data sets: at most %d", LS_MAX_SOURCES);
    const ls_yaml_node *path = item, *weight = NULL;
    if (item->kind == LS_YAML_MAP) {
        path = ls_yaml_find(item, "path");
        weight = ls_yaml_find(item, "weight");
        for (const ls_yaml_node *child = item->first; child; child = child->next)
            if (child != path && child != weight) {
                *at = child;
                return ls_fail(LS_ERECIPE, "a data set has no key \"%s\": only path and weight", child->key);
            }
        if (!path)
            return ls_fail(LS_ERECIPE, "a data set without its path: write {path: FOLDER, weight: 1}");
    }
    if (path->kind != LS_YAML_SCALAR || !*path->text || ls_yaml_is_null(path))
        return wrong(option, path);
    double *share = &sources->source[sources->count].weight;
    *share = 1;
    if (weight && (!number(weight, share) || *share <= 0)) {
        char read[80];
        *at = weight;
        return ls_fail(LS_ERECIPE, "weight: expected a number above 0, read %s", ls_yaml_shown(weight, read));
    }
    sources->source[sources->count++].path = keep(arena, path->text);
    return ls_arena_status(arena);
}

static ls_status read_sources(const ls_option *option, const ls_yaml_node *node, ls_option_sources *sources, ls_arena *arena,
                              const ls_yaml_node **at)
{
    sources->count = 0;
    if (ls_yaml_is_null(node) && !(option->flags & LS_OPTION_REQUIRED))
        return LS_OK;
    if (node->kind != LS_YAML_LIST)
        return read_source(option, node, sources, arena, at);
    if (!node->first)
        return ls_fail(LS_ERECIPE, "an empty list of data sets");
    for (const ls_yaml_node *item = node->first; item; item = item->next) {
        ls_status status = read_source(option, item, sources, arena, at);
        if (status)
            return status;
    }
    *at = node;
    return LS_OK;
}

ls_status ls_option_read(const ls_option *option, const ls_yaml_node *node, void *field, ls_arena *arena, const ls_yaml_node **at)
{
    *at = node;
    switch (option->kind) {
    case LS_OPTION_BOOL: return read_bool(option, node, field);
    case LS_OPTION_INT: return read_number(option, node, true, field);
    case LS_OPTION_FLOAT: return read_number(option, node, false, field);
    case LS_OPTION_STRING:
    case LS_OPTION_PATH: return read_text(option, node, field, arena);
    case LS_OPTION_CHOICE: return read_choice(option, node, field);
    case LS_OPTION_FLOATS: {
        ls_option_floats *list = field;
        return read_list(option, node, false, 8, &list->count, list->value, at);
    }
    case LS_OPTION_INTS: {
        ls_option_ints *list = field;
        return read_list(option, node, true, 16, &list->count, list->value, at);
    }
    case LS_OPTION_SOURCES: return read_sources(option, node, field, arena, at);
    case LS_OPTION_EVERY: return read_every(option, node, field);
    case LS_OPTION_LIST: break; /* schema.c: its elements have keys of their own */
    }
    return ls_fail(LS_EARG, "option %s: kind %d is not known", option->key, (int)option->kind);
}

/* The shortest of %.15g, %.16g and %.17g that reads back to the same double. */
static void print_double(double value, FILE *out)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

static bool plain_is_safe(const char *text)
{
    static const char *const taken[] = {"null", "~", "true", "false", "yes", "no", "on", "off"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!strcmp(text, taken[i]))
            return false;
    if (!isalpha((unsigned char)*text) && *text != '/' && *text != '_' && *text != '.')
        return false; /* a digit first would look like a number to other readers */
    return !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+")];
}

/* One character inside double quotes; YAML takes some of Unicode for line breaks or refuses them raw. Returns how many
 * bytes beyond the first were used. */
static int print_escaped(const unsigned char *c, FILE *out)
{
    if (*c == '"' || *c == '\\')
        fprintf(out, "\\%c", *c);
    else if (*c < 0x20 || *c == 0x7f)
        fprintf(out, "\\x%02x", *c);
    else if (c[0] == 0xc2 && c[1] < 0xa0) /* U+0080..9F, NEL among them */
        return fprintf(out, "\\x%02x", c[1]), 1;
    else if (c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) /* line and paragraph separators */
        return fprintf(out, "\\u20%02x", c[2] - 0x80), 2;
    else if (c[0] == 0xef && c[1] == 0xbb && c[2] == 0xbf) /* byte order mark */
        return fputs("\\ufeff", out), 2;
    else if (c[0] == 0xef && c[1] == 0xbf && c[2] >= 0xbe) /* not characters */
        return fprintf(out, "\\uff%02x", c[2] + 0x40), 2;
    else
        fputc(*c, out);
    return 0;
}

static void print_text(const char *text, FILE *out)
{
    if (!text) {
        fputs("null", out);
    } else if (plain_is_safe(text)) {
        fputs(text, out);
    } else {
        fputc('"', out);
        for (const unsigned char *c = (const unsigned char *)text; *c; c++)
            c += print_escaped(c, out);
        fputc('"', out);
    }
}

static void print_sources(const ls_option_sources *sources, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < sources->count; i++) {
        fputs(i ? ", {path: " : "{path: ", out);
        print_text(sources->source[i].path, out);
        fputs(", weight: ", out);
        print_double(sources->source[i].weight, out);
        fputc('}', out);
    }
    fputc(']', out);
}

static void print_choice(const ls_option *option, int index, FILE *out)
{
    size_t bytes = 0;
    const char *word = choice(option->choices, index, &bytes);
    fprintf(out, "%.*s", (int)bytes, word ? word : "");
}

/* Every key of every element; text that is unset has no word. */
static void print_items(const ls_option_section *item, const ls_option_list *list, FILE *out)
{
    fputc('[', out);
    for (int i = 0; i < list->count; i++) {
        const char *values = (const char *)list->item + (size_t)i * item->size, *between = "";
        fputs(i ? ", {" : "{", out);
        for (const ls_option *option = item->options; option->key; option++) {
            const void *field = values + option->offset;
            if ((option->kind == LS_OPTION_STRING || option->kind == LS_OPTION_PATH) && !*(const char *const *)field)
                continue;
            fprintf(out, "%s%s: ", between, option->key);
            ls_option_print(option, field, out);
            between = ", ";
        }
        fputc('}', out);
    }
    fputc(']', out);
}

void ls_option_print(const ls_option *option, const void *field, FILE *out)
{
    switch (option->kind) {
    case LS_OPTION_BOOL: fputs(*(const bool *)field ? "true" : "false", out); break;
    case LS_OPTION_INT: fprintf(out, "%lld", (long long)*(const int64_t *)field); break;
    case LS_OPTION_FLOAT: print_double(*(const double *)field, out); break;
    case LS_OPTION_STRING:
    case LS_OPTION_PATH: print_text(*(const char *const *)field, out); break;
    case LS_OPTION_CHOICE: print_choice(option, *(const int *)field, out); break;
    case LS_OPTION_FLOATS: {
        const ls_option_floats *list = field;
        for (int i = 0; i < list->count; i++) {
            fputs(i ? ", " : "[", out);
            print_double(list->value[i], out);
        }
        fputs(list->count ? "]" : "[]", out);
        break;
    }
    case LS_OPTION_INTS: {
        const ls_option_ints *list = field;
        for (int i = 0; i < list->count; i++)
            fprintf(out, "%s%lld", i ? ", " : "[", (long long)list->value[i]);
        fputs(list->count ? "]" : "[]", out);
        break;
    }
    case LS_OPTION_SOURCES: print_sources(field, out); break;
    case LS_OPTION_EVERY: {
        const ls_option_every *every = field;
        if (every->seconds > 0) {
            print_double(every->seconds, out);
            fputs(" s", out);
        } else {
            fprintf(out, "%lld", (long long)every->steps);
        }
        break;
    }
    case LS_OPTION_LIST: print_items(option->choices, field, out); break;
    }
}

static void describe_range(const ls_option *option, const char *what, char *text, size_t bytes)
{
    if (option->min == 0 && option->max == 0)
        snprintf(text, bytes, "%s", what);
    else if (option->max >= 1e9)
        snprintf(text, bytes, "%s of at least %.15g", what, option->min);
    else
        snprintf(text, bytes, "%s in [%.15g, %.15g]", what, option->min, option->max);
}

void ls_option_describe(const ls_option *option, char *text, size_t bytes)
{
    switch (option->kind) {
    case LS_OPTION_BOOL: snprintf(text, bytes, "true or false"); break;
    case LS_OPTION_INT: describe_range(option, "a whole number", text, bytes); break;
    case LS_OPTION_FLOAT: describe_range(option, "a number", text, bytes); break;
    case LS_OPTION_STRING: snprintf(text, bytes, "text"); break;
    case LS_OPTION_PATH: snprintf(text, bytes, "a path"); break;
    case LS_OPTION_FLOATS: describe_range(option, "a list of numbers", text, bytes); break;
    case LS_OPTION_INTS: describe_range(option, "a list of whole numbers", text, bytes); break;
    case LS_OPTION_SOURCES: snprintf(text, bytes, "a data set's folder, or a list of them"); break;
    case LS_OPTION_EVERY: snprintf(text, bytes, "steps (100, 100 steps) or time (30 s, 10 min, 2 h)"); break;
    case LS_OPTION_LIST: {
        const ls_option_section *item = option->choices;
        size_t used = (size_t)snprintf(text, bytes, "a list of at most %.0f {", option->max);
        for (const ls_option *key = item->options; key->key && used < bytes; key++)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", key == item->options ? "" : ", ", key->key);
        if (used < bytes)
            snprintf(text + used, bytes - used, "}");
        break;
    }
    case LS_OPTION_CHOICE: {
        size_t used = (size_t)snprintf(text, bytes, "one of "), word_bytes;
        const char *word;
        for (int i = 0; (word = choice(option->choices, i, &word_bytes)) && used < bytes; i++)
            used += (size_t)snprintf(text + used, bytes - used, "%s%.*s", i ? ", " : "", (int)word_bytes, word);
        break;
    }
    }
}

int ls_edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    int m = (int)strnlen(a, LONGEST), n = (int)strnlen(b, LONGEST);
    unsigned char rows[3][LONGEST + 1]; /* distances of prefixes: two rows back, one row back, this row */
    unsigned char *before = rows[0], *above = rows[1], *row = rows[2];
    for (int j = 0; j <= n; j++)
        above[j] = (unsigned char)j;
    for (int i = 1; i <= m; i++) {
        row[0] = (unsigned char)i;
        for (int j = 1; j <= n; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = (unsigned char)best;
        }
        unsigned char *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[n];
}

void ls_nearest_choice(const char *words, const char *word, char *text, size_t bytes)
{
    int nearest = 1 << 20;
    const char *at;
    size_t size;
    for (int i = 0; (at = choice(words, i, &size)); i++) {
        char candidate[64];
        snprintf(candidate, sizeof candidate, "%.*s", (int)size, at);
        int distance = ls_edit_distance(word, candidate);
        if (distance < nearest) {
            nearest = distance;
            snprintf(text, bytes, "%s", candidate);
        }
    }
}
