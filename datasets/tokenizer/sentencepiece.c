/* SentencePiece's own file, tokenizer.model, as Llama 2, TinyLlama and Mistral come with: the protocol buffer ModelProto
 * (google/sentencepiece, sentencepiece_model.proto), of which is read
 *
 *     1 pieces, repeated     1 text   2 score   3 type: 1 normal (also when it is left out), 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
 *     2 trainer_spec         3 model_type: 1 unigram, 2 BPE, 3 word, 4 char   24 treat_whitespace_as_suffix   41 bos_id   42 eos_id
 *     3 normalizer_spec      2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces   5 escape_whitespaces
 *
 * A piece's id is its place. BPE: neighbours whose joined text is the piece of highest score merge, the leftmost of equal ones. Unigram:
 * unigram.h. What would change ids and is not done here is refused by name: other models, blanks as ends of pieces. Control
 * pieces are special tokens; user defined ones are found wherever they stand, and a text behind one gets a blank in front, as in the
 * tokenizer.json that transformers makes (SentencePiece itself puts one in front of the whole text alone). */
#include "datasets/tokenizer/parts.h"
#include "datasets/tokenizer/pieces_reader.h"
#include "datasets/tokenizer/protobuf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
enum { UNIGRAM = 1, BPE = 2 };

typedef struct {
    ls_tokenizer *tokenizer;
    float *score; /* [size] */
    int64_t size, room;
    uint64_t model;
    int64_t unknown, begin, end; /* -1: none */
    bool suffix, dummy, escape;
} reading;

static ls_status put_normal(ls_tokenizer *tokenizer, int64_t id, const char *text, size_t bytes)
{
    ls_status status = ls_tokenizer_grow_prefixed(tokenizer, bytes + 1);
    if (status)
        return status;
    const size_t length = ls_pieces_blanks(text, bytes, tokenizer->prefixed);
    return ls_vocabulary_put(&tokenizer->vocabulary, id, tokenizer->prefixed, length, LS_TOKEN_BYTES);
}

static ls_status put_byte(ls_tokenizer *tokenizer, int64_t id, const char *text, size_t bytes)
{
    const ls_status status = ls_pieces_put(tokenizer, id, text, bytes);
    if (status || tokenizer->vocabulary.kind[id] == LS_TOKEN_BYTE)
        return status;
    return ls_fail(LS_EFORMAT, "piece %lld, \"%.*s\", is said to be a byte; those are <0x00> to <0xFF>", (long long)id, (int)(bytes < 64 ? bytes : 64), text);
}

/* Found in the text as it is written, so with blanks for their signs. */
static ls_status put_user_defined(ls_tokenizer *tokenizer, int64_t id, const char *text, size_t bytes)
{
    char plain[LS_TOKEN_LENGTH];
    if (bytes > sizeof plain)
        return ls_fail(LS_EFORMAT, "piece %lld has %zu bytes; at most %d are possible", (long long)id, bytes, LS_TOKEN_LENGTH);
    return ls_tokenizer_add_token(tokenizer, plain, ls_pieces_blanks(text, bytes, plain), id, false, false);
}

static ls_status put(ls_tokenizer *tokenizer, int64_t id, const char *text, size_t bytes, uint64_t type)
{
    switch (type) {
    case NORMAL: return put_normal(tokenizer, id, text, bytes);
    case UNKNOWN:
    case CONTROL: return ls_tokenizer_add_token(tokenizer, text, bytes, id, true, false);
    case USER_DEFINED: return put_user_defined(tokenizer, id, text, bytes);
    case BYTE: return put_byte(tokenizer, id, text, bytes);
    case UNUSED: return ls_fail(LS_EFORMAT, "piece %lld, \"%.*s\", is marked as unused, which lockstep does not do", (long long)id, (int)(bytes < 64 ? bytes : 64), text);
    default: return ls_fail(LS_EFORMAT, "piece %lld has type %llu; those known are 1 to 6", (long long)id, (unsigned long long)type);
    }
}

static ls_status keep_score(reading *read, float score)
{
    if (!isfinite(score))
        return ls_fail(LS_EFORMAT, "piece %lld has a score that is no number", (long long)read->size);
    if (read->size == read->room) {
        const int64_t room = read->room ? 2 * read->room : 1024;
        float *more = realloc(read->score, (size_t)room * sizeof *more);
        if (!more)
            return ls_fail(LS_EMEM, "no memory for the scores of %lld pieces", (long long)room);
        read->score = more;
        read->room = room;
    }
    read->score[read->size++] = score;
    return LS_OK;
}

static ls_status read_piece(reading *read, ls_wire inside)
{
    ls_wire_field field;
    const char *text = "";
    size_t bytes = 0;
    float score = 0;
    uint64_t type = NORMAL;
    bool more;
    ls_status status;
    while ((status = ls_wire_next(&inside, &field, &more)) == LS_OK && more) {
        if (field.number == 1 && field.type == 2)
            text = field.bytes, bytes = field.size;
        else if (field.number == 2 && field.type == 5)
            score = ls_wire_float(&field);
        else if (field.number == 3 && field.type == 0)
            type = field.value;
    }
    if (!status && !bytes)
        status = ls_fail(LS_EFORMAT, "piece %lld is empty", (long long)read->size);
    if (!status && read->size >= LS_TOKENIZER_IDS)
        status = ls_fail(LS_EFORMAT, "more than %d pieces", LS_TOKENIZER_IDS);
    if (!status)
        status = put(read->tokenizer, read->size, text, bytes, type);
    read->unknown = type == UNKNOWN ? read->size : read->unknown;
    return status ? status : keep_score(read, score);
}

/* An int32 of proto2: negative ones are written with 64 bits. */
static int64_t signed_of(const ls_wire_field *field)
{
    return (int32_t)(uint32_t)field->value;
}

static ls_status read_trainer(reading *read, ls_wire inside)
{
    ls_wire_field field;
    bool more;
    ls_status status;
    while ((status = ls_wire_next(&inside, &field, &more)) == LS_OK && more) {
        if (field.type != 0)
            continue;
        switch (field.number) {
        case 3: read->model = field.value; break;
        case 24: read->suffix = field.value; break;
        case 41: read->begin = signed_of(&field); break;
        case 42: read->end = signed_of(&field); break;
        default: break;
        }
    }
    return status;
}

/* A field that stands twice counts as it stands last. */
static ls_status read_charsmap(reading *read, const ls_wire_field *field)
{
    ls_charsmap *map = &read->tokenizer->charsmap;
    const bool squeeze = map->squeeze;
    ls_charsmap_free(map);
    map->squeeze = squeeze;
    return ls_charsmap_read(map, field->bytes, field->size);
}

static ls_status read_normalizer(reading *read, ls_wire inside)
{
    ls_wire_field field;
    bool more;
    ls_status status;
    while ((status = ls_wire_next(&inside, &field, &more)) == LS_OK && more) {
        if (field.number == 2 && field.type == 2)
            status = read_charsmap(read, &field);
        else if (field.number == 3 && field.type == 0)
            read->dummy = field.value;
        else if (field.number == 4 && field.type == 0)
            read->tokenizer->charsmap.squeeze = field.value;
        else if (field.number == 5 && field.type == 0)
            read->escape = field.value;
        if (status)
            return status;
    }
    return status;
}

static ls_status check(const reading *read)
{
    static const char *const model[] = {"unigram", "BPE", "word", "char"};
    if (read->model != BPE && read->model != UNIGRAM)
        return ls_fail(LS_EFORMAT, "its model is %s; of SentencePiece's models lockstep reads unigram and BPE",
                       read->model >= UNIGRAM && read->model <= 4 ? model[read->model - 1] : "one that is not known");
    if (!read->escape || read->suffix)
        return ls_fail(LS_EFORMAT, "its blanks are %s, which lockstep does not do", read->suffix ? "ends of pieces (treat_whitespace_as_suffix)" : "left as they are (escape_whitespaces: false)");
    return LS_OK;
}

static ls_status read_model(reading *read, const char *bytes, size_t size)
{
    const uint8_t *begin = (const uint8_t *)bytes;
    ls_wire wire = {begin, begin, begin + size};
    ls_wire_field field;
    bool more;
    ls_status status;
    while ((status = ls_wire_next(&wire, &field, &more)) == LS_OK && more) {
        if (field.type != 2)
            continue;
        const ls_wire inside = ls_wire_inside(&wire, &field);
        if (field.number == 1)
            status = read_piece(read, inside);
        else if (field.number == 2)
            status = read_trainer(read, inside);
        else if (field.number == 3)
            status = read_normalizer(read, inside);
        if (status)
            return ls_fail_at(status, "byte %zu", (size_t)(field.bytes - bytes));
    }
    return status ? status : check(read);
}

static int32_t id_or_none(const reading *read, int64_t id)
{
    return id >= 0 && id < read->size ? (int32_t)id : -1;
}

static ls_status take_scores(reading *read)
{
    ls_tokenizer *tokenizer = read->tokenizer;
    if (read->model == BPE)
        return ls_tokenizer_merges_from_scores(tokenizer, read->score);
    float *score = read->score;
    read->score = NULL;
    return ls_unigram_create(&tokenizer->unigram, &tokenizer->vocabulary, score, read->unknown);
}

ls_status ls_tokenizer_read_sentencepiece(ls_tokenizer **out, const char *name, const char *bytes, size_t size)
{
    ls_status status = ls_tokenizer_create(out);
    if (status)
        return status;
    ls_tokenizer *tokenizer = *out;
    tokenizer->pieces = tokenizer->marks = true;
    memset(tokenizer->byte_id, 0xff, sizeof tokenizer->byte_id);
    reading read = {.tokenizer = tokenizer, .model = UNIGRAM, .unknown = -1, .begin = 1, .end = 2, .dummy = true, .escape = true}; /* proto2's defaults */
    tokenizer->charsmap.squeeze = true;
    status = read_model(&read, bytes, size);
    if (!status)
        status = take_scores(&read);
    tokenizer->front = read.dummy ? LS_FRONT_PREPEND : LS_FRONT_NEVER;
    tokenizer->bos = id_or_none(&read, read.begin);
    tokenizer->eot = id_or_none(&read, read.end);
    free(read.score);
    if (status) {
        ls_tokenizer_free(tokenizer);
        *out = NULL;
        return ls_fail_at(status, "%s: read as SentencePiece's model", name);
    }
    return LS_OK;
}
