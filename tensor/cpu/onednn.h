/* oneDNN, held at arm's length: nothing outside tensor/cpu/ includes its headers. */
#pragma once
#include "tensor/numerics.h"

/* Keeps oneDNN from choosing code above `level`; works once, before its first primitive is made. */
void ls_onednn_limit(ls_numerics level);
const char *ls_onednn_version(void); /* "2.6.3", static storage */
