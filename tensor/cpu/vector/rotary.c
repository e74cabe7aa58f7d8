/* Rotary positions (Su et al. 2021): pair j of a head turns by position * frequency[j]. Angles, sines and cosines
 * are f64 with fixed bits: an f32 angle at position 100,000 would be wrong by 0.004. */
#include "base/math.h"
#include "tensor/cpu/vector/prototypes.h"

enum { PAIRS = 64 }; /* handled together; frequencies, sines and cosines stand on the stack */

always_inline uint64_t f64_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

always_inline double f64_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* As ls_math_sincos, without a branch. |angle| < 2^30. */
static void sincos_block(int n, double position, const double *frequency, real *cosine, real *sine)
{
    for (int i = 0; i < n; i++) {
        const double angle = position * frequency[i];
        const double shifted = angle * 0x1.45f306dc9c883p-1 + 0x1.8p+52, k = shifted - 0x1.8p+52;
        const uint64_t quadrant = f64_bits(shifted);
        const double r = ((angle - k * 0x1.921fbp+0) - k * 0x1.5110bp-22) - k * 0x1.18469898cc517p-44, z = r * r;
        double s = 1 / 6227020800., c = 1 / 479001600.; /* Taylor; |r| <= pi/4: errors below 2^-44, for f32 results */
        s = s * z - 1 / 39916800.;
        s = s * z + 1 / 362880.;
        s = s * z - 1 / 5040.;
        s = s * z + 1 / 120.;
        s = s * z - 1 / 6.;
        s = r + r * (z * s);
        c = c * z - 1 / 3628800.;
        c = c * z + 1 / 40320.;
        c = c * z - 1 / 720.;
        c = c * z + 1 / 24.;
        c = c * z - 1 / 2.;
        c = 1 + z * c;
        const uint64_t swap = -(quadrant & 1), s_bits = f64_bits(s), c_bits = f64_bits(c);
        sine[i] = (real)f64_of(((s_bits & ~swap) | (c_bits & swap)) ^ (quadrant & 2) << 62);
        cosine[i] = (real)f64_of(((c_bits & ~swap) | (s_bits & swap)) ^ ((quadrant + 1) & 2) << 62);
    }
}

/* Pairs (x[i * step], x[i * step + apart]), n <= PAIRS. Three loops: converting bf16 inside one loop does not vectorise. */
always_inline void rotate(int n, int64_t step, int64_t apart, const real *cosine, const real *sine, const element *x,
                          element *y, bool accumulate)
{
    real a[PAIRS], b[PAIRS];
    for (int i = 0; i < n; i++) {
        a[i] = load(x + i * step);
        b[i] = load(x + i * step + apart);
    }
    for (int i = 0; i < n; i++) {
        const real c = a[i] * cosine[i] - b[i] * sine[i], d = a[i] * sine[i] + b[i] * cosine[i];
        a[i] = c;
        b[i] = d;
    }
    if (accumulate)
        for (int i = 0; i < n; i++) {
            a[i] += load(y + i * step);
            b[i] += load(y + i * step + apart);
        }
    for (int i = 0; i < n; i++) {
        y[i * step] = store(a[i]);
        y[i * step + apart] = store(b[i]);
    }
}

/* One head's row. The usual widths are constants, so that the loops are whole vectors. */
always_inline void rotate_row(int n, bool interleaved, int64_t pairs, const real *cosine, const real *sine, const element *x,
                              element *y, bool accumulate)
{
    if (interleaved)
        rotate(n, 2, 1, cosine, sine, x, y, accumulate);
    else if (n == 32)
        rotate(32, 1, pairs, cosine, sine, x, y, accumulate);
    else if (n == PAIRS)
        rotate(PAIRS, 1, pairs, cosine, sine, x, y, accumulate);
    else
        rotate(n, 1, pairs, cosine, sine, x, y, accumulate);
}

void KERNEL(rotary)(int64_t rows, int64_t heads, int64_t width, const double *frequency, bool interleaved, bool inverse,
                    const int32_t *position, const void *x_, void *y_, bool accumulate)
{
    double turn[PAIRS];
    real cosine[PAIRS], sine[PAIRS];
    const int64_t pairs = width / 2;
    for (int64_t first = 0; first < pairs; first += PAIRS) {
        int n = (int)at_most(pairs - first, PAIRS);
        for (int i = 0; i < n; i++)
            turn[i] = inverse ? -frequency[first + i] : frequency[first + i];
        for (int64_t row = 0; row < rows; row++) {
            sincos_block(n, position[row], turn, cosine, sine);
            for (int64_t head = 0; head < heads; head++) {
                int64_t at = (row * heads + head) * width + (interleaved ? 2 * first : first);
                const element *x = (const element *)x_ + at;
                element *y = (element *)y_ + at;
                rotate_row(n, interleaved, pairs, cosine, sine, x, y, accumulate);
            }
        }
    }
}
