/* Image sets for a person to look at: what stands behind `lockstep data info`, `verify` and `show` for them. Each
 * prints to standard output, and returns what opening or reading the set said. */
#pragma once
#include "datasets/images.h"

ls_status ls_images_print_info(const char *folder);
ls_status ls_images_print_verified(const char *folder);
/* Image `number`: on a terminal in colour, two rows of pixels a line; elsewhere a character of ten for each brightness.
 * Made smaller by averages where it is wider than `columns` (0: the terminal's, else 80; each pixel takes one on a
 * terminal, two elsewhere). LS_EARG: no such image. */
ls_status ls_images_print(const char *folder, int64_t number, int64_t columns);
/* False also for what is no data set: the reader of texts then says what is wrong with it. */
bool ls_folder_holds_images(const char *folder);
