/* Training byte-level BPE (Sennrich et al. 2016, algorithm 1, over bytes).
 *
 * Texts are cut into words by the pattern and the words counted. Then, until the vocabulary is full: the pair of
 * neighbours that occurs most often in the counted words, of equal ones the pair of lowest ids, becomes a token. The
 * ids are those of Hugging Face's BpeTrainer: special tokens, the 256 bytes in the order of GPT-2's alphabet, then the
 * tokens as they are made. So is the rule for ties, and with it the vocabulary (tests/golden/make_tokenizer_golden.py).
 *
 * Counts are kept, not recounted: each pair knows the words it stands in, and making a token changes only the pairs of
 * those words. The next pair comes from a heap whose entries may be out of date; one that is, is corrected and sinks.
 * Counts are int64 sums, so no order of words, slots or lists can show in the result. */
#include "datasets/tokenizer/alphabet.h"
#include "datasets/tokenizer/count.h"
#include "datasets/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t pair; /* left id << 32 | right id */
    int64_t count;
    uint32_t *word; /* in which it stands or stood, ascending within one round, maybe twice */
    uint32_t words, room;
    int64_t round; /* in which it was last put on the list of grown pairs */
} pair_record;

typedef struct {
    int64_t count;
    uint64_t pair;
    uint32_t record;
} heap_entry;

typedef struct {
    ls_tokenizer *tokenizer;
    ls_word_counts counts;
    int32_t *symbol;  /* all words' ids one after another; word w starts at counts.word[w].begin */
    uint32_t *length; /* [words], symbols left in the word */
    pair_record *record;
    size_t records, record_room;
    uint32_t *slot; /* [slots], indices into `record` by pair; UINT32_MAX: empty */
    size_t slots;
    heap_entry *heap;
    size_t heap_used, heap_room;
    uint32_t *grown; /* records whose count has grown in this round */
    size_t grown_used, grown_room;
    int64_t round;
} training;

static ls_status no_memory(void)
{
    return ls_fail(LS_EMEM, "no memory to train a tokenizer; give it fewer texts");
}

/* `*array` with room for one more element. False: no memory, and the array is as it was. */
static bool room_for_one(void *array, size_t element, size_t used, size_t *room)
{
    if (used < *room)
        return true;
    size_t more = *room ? 2 * *room : 1024;
    void **at = array, *larger = realloc(*at, more * element);
    if (!larger)
        return false;
    *at = larger;
    *room = more;
    return true;
}

/* ---- the heap: the most frequent pair on top, of equal counts the lowest ---- */

static bool goes_before(const heap_entry *a, const heap_entry *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static ls_status heap_push(training *train, uint32_t record)
{
    heap_entry entry = {train->record[record].count, train->record[record].pair, record};
    if (!room_for_one(&train->heap, sizeof *train->heap, train->heap_used, &train->heap_room))
        return no_memory();
    size_t at = train->heap_used++;
    for (; at && goes_before(&entry, &train->heap[(at - 1) / 2]); at = (at - 1) / 2)
        train->heap[at] = train->heap[(at - 1) / 2];
    train->heap[at] = entry;
    return LS_OK;
}

/* Puts `entry` at the top and lets it sink. */
static void heap_sink(training *train, heap_entry entry)
{
    heap_entry *heap = train->heap;
    size_t at = 0, child;
    while ((child = 2 * at + 1) < train->heap_used) {
        child += child + 1 < train->heap_used && goes_before(&heap[child + 1], &heap[child]);
        if (!goes_before(&heap[child], &entry))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = entry;
}

/* The most frequent pair's record, taken off the heap; UINT32_MAX: no pair is left. */
static uint32_t heap_pop(training *train)
{
    while (train->heap_used) {
        heap_entry top = train->heap[0];
        int64_t count = train->record[top.record].count;
        if (top.count == count || count <= 0) {
            train->heap_used--;
            if (train->heap_used)
                heap_sink(train, train->heap[train->heap_used]);
            if (count > 0)
                return top.record;
        } else {
            top.count = count;
            heap_sink(train, top);
        }
    }
    return UINT32_MAX;
}

/* ---- pairs ---- */

static size_t slot_of(const training *train, uint64_t pair)
{
    uint64_t hash = pair * UINT64_C(0x9e3779b97f4a7c15);
    size_t mask = train->slots - 1, at = (size_t)(hash ^ hash >> 32) & mask;
    while (train->slot[at] != UINT32_MAX && train->record[train->slot[at]].pair != pair)
        at = (at + 1) & mask;
    return at;
}

static bool grow_slots(training *train)
{
    if (train->slots >= 2 * (train->records + 1))
        return true;
    size_t slots = train->slots ? 2 * train->slots : 4096;
    uint32_t *slot = malloc(slots * sizeof *slot);
    if (!slot)
        return false;
    memset(slot, 0xff, slots * sizeof *slot);
    free(train->slot);
    train->slot = slot;
    train->slots = slots;
    for (size_t i = 0; i < train->records; i++)
        slot[slot_of(train, train->record[i].pair)] = (uint32_t)i;
    return true;
}

/* The pair's record, made when it is new; UINT32_MAX: no memory. */
static uint32_t record_of(training *train, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (!grow_slots(train) || !room_for_one(&train->record, sizeof *train->record, train->records, &train->record_room))
        return UINT32_MAX;
    size_t slot = slot_of(train, pair);
    if (train->slot[slot] == UINT32_MAX) {
        train->slot[slot] = (uint32_t)train->records;
        train->record[train->records++] = (pair_record){.pair = pair, .round = -1};
    }
    return train->slot[slot];
}

/* One more occurrence of the pair in a word. */
static ls_status pair_appears(training *train, int32_t left, int32_t right, uint32_t word)
{
    uint32_t index = record_of(train, left, right);
    if (index == UINT32_MAX)
        return no_memory();
    pair_record *record = &train->record[index];
    record->count += train->counts.word[word].count;
    if (!record->words || record->word[record->words - 1] != word) {
        if (record->words == record->room) {
            uint32_t room = record->room ? 2 * record->room : 4;
            uint32_t *list = realloc(record->word, room * sizeof *list);
            if (!list)
                return no_memory();
            record->word = list;
            record->room = room;
        }
        record->word[record->words++] = word;
    }
    if (record->round == train->round)
        return LS_OK;
    record->round = train->round;
    if (!room_for_one(&train->grown, sizeof *train->grown, train->grown_used, &train->grown_room))
        return no_memory();
    train->grown[train->grown_used++] = index;
    return LS_OK;
}

static ls_status pair_disappears(training *train, int32_t left, int32_t right, uint32_t word)
{
    uint32_t index = record_of(train, left, right);
    if (index == UINT32_MAX)
        return no_memory();
    train->record[index].count -= train->counts.word[word].count;
    return LS_OK;
}

/* Pairs that have grown in this round go on the heap once, with their new count. */
static ls_status queue_grown(training *train)
{
    ls_status status = LS_OK;
    for (size_t i = 0; i < train->grown_used && !status; i++)
        if (train->record[train->grown[i]].count > 0)
            status = heap_push(train, train->grown[i]);
    train->grown_used = 0;
    train->round++;
    return status;
}

/* ---- the two phases ---- */

static ls_status begin(training *train)
{
    ls_word_counts *counts = &train->counts;
    train->symbol = malloc((counts->text_used + 1) * sizeof *train->symbol);
    train->length = malloc((counts->words + 1) * sizeof *train->length);
    if (!train->symbol || !train->length)
        return no_memory();
    for (size_t i = 0; i < counts->text_used; i++)
        train->symbol[i] = ls_vocabulary_find(&train->tokenizer->vocabulary, counts->text + i, 1);
    ls_status status = LS_OK;
    for (size_t word = 0; word < counts->words; word++) {
        const int32_t *symbol = train->symbol + counts->word[word].begin;
        train->length[word] = counts->word[word].length;
        for (uint32_t i = 0; i + 1 < train->length[word] && !status; i++)
            status = pair_appears(train, symbol[i], symbol[i + 1], (uint32_t)word);
    }
    return status ? status : queue_grown(train);
}

/* Joins left and right wherever they stand in the word, from left to right, and moves the counts along. */
static ls_status merge_in_word(training *train, uint32_t word, int32_t left, int32_t right, int32_t made)
{
    int32_t *symbol = train->symbol + train->counts.word[word].begin;
    uint32_t count = train->length[word], kept = 0, at = 0;
    while (at + 1 < count && !(symbol[at] == left && symbol[at + 1] == right))
        at++;
    if (at + 1 >= count)
        return LS_OK; /* the list is out of date */
    ls_status status = LS_OK;
    for (uint32_t i = 0; i + 1 < count && !status; i++)
        status = pair_disappears(train, symbol[i], symbol[i + 1], word);
    for (at = 0; at < count; kept++) {
        bool here = at + 1 < count && symbol[at] == left && symbol[at + 1] == right;
        symbol[kept] = here ? made : symbol[at];
        at += here ? 2 : 1;
    }
    train->length[word] = kept;
    for (uint32_t i = 0; i + 1 < kept && !status; i++)
        status = pair_appears(train, symbol[i], symbol[i + 1], word);
    return status;
}

/* The token of left and right joined: a new one, or one that another pair has made before. A pair can also come back,
 * when such an older token stands where it never stood: its merge and rank are there already. */
static ls_status make_token(ls_tokenizer *tokenizer, int32_t left, int32_t right)
{
    ls_vocabulary *vocabulary = &tokenizer->vocabulary;
    if (ls_merges_find(&tokenizer->merges, left, right))
        return LS_OK;
    size_t first, second;
    char joined[2 * LS_TOKEN_LENGTH];
    const char *bytes = ls_vocabulary_bytes(vocabulary, left, &first);
    memcpy(joined, bytes, first);
    bytes = ls_vocabulary_bytes(vocabulary, right, &second);
    memcpy(joined + first, bytes, second);
    ls_status status = LS_OK;
    if (ls_vocabulary_find(vocabulary, joined, first + second) < 0)
        status = ls_vocabulary_put(vocabulary, vocabulary->size, joined, first + second, LS_TOKEN_BYTES);
    return status ? status : ls_tokenizer_put_merge(tokenizer, left, right, (int64_t)tokenizer->merges.count);
}

static ls_status grow(training *train, int64_t wanted)
{
    ls_tokenizer *tokenizer = train->tokenizer;
    while (tokenizer->vocabulary.size < wanted) {
        uint32_t best = heap_pop(train);
        if (best == UINT32_MAX)
            return LS_OK; /* every word is one token: there is nothing more to learn from these texts */
        int32_t left = (int32_t)(train->record[best].pair >> 32),
                right = (int32_t)(train->record[best].pair & UINT32_MAX);
        ls_status status = make_token(tokenizer, left, right);
        if (status)
            return status;
        int32_t made = ls_merges_find(&tokenizer->merges, left, right)->id;
        uint32_t *word = train->record[best].word, words = train->record[best].words;
        train->record[best].word = NULL; /* after this round the pair stands nowhere */
        train->record[best].words = train->record[best].room = 0;
        for (uint32_t i = 0; i < words && !status; i++)
            status = merge_in_word(train, word[i], left, right, made);
        free(word);
        if (!status)
            status = queue_grown(train);
        if (status)
            return status;
    }
    return LS_OK;
}

/* Special tokens take the first ids, as in Hugging Face's trainer, then the bytes in the order of the alphabet. */
static ls_status first_tokens(ls_tokenizer *tokenizer, const char *const *specials)
{
    ls_status status = LS_OK;
    for (; specials && *specials && !status; specials++) {
        size_t length = strlen(*specials);
        int64_t id = tokenizer->vocabulary.size;
        for (size_t i = 0; i < length; i++)
            if ((*specials)[i] <= ' ' || (*specials)[i] > '~')
                return ls_fail(LS_EARG,
                               "special token \"%s\": only printable ASCII without blanks, as in <|endoftext|>",
                               *specials);
        if (length < 2)
            return ls_fail(LS_EARG, "special token \"%s\" is shorter than two characters", *specials);
        status = ls_vocabulary_put(&tokenizer->vocabulary, id, *specials, length, LS_TOKEN_BYTES);
        if (!status)
            status = ls_tokenizer_add_token(tokenizer, *specials, length, id, true, false);
    }
    for (uint32_t code = 0; code < LS_ALPHABET_END && !status; code++) {
        char byte = (char)ls_alphabet_byte(code);
        if (ls_alphabet_byte(code) >= 0)
            status = ls_vocabulary_put(&tokenizer->vocabulary, tokenizer->vocabulary.size, &byte, 1, LS_TOKEN_BYTES);
    }
    return status;
}

static ls_status count_word(void *context, const char *at, size_t bytes)
{
    return ls_word_counts_add(context, at, bytes);
}

static ls_status count_texts(training *train, ls_next_text next, void *context)
{
    ls_tokenizer *tokenizer = train->tokenizer;
    const char *text;
    size_t bytes;
    ls_status status = LS_OK;
    while (!status && next(context, &text, &bytes)) {
        if (tokenizer->nfc)
            status = ls_nfc(&tokenizer->nfc_space, text, bytes, &text, &bytes);
        if (!status)
            status = ls_split_text(tokenizer->split, text, bytes, count_word, &train->counts);
    }
    return status;
}

static void forget(training *train)
{
    for (size_t i = 0; i < train->records; i++)
        free(train->record[i].word);
    free(train->record);
    free(train->slot);
    free(train->heap);
    free(train->grown);
    free(train->symbol);
    free(train->length);
    ls_word_counts_free(&train->counts);
}

ls_status ls_tokenizer_train(ls_tokenizer **out, const ls_tokenizer_training *how, ls_next_text next, void *context)
{
    training train = {0};
    const char *pattern = ls_pattern_named(how->pattern);
    *out = NULL;
    if (!pattern)
        return ls_fail(LS_EARG, "pattern \"%s\"; those known are %s", how->pattern, ls_pattern_names());
    if (how->vocabulary >= LS_TOKENIZER_IDS)
        return ls_fail(LS_EARG, "a vocabulary of %lld; at most %d", (long long)how->vocabulary, LS_TOKENIZER_IDS - 1);
    ls_status status = ls_tokenizer_create(&train.tokenizer);
    if (status)
        return status;
    ls_vocabulary *vocabulary = &train.tokenizer->vocabulary;
    train.tokenizer->nfc = strcmp(how->pattern, "qwen2") == 0; /* Qwen2's pattern comes with its normaliser */
    if ((status = ls_split_add(train.tokenizer->split, pattern, strlen(pattern))) != LS_OK ||
        (status = first_tokens(train.tokenizer, how->specials)) != LS_OK)
        goto done;
    if (how->vocabulary < vocabulary->size)
        status = ls_fail(LS_EARG, "a vocabulary of %lld; 256 bytes and %lld special tokens need at least %lld",
                         (long long)how->vocabulary, (long long)vocabulary->size - 256, (long long)vocabulary->size);
    if (!status)
        status = count_texts(&train, next, context);
    if (!status)
        status = begin(&train);
    if (!status)
        status = grow(&train, how->vocabulary);
    if (!status)
        status = ls_tokenizer_ready(train.tokenizer);
done:
    forget(&train);
    if (status)
        ls_tokenizer_free(train.tokenizer);
    else
        *out = train.tokenizer;
    return status;
}
