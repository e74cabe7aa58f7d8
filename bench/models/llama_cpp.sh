#!/bin/sh
# llama.cpp for peer_llama.py, in the peers' virtual environment: PyPI's llama-cpp-python, of whose llama.cpp only the library is
# built (78 files; tools, tests and a web server, which its own build makes as well, are not). Made once: ten minutes of two cores.
#
#     bench/models/llama_cpp.sh build/peers          needs cmake, ninja and a C++ compiler
set -eu
peers=$(cd "$1" && pwd)
python=$peers/bin/python
! "$python" -c 'import gguf, llama_cpp' 2> /dev/null || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip install --quiet gguf diskcache jinja2 typing-extensions
"$python" -m pip download --quiet --no-deps --no-binary :all: --dest "$work" 'llama-cpp-python>=0.3,<0.4'
tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work"
cd "$work"/llama_cpp_python-*/
cmake -S vendor/llama.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN' -DLLAMA_BUILD_COMMON=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF > build.log 2>&1 ||
    { tail -20 build.log; exit 1; }
ninja -C build llama >> build.log 2>&1 || { tail -20 build.log; exit 1; }
mkdir -p llama_cpp/lib
cp -P build/bin/*.so* llama_cpp/lib/
cp -R llama_cpp "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/"
