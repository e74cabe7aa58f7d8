/* The adversary's dice: splitmix64 from CUDAHOST_SEED. */
#include "runtime.h"
#include <stdlib.h>
#include <cudahost.h>

static uint64_t seed, state;
static bool known;

long order_environment(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text != nullptr && *text != 0 ? strtol(text, nullptr, 0) : otherwise;
}

void cudahost_seed(uint64_t value)
{
    known = true;
    seed = state = value;
}

uint64_t order_seed()
{
    if (!known)
        cudahost_seed((uint64_t)order_environment("CUDAHOST_SEED", 0));
    return seed;
}

uint64_t order_random()
{
    if (order_seed() == 0)
        return 0;
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
