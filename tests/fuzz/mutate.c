/* Runs a fuzz target (LLVMFuzzerTestOneInput, as libFuzzer names it) on seeds and on mutations of them that are the same
 * every time, so that ctest can run it with any compiler and a failure can be repeated:
 *     fuzz_recipe MUTATIONS TEXT...          a text that begins with @ names a file
 * A mutation cuts, repeats, swaps or overwrites a stretch, or puts in a token that grammars trip over. The target aborts
 * when a property does not hold; the sanitizer build finds the rest. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t below(uint64_t bound) /* xorshift64*: any fixed sequence will do */
{
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1du >> 16) % bound;
}

static size_t mutate(uint8_t *data, size_t size, size_t room)
{
    static const char *const tokens[] = {"{", "}", "[", "]", ": ", ", ", "- ", "\n", "\n  ", "\"", "'", "&a ", "*a", "!!int ",
                                         "|\n", "~", "null", "---\n", "...", "1e999", "0x", "-", ".", "1k", "9223372036854775808",
                                         "\xef\xbb\xbf", "\xc2\x85", "\xff", "\\x00", "\t", "#", "<<: ", "? "};
    size_t at = size ? below(size + 1) : 0, length = size > at ? below(size - at + 1) % 32 : 0;
    switch (below(5)) {
    case 0: /* cut */
        memmove(data + at, data + at + length, size - at - length);
        return size - length;
    case 1: /* repeat */
        if (size + length > room)
            return size;
        memmove(data + at + length, data + at, size - at);
        return size + length;
    case 2: /* overwrite */
        if (at < size)
            data[at] = (uint8_t)below(256);
        return size;
    case 3: /* copy from elsewhere */
        if (length)
            memmove(data + below(size - length + 1), data + at, length);
        return size;
    default: { /* put in a token */
        const char *token = tokens[below(sizeof tokens / sizeof *tokens)];
        size_t bytes = strlen(token);
        if (size + bytes > room)
            return size;
        memmove(data + at + bytes, data + at, size - at);
        memcpy(data + at, token, bytes);
        return size + bytes;
    }
    }
}

enum { ROOM = 65536 };

/* The seed that an argument is, or names; at most ROOM bytes. */
static size_t read_seed(const char *argument, uint8_t seed[ROOM])
{
    if (argument[0] != '@') {
        const size_t size = strnlen(argument, ROOM);
        memcpy(seed, argument, size);
        return size;
    }
    FILE *in = fopen(argument + 1, "rb");
    if (!in) {
        perror(argument + 1);
        exit(2);
    }
    const size_t size = fread(seed, 1, ROOM, in);
    fclose(in);
    return size;
}

/* On a copy of exactly that size, so that the sanitizer sees a read behind it. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

int main(int argc, char **argv)
{
    static uint8_t data[ROOM], whole[ROOM];
    const long mutations = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (argc < 3 || mutations < 1) {
        fprintf(stderr, "usage: %s MUTATIONS TEXT...\n", argv[0]);
        return 2;
    }
    for (int seed = 2; seed < argc; seed++) {
        const size_t seed_size = read_seed(argv[seed], whole);
        run(whole, seed_size);
        for (long i = 0; i < mutations; i++) {
            size_t size = seed_size;
            memcpy(data, whole, size);
            for (uint64_t changes = 1 + below(6); changes > 0; changes--)
                size = mutate(data, size, ROOM);
            run(data, size);
        }
    }
    return 0;
}
