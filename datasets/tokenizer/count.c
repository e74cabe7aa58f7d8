/* See count.h. */
#include "datasets/tokenizer/count.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const uint32_t EMPTY = UINT32_MAX;

void ls_word_counts_free(ls_word_counts *counts)
{
    free(counts->text);
    free(counts->word);
    free(counts->slot);
    memset(counts, 0, sizeof *counts);
}

static size_t slot_of(const ls_word_counts *counts, const char *at, size_t length)
{
    size_t mask = counts->slots - 1, slot = (size_t)XXH3_64bits(at, length) & mask;
    for (;; slot = (slot + 1) & mask) {
        if (counts->slot[slot] == EMPTY)
            return slot;
        const ls_counted_word *word = &counts->word[counts->slot[slot]];
        if (word->length == length && memcmp(counts->text + word->begin, at, length) == 0)
            return slot;
    }
}

static bool grow_slots(ls_word_counts *counts)
{
    if (counts->slots >= 2 * (counts->words + 1))
        return true;
    size_t slots = counts->slots ? 2 * counts->slots : 4096;
    uint32_t *slot = malloc(slots * sizeof *slot);
    if (!slot)
        return false;
    memset(slot, 0xff, slots * sizeof *slot);
    free(counts->slot);
    counts->slot = slot;
    counts->slots = slots;
    for (size_t i = 0; i < counts->words; i++)
        slot[slot_of(counts, counts->text + counts->word[i].begin, counts->word[i].length)] = (uint32_t)i;
    return true;
}

static bool grow_words(ls_word_counts *counts)
{
    if (counts->words < counts->word_room)
        return true;
    size_t room = counts->word_room ? 2 * counts->word_room : 4096;
    ls_counted_word *word = room < EMPTY ? realloc(counts->word, room * sizeof *word) : NULL;
    if (!word)
        return false;
    counts->word = word;
    counts->word_room = room;
    return true;
}

static bool grow_text(ls_word_counts *counts, size_t length)
{
    if (length <= counts->text_room - counts->text_used)
        return true;
    size_t room = 2 * counts->text_room + length + 65536;
    char *text = realloc(counts->text, room);
    if (!text)
        return false;
    counts->text = text;
    counts->text_room = room;
    return true;
}

ls_status ls_word_counts_add(ls_word_counts *counts, const char *at, size_t length)
{
    if (length > UINT32_MAX)
        return ls_fail(LS_EARG, "a word of %zu bytes without a place to cut it", length);
    if (!grow_slots(counts) || !grow_words(counts) || !grow_text(counts, length))
        return ls_fail(LS_EMEM, "no memory to count %zu distinct words", counts->words + 1);
    size_t slot = slot_of(counts, at, length);
    if (counts->slot[slot] == EMPTY) {
        memcpy(counts->text + counts->text_used, at, length);
        counts->slot[slot] = (uint32_t)counts->words;
        counts->word[counts->words++] = (ls_counted_word){counts->text_used, (uint32_t)length, 0};
        counts->text_used += length;
    }
    counts->word[counts->slot[slot]].count++;
    return LS_OK;
}
