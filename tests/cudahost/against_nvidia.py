#!/usr/bin/env python3
"""The emulation's headers against NVIDIA's: every constant has NVIDIA's value, every function NVIDIA's prototype.
usage: against_nvidia.py INCLUDE_FOLDER [C compiler]      exit 77: NVIDIA's headers are not on this machine"""
import os
import re
import subprocess
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'include')
HEADERS = {'cuda_runtime_api.h': 'cuda_runtime_api.h', 'library_types.h': 'library_types.h', 'cublasLt.h': 'cublasLt.h',
           'nccl.h': 'nccl.h', 'cudnn.h': 'cudnn.h'}
OWN = {'ncclNumTypes',          # NVIDIA's NCCL has two 8-bit floats more
       'cudahost_malloc_managed'}


def claims(text):
    """The lines of C that hold if the header is right."""
    text = re.sub(r'/\*.*?\*/', '', text, flags=re.S)
    text = re.sub(r'\s*CUDAHOST_DEFAULT\([^)]*\)', '', text)
    values = re.findall(r'\b((?:cuda|CUBLAS|CUDA_R_|nccl|CUDNN)\w+)\s*=\s*(\d+)', text)
    values += re.findall(r'X\((\w+),\s*(\d+)', text)
    values += re.findall(r'#define (cuda\w+)\s+(0x\w+)\s*$', text, flags=re.M)
    for name, value in values:
        if name not in OWN:
            yield f'_Static_assert((int){name} == {value}, "{name} is not {value}");'
    for prototype in re.findall(r'^(?:const char \*|\w+ )(?:cuda|cublasLt|nccl|cudnn)\w+\([^;{]*\);', text, flags=re.M | re.S):
        if not any(name in prototype for name in OWN):
            yield prototype  # declared again: an error unless it is the same


def main():
    include, compiler = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else 'cc'
    lines, checked = [], 0
    there = [own for own, theirs in HEADERS.items() if os.path.exists(os.path.join(include, theirs))]
    absent = ', '.join(sorted(set(HEADERS) - set(there)))
    if absent:
        print(f'left out: {absent}, not in {include}')
    if 'cuda_runtime_api.h' not in there:
        return 77
    lines += [f'#include <{HEADERS[own]}>' for own in there]
    for own in there:
        with open(os.path.join(HERE, own)) as file:
            found = list(claims(file.read()))
        checked += len(found)
        lines += found
    run = subprocess.run([compiler, '-std=gnu11', '-x', 'c', '-fsyntax-only', '-I', include, '-'], input='\n'.join(lines),
                         text=True, capture_output=True)
    errors = [line for line in run.stderr.splitlines() if 'error' in line]
    print('\n'.join(errors) or f'{checked} constants and prototypes are NVIDIA\'s')
    return 1 if run.returncode or checked < 200 else 0


if __name__ == '__main__':
    sys.exit(main())
