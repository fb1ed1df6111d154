/*
 * golden.h - reading reference values, and writing altered copies of models, in tests.
 *
 * Each function asserts that it succeeds, so that a test has only its own subject.
 */
#ifndef CBE_TESTS_GOLDEN_H
#define CBE_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/safetensors.h"

/** Path of a file under tests/golden; to free(). */
char *cbe_golden_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** The tensor as floats, rounded if need be; to free(). *count: its elements (NULL: not wanted). */
float *cbe_golden_floats(const cbe_safetensors *file, const char *name, size_t *count);
/** The I64 tensor of shape (B, S); to free(). */
int64_t *cbe_golden_ids(const cbe_safetensors *file, const char *name, size_t *n_sequences,
                        size_t *context_length);

/** A float64 tensor of n elements, copied; to free(). Fails the test where it is not there, or
 * another. */
double *cbe_golden_f64(const cbe_safetensors *file, const char *name, size_t n);

/** A new folder for a test's files; to cbe_temp_remove. */
char *cbe_temp_folder(void);
/** Removes the folder with the files in it, and frees its name. */
void cbe_temp_remove(char *folder);
/** Path of a file in it; to free(). */
char *cbe_temp_path(const char *folder, const char *name);

/** A whole file; to free(). */
unsigned char *cbe_read_file(const char *path, size_t *size);
void cbe_write_file(const char *path, const void *data, size_t size);

/** How a copy of a safetensors file differs. Fields that are NULL or 0 change nothing. */
typedef struct {
    const char *drop;         /* this tensor is left out */
    const char *strip_prefix; /* taken off the names that begin with it */
    const char *rename_from, *rename_to;
    const char *transpose; /* this matrix gets its dimensions in reverse */
    const char *poison;    /* the last element of this tensor becomes NaN (F32) */
    size_t part, n_parts;  /* of n_parts files, this one has every n_parts-th tensor */
} cbe_copy_edit;

void cbe_copy_safetensors(const char *from, const char *to, const cbe_copy_edit *edit);

#endif
