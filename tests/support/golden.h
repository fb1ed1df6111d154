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

/** Path of a file under tests/golden; freed by the caller with free(). */
char *cbe_golden_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Reads a tensor as floats, rounded if need be; freed with free(). *count: number of elements;
 * NULL skips it. */
float *cbe_golden_floats(const cbe_safetensors *file, const char *name, size_t *count);
/** Reads an I64 tensor of shape (B, S); freed with free(). */
int64_t *cbe_golden_ids(const cbe_safetensors *file, const char *name, size_t *n_sequences,
                        size_t *context_length);

/** Copies a float64 tensor of n elements; freed with free(). Fails the test if the tensor is
 * missing or has another type or size. */
double *cbe_golden_f64(const cbe_safetensors *file, const char *name, size_t n);

/** Makes a new folder for a test's files; cbe_temp_remove removes it. */
char *cbe_temp_folder(void);
/** Removes a folder and its files, and frees its name. */
void cbe_temp_remove(char *folder);
/** Path of a file in the folder; freed with free(). */
char *cbe_temp_path(const char *folder, const char *name);

/** Reads a whole file; freed with free(). */
unsigned char *cbe_read_file(const char *path, size_t *size);
void cbe_write_file(const char *path, const void *data, size_t size);

/** Changes in a copy of a safetensors file. Members that are NULL or 0 change nothing. */
typedef struct {
    const char *drop;         /* name of a tensor that is left out */
    const char *add_prefix;   /* put before all names */
    const char *strip_prefix; /* removed from names that begin with it */
    const char *rename_from, *rename_to;
    const char *transpose; /* name of a matrix whose dimensions are reversed */
    const char *poison;    /* name of an F32 tensor whose last element becomes NaN */
    size_t part, n_parts;  /* the copy has every n_parts-th tensor, from number `part` on */
} cbe_copy_edit;

void cbe_copy_safetensors(const char *from, const char *to, const cbe_copy_edit *edit);

#endif
