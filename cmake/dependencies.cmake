# Every outside library, each with the Debian package to install when it is missing.

include(CheckSymbolExists)
find_package(PkgConfig QUIET)

function(cbe_missing what package)
    message(FATAL_ERROR "${what} was not found. On Debian: apt-get install ${package}")
endfunction()

find_package(OpenMP COMPONENTS C QUIET)
if(NOT OpenMP_C_FOUND)
    cbe_missing("OpenMP" "gcc, or libomp-dev for clang")
endif()

# Any CBLAS serves; OpenBLAS is looked for first because it is the fastest that Debian packages.
# LAPACK gives the eigenvectors from which searches start; OpenBLAS contains it.
find_path(CBLAS_INCLUDE_DIR cblas.h
    PATH_SUFFIXES openblas openblas-pthread openblas-openmp openblas-serial
                  ${CMAKE_C_LIBRARY_ARCHITECTURE})
find_library(CBLAS_LIBRARY NAMES openblas cblas blis mkl_rt
    PATH_SUFFIXES openblas-pthread openblas-openmp openblas-serial)
if(NOT CBLAS_INCLUDE_DIR OR NOT CBLAS_LIBRARY)
    cbe_missing("A CBLAS library" "libopenblas-dev")
endif()
add_library(cbe_blas INTERFACE)
target_include_directories(cbe_blas SYSTEM INTERFACE ${CBLAS_INCLUDE_DIR})
target_link_libraries(cbe_blas INTERFACE ${CBLAS_LIBRARY})
set(CMAKE_REQUIRED_LIBRARIES ${CBLAS_LIBRARY})
include(CheckFunctionExists)
check_function_exists(dsyevd_ CBE_CBLAS_HAS_LAPACK)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT CBE_CBLAS_HAS_LAPACK)
    find_library(LAPACK_LIBRARY NAMES lapack)
    if(NOT LAPACK_LIBRARY)
        cbe_missing("LAPACK" "liblapack-dev")
    endif()
    target_link_libraries(cbe_blas INTERFACE ${LAPACK_LIBRARY})
endif()

# cbe_find(NAME header library package): a plain library, found by header and file name.
function(cbe_find name header library package)
    find_path(${name}_INCLUDE_DIR ${header})
    find_library(${name}_LIBRARY NAMES ${library})
    if(NOT ${name}_INCLUDE_DIR OR NOT ${name}_LIBRARY)
        cbe_missing("${name}" "${package}")
    endif()
    add_library(cbe_${name} INTERFACE)
    target_include_directories(cbe_${name} SYSTEM INTERFACE ${${name}_INCLUDE_DIR})
    target_link_libraries(cbe_${name} INTERFACE ${${name}_LIBRARY})
endfunction()

cbe_find(pcre2 pcre2.h pcre2-8 libpcre2-dev)
cbe_find(utf8proc utf8proc.h utf8proc libutf8proc-dev)
cbe_find(nettle nettle/sha2.h nettle nettle-dev)  # SHA-256 of the inputs
cbe_find(zlib zlib.h z zlib1g-dev)                # texts compressed by gzip
cbe_find(zstd zstd.h zstd libzstd-dev)            # and by zstd
cbe_find(zip zip.h zip libzip-dev)                # NumPy's .npz
if(CBE_MPI)
    # Another than the default: -DMPI_C_COMPILER=mpicc.mpich
    find_package(MPI COMPONENTS C QUIET)
    if(NOT MPI_C_FOUND)
        cbe_missing("MPI" "libopenmpi-dev openmpi-bin")
    endif()
endif()

# oneDNN for products in bfloat16. math/bf16_onednn.c is written for version 2. Debian's is built
# for gcc's OpenMP runtime, which does not see the threads of another one: CBE_ONEDNN=AUTO leaves it
# out there.
set(CBE_HAS_ONEDNN OFF)
if(CBE_ONEDNN STREQUAL "AUTO")
    set(missing)
    find_path(dnnl_INCLUDE_DIR oneapi/dnnl/dnnl.h)
    find_library(dnnl_LIBRARY NAMES dnnl)
    if(NOT dnnl_INCLUDE_DIR OR NOT dnnl_LIBRARY)
        set(missing "oneDNN was not found; on Debian: apt-get install libdnnl-dev")
    elseif(NOT "gomp" IN_LIST OpenMP_C_LIB_NAMES)
        set(missing "this compiler has another OpenMP runtime than oneDNN")
    else()
        file(STRINGS ${dnnl_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h version
            REGEX "^#define DNNL_VERSION_MAJOR 2$")
        if(NOT version)
            set(missing "oneDNN 2 is needed, and another version was found")
        endif()
    endif()
    if(missing)
        message(STATUS "Without --precision bf16 and bf16x3: ${missing}")
    else()
        set(CBE_HAS_ONEDNN ON)
    endif()
elseif(CBE_ONEDNN)
    set(CBE_HAS_ONEDNN ON)
endif()
if(CBE_HAS_ONEDNN)
    cbe_find(dnnl oneapi/dnnl/dnnl.h dnnl libdnnl-dev)
endif()

if(CBE_TESTS AND NOT CBE_FUZZ)
    cbe_find(cmocka cmocka.h cmocka libcmocka-dev)
    cbe_find(jansson jansson.h jansson libjansson-dev) # reads what cbe has written
endif()
