/* safetensors, and the files of torch.save and numpy.savez: what is in a file comes out, rounded as IEEE says; what
 * lies is refused by name. */
#include "checkpoint/foreign/foreign.h"
#include "checkpoint/foreign/safetensors_writer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/lockstep-test-foreign-XXXXXX";

static void make(void)
{
    cr_assert_not_null(mkdtemp(folder));
}

static void clean(void)
{
    char line[256];
    snprintf(line, sizeof line, "rm -r %s", folder);
    cr_assert_eq(system(line), 0);
}

TestSuite(foreign, .init = make, .fini = clean);

static const char *path_of(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Length, header, and `data` bytes 0, 1, 2, ... */
static size_t compose(uint8_t *to, uint64_t length, const char *header, size_t data)
{
    memcpy(to, &length, 8);
    memcpy(to + 8, header, strlen(header));
    for (size_t i = 0; i < data; i++)
        to[8 + strlen(header) + i] = (uint8_t)i;
    return 8 + strlen(header) + data;
}

#define A8(more)  "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}" more "}"
#define T(fields) "{\"some.weight\":{" fields "}}"

Test(foreign, files_that_lie_are_refused_by_name)
{
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
        {"", 0, "not a JSON object"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "not a JSON object"},
        {A8(",\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}"), 8, "duplicate"},
        {"{\"a\":3}", 0, "\"a\" of its header describes no tensor"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "describes no tensor"},
        {T("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "\"some.weight\": dtype (none) is not known"},
        {T("\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "\"some.weight\": dtype F4 is not known"},
        {T("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "dtype (none)"},
        {T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "\"some.weight\" has no \"shape\""},
        {T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, "has 7 axes"},
        {T("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "axis 0 of its shape"},
        {T("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4, "axis 0 of its shape"},
        {T("\"dtype\":\"F32\",\"shape\":[1]"), 4, "no \"data_offsets\""},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "no \"data_offsets\""},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]"), 4, "no \"data_offsets\""},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]"), 4, "[-4, 0] are not inside"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, "[4, 0] are not inside"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4, "[0, 8] are not inside the file's 4 bytes"},
        {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]"), 4, "are not inside"},
        {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, "is F32 [2], which is not the 4 bytes"},
        {T("\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "is BF16 [1], which is not the 4 bytes"},
        {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
         "which is not the 0 bytes"},
        {T("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, "which is not the 0 bytes"},
        {A8(",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}"), 12,
         "\"b\" begins at byte 4 of the data, inside \"a\""},
        {A8(",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), 8, "inside"},
        {A8(",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}"), 16,
         "bytes 8 to 12 of the data, before tensor \"b\""},
        {A8(""), 12, "its tensors end at byte 8 of the data, the file at 12"},
        {"{}", 3, "its tensors end at byte 0"},
    };
    static uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_foreign *set;
        size_t size = compose(bytes, strlen(cases[i].header), cases[i].header, cases[i].data);
        cr_expect_eq(ls_foreign_open_bytes(&set, "x.safetensors", bytes, size), LS_EFORMAT, "case %zu: %s", i,
                     cases[i].header);
        cr_expect_null(set);
        cr_expect(strstr(ls_fail_sentence(), cases[i].says) && strstr(ls_fail_sentence(), "x.safetensors"),
                  "case %zu: %s", i, ls_fail_sentence());
    }
}

Test(foreign, a_header_of_another_length_is_refused)
{
    static uint8_t bytes[4096];
    static const uint64_t lengths[] = {0, 1, 61, 63, 70, 71, 4000, 100000001, UINT64_MAX, UINT64_MAX - 7};
    ls_foreign *set;
    size_t size = compose(bytes, strlen(A8("")), A8(""), 8);
    cr_assert_eq(ls_foreign_open_bytes(&set, "x", bytes, size), LS_OK, "%s", ls_fail_sentence());
    ls_foreign_close(set);
    for (size_t cut = 0; cut < size; cut++)
        cr_expect_eq(ls_foreign_open_bytes(&set, "x", bytes, cut), LS_EFORMAT, "cut to %zu bytes", cut);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        if (lengths[i] == strlen(A8("")))
            continue;
        compose(bytes, lengths[i], A8(""), 8);
        cr_expect_eq(ls_foreign_open_bytes(&set, "x", bytes, size), LS_EFORMAT, "%llu", (unsigned long long)lengths[i]);
    }
}

static void put_file(const char *name, const void *bytes, size_t size)
{
    FILE *out = fopen(path_of(name), "wb");
    cr_assert_eq(fwrite(bytes, 1, size, out), size);
    fclose(out);
}

/* One file of the given numbers, in one type. */
static void write_numbers(const char *name, ls_foreign_type type, const float *x, int64_t count)
{
    const ls_foreign_tensor tensors[] = {{.name = "none", .type = type, .ndim = 1},
                                         {.name = "x", .type = type, .ndim = 1, .shape = {count}, .count = count}};
    ls_safetensors_writer *writer;
    cr_assert_eq(ls_safetensors_begin(&writer, path_of(name), tensors, 2), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_safetensors_put(writer, x, count / 2), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_safetensors_put(writer, x + count / 2, count - count / 2), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_safetensors_end(writer), LS_OK, "%s", ls_fail_sentence());
}

/* Every half and every bf16 there is comes back as itself. */
static void all_patterns(ls_foreign_type type)
{
    enum { N = 1 << 16 };
    static uint16_t halves[N];
    static float wide[N], again[N];
    for (int i = 0; i < N; i++)
        halves[i] = (uint16_t)i;
    const ls_foreign_tensor t = {.name = "t", .file = "t", .type = type, .count = N, .data = halves};
    cr_assert_eq(ls_foreign_floats(&t, 0, N, wide), LS_OK);
    int64_t finite = 0;
    for (int i = 0; i < N; i++)
        if (isfinite(wide[i]))
            wide[finite++] = wide[i];
    cr_assert_eq(finite, type == LS_FOREIGN_F16 ? N - 2048 : N - 256);
    write_numbers("all.safetensors", type, wide, finite);
    ls_foreign *set;
    cr_assert_eq(ls_foreign_open(&set, path_of("all.safetensors")), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_foreign_floats(ls_foreign_find(set, "x"), 0, finite, again), LS_OK);
    cr_expect_eq(memcmp(again, wide, (size_t)finite * sizeof *wide), 0, "%s", ls_foreign_type_name(type));
    ls_foreign_close(set);
    unlink(path_of("all.safetensors"));
}

Test(foreign, halves_and_bf16_are_read_and_written_exactly)
{
    all_patterns(LS_FOREIGN_F16);
    all_patterns(LS_FOREIGN_BF16);
}

Test(foreign, numbers_between_are_rounded_to_even)
{
    /* 1 + 2^-11 lies between two halves, 1 + 3 2^-11 too; below 2^-14 the step is 2^-24 */
    const float x[] = {1 + 0x1p-11f, 1 + 0x3p-11f, 1 + 0x1p-11f + 0x1p-20f, 65519, 0x1.8p-24f,
                       0x1p-25f,     -0x3p-25f,    0x1p-14f - 0x1p-26f};
    const float half[] = {1, 1 + 0x1p-9f, 1 + 0x1p-10f, 65504, 0x1p-23f, 0, -0x1p-23f, 0x1p-14f};
    const float y[] = {1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1p-8f + 0x1p-20f, -3.3e38f};
    const float bf16[] = {1, 1 + 0x1p-6f, 1 + 0x1p-7f, -0x1.f0p+127f};
    float back[8];
    ls_foreign *set;
    write_numbers("h", LS_FOREIGN_F16, x, 8);
    cr_assert_eq(ls_foreign_open(&set, path_of("h")), LS_OK);
    cr_assert_eq(ls_foreign_floats(ls_foreign_find(set, "x"), 0, 8, back), LS_OK);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(back[i], half[i], "%a is %a, not %a", (double)x[i], (double)back[i], (double)half[i]);
    ls_foreign_close(set);
    write_numbers("b", LS_FOREIGN_BF16, y, 4);
    cr_assert_eq(ls_foreign_open(&set, path_of("b")), LS_OK);
    cr_assert_eq(ls_foreign_floats(ls_foreign_find(set, "x"), 0, 4, back), LS_OK);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(back[i], bf16[i], "%a is %a, not %a", (double)y[i], (double)back[i], (double)bf16[i]);
    ls_foreign_close(set);
}

Test(foreign, what_does_not_fit_is_not_written)
{
    const ls_foreign_tensor t = {.name = "t", .type = LS_FOREIGN_F16, .ndim = 1, .shape = {2}, .count = 2};
    const ls_foreign_tensor i64 = {.name = "t", .type = LS_FOREIGN_I64, .ndim = 1, .shape = {2}, .count = 2};
    ls_safetensors_writer *writer;
    cr_expect_eq(ls_safetensors_begin(&writer, path_of("i"), &i64, 1), LS_EARG);
    cr_assert_eq(ls_safetensors_begin(&writer, path_of("t"), &t, 1), LS_OK);
    cr_expect_eq(ls_safetensors_put(writer, (float[]){1, 65520}, 2), LS_ENUMERIC);
    cr_expect(strstr(ls_fail_sentence(), "element 1 of t is 65520"), "%s", ls_fail_sentence());
    cr_expect_eq(ls_safetensors_put(writer, (float[]){1, INFINITY}, 2), LS_OK, "an infinity stays one");
    cr_expect_eq(ls_safetensors_put(writer, (float[]){1}, 1), LS_EARG);
    cr_expect_eq(ls_safetensors_end(writer), LS_OK);
    cr_assert_eq(ls_safetensors_begin(&writer, path_of("u"), &t, 1), LS_OK);
    cr_expect_eq(ls_safetensors_end(writer), LS_ESTATE);
    cr_expect_eq(ls_safetensors_begin(&writer, path_of("t"), &t, 1), LS_EEXIST);
}

/* The trained model's own folder, made by another hand. */
Test(foreign, the_tensors_of_stories260K)
{
    char path[4096], text[LS_FOREIGN_DESCRIPTION];
    snprintf(path, sizeof path, "%s/tests/data/stories260K/hf", getenv("LS_SOURCE"));
    ls_foreign *set;
    cr_assert_eq(ls_foreign_open(&set, path), LS_OK, "%s", ls_fail_sentence());
    cr_expect_eq(ls_foreign_count(set), 47);
    const ls_foreign_tensor *t = ls_foreign_find(set, "model.layers.3.self_attn.k_proj.weight");
    cr_assert_not_null(t);
    cr_expect_str_eq(ls_foreign_describe(t, text), "F32 [32, 64]");
    cr_expect_null(ls_foreign_find(set, "lm_head.weight"));
    for (int i = 1; i < ls_foreign_count(set); i++)
        cr_expect(strcmp(ls_foreign_at(set, i - 1)->name, ls_foreign_at(set, i)->name) < 0);
    ls_foreign_close(set);
}

#define SHARD(name) "{\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void put_shard(const char *name, const char *header, size_t data)
{
    uint8_t bytes[512];
    put_file(name, bytes, compose(bytes, strlen(header), header, data));
}

static ls_status open_index(const char *text)
{
    ls_foreign *set;
    put_file("model.safetensors.index.json", text, strlen(text));
    ls_status status = ls_foreign_open(&set, folder);
    if (status == LS_OK)
        cr_expect(ls_foreign_count(set) == 2 && ls_foreign_find(set, "a") && ls_foreign_find(set, "b"));
    ls_foreign_close(set);
    return status;
}

Test(foreign, a_folder_of_several_files_goes_by_its_index)
{
    static const struct {
        const char *index, *says;
    } cases[] = {
        {"{", "model.safetensors.index.json:1"},
        {"{}", "no \"weight_map\""},
        {"{\"weight_map\":{}}", "no \"weight_map\""},
        {"{\"weight_map\":{\"a\":3}}", "not given to a file beside the index"},
        {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "not given to a file beside the index"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not given to a file beside the index"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}", "3.safetensors"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}", "tensor \"b\" should be in"},
        {"{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}", "should be in"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"c\":\"2.safetensors\"}}", "tensor \"c\""},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"twice.safetensors\",\"d\":\"2.safetensors\"}}", "stands in"},
    };
    ls_foreign *set;
    cr_expect_eq(ls_foreign_open(&set, folder), LS_ENOTFOUND);
    cr_expect(strstr(ls_fail_sentence(), "neither model.safetensors nor"), "%s", ls_fail_sentence());
    put_shard("1.safetensors", SHARD("a"), 4);
    put_shard("2.safetensors", SHARD("b"), 4);
    put_shard("twice.safetensors", SHARD("b"), 4);
    cr_expect_eq(
        open_index(
            "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}"),
        LS_OK, "%s", ls_fail_sentence());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_status status = open_index(cases[i].index);
        cr_expect(status == LS_EFORMAT || status == LS_ENOTFOUND, "case %zu: %s", i, cases[i].index);
        cr_expect(strstr(ls_fail_sentence(), cases[i].says), "case %zu: %s", i, ls_fail_sentence());
    }
    put_shard("2.safetensors", SHARD("b"), 3);
    cr_expect_eq(open_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}"), LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), "2.safetensors: tensor \"b\""), "%s", ls_fail_sentence());
}

/* ---- tests/fuzz/fuzz_foreign.c on seeds that are damaged in the same ways every time ---- */

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t below(uint64_t bound)
{
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1du >> 16) % bound;
}

/* The length is put right half of the time: else nearly every damage ends there. */
static void damage(const uint8_t *seed, size_t size)
{
    static const char *const tokens[] = {"0", "8",  "-",       "9",   "[",   "]",    "{",         "}",
                                         ",", "\"", "\\u0000", "1e9", "F16", "\xff", "4294967296"};
    uint8_t bytes[1024];
    size_t header = size;
    memcpy(bytes, seed, size);
    for (uint64_t changes = 1 + below(4); changes > 0; changes--) {
        const size_t at = 8 + below(size - 8);
        const char *token = tokens[below(sizeof tokens / sizeof *tokens)];
        if (below(2) && at + strlen(token) <= size)
            memcpy(bytes + at, token, strlen(token));
        else
            bytes[at] = (uint8_t)below(256);
    }
    for (header = size; header > 8 && bytes[header - 1] != '}'; header--)
        ;
    const uint64_t length = header - 8;
    if (below(2))
        memcpy(bytes, &length, sizeof length);
    if (below(8) == 0)
        size -= below(size);
    uint8_t *exact = malloc(size + 1); /* an own block, so that the sanitizer knows where it ends */
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

Test(foreign, any_bytes_are_refused_or_make_whole_tensors)
{
    static const char *const headers[] = {
        A8(",\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},\"__metadata__\":{\"format\":\"pt\"}"),
        "{\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},\"d\":{\"dtype\":\"F16\",\"shape\":[1,1,6],"
        "\"data_offsets\":[8,20]}}",
        T("\"dtype\":\"U8\",\"shape\":[4,5],\"data_offsets\":[0,20]"),
    };
    uint8_t bytes[1024];
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        size_t size = compose(bytes, strlen(headers[i]), headers[i], 20);
        LLVMFuzzerTestOneInput(bytes, size);
        for (int n = 0; n < 20000; n++)
            damage(bytes, size);
    }
}

/* ---- torch.save and numpy.savez: files of other projects, unchanged ---- */

static ls_foreign *open_fixture(const char *name)
{
    char path[4096];
    ls_foreign *set;
    snprintf(path, sizeof path, "%s/tests/data/checkpoint-fixtures/%s", getenv("LS_SOURCE"), name);
    cr_assert_eq(ls_foreign_open(&set, path), LS_OK, "%s", ls_fail_sentence());
    return set;
}

static void expect_integers(const char *file, const char *name, const char *described, int64_t first, int64_t count)
{
    char text[LS_FOREIGN_DESCRIPTION];
    ls_foreign *set = open_fixture(file);
    const ls_foreign_tensor *t = ls_foreign_find(set, name);
    cr_assert_not_null(t, "%s: %s", file, name);
    cr_expect_str_eq(ls_foreign_describe(t, text), described);
    for (int64_t i = 0; i < count; i++) {
        int64_t x;
        memcpy(&x, (const char *)t->data + 8 * i, sizeof x);
        cr_expect_eq(x, first + i, "%s: %s[%lld] is %lld", file, name, (long long)i, (long long)x);
    }
    ls_foreign_close(set);
}

Test(foreign, files_of_other_projects_are_read)
{
    expect_integers("test.pt", "test", "I64 [2, 4]", 1, 8);
    expect_integers("test_with_key.pt", "model_state_dict/test", "I64 [2, 4]", 1, 8);
    expect_integers("test.npz", "x", "I64 [10]", 0, 10);
    expect_integers("test.npz", "x_plus_one", "I64 [10]", 1, 10);
    expect_integers("jfk-codes.safetensors", "codes", "I64 [1, 2, 828]", 0, 0);
    ls_foreign *set = open_fixture("tiny_state_dict_with_one_key.pt");
    float x[100];
    const ls_foreign_tensor *t = ls_foreign_find(set, "test_key");
    cr_assert(t && t->count == 100 && t->ndim == 2 && ls_foreign_count(set) == 1);
    cr_assert_eq(ls_foreign_floats(t, 0, 100, x), LS_OK);
    for (int i = 0; i < 100; i++)
        cr_expect(isfinite(x[i]) && fabsf(x[i]) < 100);
    ls_foreign_close(set);
}

/* A copy of a fixture with one stretch of text replaced by another of the same length. */
static ls_status open_changed(const char *name, const char *from, const char *to)
{
    static uint8_t bytes[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/data/checkpoint-fixtures/%s", getenv("LS_SOURCE"), name);
    FILE *in = fopen(path, "rb");
    cr_assert_not_null(in);
    const size_t size = fread(bytes, 1, sizeof bytes, in), length = strlen(from);
    fclose(in);
    cr_assert_eq(length, strlen(to));
    uint8_t *at = memmem(bytes, size, from, length);
    cr_assert_not_null(at, "%s", from);
    memcpy(at, to, length);
    ls_foreign *set;
    ls_status status = ls_foreign_open_bytes(&set, "x.pt", bytes, size);
    ls_foreign_close(set);
    return status;
}

Test(foreign, archives_that_lie_are_refused_and_nothing_is_run)
{
    static const struct {
        const char *file, *from, *to, *says;
    } cases[] = {
        {"test.pt", "ctorch._utils\n_rebuild_tensor_v2", "cos\nsystem_is_not_called_here_12",
         "\"test\" is made by os system_is_not"},
        {"test.pt", "ctorch\nLongStorage", "ctorch\nLungStorage", "storage of kind torch LungStorage"},
        {"test.pt", "ctorch\nLongStorage", "ctorch\nByteStorage", "are of another size"},
        {"test.pt", "little", "big!!!", "not little-endian"},
        {"test.pt", "K\x08tq", "K\x09tq", "are of another size"},
        {"test.pt", "K\x02K\x04\x86", "K\x03K\x04\x86", "is not inside its storage of 8"},
        {"test.pt", "K\x04K\x01\x86", "K\x01K\x02\x86", "a view with strides"},
        {"test.pt",
         "\x80\x02"
         "cc",
         "\x80\x02"
         "ic",
         "an opcode that tensors in dictionaries do not need"},
        {"test.pt", "\x89h", "\x89j", "nothing was put to"},
        {"test.pt",
         "tq\x0cRq\x0d"
         "s.",
         "tq\x0cRq\x0d"
         "u.",
         "an opcode lacks its mark"},
        {"test.npz", "'<i8'", "'>i8'", "its header is {'descr': '>i8'"},
        {"test.npz", "'<i8'", "'|O8'", "its header is"},
        {"test.npz", "(10,)", "(11,)", "not as long as its header says"},
        {"test.npz", "(10,)", "(-1,)", "its header is"},
        {"test.npz", "\x93NUMPY", "\x93NUMPI", "compressed or damaged"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(open_changed(cases[i].file, cases[i].from, cases[i].to), LS_EFORMAT, "case %zu", i);
        cr_expect(strstr(ls_fail_sentence(), cases[i].says) && strstr(ls_fail_sentence(), "x.pt"), "case %zu: %s", i,
                  ls_fail_sentence());
    }
}

Test(foreign, any_bytes_of_an_archive_are_refused_or_make_whole_tensors)
{
    static const char *const names[] = {"test.pt", "test_with_key.pt", "test.npz"};
    static uint8_t seed[1 << 14];
    for (size_t n = 0; n < 3; n++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/tests/data/checkpoint-fixtures/%s", getenv("LS_SOURCE"), names[n]);
        FILE *in = fopen(path, "rb");
        cr_assert_not_null(in);
        const size_t size = fread(seed, 1, sizeof seed, in);
        fclose(in);
        LLVMFuzzerTestOneInput(seed, size);
        for (int i = 0; i < 20000; i++) {
            const size_t kept = below(16) ? size : below(size + 1);
            uint8_t *bytes = malloc(kept + 1);
            memcpy(bytes, seed, kept);
            for (uint64_t changes = 1 + below(4); changes > 0 && kept; changes--)
                bytes[below(kept)] = below(2) ? (uint8_t)below(256) : (uint8_t)"qhRtsQ(u.}]\xff\x00"[below(13)];
            LLVMFuzzerTestOneInput(bytes, kept);
            free(bytes);
        }
    }
}
