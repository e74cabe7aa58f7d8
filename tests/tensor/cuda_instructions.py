#!/usr/bin/env python3
"""Instructions of attention's tensor-core kernels, counted in a CUDA program's own code (no tool of NVIDIA's is needed).
Each kernel must have matrix instructions for every target, more of them than scalar multiply-adds, and no access to local
memory, which is where registers that do not fit would go.
usage: cuda_instructions.py PROGRAM TARGET ...      TARGET: 80, 90"""
import collections
import itertools
import struct
import sys

EM_CUDA = 190
KERNELS = ('attention_tensor_kernel', 'attention_tensor_query_kernel', 'attention_tensor_key_kernel')
WIDTHS = ('ILi32E', 'ILi64E', 'ILi128E')
TYPES = {'13__nv_bfloat16': 'bf16', '6__half': 'f16'}
# The low 12 bits of an instruction of 16 bytes, from sm_70 on. FFMA is the form with three registers, as a loop of products
# has it; those with a constant are part of exp.
NAMES = {0x23c: 'HMMA', 0x223: 'FFMA', 0x387: 'STL', 0x983: 'LDL'}


def sections(data, at):
    """(name, type, offset, size) of each section of the ELF file at `at`."""
    offset, = struct.unpack_from('<Q', data, at + 40)
    size, count, names = struct.unpack_from('<HHH', data, at + 58)
    table = [struct.unpack_from('<IIQQQQ', data, at + offset + i * size) for i in range(count)]
    strings = at + table[names][4]
    for name, kind, _, _, begin, length in table:
        end = data.index(b'\0', strings + name)
        yield data[strings + name:end].decode(), kind, begin, length


def kernels(data):
    """(target, kernel's name, counts of instructions) of all GPU code in the program."""
    at = data.find(b'\x7fELF', 1)
    while at >= 0:
        if at + 64 <= len(data) and struct.unpack_from('<H', data, at + 18)[0] == EM_CUDA:
            flags, = struct.unpack_from('<I', data, at + 48)
            for name, kind, begin, length in sections(data, at):
                if name.startswith('.text.') and kind == 1:
                    codes = struct.unpack_from(f'<{length // 16 * 2}Q', data, at + begin)[::2]
                    yield target_of(flags), name[6:], collections.Counter(NAMES.get(code & 0xfff) for code in codes)
        at = data.find(b'\x7fELF', at + 4)


def target_of(flags):
    """The architecture stands in bits 0-7 of old files, in bits 8-15 of new ones."""
    return flags & 0xff if flags & 0xff in range(50, 200) else flags >> 8 & 0xff


def main():
    with open(sys.argv[1], 'rb') as file:
        found = {(target, name): counts for target, name, counts in kernels(file.read()) if 'attention_tensor' in name}
    failed = False
    for target in map(int, sys.argv[2:]):
        for kernel, width, element in itertools.product(KERNELS, WIDTHS, TYPES):
            counts = next((c for (t, name), c in found.items() if t == target and f'{kernel}{width}{element}' in name), None)
            what = f'sm_{target}: {kernel}<{width[3:-1]}, {TYPES[element]}>'
            if counts is None:
                print(f'FAILED: no {what}')
                failed = True
                continue
            wrong = counts['HMMA'] <= counts['FFMA'] or counts['STL'] + counts['LDL'] > 0
            print(f'{"FAILED: " if wrong else ""}{what}: ' + ', '.join(f'{counts[name]} {name}' for name in NAMES.values()))
            failed |= wrong
    return failed


if __name__ == '__main__':
    sys.exit(main())
