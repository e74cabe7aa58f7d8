/* cuBLASLt's matrix product on the host. It refuses what the documentation of cublasLtMatmul and of the attributes
 * rules out, and where the documentation leaves a choice it takes the unkind one:
 *   - matrices in column order only (a row-order product is the same product transposed);
 *   - the types of the documentation's table for f16, bf16, f32 (also by way of tf32) and f64; bias and aux of D's
 * type;
 *   - pointers as aligned as the preference promised when the algorithm was found (256 bytes unless told otherwise), an
 *     algorithm used for the problem it was found for, and a workspace of the size it asks for, which it fills with
 * NaN;
 *   - every matrix, bias, aux and workspace wholly inside one block of device memory;
 *   - C in place of D only with the same layout; batches of D that do not overlap.
 * Sums go in ascending k in f32 (f64 for f64), one of the orders a GPU may take. GELU is the tanh form, as in cuBLASLt.
 */
#include "stream.h"
#include <cublasLt.h>
#include <cudahost.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

struct cublasLtContext {
    int unused;
};

struct cublasLtMatrixLayoutOpaque {
    int32_t type, order;
    uint64_t rows, columns;
    int64_t leading;
    int32_t batch;
    int64_t stride;
};

struct cublasLtMatmulDescOpaque {
    int32_t compute, scale, pointer_mode, trans_a, trans_b, trans_c, fill_mode;
    uint32_t epilogue;
    void *bias;
    int64_t bias_stride;
    void *aux;
    int64_t aux_leading, aux_stride;
    int32_t aux_type, bias_type; /* -1: D's */
};

struct cublasLtMatmulPreferenceOpaque {
    uint32_t search, reduction;
    uint64_t workspace;
    uint32_t alignment[4];
    float waves;
    uint64_t implementations;
};

typedef cublasLtMatrixLayoutOpaque layout;
typedef cublasLtMatmulDescOpaque operation;

static cublasStatus_t refuse(cublasStatus_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static cublasStatus_t refuse(cublasStatus_t status, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    report_sentence(cublasLtGetStatusName(status), text);
    return status;
}

extern "C" {
const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
#define NAME(name, value)                                                                                              \
    case name: return #name;
        CUBLAS_STATUSES(NAME)
#undef NAME
    }
    return "an unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext{0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
}

/* ---- Attributes */

struct field {
    int attribute;
    void *value;
    size_t bytes;
};

/* The sizes are part of the contract: a caller that passes an int where an int64_t is meant is told. */
static cublasStatus_t set_attribute(const char *function, const field *fields, size_t n, int attribute,
                                    const void *value, size_t bytes)
{
    for (size_t i = 0; i < n; i++)
        if (fields[i].attribute == attribute) {
            if (value == nullptr || fields[i].bytes != bytes)
                return refuse(CUBLAS_STATUS_INVALID_VALUE, "%s: attribute %d has %zu bytes, not %zu", function,
                              attribute, fields[i].bytes, bytes);
            memcpy(fields[i].value, value, bytes);
            return CUBLAS_STATUS_SUCCESS;
        }
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "%s: attribute %d is not known here", function, attribute);
}

#define FIELD(attribute, member)                                                                                       \
    {                                                                                                                  \
        attribute, &member, sizeof member                                                                              \
    }
#define SET(fields) set_attribute(__func__, fields, sizeof fields / sizeof fields[0], (int)attribute, value, bytes)

extern "C" {
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t columns,
                                          int64_t leading)
{
    if (l == nullptr || leading <= 0)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatrixLayoutCreate: leading dimension %ld", (long)leading);
    *l = new layout{type, CUBLASLT_ORDER_COL, rows, columns, leading, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    const field fields[] = {
        FIELD(CUBLASLT_MATRIX_LAYOUT_TYPE, l->type),
        FIELD(CUBLASLT_MATRIX_LAYOUT_ORDER, l->order),
        FIELD(CUBLASLT_MATRIX_LAYOUT_ROWS, l->rows),
        FIELD(CUBLASLT_MATRIX_LAYOUT_COLS, l->columns),
        FIELD(CUBLASLT_MATRIX_LAYOUT_LD, l->leading),
        FIELD(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, l->batch),
        FIELD(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, l->stride),
    };
    return SET(fields);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *o, cublasComputeType_t compute, cudaDataType scale)
{
    if (o == nullptr)
        return CUBLAS_STATUS_INVALID_VALUE;
    *o = new operation{compute,
                       scale,
                       CUBLASLT_POINTER_MODE_HOST,
                       CUBLAS_OP_N,
                       CUBLAS_OP_N,
                       CUBLAS_OP_N,
                       0,
                       CUBLASLT_EPILOGUE_DEFAULT,
                       nullptr,
                       0,
                       nullptr,
                       0,
                       0,
                       -1,
                       -1};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t o)
{
    delete o;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t o, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    const field fields[] = {
        FIELD(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, o->compute),
        FIELD(CUBLASLT_MATMUL_DESC_SCALE_TYPE, o->scale),
        FIELD(CUBLASLT_MATMUL_DESC_POINTER_MODE, o->pointer_mode),
        FIELD(CUBLASLT_MATMUL_DESC_TRANSA, o->trans_a),
        FIELD(CUBLASLT_MATMUL_DESC_TRANSB, o->trans_b),
        FIELD(CUBLASLT_MATMUL_DESC_TRANSC, o->trans_c),
        FIELD(CUBLASLT_MATMUL_DESC_FILL_MODE, o->fill_mode),
        FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE, o->epilogue),
        FIELD(CUBLASLT_MATMUL_DESC_BIAS_POINTER, o->bias),
        FIELD(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, o->bias_stride),
        FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, o->aux),
        FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, o->aux_leading),
        FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, o->aux_stride),
        FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, o->aux_type),
        FIELD(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, o->bias_type),
    };
    return SET(fields);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    if (p == nullptr)
        return CUBLAS_STATUS_INVALID_VALUE;
    *p = new cublasLtMatmulPreferenceOpaque{0,         CUBLASLT_REDUCTION_SCHEME_MASK, 0, {256, 256, 256, 256}, 0.0f,
                                            UINT64_MAX};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
    const field fields[] = {
        FIELD(CUBLASLT_MATMUL_PREF_SEARCH_MODE, p->search),
        FIELD(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, p->workspace),
        FIELD(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, p->reduction),
        FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p->alignment[0]),
        FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p->alignment[1]),
        FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p->alignment[2]),
        FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p->alignment[3]),
        FIELD(CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT, p->waves),
        FIELD(CUBLASLT_MATMUL_PREF_IMPL_MASK, p->implementations),
    };
    return SET(fields);
}
}

/* ---- Checks */

struct problem {
    operation o;
    layout a, b, c, d;
    uint64_t m, n, k;
};

static size_t type_bytes(int32_t type)
{
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : type == CUDA_R_16F || type == CUDA_R_16BF ? 2 : 0;
}

static bool has(uint32_t epilogue, uint32_t bit)
{
    return epilogue != CUBLASLT_EPILOGUE_DEFAULT && (epilogue & bit) != 0;
}

/* The bias pointer is a vector that is added (BIAS), or one that is written (BGRAD, BGRADA, BGRADB). */
static bool reads_bias(uint32_t e)
{
    return has(e, CUBLASLT_EPILOGUE_BIAS);
}

static bool writes_bias(uint32_t e)
{
    return e == CUBLASLT_EPILOGUE_DGELU_BGRAD || e == CUBLASLT_EPILOGUE_BGRADA || e == CUBLASLT_EPILOGUE_BGRADB;
}

static bool uses_aux(uint32_t e)
{
    return has(e, 128);
}

static uint64_t bias_length(const problem &p)
{
    return p.o.epilogue == CUBLASLT_EPILOGUE_BGRADB ? p.n : p.m;
}

static cublasStatus_t check_types(const problem &p)
{
    int32_t ab = p.a.type, cd = p.d.type;
    bool fast = p.o.compute == CUBLAS_COMPUTE_32F_FAST_16F || p.o.compute == CUBLAS_COMPUTE_32F_FAST_16BF ||
                p.o.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    bool f32 = p.o.compute == CUBLAS_COMPUTE_32F || p.o.compute == CUBLAS_COMPUTE_32F_PEDANTIC || fast;
    bool f64 = p.o.compute == CUBLAS_COMPUTE_64F || p.o.compute == CUBLAS_COMPUTE_64F_PEDANTIC;
    bool known = (f32 && p.o.scale == CUDA_R_32F && ab == CUDA_R_32F && cd == CUDA_R_32F) ||
                 (f32 && !fast && p.o.scale == CUDA_R_32F && (ab == CUDA_R_16BF || ab == CUDA_R_16F) &&
                  (cd == ab || cd == CUDA_R_32F)) ||
                 (f64 && p.o.scale == CUDA_R_64F && ab == CUDA_R_64F && cd == CUDA_R_64F);
    if (p.b.type != ab || p.c.type != cd || !known)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                      "cublasLtMatmul: compute type %d, scale type %d, A %d, B %d, C %d, D %d "
                      "are not a row of the table of supported types",
                      p.o.compute, p.o.scale, ab, p.b.type, p.c.type, cd);
    if ((reads_bias(p.o.epilogue) || writes_bias(p.o.epilogue)) && p.o.bias_type != -1 && p.o.bias_type != cd)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul: bias type %d, D %d", p.o.bias_type, cd);
    if (uses_aux(p.o.epilogue) && p.o.aux_type != -1 && p.o.aux_type != cd)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: aux type %d, D %d", p.o.aux_type, cd);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_layout(const char *name, const layout &l, uint64_t rows, uint64_t columns, int32_t batch)
{
    if (l.order != CUBLASLT_ORDER_COL)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul: %s is not in column order", name);
    if (l.rows != rows || l.columns != columns)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: %s is %lu x %lu; the others make it %lu x %lu",
                      name, l.rows, l.columns, rows, columns);
    if (l.leading < (int64_t)l.rows)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: %s has %lu rows, leading dimension %ld", name,
                      l.rows, l.leading);
    if (l.batch != batch || (batch > 1 && l.stride < 0))
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: %s has %d matrices (stride %ld), D has %d", name,
                      l.batch, l.stride, batch);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_epilogue(const problem &p)
{
    uint32_t e = p.o.epilogue;
    static const uint32_t known[] = {
        CUBLASLT_EPILOGUE_DEFAULT,     CUBLASLT_EPILOGUE_RELU,          CUBLASLT_EPILOGUE_BIAS,
        CUBLASLT_EPILOGUE_RELU_BIAS,   CUBLASLT_EPILOGUE_GELU,          CUBLASLT_EPILOGUE_GELU_BIAS,
        CUBLASLT_EPILOGUE_GELU_AUX,    CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU,
        CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA,        CUBLASLT_EPILOGUE_BGRADB};
    bool found = false;
    for (uint32_t k : known)
        found = found || k == e;
    if (!found)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul: epilogue %u", e);
    if (p.d.type == CUDA_R_64F && e != CUBLASLT_EPILOGUE_DEFAULT)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul: epilogue %u on f64", e);
    if (uses_aux(e) && (p.o.aux_leading % 8 != 0 || p.o.aux_leading < (int64_t)p.m))
        return refuse(CUBLAS_STATUS_INVALID_VALUE,
                      "cublasLtMatmul: aux leading dimension %ld; it must be divisible by 8 and "
                      "no less than D's %lu rows",
                      p.o.aux_leading, p.m);
    if (uses_aux(e) && (p.o.aux_stride % 8 != 0 || (p.d.batch > 1 && p.o.aux_stride < p.o.aux_leading * (int64_t)p.n)))
        return refuse(CUBLAS_STATUS_INVALID_VALUE,
                      "cublasLtMatmul: aux batch stride %ld; it must be divisible by 8 and hold "
                      "a matrix",
                      p.o.aux_stride);
    return CUBLAS_STATUS_SUCCESS;
}

/* Everything that does not need the pointers. */
static cublasStatus_t describe(problem *p, const operation *o, const layout *a, const layout *b, const layout *c,
                               const layout *d)
{
    if (o == nullptr || a == nullptr || b == nullptr || c == nullptr || d == nullptr)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: a descriptor is null");
    *p = {*o, *a, *b, *c, *d, d->rows, d->columns, o->trans_a == CUBLAS_OP_N ? a->columns : a->rows};
    if (p->m == 0 || p->n == 0 || p->k == 0 || p->d.batch <= 0)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: an empty product, %lu x %lu x %lu, %d times", p->m,
                      p->n, p->k, p->d.batch);
    if (o->pointer_mode != CUBLASLT_POINTER_MODE_HOST || o->trans_c != CUBLAS_OP_N || o->fill_mode != 0)
        return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul: pointer mode %d, transpose of C %d, fill mode %d",
                      o->pointer_mode, o->trans_c, o->fill_mode);
    bool na = o->trans_a == CUBLAS_OP_N, nb = o->trans_b == CUBLAS_OP_N;
    cublasStatus_t s = check_types(*p);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_layout("A", *a, na ? p->m : p->k, na ? p->k : p->m, d->batch);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_layout("B", *b, nb ? p->k : p->n, nb ? p->n : p->k, d->batch);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_layout("C", *c, p->m, p->n, d->batch);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_layout("D", *d, p->m, p->n, d->batch);
    if (s == CUBLAS_STATUS_SUCCESS && d->batch > 1 && d->stride < d->leading * (int64_t)p->n)
        s = refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: the matrices of D overlap: stride %ld", d->stride);
    return s == CUBLAS_STATUS_SUCCESS ? check_epilogue(*p) : s;
}

/* ---- Algorithms: data[0] names the problem, [1] the workspace, [2..5] the alignments promised for A, B, C and D, [6] is the
 * algorithm's number: 7, or what CUDAHOST_CUBLASLT_ALGORITHM says. All have the same bits. */

static uint64_t name_of(const problem &p)
{
    uint64_t h = 0xcbf29ce484222325u;
    const uint64_t parts[] = {(uint64_t)p.o.compute,
                              (uint64_t)p.o.trans_a,
                              (uint64_t)p.o.trans_b,
                              p.o.epilogue,
                              (uint64_t)p.a.type,
                              (uint64_t)p.d.type,
                              p.m,
                              p.n,
                              p.k,
                              (uint64_t)p.a.leading,
                              (uint64_t)p.b.leading,
                              (uint64_t)p.c.leading,
                              (uint64_t)p.d.leading,
                              (uint64_t)p.d.batch};
    for (uint64_t part : parts)
        h = (h ^ part) * 0x100000001b3u;
    return h;
}

static bool refusing;

extern "C" void cudahost_cublaslt_refuse(int refuse)
{
    refusing = refuse != 0;
}

extern "C" cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t o,
                                                         cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                         cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                         cublasLtMatmulPreference_t preference, int requested,
                                                         cublasLtMatmulHeuristicResult_t results[], int *returned)
{
    problem p;
    if (handle == nullptr)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (requested <= 0 || results == nullptr || returned == nullptr || preference == nullptr)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmulAlgoGetHeuristic: %d algorithms asked for",
                      requested);
    *returned = 0;
    cublasStatus_t s = describe(&p, o, a, b, c, d);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s == CUBLAS_STATUS_INVALID_VALUE ? s : CUBLAS_STATUS_NOT_SUPPORTED;
    if (refusing)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    results[0].workspaceSize = preference->workspace < 1024 ? 0 : 1024;
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].wavesCount = 1.0f;
    uint64_t *data = results[0].algo.data;
    data[0] = name_of(p);
    data[1] = results[0].workspaceSize;
    for (int i = 0; i < 4; i++)
        data[2 + i] = preference->alignment[i];
    const char *number = getenv("CUDAHOST_CUBLASLT_ALGORITHM");
    data[6] = number != nullptr ? (uint64_t)atoi(number) : 7;
    *returned = 1;
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algorithm,
                                                               cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                               void *value, size_t bytes, size_t *written)
{
    const size_t size = attribute >= CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID ? 2 : 4;
    if (algorithm == nullptr || value == nullptr || bytes != size)
        return refuse(CUBLAS_STATUS_INVALID_VALUE,
                      "cublasLtMatmulAlgoConfigGetAttribute: attribute %d has %zu bytes, not %zu", (int)attribute, size,
                      bytes);
    const uint32_t content = attribute == CUBLASLT_ALGO_CONFIG_ID ? (uint32_t)algorithm->data[6] : 0;
    memcpy(value, &content, size);
    if (written != nullptr)
        *written = size;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- Pointers */

static size_t extent(const layout &l)
{
    return ((size_t)(l.batch - 1) * (size_t)l.stride + (size_t)l.leading * (l.columns - 1) + l.rows) *
           type_bytes(l.type);
}

static cublasStatus_t check_pointer(const char *name, const void *pointer, size_t bytes, size_t alignment)
{
    if (pointer == nullptr || !memory_is_device(pointer, bytes))
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: %s has %zu bytes: %s", name, bytes,
                      memory_describe(pointer).c_str());
    if ((uintptr_t)pointer % alignment != 0)
        return refuse(CUBLAS_STATUS_INVALID_VALUE,
                      "cublasLtMatmul: %s at %p; the algorithm was found for multiples of %zu "
                      "bytes",
                      name, pointer, alignment);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_extras(const problem &p)
{
    size_t bytes = type_bytes(p.d.type), batch = (size_t)p.d.batch;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (reads_bias(p.o.epilogue) || writes_bias(p.o.epilogue))
        s = check_pointer("the bias", p.o.bias, ((batch - 1) * (size_t)p.o.bias_stride + bias_length(p)) * bytes,
                          bytes);
    if (s == CUBLAS_STATUS_SUCCESS && uses_aux(p.o.epilogue))
        s = check_pointer("aux", p.o.aux,
                          ((batch - 1) * (size_t)p.o.aux_stride + (size_t)p.o.aux_leading * (p.n - 1) + p.m) * bytes,
                          16);
    return s;
}

/* ---- Arithmetic */

static double get(const void *base, int32_t type, size_t i)
{
    switch (type) {
    case CUDA_R_64F: return static_cast<const double *>(base)[i];
    case CUDA_R_32F: return static_cast<const float *>(base)[i];
    case CUDA_R_16F: return (float)static_cast<const __half *>(base)[i];
    default: return (float)static_cast<const __nv_bfloat16 *>(base)[i];
    }
}

static void put(void *base, int32_t type, size_t i, double value)
{
    switch (type) {
    case CUDA_R_64F: static_cast<double *>(base)[i] = value; break;
    case CUDA_R_32F: static_cast<float *>(base)[i] = (float)value; break;
    case CUDA_R_16F: static_cast<__half *>(base)[i] = __half((float)value); break;
    default: static_cast<__nv_bfloat16 *>(base)[i] = __nv_bfloat16((float)value);
    }
}

template <class W> static W operand(double value, int32_t compute)
{
    W w = (W)value;
    if (compute == CUBLAS_COMPUTE_32F_FAST_TF32) /* 10 bits of fraction, to nearest */
        return (W)cudahost::same_bits<float>((cudahost::same_bits<uint32_t>((float)w) + 0x1000u) & 0xffffe000u);
    if (compute == CUBLAS_COMPUTE_32F_FAST_16BF)
        return (W)(float)__nv_bfloat16((float)w);
    if (compute == CUBLAS_COMPUTE_32F_FAST_16F)
        return (W)(float)__half((float)w);
    return w;
}

/* op(matrix) as rows of `inner` numbers: element (outer, inner) of the packed array. */
template <class W>
static std::vector<W> pack(const void *base, const layout &l, size_t first, bool outer_is_row, uint64_t outer,
                           uint64_t inner, int32_t compute)
{
    std::vector<W> packed(outer * inner);
    for (uint64_t i = 0; i < outer; i++)
        for (uint64_t j = 0; j < inner; j++) {
            uint64_t row = outer_is_row ? i : j, column = outer_is_row ? j : i;
            packed[i * inner + j] = operand<W>(get(base, l.type, first + column * (size_t)l.leading + row), compute);
        }
    return packed;
}

static const double gelu_scale = 0.7978845608028654, gelu_cubic = 0.044715;

static double gelu(double x)
{
    return 0.5 * x * (1.0 + tanh(gelu_scale * (x + gelu_cubic * x * x * x)));
}

static double gelu_slope(double x)
{
    double t = tanh(gelu_scale * (x + gelu_cubic * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * gelu_scale * (1.0 + 3.0 * gelu_cubic * x * x);
}

/* One column of D: the epilogue of `sums`, which are alpha A B + beta C. */
template <class W>
static void write_column(const problem &p, void *d, size_t batch, uint64_t column, const std::vector<W> &sums,
                         std::vector<W> *bias_gradient)
{
    uint32_t e = p.o.epilogue;
    size_t at = batch * (size_t)p.d.stride + column * (size_t)p.d.leading;
    size_t aux_at = batch * (size_t)p.o.aux_stride + column * (size_t)p.o.aux_leading;
    for (uint64_t row = 0; row < p.m; row++) {
        double x = sums[row];
        if (reads_bias(e))
            x = (W)(x + get(p.o.bias, p.d.type, batch * (size_t)p.o.bias_stride + row));
        if (e == CUBLASLT_EPILOGUE_GELU_AUX || e == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
            put(p.o.aux, p.d.type, aux_at + row, x);
        if (has(e, CUBLASLT_EPILOGUE_RELU))
            x = x > 0.0 ? x : 0.0;
        if (has(e, CUBLASLT_EPILOGUE_GELU))
            x = gelu(x);
        if (e == CUBLASLT_EPILOGUE_DGELU || e == CUBLASLT_EPILOGUE_DGELU_BGRAD)
            x *= gelu_slope(get(p.o.aux, p.d.type, aux_at + row));
        if (e == CUBLASLT_EPILOGUE_DGELU_BGRAD)
            (*bias_gradient)[row] += (W)x;
        put(d, p.d.type, at + row, x);
    }
}

template <class W>
static void multiply(const problem &p, W alpha, const void *a, const void *b, W beta, const void *c, void *d)
{
    for (size_t batch = 0; batch < (size_t)p.d.batch; batch++) {
        /* A as [k][m] and B as [n][k]: the inner loop runs over rows of D. */
        std::vector<W> left =
            pack<W>(a, p.a, batch * (size_t)p.a.stride, p.o.trans_a != CUBLAS_OP_N, p.k, p.m, p.o.compute);
        std::vector<W> right =
            pack<W>(b, p.b, batch * (size_t)p.b.stride, p.o.trans_b != CUBLAS_OP_N, p.n, p.k, p.o.compute);
        std::vector<W> sums(p.m), gradient(bias_length(p));
        for (uint64_t column = 0; column < p.n; column++) {
            std::fill(sums.begin(), sums.end(), (W)0);
            for (uint64_t k = 0; k < p.k; k++) {
                W factor = right[column * p.k + k];
                const W *row = &left[k * p.m];
                for (uint64_t i = 0; i < p.m; i++)
                    sums[i] += row[i] * factor;
                if (p.o.epilogue == CUBLASLT_EPILOGUE_BGRADB)
                    gradient[column] += factor;
            }
            for (uint64_t i = 0; i < p.m; i++) {
                sums[i] *= alpha;
                if (beta != 0)
                    sums[i] +=
                        beta * (W)get(c, p.c.type, batch * (size_t)p.c.stride + column * (size_t)p.c.leading + i);
            }
            write_column(p, d, batch, column, sums, &gradient);
        }
        if (p.o.epilogue == CUBLASLT_EPILOGUE_BGRADA)
            for (uint64_t k = 0; k < p.k; k++)
                for (uint64_t i = 0; i < p.m; i++)
                    gradient[i] += left[k * p.m + i];
        if (writes_bias(p.o.epilogue))
            for (uint64_t i = 0; i < gradient.size(); i++)
                put(p.o.bias, p.d.type, batch * (size_t)p.o.bias_stride + i, gradient[i]);
    }
}

/* Queued: the pointers are checked again, for the memory may have been freed meanwhile. */
static void run(const problem &p, double alpha, const void *a, const void *b, double beta, const void *c, void *d,
                void *workspace, size_t workspace_bytes)
{
    memory_settle();
    bool live = memory_is_device(a, extent(p.a)) && memory_is_device(b, extent(p.b)) &&
                memory_is_device(d, extent(p.d)) && (beta == 0.0 || memory_is_device(c, extent(p.c))) &&
                check_extras(p) == CUBLAS_STATUS_SUCCESS;
    if (!live)
        return report_fault(cudaErrorIllegalAddress, "cublasLtMatmul: memory was freed before the stream came to it");
    if (workspace_bytes > 0)
        memset(workspace, 0xff, workspace_bytes);
    if (p.a.type == CUDA_R_64F)
        multiply<double>(p, alpha, a, b, beta, c, d);
    else
        multiply<float>(p, (float)alpha, a, b, (float)beta, c, d);
}

extern "C" cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t o, const void *alpha,
                                         const void *a, cublasLtMatrixLayout_t al, const void *b,
                                         cublasLtMatrixLayout_t bl, const void *beta, const void *c,
                                         cublasLtMatrixLayout_t cl, void *d, cublasLtMatrixLayout_t dl,
                                         const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                                         cudaStream_t stream)
{
    problem p;
    stream_call call;
    if (call.refused != cudaSuccess)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (handle == nullptr)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    cublasStatus_t s = describe(&p, o, al, bl, cl, dl);
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    if (alpha == nullptr || beta == nullptr)
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: alpha or beta is null");
    double scale = get(alpha, p.o.scale, 0), keep = get(beta, p.o.scale, 0);
    /* Without an algorithm the library looks for one itself, by the pointers as they are. */
    uint64_t own[6] = {name_of(p), 0, 1, 1, 1, 1};
    const uint64_t *data = algorithm != nullptr ? algorithm->data : own;
    if (data[0] != name_of(p))
        return refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: the algorithm was found for another problem");
    if (workspace_bytes < data[1] || (workspace_bytes > 0 && (uintptr_t)workspace % 16 != 0))
        return refuse(CUBLAS_STATUS_INVALID_VALUE,
                      "cublasLtMatmul: workspace of %zu bytes at %p; the algorithm needs %lu, "
                      "at a multiple of 16",
                      workspace_bytes, workspace, data[1]);
    const struct {
        const char *name;
        const void *pointer;
        const layout *l;
    } matrices[] = {{"A", a, &p.a}, {"B", b, &p.b}, {"C", keep != 0.0 ? c : d, &p.c}, {"D", d, &p.d}};
    for (int i = 0; i < 4 && s == CUBLAS_STATUS_SUCCESS; i++) {
        size_t element = type_bytes(matrices[i].l->type), promised = data[2 + i];
        if (i != 2 || keep != 0.0)
            s = check_pointer(matrices[i].name, matrices[i].pointer, extent(*matrices[i].l),
                              promised > element ? promised : element);
    }
    if (s == CUBLAS_STATUS_SUCCESS && workspace_bytes > 0)
        s = check_pointer("the workspace", workspace, workspace_bytes, 16);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = check_extras(p);
    if (s == CUBLAS_STATUS_SUCCESS && keep != 0.0 && c == d &&
        (p.c.leading != p.d.leading || (p.d.batch > 1 && p.c.stride != p.d.stride)))
        s = refuse(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul: C is D, but their layouts differ");
    if (s != CUBLAS_STATUS_SUCCESS)
        return s;
    size_t scratch = data[1];
    cudaError_t error = stream_enqueue(stream, [=] { run(p, scale, a, b, keep, c, d, workspace, scratch); }, data[0]);
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
