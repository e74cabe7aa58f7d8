/* Softmax over rows: y = e^(x - m) / s, m = max x, s = sum e^(x - m) over 16 lanes; log-softmax: y = (x - m) - log s. */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

static void log_row(int64_t n, real greatest, real log_sum, const element *x, element *y)
{
    INDEPENDENT for (int64_t i = 0; i < n; i++)
        y[i] = store((load(x + i) - greatest) - log_sum);
}

/* x may be y. bf16 computes the exponentials again rather than round them twice. */
static void softmax_row(bool log, int64_t n, const element *x, element *y)
{
    if (n == 0)
        return;
    const real greatest = (real)KERNEL(reduce_partial)(LS_REDUCE_MAX, n, x);
    real buffer[BLOCK];
    lanes sum = {0};
    const bool keep = !log && sizeof(element) == sizeof(real);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        real *e = keep ? (real *)(void *)(y + begin) : buffer;
        INDEPENDENT for (int64_t i = 0; i < count; i++)
            e[i] = real_exp(load(x + begin + i) - greatest);
        lanes_add(&sum, e, count);
    }
    const real total = lanes_total(&sum), inverse = 1 / total;
    if (log)
        log_row(n, greatest, real_log(total), x, y);
    else if (keep)
        for (int64_t i = 0; i < n; i++)
            y[i] = store(load(y + i) * inverse);
    else
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            y[i] = store(real_exp(load(x + i) - greatest) * inverse);
}

void KERNEL(softmax)(bool log, int64_t rows, int64_t length, const void *x, void *y)
{
    for (int64_t row = 0; row < rows; row++)
        softmax_row(log, length, (const element *)x + row * length, (element *)y + row * length);
}

/* softmax: dx += y (dy - sum dy y); log-softmax: dx += dy - e^y sum dy. */
static void softmax_row_backward(bool log, int64_t n, const element *y, const element *dy, element *dx)
{
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        for (int64_t i = 0; i < count; i++)
            buffer[i] = load(dy + begin + i) * (log ? 1 : load(y + begin + i));
        lanes_add(&sum, buffer, count);
    }
    const real total = lanes_total(&sum);
    if (log)
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            dx[i] = store(load(dx + i) + (load(dy + i) - real_exp(load(y + i)) * total));
    else
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            dx[i] = store(load(dx + i) + load(y + i) * (load(dy + i) - total));
}

void KERNEL(softmax_backward)(bool log, int64_t rows, int64_t length, const void *y, const void *dy, void *dx)
{
    for (int64_t row = 0; row < rows; row++)
        softmax_row_backward(log, length, (const element *)y + row * length, (const element *)dy + row * length,
                             (element *)dx + row * length);
}
