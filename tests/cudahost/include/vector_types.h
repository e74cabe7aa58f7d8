/* CUDA's short vectors with CUDA's alignments, and dim3. Plain structs, usable from C and C++. */
#ifndef CUDAHOST_VECTOR_TYPES_H
#define CUDAHOST_VECTOR_TYPES_H

#ifdef __cplusplus
#define CUDAHOST_MAKE static inline
#else
#define CUDAHOST_MAKE static inline __attribute__((unused))
#endif

/* Alignments are those of the table "Alignment Requirements" in the CUDA C++ programming guide. */
#define CUDAHOST_VECTORS(name, type, align2, align4)                                                                   \
    typedef struct name##1                                                                                             \
    {                                                                                                                  \
        type x;                                                                                                        \
    }                                                                                                                  \
    name##1;                                                                                                           \
    typedef struct __attribute__((aligned(align2))) name##2                                                            \
    {                                                                                                                  \
        type x, y;                                                                                                     \
    }                                                                                                                  \
    name##2;                                                                                                           \
    typedef struct name##3                                                                                             \
    {                                                                                                                  \
        type x, y, z;                                                                                                  \
    }                                                                                                                  \
    name##3;                                                                                                           \
    typedef struct __attribute__((aligned(align4))) name##4                                                            \
    {                                                                                                                  \
        type x, y, z, w;                                                                                               \
    }                                                                                                                  \
    name##4;                                                                                                           \
    CUDAHOST_MAKE name##1 make_##name##1(type x)                                                                       \
    {                                                                                                                  \
        name##1 v = {x};                                                                                               \
        return v;                                                                                                      \
    }                                                                                                                  \
    CUDAHOST_MAKE name##2 make_##name##2(type x, type y)                                                               \
    {                                                                                                                  \
        name##2 v = {x, y};                                                                                            \
        return v;                                                                                                      \
    }                                                                                                                  \
    CUDAHOST_MAKE name##3 make_##name##3(type x, type y, type z)                                                       \
    {                                                                                                                  \
        name##3 v = {x, y, z};                                                                                         \
        return v;                                                                                                      \
    }                                                                                                                  \
    CUDAHOST_MAKE name##4 make_##name##4(type x, type y, type z, type w)                                               \
    {                                                                                                                  \
        name##4 v = {x, y, z, w};                                                                                      \
        return v;                                                                                                      \
    }

CUDAHOST_VECTORS(char, signed char, 2, 4)
CUDAHOST_VECTORS(uchar, unsigned char, 2, 4)
CUDAHOST_VECTORS(short, short, 4, 8)
CUDAHOST_VECTORS(ushort, unsigned short, 4, 8)
CUDAHOST_VECTORS(int, int, 8, 16)
CUDAHOST_VECTORS(uint, unsigned int, 8, 16)
CUDAHOST_VECTORS(long, long, 16, 16)
CUDAHOST_VECTORS(ulong, unsigned long, 16, 16)
CUDAHOST_VECTORS(longlong, long long, 16, 16)
CUDAHOST_VECTORS(ulonglong, unsigned long long, 16, 16)
CUDAHOST_VECTORS(float, float, 8, 16)
CUDAHOST_VECTORS(double, double, 16, 16)

typedef struct dim3 {
    unsigned int x, y, z;
#ifdef __cplusplus
    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z)
    {
    }
#endif
} dim3;

#endif
