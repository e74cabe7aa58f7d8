/* What stands behind `lockstep data`: one function a verb, in a file of its own. Each gets argv[0] = "lockstep data VERB",
 * parses with argp, prints errors as "lockstep data VERB: sentence" and returns the exit code. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

int ls_data_tokenizer(int argc, char **argv);
int ls_data_pack(int argc, char **argv);
int ls_data_pack_images(int argc, char **argv);
int ls_data_info(int argc, char **argv);
int ls_data_show(int argc, char **argv);
int ls_data_verify(int argc, char **argv);

/* Prints a text that may hold anything to stdout: control characters as \xNN, never sent to a terminal. */
void ls_data_print_text(const char *text, size_t bytes, bool on_one_line);
