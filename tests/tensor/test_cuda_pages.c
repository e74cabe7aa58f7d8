/* Keys and values in pages on the CUDA device: decoding gives the bits of the whole row there too. */
#include "tests/tensor/paged_case.h" /* first: its `device` is a local one */
#include "tests/tensor/cuda_fixture.h"

TestSuite(cuda_pages, .init = make_device, .fini = free_device);

Test(cuda_pages, give_the_bits_of_rows)
{
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type))
        for (int s = 0; s < PAGED_SHAPES; s++)
            paged_equals_whole(device, &paged_shapes[s], type, NULL);
}
