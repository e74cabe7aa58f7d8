/* See html.h. */
#include "launch/report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at `text`; 0: it is none (RFC 3629: no overlong forms, no surrogates). */
static size_t character(const unsigned char *text)
{
    const unsigned char c = text[0];
    if (c < 0x80)
        return c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f);
    const size_t bytes = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < bytes; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xc2 && text[1] < 0xa0) || (c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) ||
        (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return bytes;
}

/* The next character and how many bytes of `text` it is. */
static const char *next(const char *text, size_t *bytes, size_t *taken)
{
    *bytes = character((const unsigned char *)text);
    *taken = *bytes ? *bytes : 1;
    if (*bytes)
        return text;
    *bytes = 3;
    return "\xef\xbf\xbd";
}

void ls_html_bytes(FILE *out, const char *text, size_t length)
{
    const char *const end = text + length;
    for (size_t bytes, taken; text < end; text += taken) {
        const char *at = next(text, &bytes, &taken);
        switch (*at) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default: fwrite(at, 1, bytes, out);
        }
    }
}

void ls_html_text(FILE *out, const char *text)
{
    ls_html_bytes(out, text, strlen(text));
}

void ls_html_json(FILE *out, const char *text)
{
    putc('"', out);
    for (size_t bytes, taken; *text; text += taken) {
        const char *at = next(text, &bytes, &taken);
        if (*at == '"' || *at == '\\' || *at == '<' || *at == '\n' || *at == '\t')
            fprintf(out, "\\u%04x", (unsigned)*at);
        else
            fwrite(at, 1, bytes, out);
    }
    putc('"', out);
}

char *ls_html_clean(const char *text)
{
    char *clean = malloc(3 * strlen(text) + 1), *end = clean;
    for (size_t bytes, taken; clean && *text; text += taken) {
        const char *at = next(text, &bytes, &taken);
        memcpy(end, at, bytes);
        end += bytes;
    }
    if (clean)
        *end = '\0';
    return clean;
}

void ls_html_number(double value, char text[32])
{
    const double size = fabs(value);
    if (isnan(value)) {
        snprintf(text, 32, "-");
    } else if (size >= 10000 && size < 1e15) {
        char digits[24];
        const int count = snprintf(digits, sizeof digits, "%.0f", size);
        char *end = text;
        if (value < 0)
            *end++ = '-';
        for (int i = 0; i < count; i++) {
            if (i && (count - i) % 3 == 0)
                *end++ = ',';
            *end++ = digits[i];
        }
        *end = '\0';
    } else {
        snprintf(text, 32, size > 0 && size < 1e-3 ? "%.2e" : "%.4g", value);
    }
}

void ls_html_duration(double seconds, char text[32])
{
    const long long s = (long long)(seconds + 0.5);
    if (!(seconds >= 0))
        snprintf(text, 32, "-");
    else if (seconds < 60)
        snprintf(text, 32, "%.3g s", seconds);
    else if (s < 3600)
        snprintf(text, 32, "%lld min %02lld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, 32, "%lld h %02lld min", s / 3600, s / 60 % 60);
    else
        snprintf(text, 32, "%lld d %02lld h", s / 86400, s / 3600 % 24);
}
