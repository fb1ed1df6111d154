/*
 * clones.h - elementwise functions built for several instruction sets in one binary.
 *
 * CBE_CLONES stands before a function definition: the loader then picks the widest version that the
 * processor runs. The attribute needs glibc's ifunc, whose resolvers run before a sanitizer is set
 * up, so CBE_CLONES is empty elsewhere and under sanitizers.
 */
#ifndef CBE_CORE_CLONES_H
#define CBE_CORE_CLONES_H

#include <stdlib.h> /* defines __GLIBC__ */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) &&       \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CBE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CBE_CLONES
#endif

#endif
