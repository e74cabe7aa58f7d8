/* The double of cuBLASLt: products and epilogues against float64, and the calls that the documentation rules out. */
#include <criterion/criterion.h>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vector>
#include <cudahost.h>
#include "launch_test.h"

#define FINE(call) cr_assert_eq(call, CUBLAS_STATUS_SUCCESS, "%s: %s", #call, cudahost_report())

struct kind {
    int m, n, k, batch;
    bool trans_a, trans_b;
    cudaDataType ab, cd;
    cublasComputeType_t compute;
    cublasLtEpilogue_t epilogue;
    double alpha, beta;
};

/* A product of lockstep's kind, with odd leading dimensions. Matrices are in column order. */
struct product : kind {
    int64_t lda, ldb, ldc, ldd, ld_aux;
    std::vector<double> a, b, c, bias, aux;
    char *on_a, *on_b, *on_c, *on_d, *on_bias, *on_aux, *workspace;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t la, lb, lc, ld;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;

    static size_t bytes(cudaDataType type)
    {
        return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
    }

    static double rounded(double x, cudaDataType type)
    {
        return type == CUDA_R_64F    ? x
               : type == CUDA_R_32F  ? (float)x
               : type == CUDA_R_16BF ? (float)__nv_bfloat16((float)x)
                                     : (float)__half((float)x);
    }

    static char *upload(std::vector<double> *values, cudaDataType type)
    {
        std::vector<char> raw(values->size() * bytes(type));
        for (size_t i = 0; i < values->size(); i++) {
            double x = (*values)[i] = rounded((*values)[i], type);
            float f = (float)x;
            __nv_bfloat16 b = f;
            __half h = f;
            memcpy(&raw[i * bytes(type)],
                   type == CUDA_R_64F    ? (void *)&x
                   : type == CUDA_R_32F  ? (void *)&f
                   : type == CUDA_R_16BF ? (void *)&b
                                         : (void *)&h,
                   bytes(type));
        }
        char *p;
        OK(cudaMalloc(&p, raw.size()));
        OK(cudaMemcpy(p, raw.data(), raw.size(), cudaMemcpyHostToDevice));
        return p;
    }

    std::vector<double> download(const char *p, size_t count, cudaDataType type) const
    {
        std::vector<char> raw(count * bytes(type));
        std::vector<double> values(count);
        OK(cudaMemcpy(raw.data(), p, raw.size(), cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < count; i++) {
            const char *at = &raw[i * bytes(type)];
            values[i] = type == CUDA_R_64F    ? *(const double *)at
                        : type == CUDA_R_32F  ? *(const float *)at
                        : type == CUDA_R_16BF ? (float)*(const __nv_bfloat16 *)at
                                              : (float)*(const __half *)at;
        }
        return values;
    }

    static std::vector<double> numbers(size_t count, unsigned seed)
    {
        std::vector<double> x(count);
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = (double)(seed >> 8) / (1 << 23) - 1.0;
        }
        return x;
    }

    template <class T, class A> void set(A attribute, T value)
    {
        FINE(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value));
    }

    cublasLtMatrixLayout_t layout(cudaDataType type, int rows, int columns, int64_t leading, int64_t stride)
    {
        cublasLtMatrixLayout_t l;
        int32_t count = batch;
        FINE(cublasLtMatrixLayoutCreate(&l, type, (uint64_t)rows, (uint64_t)columns, leading));
        FINE(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
        FINE(cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
        return l;
    }

    int64_t stride_a() const
    {
        return lda * (trans_a ? m : k) + 8;
    }
    int64_t stride_b() const
    {
        return ldb * (trans_b ? k : n);
    }

    explicit product(kind which) : kind(which)
    {
        lda = (trans_a ? k : m) + 3;
        ldb = (trans_b ? n : k) + 1;
        ldc = ldd = m + 2;
        ld_aux = (m + 7) / 8 * 8;
        a = numbers((size_t)(stride_a() * batch), 1);
        b = numbers((size_t)(stride_b() * batch), 2);
        c = numbers((size_t)(ldc * n * batch), 3);
        bias = numbers((size_t)(m > n ? m : n), 4);
        aux = numbers((size_t)(ld_aux * n * batch), 5);
        on_a = upload(&a, ab);
        on_b = upload(&b, ab);
        on_c = upload(&c, cd);
        on_bias = upload(&bias, cd);
        on_aux = upload(&aux, cd);
        OK(cudaMalloc(&on_d, (size_t)(ldd * n * batch) * bytes(cd)));
        OK(cudaMalloc(&workspace, 4096));
        cudaDataType scale = cd == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F;
        FINE(cublasLtCreate(&handle));
        FINE(cublasLtMatmulDescCreate(&operation, compute, scale));
        set(CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)(trans_a ? CUBLAS_OP_T : CUBLAS_OP_N));
        set(CUBLASLT_MATMUL_DESC_TRANSB, (int32_t)(trans_b ? CUBLAS_OP_T : CUBLAS_OP_N));
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)epilogue);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)on_bias);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, (void *)on_aux);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, ld_aux);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, ld_aux * n);
        la = layout(ab, trans_a ? k : m, trans_a ? m : k, lda, stride_a());
        lb = layout(ab, trans_b ? n : k, trans_b ? k : n, ldb, stride_b());
        lc = layout(cd, m, n, ldc, ldc * n);
        ld = layout(cd, m, n, ldd, ldd * n);
        uint64_t room = 4096;
        FINE(cublasLtMatmulPreferenceCreate(&preference));
        FINE(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                                  sizeof room));
    }

    void find()
    {
        int n_found = 0;
        FINE(cublasLtMatmulAlgoGetHeuristic(handle, operation, la, lb, lc, ld, preference, 1, &found, &n_found));
        cr_assert_eq(n_found, 1);
    }

    cublasStatus_t run(const char *pa, const char *pb, const char *pc, char *pd, size_t room)
    {
        float f_alpha = (float)alpha, f_beta = (float)beta;
        bool wide = cd == CUDA_R_64F;
        return cublasLtMatmul(handle, operation, wide ? (void *)&alpha : (void *)&f_alpha, pa, la, pb, lb,
                              wide ? (void *)&beta : (void *)&f_beta, pc, lc, pd, ld, &found.algo, workspace, room,
                              nullptr);
    }

    double op_a(int i, int row, int column) const
    {
        return a[(size_t)(i * stride_a() + (trans_a ? row * lda + column : column * lda + row))];
    }
    double op_b(int i, int row, int column) const
    {
        return b[(size_t)(i * stride_b() + (trans_b ? row * ldb + column : column * ldb + row))];
    }
};

static double gelu(double x)
{
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double close_to(double x, double want, double tolerance, const char *what, int e)
{
    cr_assert(fabs(x - want) <= tolerance * (1.0 + fabs(want)), "%s, epilogue %d: %.9g, not %.9g", what, e, x, want);
    return x;
}

static void compare(kind which)
{
    product p(which);
    p.find();
    FINE(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096));
    std::vector<double> d = p.download(p.on_d, (size_t)(p.ldd * p.n * p.batch), p.cd);
    std::vector<double> bias = p.download(p.on_bias, p.bias.size(), p.cd),
                        aux = p.download(p.on_aux, p.aux.size(), p.cd);
    std::vector<double> gradient(p.bias.size(), 0.0);
    double tolerance = p.cd == CUDA_R_64F ? 1e-13 : p.cd == CUDA_R_32F ? 2e-5 : 1e-2;
    if (p.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
        tolerance = 2e-3;
    int e = p.epilogue;
    bool dgelu = e == CUBLASLT_EPILOGUE_DGELU || e == CUBLASLT_EPILOGUE_DGELU_BGRAD;
    for (int i = 0; i < p.batch; i++)
        for (int column = 0; column < p.n; column++)
            for (int row = 0; row < p.m; row++) {
                size_t at = (size_t)((i * p.n + column) * p.ldd + row),
                       aux_at = (size_t)((i * p.n + column) * p.ld_aux + row);
                double x = 0.0;
                for (int k = 0; k < p.k; k++)
                    x += p.op_a(i, row, k) * p.op_b(i, k, column);
                x = p.alpha * x + (p.beta != 0.0 ? p.beta * p.c[at] : 0.0);
                if (e & CUBLASLT_EPILOGUE_BIAS)
                    x += p.bias[(size_t)row];
                if (e == CUBLASLT_EPILOGUE_GELU_AUX || e == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
                    close_to(aux[aux_at], x, tolerance, "aux", e);
                if (e & CUBLASLT_EPILOGUE_GELU)
                    x = gelu(x);
                if (e & CUBLASLT_EPILOGUE_RELU)
                    x = fmax(x, 0.0);
                if (dgelu)
                    x *= (gelu(p.aux[aux_at] + 1e-6) - gelu(p.aux[aux_at] - 1e-6)) / 2e-6;
                gradient[(size_t)row] += x;
                close_to(d[at], x, tolerance, "D", e);
            }
    if (e == CUBLASLT_EPILOGUE_DGELU_BGRAD)
        for (int row = 0; row < p.m; row++)
            close_to(bias[(size_t)row], gradient[(size_t)row], tolerance, "the bias's gradient", e);
    for (int j = 0; e == CUBLASLT_EPILOGUE_BGRADB && j < p.n; j++) {
        double sum = 0.0;
        for (int k = 0; k < p.k; k++)
            sum += p.op_b(0, k, j);
        close_to(bias[(size_t)j], sum, tolerance, "the bias's gradient of B", e);
    }
    for (int j = 0; e == CUBLASLT_EPILOGUE_BGRADA && j < p.m; j++) {
        double sum = 0.0;
        for (int k = 0; k < p.k; k++)
            sum += p.op_a(0, j, k);
        close_to(bias[(size_t)j], sum, tolerance, "the bias's gradient of A", e);
    }
}

Test(cublaslt, products_agree_with_float64)
{
    static const struct {
        cudaDataType ab, cd;
        cublasComputeType_t compute;
    } types[] = {{CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F},   {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32},
                 {CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F}, {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F},
                 {CUDA_R_16F, CUDA_R_16F, CUBLAS_COMPUTE_32F},   {CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F}};
    for (auto t : types)
        for (int transposed = 0; transposed < 4; transposed++)
            compare({7, 5, 9, transposed == 3 ? 3 : 1, (transposed & 1) != 0, (transposed & 2) != 0, t.ab, t.cd,
                     t.compute, CUBLASLT_EPILOGUE_DEFAULT, 0.5, transposed == 1 ? 2.0 : 0.0});
}

Test(cublaslt, epilogues_agree_with_float64)
{
    static const cublasLtEpilogue_t epilogues[] = {
        CUBLASLT_EPILOGUE_BIAS,          CUBLASLT_EPILOGUE_RELU,      CUBLASLT_EPILOGUE_RELU_BIAS,
        CUBLASLT_EPILOGUE_GELU,          CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX,
        CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU,     CUBLASLT_EPILOGUE_DGELU_BGRAD,
        CUBLASLT_EPILOGUE_BGRADA,        CUBLASLT_EPILOGUE_BGRADB};
    for (cublasLtEpilogue_t e : epilogues) {
        compare({12, 6, 5, 1, false, true, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, e, 1.0, 0.0});
        compare({12, 6, 5, 1, true, false, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, e, 1.0, 0.0});
    }
}

static product plain(cublasLtEpilogue_t e)
{
    product p({8, 6, 4, 1, false, false, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, e, 1.0, 1.0});
    p.find();
    return p;
}

static void refused(cublasStatus_t got, cublasStatus_t want, const char *word)
{
    cr_assert_eq(got, want, "%s, not %s: %s", cublasLtGetStatusName(got), cublasLtGetStatusName(want),
                 cudahost_report());
    cr_assert(strstr(cudahost_report(), word), "no `%s`: %s", word, cudahost_report());
}

Test(cublaslt, wrong_pointers_are_refused)
{
    product p = plain(CUBLASLT_EPILOGUE_BIAS);
    FINE(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096));
    const cublasStatus_t bad = CUBLAS_STATUS_INVALID_VALUE;
    refused(p.run(p.on_a + 256, p.on_b, p.on_c, p.on_d, 4096), bad, "A has");
    refused(p.run(p.on_a, p.on_b, nullptr, p.on_d, 4096), bad, "C has");
    refused(p.run((char *)malloc(4096), p.on_b, p.on_c, p.on_d, 4096), bad, "host memory");
    refused(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 100), bad, "workspace of 100 bytes");
    p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)nullptr);
    refused(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096), bad, "the bias");
    /* Large enough, but not where the algorithm was told it would be. */
    char *large;
    OK(cudaMalloc(&large, 65536));
    p.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (void *)p.on_bias);
    refused(p.run(large + 16, p.on_b, p.on_c, p.on_d, 4096), bad, "multiples of 256");
    uint32_t sixteen = 16;
    FINE(cublasLtMatmulPreferenceSetAttribute(p.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &sixteen, 4));
    p.find();
    FINE(p.run(large + 16, p.on_b, p.on_c, p.on_d, 4096));
    OK(cudaDeviceSynchronize());
}

Test(cublaslt, wrong_descriptions_are_refused)
{
    const cublasStatus_t bad = CUBLAS_STATUS_INVALID_VALUE, unsupported = CUBLAS_STATUS_NOT_SUPPORTED;
    product p = plain(CUBLASLT_EPILOGUE_GELU_AUX);
    int n_found;
    auto find = [&] {
        return cublasLtMatmulAlgoGetHeuristic(p.handle, p.operation, p.la, p.lb, p.lc, p.ld, p.preference, 1, &p.found,
                                              &n_found);
    };
    p.set(CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)CUBLAS_OP_T);
    refused(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096), bad, "A is 8 x 4; the others make it 8 x 8");
    p.set(CUBLASLT_MATMUL_DESC_TRANSA, (int32_t)CUBLAS_OP_N);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)12);
    refused(find(), bad, "divisible by 8");
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, (int64_t)16);
    p.set(CUBLASLT_MATMUL_DESC_EPILOGUE, (uint32_t)CUBLASLT_EPILOGUE_DEFAULT);
    refused(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096), bad, "found for another problem");
    int64_t seven = 7, wrong_size = 8;
    FINE(cublasLtMatrixLayoutSetAttribute(p.ld, CUBLASLT_MATRIX_LAYOUT_LD, &seven, sizeof seven));
    refused(find(), bad, "D has 8 rows, leading dimension 7");
    refused(cublasLtMatrixLayoutSetAttribute(p.ld, CUBLASLT_MATRIX_LAYOUT_ORDER, &wrong_size, sizeof wrong_size), bad,
            "has 4 bytes, not 8");
    int32_t type = CUDA_R_16BF;
    FINE(cublasLtMatrixLayoutSetAttribute(p.la, CUBLASLT_MATRIX_LAYOUT_TYPE, &type, sizeof type));
    refused(find(), unsupported, "table of supported types");
    product q = plain(CUBLASLT_EPILOGUE_DEFAULT);
    int64_t nine = 9;
    FINE(cublasLtMatrixLayoutSetAttribute(q.lc, CUBLASLT_MATRIX_LAYOUT_LD, &nine, sizeof nine));
    q.find();
    refused(q.run(q.on_a, q.on_b, q.on_d, q.on_d, 4096), bad, "C is D");
}

/* Queued like any other work: what is freed before the stream comes to it is missed. */
Test(cublaslt, the_product_runs_when_the_stream_comes_to_it)
{
    product p = plain(CUBLASLT_EPILOGUE_DEFAULT);
    cudaStream_t stream;
    OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    FINE(p.run(p.on_a, p.on_b, p.on_c, p.on_d, 4096));
    OK(cudaFreeAsync(p.on_a, stream));
    OK(cudaStreamSynchronize(stream));
    cr_assert_eq(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
}
