/* Numerics id: on what equal bits are promised. Two runs with the same id, recipe and data give the same bits on any
 * rank and thread count; under another id they may differ from the last digit on.
 *     "cpu avx2 onednn-2.6.3 kernels-10"       of the CPU; a device says its own (ls_device.numerics)        */
#pragma once
#include "base/error.h"

/* Instruction-set levels of the CPU, ascending. What a level means for own code and for oneDNN stands in
 * tensor/cpu/isa.c. LS_NUMERICS_NATIVE: the best this processor has. */
typedef enum {
    LS_NUMERICS_NATIVE = 0,
    LS_NUMERICS_GENERIC,
    LS_NUMERICS_AVX2,
    LS_NUMERICS_AVX512,
    LS_NUMERICS_AVX512_BF16,
} ls_numerics;
#define LS_NUMERICS_CHOICES "native|generic|avx2|avx512|avx512_bf16"

/* Pins the level for this process; call once, before the first device is made.
 * LS_EARG: the processor lacks it (the sentence names what it has), or it was pinned to another level before. */
ls_status ls_numerics_pin(ls_numerics level);
ls_numerics ls_numerics_level(void); /* never NATIVE */
const char *ls_numerics_id(void);    /* static storage */
