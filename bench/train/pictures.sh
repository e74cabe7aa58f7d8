#!/bin/sh
# build/bench/cifar (32 x 32) and build/bench/pictures (224 x 224), the data sets of the image step benchmarks: noise in CIFAR's
# and ImageNet's shapes; made once. lockstep on PATH.
set -eu
cd "$(dirname "$0")/../.."
make() {
    [ ! -d "build/bench/$1" ] || return 0
    raw=$(mktemp -d)
    python3 bench/train/make_pictures.py "$raw" "$2" "$3"
    lockstep data images --size "$2x$2x3" --out "build/bench/$1" "$raw"
    rm -r "$raw"
}
mkdir -p build/bench
make cifar 32 640
make pictures 224 64
