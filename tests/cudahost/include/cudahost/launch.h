/* Launching a kernel: LS_LAUNCH calls cudahost::launch where nvcc would see <<<>>>. */
#ifndef CUDAHOST_LAUNCH_H
#define CUDAHOST_LAUNCH_H

#include <stddef.h>
#include <new>
#include <tuple>
#include <utility>
#include <cuda_runtime_api.h>

namespace cudahost
{
/* A call with its arguments, kept until the stream comes to it. Kernels read their arguments from `object`. */
struct closure {
    void *object;
    size_t bytes;
    void (*call)(void *object);
    void (*drop)(void *object);
};

/* Queues the launch; returns what cudaPeekAtLastError() would say after <<<>>>. */
cudaError_t enqueue_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, closure body,
                           const char *kernel, const char *file, int line);

template <class F>
cudaError_t launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, F body, const char *kernel,
                   const char *file, int line)
{
    closure c;
    c.object = new F(std::move(body));
    c.bytes = sizeof(F);
    c.call = [](void *object) { (*static_cast<F *>(object))(); };
    c.drop = [](void *object) { delete static_cast<F *>(object); };
    return enqueue_launch(grid, block, shared_bytes, stream, c, kernel, file, line);
}

/* The same with the arguments taken, and converted to the kernel's parameters, at the call: what <<<>>> does. A lambda
 * [=]{ kernel(argument); } would evaluate `argument` only when the stream comes to it.
 *     cudahost::launch_call(grid, block, shared_bytes, stream, "scale", __FILE__, __LINE__, scale<float>, x, n) */
template <class... P, class... A>
cudaError_t launch_call(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const char *name,
                        const char *file, int line, void (*kernel)(P...), A &&...arguments)
{
    std::tuple<P...> kept(std::forward<A>(arguments)...);
    return launch(
        grid, block, shared_bytes, stream, [kernel, kept] { std::apply(kernel, kept); }, name, file, line);
}
} // namespace cudahost

#endif
