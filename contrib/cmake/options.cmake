# SPDX-License-Identifier: Apache-2.0
# husk_options: the flags every file is compiled with. husk::<lib>: the libraries, static archives where HUSK_STATIC asks for them.

add_library(husk_options INTERFACE)
target_include_directories(husk_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/gen)
target_compile_definitions(husk_options INTERFACE _GNU_SOURCE)
target_compile_options(husk_options INTERFACE
	-Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wcast-qual -Wwrite-strings
	-Wpointer-arith -Wconversion -Wswitch-enum
	$<IF:$<C_COMPILER_ID:GNU>,-Wimplicit-fallthrough=5,-Wimplicit-fallthrough>
	-UNDEBUG # assertions tell ownership errors and stay in every build
	-fvisibility=hidden -fno-common -ffunction-sections -fdata-sections -fstack-protector-strong -fPIE
	$<$<C_COMPILER_ID:GNU>:-fstack-clash-protection>
	-ftrivial-auto-var-init=zero
	$<$<AND:$<C_COMPILER_ID:Clang>,$<VERSION_LESS:$<C_COMPILER_VERSION>,16>>:-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang>)
# The same bytes wherever the tree lies: __FILE__, debug information, and the folder of the compiler's own record.
target_compile_options(husk_options INTERFACE -ffile-prefix-map=${CMAKE_SOURCE_DIR}=/husk -ffile-prefix-map=${CMAKE_BINARY_DIR}=/build) # gcc takes the last that fits
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
	target_compile_options(husk_options INTERFACE -fcf-protection)
endif()
if(HUSK_WERROR)
	target_compile_options(husk_options INTERFACE -Werror)
endif()
if(HUSK_COVERAGE)
	target_compile_options(husk_options INTERFACE --coverage)
	target_link_options(husk_options INTERFACE --coverage)
endif()
if(HUSK_FUZZ)
	target_compile_options(husk_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(HUSK_SANITIZE)
	target_compile_options(husk_options INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
	target_link_options(husk_options INTERFACE -fsanitize=address,undefined)
else()
	target_compile_options(husk_options INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>)
endif()
target_link_options(husk_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack,--gc-sections,--as-needed)

function(husk_find_library target header name static_name)
	if(HUSK_STATIC)
		find_library(HUSK_LIB_${name}_A NAMES lib${static_name}.a REQUIRED)
		set(lib ${HUSK_LIB_${name}_A})
	else()
		find_library(HUSK_LIB_${name} NAMES ${name} REQUIRED)
		set(lib ${HUSK_LIB_${name}})
	endif()
	find_path(HUSK_INC_${name} ${header} REQUIRED)
	add_library(husk::${target} INTERFACE IMPORTED)
	target_link_libraries(husk::${target} INTERFACE ${lib})
endfunction()

husk_find_library(md sha2.h md md)
husk_find_library(yajl yajl/yajl_parse.h yajl yajl_s)
husk_find_library(seccomp seccomp.h seccomp seccomp)
husk_find_library(cap sys/capability.h cap cap)
husk_find_library(protobuf-c protobuf-c/protobuf-c.h protobuf-c protobuf-c)

# The static shim is a static-pie: no interpreter and no shared library in the address space that containers are cloned from.
function(husk_executable_flags name)
	if(HUSK_STATIC)
		target_link_options(${name} PRIVATE -static-pie)
	else()
		target_link_options(${name} PRIVATE -pie)
	endif()
endfunction()
