/* nvcuda::wmma on the emulation: a warp multiplies tiles of bf16, half or tf32, adding in f32.
 *
 * Which lane holds which element is unspecified in CUDA and scrambled here, so a kernel that relies on a layout fails.
 * Every call is a meeting of all 32 lanes. Products are exact in f32 and added in ascending k, which is one of the
 * orders the hardware may take: results differ from a GPU's by rounding. */
#ifndef CUDAHOST_MMA_H
#define CUDAHOST_MMA_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudahost/warp.h>

extern "C" void cudahost_wmma_memory(const void *address, unsigned leading, size_t element, const char *file, int line);

namespace nvcuda
{
namespace wmma
{
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision
{
struct tf32;
}

enum layout_t { mem_row_major, mem_col_major };

/* In memory and in a fragment a tf32 is a float; its low 13 bits are ignored by the product. */
template <class T> struct storage_of {
    typedef T type;
};
template <> struct storage_of<precision::tf32> {
    typedef float type;
};

template <class Use, int m, int n, int k> struct shape_of;
template <int m, int n, int k> struct shape_of<matrix_a, m, n, k> {
    static const int rows = m, columns = k;
};
template <int m, int n, int k> struct shape_of<matrix_b, m, n, k> {
    static const int rows = k, columns = n;
};
template <int m, int n, int k> struct shape_of<accumulator, m, n, k> {
    static const int rows = m, columns = n;
};

template <class Use, int m, int n, int k, class T, class Layout = void> struct fragment {
    typedef typename storage_of<T>::type element_type;
    typedef element_type storage_element_type;
    static const int rows = shape_of<Use, m, n, k>::rows, columns = shape_of<Use, m, n, k>::columns;
    static const int num_elements = rows * columns / 32;
    static_assert((m == 16 && n == 16 && (k == 16 || k == 8)) || (m == 32 && n == 8 && k == 16) ||
                      (m == 8 && n == 32 && k == 16),
                  "shapes of the programming guide's table for bf16, half and tf32");
    element_type x[num_elements];

    /* The place in the matrix, row * columns + column, of x[i] of `lane`. */
    static int place(int lane, int i)
    {
        return ((lane * num_elements + i) * 5 + 3) % (rows * columns);
    }
};

static inline float __float_to_tf32(float f)
{
    return cudahost::same_bits<float>((cudahost::same_bits<uint32_t>(f) + 0x1000u) & 0xffffe000u);
}

template <class F, class T> static inline void fill_fragment(F &fragment, T value)
{
    for (int i = 0; i < F::num_elements; i++)
        fragment.x[i] = value;
}

namespace detail
{
template <class F> static inline size_t offset(int i, unsigned leading, bool by_columns)
{
    int place = F::place(cudahost_lane(), i), row = place / F::columns, column = place % F::columns;
    return by_columns ? (size_t)column * leading + row : (size_t)row * leading + column;
}

template <class F, class T>
static inline void load(F &fragment, const T *address, unsigned leading, bool by_columns, const char *file, int line)
{
    cudahost_wmma_memory(address, leading, sizeof(T), file, line);
    for (int i = 0; i < F::num_elements; i++)
        fragment.x[i] = address[offset<F>(i, leading, by_columns)];
}

static inline float operand(float f)
{
    return cudahost::same_bits<float>(cudahost::same_bits<uint32_t>(f) & 0xffffe000u);
}

static inline float operand(__nv_bfloat16 b)
{
    return (float)b;
}

static inline float operand(__half h)
{
    return (float)h;
}

template <class A, class B, class C, class D> struct operands {
    const A *a;
    const B *b;
    const C *c;
    D *d;
};

template <class A, class B, class C, class D> static void multiply(void **payloads)
{
    typedef operands<A, B, C, D> lane_operands;
    static const int m = C::rows, n = C::columns, k = A::columns;
    float a[m * k], b[k * n], sum[m * n];
    for (int lane = 0; lane < 32; lane++) {
        const lane_operands *o = static_cast<lane_operands *>(payloads[lane]);
        for (int i = 0; i < A::num_elements; i++)
            a[A::place(lane, i)] = operand(o->a->x[i]);
        for (int i = 0; i < B::num_elements; i++)
            b[B::place(lane, i)] = operand(o->b->x[i]);
        for (int i = 0; i < C::num_elements; i++)
            sum[C::place(lane, i)] = (float)o->c->x[i];
    }
    for (int row = 0; row < m; row++)
        for (int j = 0; j < k; j++)
            for (int column = 0; column < n; column++)
                sum[row * n + column] += a[row * k + j] * b[j * n + column];
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < D::num_elements; i++)
            static_cast<lane_operands *>(payloads[lane])->d->x[i] = sum[D::place(lane, i)];
}
} // namespace detail

template <int m, int n, int k, class T, class E>
static inline void load_matrix_sync(fragment<matrix_a, m, n, k, T, row_major> &f, const E *address, unsigned leading,
                                    CUDAHOST_HERE)
{
    detail::load(f, address, leading, false, file, line);
}

template <int m, int n, int k, class T, class E>
static inline void load_matrix_sync(fragment<matrix_a, m, n, k, T, col_major> &f, const E *address, unsigned leading,
                                    CUDAHOST_HERE)
{
    detail::load(f, address, leading, true, file, line);
}

template <int m, int n, int k, class T, class E>
static inline void load_matrix_sync(fragment<matrix_b, m, n, k, T, row_major> &f, const E *address, unsigned leading,
                                    CUDAHOST_HERE)
{
    detail::load(f, address, leading, false, file, line);
}

template <int m, int n, int k, class T, class E>
static inline void load_matrix_sync(fragment<matrix_b, m, n, k, T, col_major> &f, const E *address, unsigned leading,
                                    CUDAHOST_HERE)
{
    detail::load(f, address, leading, true, file, line);
}

template <int m, int n, int k, class T, class E>
static inline void load_matrix_sync(fragment<accumulator, m, n, k, T> &f, const E *address, unsigned leading,
                                    layout_t layout, CUDAHOST_HERE)
{
    detail::load(f, address, leading, layout == mem_col_major, file, line);
}

template <int m, int n, int k, class T, class E>
static inline void store_matrix_sync(E *address, const fragment<accumulator, m, n, k, T> &f, unsigned leading,
                                     layout_t layout, CUDAHOST_HERE)
{
    typedef fragment<accumulator, m, n, k, T> F;
    cudahost_wmma_memory(address, leading, sizeof(E), file, line);
    for (int i = 0; i < F::num_elements; i++)
        address[detail::offset<F>(i, leading, layout == mem_col_major)] = f.x[i];
}

template <int m, int n, int k, class T, class LayoutA, class LayoutB, class C, class D>
static inline void mma_sync(fragment<accumulator, m, n, k, D> &d, const fragment<matrix_a, m, n, k, T, LayoutA> &a,
                            const fragment<matrix_b, m, n, k, T, LayoutB> &b,
                            const fragment<accumulator, m, n, k, C> &c, CUDAHOST_HERE)
{
    typedef fragment<matrix_a, m, n, k, T, LayoutA> A;
    typedef fragment<matrix_b, m, n, k, T, LayoutB> B;
    typedef fragment<accumulator, m, n, k, C> CC;
    typedef fragment<accumulator, m, n, k, D> DD;
    detail::operands<A, B, CC, DD> o = {&a, &b, &c, &d};
    cudahost_collective(&o, detail::multiply<A, B, CC, DD>, file, line);
}
} // namespace wmma
} // namespace nvcuda

#endif
