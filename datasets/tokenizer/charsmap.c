/* See charsmap.h. */
#include "datasets/tokenizer/charsmap.h"

#include "datasets/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 256 /* bytes of a replacement; NFKC's longest has 33 */ };

static uint32_t number(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

ls_status ls_charsmap_read(ls_charsmap *charsmap, const char *bytes, size_t size)
{
    if (!size)
        return LS_OK;
    const size_t trie = size < 4 ? 0 : number(bytes), left = size < 4 ? 0 : size - 4;
    if (trie < 4 || trie % 4 || trie >= left || bytes[size - 1])
        return ls_fail(LS_EFORMAT, "its precompiled_charsmap of %zu bytes is broken: a trie of %zu bytes", size, trie);
    for (size_t at = 4 + trie, begin = at; at < size; at++) {
        if (at - begin > LONGEST)
            return ls_fail(LS_EFORMAT, "its precompiled_charsmap has a replacement of more than %d bytes", LONGEST);
        begin = bytes[at] ? begin : at + 1;
    }
    charsmap->units = trie / 4;
    charsmap->replacement_bytes = left - trie;
    charsmap->unit = malloc(trie);
    charsmap->replacement = malloc(left - trie);
    if (!charsmap->unit || !charsmap->replacement)
        return ls_fail(LS_EMEM, "no memory for a precompiled_charsmap of %zu bytes", size);
    for (size_t i = 0; i < charsmap->units; i++)
        charsmap->unit[i] = number(bytes + 4 + 4 * i);
    memcpy(charsmap->replacement, bytes + 4 + trie, left - trie);
    return LS_OK;
}

void ls_charsmap_free(ls_charsmap *charsmap)
{
    free(charsmap->unit);
    free(charsmap->replacement);
    free(charsmap->normal);
    *charsmap = (ls_charsmap){0};
}

/* A unit: bits 0 to 7 label, 8 whether a key ends here, 10 to 30 offset to its children, in steps of 256 where bit 9 is set; a key's value is
 * what stands at the offset itself. */
static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit >> 6) & 8);
}

/* The longest key that stands at `at`, its bytes in *length and its replacement; NULL: none does. */
static const char *find(const ls_charsmap *map, const char *at, size_t bytes, size_t *length)
{
    const char *found = NULL;
    if (!map->units)
        return NULL;
    size_t place = offset_of(map->unit[0]);
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char byte = (unsigned char)at[i];
        place ^= byte;
        if (place >= map->units || (map->unit[place] & 0x800000ff) != byte)
            break;
        const uint32_t unit = map->unit[place];
        place ^= offset_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        const size_t value = place < map->units ? map->unit[place] & 0x7fffffff : map->replacement_bytes;
        if (value < map->replacement_bytes) {
            found = map->replacement + value;
            *length = i + 1;
        }
    }
    return found;
}

static ls_status make_room(ls_charsmap *map, size_t used)
{
    if (map->room >= used + LONGEST + 4)
        return LS_OK;
    const size_t room = 2 * (used + LONGEST + 4);
    char *more = realloc(map->normal, room);
    if (!more)
        return ls_fail(LS_EMEM, "no memory for a normalised text of %zu bytes", room);
    map->normal = more;
    map->room = room;
    return LS_OK;
}

/* What stands at `at` in a normalised text: *taken bytes of the one become *bytes of the other. */
static const char *next(const ls_charsmap *map, const char *at, size_t left, size_t *taken, size_t *bytes)
{
    const char *to = find(map, at, left, taken);
    if (to) {
        *bytes = strlen(to);
        return to;
    }
    *taken = *bytes = 1;
    if (ls_utf8_prefix(at, left < 4 ? left : 4)) {
        ls_utf8_decode(at, taken);
        *bytes = *taken;
        return at;
    }
    *bytes = 3;
    return "\xef\xbf\xbd";
}

/* Of a normalised text without its blanks at the end, U+2581 among them. */
static size_t length_without_blanks(const char *text, size_t bytes)
{
    for (;;) {
        if (bytes && text[bytes - 1] == ' ')
            bytes--;
        else if (bytes >= 3 && !memcmp(text + bytes - 3, "\xe2\x96\x81", 3))
            bytes -= 3;
        else
            return bytes;
    }
}

ls_status ls_charsmap_apply(ls_charsmap *map, const char *text, size_t bytes, const char **normal, size_t *normal_bytes)
{
    size_t used = 0;
    bool blank = map->squeeze; /* one more would go */
    ls_status status = make_room(map, 0);
    for (size_t at = 0, taken, length; at < bytes && !status; at += taken) {
        const char *to = next(map, text + at, bytes - at, &taken, &length);
        while (blank && length && *to == ' ')
            to++, length--;
        status = make_room(map, used);
        if (status || !length)
            continue;
        memcpy(map->normal + used, to, length);
        used += length;
        blank = map->squeeze && to[length - 1] == ' ';
    }
    *normal = map->normal;
    *normal_bytes = map->squeeze ? length_without_blanks(map->normal, used) : used;
    return status;
}
