/* Matrix products by cuBLASLt. What decides the bits:
 *   - the algorithm is the library's first heuristic answer for a shape, never timed, kept for the device's life. The answer is
 *     a function of the shape, of the library's version and of the kind of GPU, which are all in the numerics id; ranks
 *     compare their answers nevertheless (train/choices.c);
 *   - pointers take no part in it: the heuristic is promised 16 bytes of alignment, and an array that begins elsewhere is
 *     copied to where it does;
 *   - the workspace always has the same size, and a sum that is cut along k is joined in a separate step (no reduction in
 *     place, and none in a narrower type);
 *   - f32 is multiplied as f32; tf32 only where use_tf32 of the table asked for it.
 * The library knows columns, the table rows: C = A B is asked for as C' = B' A', which is the same memory. */
#include "tensor/cuda/products.cuh"
#include "tensor/cuda/cudnn.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LS_CUBLASLT
#include <cublasLt.h>

#ifdef LS_CUDAHOST
enum { WORKSPACE = 64 << 10 }; /* the emulation guards every page of it at every call */
#else
enum { WORKSPACE = 32 << 20 }; /* NVIDIA's advice for Hopper */
#endif
enum { ALIGN = LS_CUDA_ALIGN, BUCKETS = 256 };

/* All that an algorithm is chosen by. Whole numbers of one size: compared and hashed as bytes. */
typedef struct {
    int64_t batch, m, n, k, trans_a, trans_b, lda, ldb, ldd, stride_a, stride_b, stride_d, type_ab, type_d, bias, tf32;
} shape;

typedef struct plan {
    shape key;
    bool refused;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
    ls_device_choice choice;
    struct plan *next;
} plan;

struct ls_cuda_library {
    cublasLtHandle_t handle;
    void *workspace;
    plan *bucket[BUCKETS];
};

static bool worked(ls_cuda *cuda, cublasStatus_t status, const char *what)
{
    char text[sizeof cuda->sentence];
    if (status == CUBLAS_STATUS_SUCCESS)
        return true;
    snprintf(text, sizeof text, "cuda: device %d: cuBLASLt: %.200s: %s", cuda->number, what, cublasLtGetStatusString(status));
    ls_cuda_raise(cuda, status == CUBLAS_STATUS_ALLOC_FAILED ? LS_EMEM : LS_EIO, text);
    return false;
}

/* The handle and the workspace, made at the first product: a device that multiplies nothing does without 32 MiB. */
static ls_cuda_library *library_of(ls_cuda *cuda)
{
    if (cuda->library || cuda->status != LS_OK)
        return cuda->library;
    ls_cuda_library *library = static_cast<ls_cuda_library *>(calloc(1, sizeof *library));
    if (!library) {
        ls_cuda_raise(cuda, LS_EMEM, "cuda: no memory for the list of products");
        return NULL;
    }
    cuda->library = library;
    ls_graph_submit(cuda);
    ls_cuda_failed(cuda, cudaMalloc(&library->workspace, WORKSPACE), "memory for products to work in");
    worked(cuda, cublasLtCreate(&library->handle), "opening it");
    return cuda->status == LS_OK ? library : NULL;
}

static void plan_free(plan *p)
{
    if (p->operation)
        cublasLtMatmulDescDestroy(p->operation);
    if (p->a)
        cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        cublasLtMatrixLayoutDestroy(p->b);
    if (p->d)
        cublasLtMatrixLayoutDestroy(p->d);
    free(p);
}

void ls_cuda_library_free(ls_cuda *cuda)
{
    ls_cuda_library *library = cuda->library;
    if (!library)
        return;
    for (int i = 0; i < BUCKETS; i++)
        for (plan *p = library->bucket[i], *next; p; p = next) {
            next = p->next;
            plan_free(p);
        }
    if (library->handle)
        cublasLtDestroy(library->handle);
    cudaFree(library->workspace);
    free(library);
    cuda->library = NULL;
}

/* ---- plans ---- */

static cudaDataType type_of(int64_t type)
{
    return type == LS_F32 ? CUDA_R_32F : type == LS_BF16 ? CUDA_R_16BF : type == LS_F16 ? CUDA_R_16F : CUDA_R_64F;
}

static cublasLtMatrixLayout_t layout_of(ls_cuda *cuda, int64_t type, int64_t rows, int64_t columns, int64_t ld, int64_t batch, int64_t stride)
{
    cublasLtMatrixLayout_t layout = NULL;
    const int32_t count = (int32_t)batch;
    if (!worked(cuda, cublasLtMatrixLayoutCreate(&layout, type_of(type), (uint64_t)rows, (uint64_t)columns, ld), "describing a matrix") || batch == 1)
        return layout;
    worked(cuda, cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "describing a batch");
    worked(cuda, cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride), "describing a batch");
    return layout;
}

template <typename T> static void set_operation(ls_cuda *cuda, plan *p, cublasLtMatmulDescAttributes_t attribute, T value)
{
    worked(cuda, cublasLtMatmulDescSetAttribute(p->operation, attribute, &value, sizeof value), "describing a product");
}

static void describe(ls_cuda *cuda, plan *p)
{
    const shape *s = &p->key;
    const cublasComputeType_t compute = s->type_ab == LS_F64 ? CUBLAS_COMPUTE_64F : s->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    worked(cuda, cublasLtMatmulDescCreate(&p->operation, compute, s->type_ab == LS_F64 ? CUDA_R_64F : CUDA_R_32F), "describing a product");
    if (cuda->status != LS_OK)
        return;
    set_operation<int32_t>(cuda, p, CUBLASLT_MATMUL_DESC_TRANSA, s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set_operation<int32_t>(cuda, p, CUBLASLT_MATMUL_DESC_TRANSB, s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (s->bias) {
        set_operation<uint32_t>(cuda, p, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        /* the heuristic takes a bias's alignment from its address: any that is aligned will do */
        set_operation<const void *>(cuda, p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, cuda->library->workspace);
    }
    p->a = layout_of(cuda, s->type_ab, s->trans_b ? s->k : s->n, s->trans_b ? s->n : s->k, s->ldb, s->batch, s->stride_b);
    p->b = layout_of(cuda, s->type_ab, s->trans_a ? s->m : s->k, s->trans_a ? s->k : s->m, s->lda, s->batch, s->stride_a);
    p->d = layout_of(cuda, s->type_d, s->n, s->m, s->ldd, s->batch, s->stride_d);
}

/* The library's first answer for the plan; none: it is refused. */
static void choose(ls_cuda *cuda, plan *p)
{
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                                                   CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const uint64_t workspace = WORKSPACE;
    const uint32_t align = ALIGN, reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t answer;
    int answers = 0;
    memset(&answer, 0, sizeof answer);
    if (!worked(cuda, cublasLtMatmulPreferenceCreate(&preference), "describing a preference"))
        return;
    worked(cuda, cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace), "describing a preference");
    worked(cuda, cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction), "describing a preference");
    for (int i = 0; i < 4; i++)
        worked(cuda, cublasLtMatmulPreferenceSetAttribute(preference, aligned[i], &align, sizeof align), "describing a preference");
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(cuda->library->handle, p->operation, p->a, p->b, p->d, p->d, preference, 1, &answer, &answers);
    p->refused = status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && (answers == 0 || answer.state != CUBLAS_STATUS_SUCCESS));
    if (!p->refused)
        worked(cuda, status, "choosing an algorithm");
    p->algorithm = answer.algo;
    cublasLtMatmulPreferenceDestroy(preference);
}

/* Matrices that the library cannot be asked about: nothing to add up, rows that overlap, batches whose results do. */
static bool describable(const shape *s)
{
    const int64_t most = INT32_MAX;
    return s->batch > 0 && s->m > 0 && s->n > 0 && s->k > 0 && s->batch <= most && s->m <= most && s->n <= most && s->k <= most && s->lda >= (s->trans_a ? s->m : s->k) &&
           s->ldb >= (s->trans_b ? s->k : s->n) && s->ldd >= s->n && (s->batch == 1 || (s->stride_a >= 0 && s->stride_b >= 0 && s->stride_d >= s->m * s->ldd));
}

/* An algorithm by its configuration: the opaque struct may hold more than that. */
static uint64_t name_of(ls_cuda *cuda, const cublasLtMatmulAlgo_t *algorithm)
{
    static const struct {
        cublasLtMatmulAlgoConfigAttributes_t attribute;
        size_t bytes;
    } parts[] = {{CUBLASLT_ALGO_CONFIG_ID, 4},          {CUBLASLT_ALGO_CONFIG_TILE_ID, 4},   {CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},     {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4}, {CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
                 {CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4}, {CUBLASLT_ALGO_CONFIG_STAGES_ID, 4}, {CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2}, {CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2}};
    uint64_t name = LS_CUDA_HASH;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint32_t value = 0;
        size_t written;
        if (!worked(cuda, cublasLtMatmulAlgoConfigGetAttribute(algorithm, parts[i].attribute, &value, parts[i].bytes, &written), "naming an algorithm"))
            return 0;
        name = ls_cuda_hash(name, &value, sizeof value);
    }
    return name;
}

static plan *plan_of(ls_cuda *cuda, const ls_cuda_product *product)
{
    const ls_matmul_args *g = product->args;
    const bool many = g->batch != 1;
    const shape key = {g->batch, g->m, g->n, g->k, g->trans_a, g->trans_b, g->lda, g->ldb, product->ldd, many ? g->stride_a : 0, many ? g->stride_b : 0, many ? product->stride_d : 0,
                       g->type_ab, product->type_d, product->bias != NULL, g->type_ab == LS_F32 && cuda->tf32};
    if (cuda->products == LS_CUDA_PRODUCTS_OWN || !describable(&key) || !library_of(cuda))
        return NULL;
    const uint64_t hash = ls_cuda_hash(LS_CUDA_HASH, &key, sizeof key);
    plan **first = &cuda->library->bucket[hash % BUCKETS];
    for (plan *p = *first; p; p = p->next)
        if (memcmp(&p->key, &key, sizeof key) == 0)
            return p;
    plan *p = static_cast<plan *>(calloc(1, sizeof *p));
    if (!p) {
        ls_cuda_raise(cuda, LS_EMEM, "cuda: no memory for the list of products");
        return NULL;
    }
    p->key = key;
    describe(cuda, p);
    if (cuda->status == LS_OK)
        choose(cuda, p);
    if (cuda->status != LS_OK) {
        plan_free(p);
        return NULL;
    }
    p->next = *first;
    *first = p;
    p->choice.shape = hash;
    p->choice.algorithm = p->refused ? 0 : name_of(cuda, &p->algorithm);
    return p;
}

/* ---- the product ---- */

static size_t bytes_of(ls_type type, int64_t batch, int64_t stride, int64_t rows, int64_t ld, int64_t columns)
{
    return (size_t)((batch - 1) * stride + (rows - 1) * ld + columns) * ls_type_size(type);
}

static void multiply(ls_cuda_call &call, const plan *p, const ls_cuda_product *product)
{
    const ls_matmul_args *g = product->args;
    const size_t bytes = bytes_of(product->type_d, g->batch, product->stride_d, g->m, product->ldd, g->n);
    const void *a = ls_cuda_aligned(call, product->a, bytes_of(g->type_ab, g->batch, g->stride_a, g->trans_a ? g->k : g->m, g->lda, g->trans_a ? g->m : g->k));
    const void *b = ls_cuda_aligned(call, product->b, bytes_of(g->type_ab, g->batch, g->stride_b, g->trans_b ? g->n : g->k, g->ldb, g->trans_b ? g->k : g->n));
    const void *bias = product->bias ? ls_cuda_aligned(call, product->bias, (size_t)g->n * ls_type_size(product->type_d)) : NULL;
    void *d = const_cast<void *>(ls_cuda_aligned(call, product->d, bytes)); /* with what stands between its rows */
    const void *c = product->c == product->d || !product->accumulate ? d : ls_cuda_aligned(call, product->c, bytes);
    const float one = 1, keep = product->accumulate;
    const double one_wide = 1, keep_wide = product->accumulate;
    const bool wide = g->type_ab == LS_F64;
    if (!call.ready())
        return;
    if (bias && !worked(call.cuda, cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias), "giving it a bias"))
        return;
    worked(call.cuda,
           cublasLtMatmul(call.cuda->library->handle, p->operation, wide ? static_cast<const void *>(&one_wide) : &one, b, p->a, a, p->b, wide ? static_cast<const void *>(&keep_wide) : &keep,
                          c, p->d, d, p->d, &p->algorithm, call.cuda->library->workspace, WORKSPACE, call.stream),
           "multiplying");
    ls_graph_note(call.cuda, p->choice.shape);
    if (d != product->d)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(product->d, d, bytes, cudaMemcpyDeviceToDevice, call.stream), "putting a result in its place");
}

bool ls_cuda_library_takes(ls_cuda_call &call, const ls_cuda_product *product)
{
    const plan *p = plan_of(call.cuda, product);
    return p && !p->refused;
}

bool ls_cuda_library_product(ls_cuda_call &call, const ls_cuda_product *product)
{
    const plan *p = plan_of(call.cuda, product);
    if (!p || p->refused)
        return false;
    multiply(call, p, product);
    return true;
}

static void library_name(char *text, size_t room)
{
    const size_t version = cublasLtGetVersion(); /* 13.0.2 is 130002 */
    snprintf(text, room, "cublaslt-%d.%d.%d", (int)(version / 10000), (int)(version / 100 % 100), (int)(version % 100));
}

static int64_t library_choices(const ls_cuda *cuda, ls_device_choice *choice, int64_t most)
{
    int64_t count = 0;
    for (int i = 0; cuda->library && i < BUCKETS; i++)
        for (const plan *p = cuda->library->bucket[i]; p && count < most; p = p->next)
            choice[count++] = p->choice;
    return count;
}

#else /* without the library */

bool ls_cuda_library_takes(ls_cuda_call &, const ls_cuda_product *) { return false; }
bool ls_cuda_library_product(ls_cuda_call &, const ls_cuda_product *) { return false; }
void ls_cuda_library_free(ls_cuda *) {}
static void library_name(char *text, size_t room) { snprintf(text, room, "own"); }
static int64_t library_choices(const ls_cuda *, ls_device_choice *, int64_t) { return 0; }

#endif

const void *ls_cuda_aligned(ls_cuda_call &call, const void *array, size_t bytes)
{
    if (reinterpret_cast<uintptr_t>(array) % LS_CUDA_ALIGN == 0)
        return array;
    char *copy = call.scratch<char>((int64_t)bytes);
    if (copy)
        ls_cuda_failed(call.cuda, cudaMemcpyAsync(copy, array, bytes, cudaMemcpyDeviceToDevice, call.stream), "aligning an operand");
    return copy;
}

int64_t ls_cuda_choices(const ls_device *device, ls_device_choice *choice, int64_t most)
{
    const ls_cuda *cuda = static_cast<const ls_cuda *>(device->self);
    const int64_t products = library_choices(cuda, choice, most);
    return products + ls_cuda_cudnn_choices(cuda, choice + products, most - products);
}

ls_status ls_cuda_use_tf32(ls_device *device, bool tf32)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    char name[32];
    library_name(name, sizeof name);
    if (tf32 && strcmp(name, "own") == 0)
        return ls_fail(LS_ENOTFOUND, "cuda: tf32 products need cuBLASLt, which this build was made without; configure it where libcublasLt and cublasLt.h are");
    cuda->tf32 = tf32;
    ls_cuda_name_numerics(cuda);
    return LS_OK;
}

extern "C" void ls_device_cuda_products(ls_device *device, ls_cuda_products how)
{
    ls_cuda *cuda = static_cast<ls_cuda *>(device->self);
    cuda->products = how;
    ls_cuda_name_numerics(cuda);
}

/* "cuda sm_90-132 cublaslt-13.0.2 cudnn-9.19.0 kernels-2": kind of GPU and number of its multiprocessors, the products' library (and
 * "-tf32") or "own", the convolutions' or nothing, own kernels. */
void ls_cuda_name_numerics(ls_cuda *cuda)
{
    const bool own = cuda->products == LS_CUDA_PRODUCTS_OWN;
    int major = 0, minor = 0, multiprocessors = 0;
    char name[32], convolutions[24];
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, cuda->number);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, cuda->number);
    cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, cuda->number);
    library_name(name, sizeof name);
    ls_cuda_cudnn_name(convolutions, sizeof convolutions);
#ifdef LS_CUDAHOST
    const char *kind = "cuda-emulated"; /* the host's exp, log and tanh */
#else
    const char *kind = "cuda";
#endif
    snprintf(cuda->numerics, sizeof cuda->numerics, "%s sm_%d%d-%d %s%s%s kernels-2", kind, major, minor, multiprocessors, own ? "own" : name,
             cuda->tf32 ? "-tf32" : "", own ? "" : convolutions);
}
