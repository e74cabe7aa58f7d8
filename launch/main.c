#include "launch/command.h"

int main(int argc, char **argv)
{
    return ls_lockstep(argc, argv);
}
