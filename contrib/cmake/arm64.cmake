# SPDX-License-Identifier: Apache-2.0
# Toolchain for contrib/arm64.sh: Debian's cross compiler, libraries below HUSK_SYSROOT, tests under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib:$ENV{HUSK_SYSROOT}/usr/lib/aarch64-linux-gnu:$ENV{HUSK_SYSROOT}/lib/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH $ENV{HUSK_SYSROOT})
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
