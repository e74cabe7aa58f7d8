#include "base/type.h"

size_t ls_type_size(ls_type type)
{
    switch (type) {
    case LS_F32:
    case LS_I32: return 4;
    case LS_BF16:
    case LS_F16: return 2;
    case LS_F64:
    case LS_I64: return 8;
    case LS_U8: return 1;
    }
    return 0;
}

const char *ls_type_name(ls_type type)
{
    static const char *const names[] = {"f32", "bf16", "f64", "i32", "i64", "u8", "f16"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "?";
}
