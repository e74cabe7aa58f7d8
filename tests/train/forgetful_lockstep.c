/* `lockstep` on emulated devices, with LS_TEST_FORGET=1 without the wait before the host reads what the device computes: a
 * planted fault. */
#include "launch/command.h"
#include "tensor/tensor.h"

#include <stdlib.h>

ls_status __real_ls_tape_wait(ls_tape *tape);
ls_status __wrap_ls_tape_wait(ls_tape *tape);

ls_status __wrap_ls_tape_wait(ls_tape *tape)
{
    return getenv("LS_TEST_FORGET") ? ls_tape_status(tape) : __real_ls_tape_wait(tape);
}

int main(int argc, char **argv)
{
    return ls_lockstep(argc, argv);
}
