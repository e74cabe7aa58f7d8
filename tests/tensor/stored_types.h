/* The types in which weights and activations are stored, one after the other:
 *     for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) */
#pragma once
#include "base/type.h"

static inline ls_type stored_after(ls_type type)
{
    return type == LS_F32 ? LS_BF16 : type == LS_BF16 ? LS_F16 : (ls_type)(LS_F16 + 1);
}
