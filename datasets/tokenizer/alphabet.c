/* See alphabet.h. */
#include "datasets/tokenizer/alphabet.h"
#include "datasets/utf8.h"

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

uint32_t ls_alphabet_code(unsigned char byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 32)
        return 0x100 + (uint32_t)byte;
    if (byte <= 160)
        return 0x100 + 33 + (uint32_t)(byte - 127);
    return 0x100 + 33 + 34; /* 173 */
}

int ls_alphabet_byte(uint32_t code)
{
    if (code < 0x100)
        return stands_for_itself(code) ? (int)code : -1;
    if (code >= LS_ALPHABET_END)
        return -1;
    uint32_t nth = code - 0x100;
    return nth <= 32 ? (int)nth : nth < 67 ? (int)nth - 33 + 127 : 173;
}

bool ls_alphabet_read(const char *text, size_t length, char *bytes, size_t *count)
{
    *count = 0;
    for (size_t at = 0, step; at < length; at += step) {
        int byte = ls_alphabet_byte(ls_utf8_decode(text + at, &step));
        if (byte < 0)
            return false;
        bytes[(*count)++] = (char)byte;
    }
    return true;
}

size_t ls_alphabet_write(const char *bytes, size_t count, char *text)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += ls_utf8_encode(ls_alphabet_code((unsigned char)bytes[i]), text + length);
    return length;
}
