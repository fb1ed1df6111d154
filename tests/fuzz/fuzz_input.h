/*
 * fuzz_input.h - what fuzz targets share: the input as files, and what must hold of every refusal.
 *
 * Targets link fuzz_input.c with mmap and munmap wrapped (CMakeLists.txt): a mapped file lies in
 * memory of exactly its size, so that the address sanitizer sees a read of one byte past its end,
 * and one after it was closed.
 */
#ifndef CBE_TESTS_FUZZ_INPUT_H
#define CBE_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbe/status.h"
#include "formats/tensor.h"

/** What libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/** A folder of this process, in memory where /dev/shm is, or else in $TMPDIR; removed at exit. */
const char *fuzz_folder(void);
/** Writes a file in it; its path is borrowed, one for each of up to eight names. */
const char *fuzz_file(const char *name, const void *data, size_t size);

/** An input of several files: the parts between its first n - 1 zero bytes, which no JSON contains,
 * and the rest. */
typedef struct {
    const uint8_t *data;
    size_t size;
} fuzz_part;
void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t n);

/** Ends the process, which is a finding, unless `holds`. */
void fuzz_expect(bool holds, const char *what);
/** Whether it succeeded. A refusal must have a message of one line, and no file as small as these
 * may exhaust memory. */
bool fuzz_succeeded(cbe_status st, const cbe_error *err);
/** Reads a tensor's elements as floats, twice: all, and the last block alone, which must be the
 * same. */
void fuzz_read_tensor(const cbe_tensor *tensor);

#endif
