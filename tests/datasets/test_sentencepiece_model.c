/* SentencePiece's own file: the ids that SentencePiece gives (tests/golden/make_sentencepiece_model_golden.py), the text again, and what
 * is refused. The bytes of models that are refused are made here. */
#include "tests/datasets/tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "tests/fuzz/seeds/tokenizer/sentencepiece.model"

static void expect_row(ls_tokenizer *tokenizer, const json_t *row)
{
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *want = json_object_get(row, "ids");
    ls_ids ids = {0};
    cr_assert_eq(ls_tokenizer_encode(tokenizer, text, strlen(text), false, &ids), LS_OK, "'%s': %s", text, ls_fail_sentence());
    cr_expect_eq(ids.count, (int64_t)json_array_size(want), "'%s' is %d tokens, not %d", text, (int)ids.count, (int)json_array_size(want));
    for (size_t i = 0; i < json_array_size(want) && (int64_t)i < ids.count; i++)
        cr_expect_eq(ids.id[i], json_integer_value(json_array_get(want, i)), "'%s': token %zu is %d, not %d", text, i, ids.id[i],
                     (int)json_integer_value(json_array_get(want, i)));
    free(ids.id);
}

/* BPE and unigram, with and without rules that normalise. */
Test(sentencepiece_model, ids_are_sentencepieces)
{
    json_error_t error;
    json_t *golden = json_load_file(source_path("tests/golden/sentencepiece-model.json"), 0, &error), *model, *row;
    cr_assert_not_null(golden, "line %d: %s", error.line, error.text);
    size_t m, r;
    json_array_foreach(json_object_get(golden, "models"), m, model)
    {
        char path[256];
        snprintf(path, sizeof path, "tests/fuzz/seeds/tokenizer/%s", json_string_value(json_object_get(model, "file")));
        ls_tokenizer *tokenizer = open_tokenizer(source_path(path));
        cr_expect_eq(ls_tokenizer_size(tokenizer), json_integer_value(json_object_get(model, "size")));
        cr_expect(ls_tokenizer_bos(tokenizer) == 1 && ls_tokenizer_eot(tokenizer) == 2);
        json_array_foreach(json_object_get(model, "rows"), r, row)
            expect_row(tokenizer, row);
        cr_expect_geq(r, 38);
        ls_tokenizer_free(tokenizer);
    }
    cr_expect_eq(m, 4);
    json_decref(golden);
}

/* A whole text behind <s>, as a model reads it; specials are found where they are asked for. */
Test(sentencepiece_model, gives_texts_back_and_finds_specials)
{
    static const char *const texts[] = {"Hello world", "  two blanks", "na\xc3\xafve \xf0\x9f\x98\x80", "a <tool> b", "1\n2"};
    ls_tokenizer *tokenizer = open_tokenizer(source_path(MODEL));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char whole[64], *back;
        size_t bytes;
        ls_ids ids = {0};
        snprintf(whole, sizeof whole, "<s>%s", texts[i]);
        cr_assert_eq(ls_tokenizer_encode(tokenizer, whole, strlen(whole), true, &ids), LS_OK, "%s", ls_fail_sentence());
        cr_expect_eq(ids.id[0], 1);
        cr_assert_eq(ls_tokenizer_decode(tokenizer, ids.id + 1, ids.count - 1, &back, &bytes), LS_OK);
        /* behind an added token, too, a text gets its blank */
        cr_expect_str_eq(back + 1, i == 3 ? "a <tool>  b" : texts[i]);
        free(back);
        free(ids.id);
    }
    ls_tokenizer_free(tokenizer);
}

/* ---- what is refused ---- */

typedef struct {
    char bytes[8192];
    size_t size;
} model;

static void put_field(model *m, int number, const void *bytes, size_t size)
{
    m->bytes[m->size++] = (char)(number << 3 | 2);
    m->bytes[m->size++] = (char)size; /* below 128 here */
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void put_scored(model *m, const char *text, int type, float score)
{
    model piece = {.size = 0};
    put_field(&piece, 1, text, strlen(text));
    piece.bytes[piece.size++] = 2 << 3 | 5;
    memcpy(piece.bytes + piece.size, &score, sizeof score);
    piece.size += sizeof score;
    piece.bytes[piece.size++] = 3 << 3;
    piece.bytes[piece.size++] = (char)type;
    put_field(m, 1, piece.bytes, piece.size);
}

static void put_piece(model *m, const char *text, int type)
{
    put_scored(m, text, type, -1);
}

/* Two specials and "ab" from a and b; then trainer_spec and normalizer_spec, which tests write as bytes. */
static model of(const char *trainer, size_t trainer_bytes, const char *normalizer, size_t normalizer_bytes)
{
    model m = {.size = 0};
    put_piece(&m, "<unk>", 2);
    put_piece(&m, "<s>", 3);
    put_piece(&m, "</s>", 3);
    put_piece(&m, "a", 1);
    put_piece(&m, "b", 1);
    put_piece(&m, "ab", 1);
    put_field(&m, 2, trainer, trainer_bytes);
    put_field(&m, 3, normalizer, normalizer_bytes);
    return m;
}

#define TRAINER "\x18\x02"           /* BPE */
#define NORMALIZER "\x18\0\x20\0"    /* no blank in front, none taken away */

static void refused(const model *m, const char *says)
{
    ls_tokenizer *tokenizer;
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "x.model", m->bytes, m->size), LS_EFORMAT, "%s", says);
    cr_expect_null(tokenizer);
    cr_expect(strstr(ls_fail_sentence(), says) && strstr(ls_fail_sentence(), "x.model"), "%s: %s", says, ls_fail_sentence());
}

#define OF(trainer, normalizer) of(trainer, sizeof trainer - 1, normalizer, sizeof normalizer - 1)

Test(sentencepiece_model, what_would_change_ids_is_refused_by_name)
{
    ls_tokenizer *tokenizer;
    model m = OF(TRAINER, NORMALIZER);
    ls_ids ids = {0};
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "x.model", m.bytes, m.size), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_tokenizer_encode(tokenizer, "abba", 4, false, &ids), LS_OK);
    cr_assert(ids.count == 3 && ids.id[0] == 5 && ids.id[1] == 4 && ids.id[2] == 3, "%d tokens", (int)ids.count);
    cr_expect_eq(ls_tokenizer_encode(tokenizer, "abc", 3, false, &ids), LS_EFORMAT, "no c, and no bytes");
    free(ids.id);
    ls_tokenizer_free(tokenizer);

    refused(&(model[]){OF("\x18\x03", NORMALIZER)}[0], "its model is word");
    refused(&(model[]){OF("\x18\x09", NORMALIZER)}[0], "one that is not known");
    refused(&(model[]){OF(TRAINER, "\x12\x03xyz\x18\0\x20\0")}[0], "precompiled_charsmap of 3 bytes is broken");
    refused(&(model[]){OF(TRAINER, "\x12\x07\x04\0\0\0ab\0")}[0], "a trie of 4 bytes"); /* that ends beyond it */
    refused(&(model[]){OF(TRAINER, "\x12\x0a\x04\0\0\0abcdxy")}[0], "is broken"); /* a replacement without its end */
    refused(&(model[]){OF(TRAINER, "\x20\0\x28\0")}[0], "escape_whitespaces: false");
    refused(&(model[]){OF("\x18\x02\xc0\x01\x01", NORMALIZER)}[0], "treat_whitespace_as_suffix");
    refused(&(model[]){OF(TRAINER, "\x1b")}[0], "wire type 3");
    refused(&(model[]){OF(TRAINER, "\x12\x7fxy")}[0], "ends beyond its message");
    char rules[300] = "\x12\xa9\x02\x04\0\0\0abcd"; /* 297 bytes */
    memset(rules + 11, 'x', 288);
    m = (model){.size = 0};
    put_piece(&m, "a", 1);
    memcpy(m.bytes + m.size, "\x1a\xac\x02", 3);
    memcpy(m.bytes + m.size + 3, rules, sizeof rules);
    m.size += 3 + sizeof rules;
    refused(&m, "a replacement of more than 256 bytes");
    m = OF(TRAINER, NORMALIZER);
    put_piece(&m, "c", 5);
    refused(&m, "piece 6, \"c\", is marked as unused");
    m = OF(TRAINER, NORMALIZER);
    put_piece(&m, "<0x4>", 6);
    refused(&m, "said to be a byte");
    m = OF(TRAINER, NORMALIZER);
    put_piece(&m, "ab", 1);
    refused(&m, "read as SentencePiece's model");
    m = OF(TRAINER, NORMALIZER);
    put_piece(&m, "", 1);
    refused(&m, "piece 6 is empty");
    m.size -= 3;
    refused(&m, "ends beyond its message");
}

/* The greatest sum wins, of equal ones that whose last piece begins first. What no piece stands for is one unknown token a run, and costs 10. */
Test(sentencepiece_model, a_unigram_model_has_the_best_cut_and_unknown_tokens)
{
    static const struct {
        const char *text;
        int32_t id[10];
        int64_t count;
    } cases[] = {{"abba", {5, 6}, 2}, {"aba", {3, 6}, 2}, {"abc", {5, 0}, 2}, {"c\xc3\xa9\xff" "ab,b", {0, 5, 0, 4}, 4}, {"", {0}, 0},
                 {"dea", {7, 3}, 2} /* not d unknown and "ea" */,
                 {"xxxxxxxxpqr", {9, 9, 9, 9, 9, 9, 9, 9, 10, 11}, 10} /* in f64, or before it is rounded, the sum of x pq r would be the greater */};
    ls_tokenizer *tokenizer;
    model m = OF("\x18\x01", NORMALIZER);
    ls_ids ids = {0};
    put_piece(&m, "ba", 1);
    put_scored(&m, "de", 1, -8);
    put_scored(&m, "ea", 1, -0.5F);
    put_scored(&m, "x", 1, -8);
    put_scored(&m, "p", 1, -8);
    put_scored(&m, "qr", 1, -1.1F);
    put_scored(&m, "pq", 1, -4.7F);
    put_scored(&m, "r", 1, -4.4F);
    cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "x.model", m.bytes, m.size), LS_OK, "%s", ls_fail_sentence());
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        ids.count = 0;
        cr_assert_eq(ls_tokenizer_encode(tokenizer, cases[c].text, strlen(cases[c].text), false, &ids), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ids.count, cases[c].count, "'%s': %d tokens", cases[c].text, (int)ids.count);
        for (int64_t i = 0; i < ids.count; i++)
            cr_expect_eq(ids.id[i], cases[c].id[i], "'%s': token %d is %d", cases[c].text, (int)i, ids.id[i]);
    }
    free(ids.id);
    ls_tokenizer_free(tokenizer);
    m = (model){.size = 0};
    put_piece(&m, "a", 1);
    put_field(&m, 2, "\x18\x01", 2);
    refused(&m, "no piece for what is unknown");
    m = (model){.size = 0};
    put_piece(&m, "<unk>", 2);
    refused(&m, "it has no pieces");
}

/* Hashes are what packed data is compared by: the scores, which alone part these two models, and the rules are in them. */
Test(sentencepiece_model, hashes_have_scores_and_rules)
{
    uint64_t hash[4];
    for (int i = 0; i < 4; i++) {
        ls_tokenizer *tokenizer;
        model m = i == 2 ? OF(TRAINER, NORMALIZER) : i == 3 ? OF("\x18\x01", "\x18\0") : OF("\x18\x01", NORMALIZER);
        put_scored(&m, "ba", 1, i == 1 ? -2 : -1);
        cr_assert_eq(ls_tokenizer_open_bytes(&tokenizer, "x.model", m.bytes, m.size), LS_OK, "%s", ls_fail_sentence());
        hash[i] = ls_tokenizer_hash(tokenizer);
        ls_tokenizer_free(tokenizer);
        for (int before = 0; before < i; before++)
            cr_expect_neq(hash[i], hash[before], "%d and %d", i, before);
    }
}

/* A folder without tokenizer.json, as Llama 2's: the file is found, tokenizer_config.json beside it is read, and the class it names
 * changes no id: the hash is the file's. */
Test(sentencepiece_model, a_folder_may_have_it_alone)
{
    char folder[] = "/tmp/lockstep-test-sentencepiece-XXXXXX", command[4096];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(command, sizeof command, "cp '%s' %s/tokenizer.model && echo '{\"tokenizer_class\": \"LlamaTokenizer\", \"eos_token\": \"<tool>\", \"legacy\": true}' > %s/tokenizer_config.json",
             source_path(MODEL), folder, folder);
    cr_assert_eq(system(command), 0);
    ls_tokenizer *tokenizer = open_tokenizer(folder), *alone = open_tokenizer(source_path(MODEL));
    cr_expect_eq(ls_tokenizer_hash(tokenizer), ls_tokenizer_hash(alone));
    ls_tokenizer_free(alone);
    cr_expect_eq(ls_tokenizer_eot(tokenizer), ls_tokenizer_id(tokenizer, "<tool>"));
    cr_expect_eq(ls_tokenizer_bos(tokenizer), 1);
    ls_tokenizer_free(tokenizer);
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}
