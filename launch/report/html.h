/* Text from outside into a page: names, logs and samples may hold anything, so nothing goes in but through here. */
#pragma once
#include <stdint.h>
#include <stdio.h>

/* Escaped for element content and quoted attributes. Control characters but newline and tab, and bytes that are not
 * UTF-8, become U+FFFD. */
void ls_html_text(FILE *out, const char *text);
/* The same of `length` bytes with a terminator behind them, zeros among them. */
void ls_html_bytes(FILE *out, const char *text, size_t length);
/* A JSON string, quotes included, that is safe inside <script>: `<` is written as \u003c. The same U+FFFD. */
void ls_html_json(FILE *out, const char *text);
/* The text with U+FFFD for what is not UTF-8 or is a control character, malloc'ed; NULL: no memory. */
char *ls_html_clean(const char *text);
/* A number for people: up to four digits that say something, thousands apart where it is whole; "-" for NaN. */
void ls_html_number(double value, char text[32]);
/* "0.3 s", "14 min 05 s", "3 h 07 min", "2 d 03 h". */
void ls_html_duration(double seconds, char text[32]);
