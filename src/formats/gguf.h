/*
 * gguf.h - reading .gguf files, versions 2 and 3, little-endian.
 *
 *   file   := "GGUF" version(u32) n_tensors(u64) n_pairs(u64) pair* info* padding data
 *   pair   := key(string) type(u32) value          string := length(u64) bytes
 *   info   := name(string) n_dims(u32) dim(u64)* type(u32) offset(u64, from the start of data)
 *
 * Files are mapped. Every count, length and offset is checked against the bytes left before it is
 * used. All types of tensors are read but Q8_1 and Q8_K, which are of activations, Q1_0, and whole
 * numbers of 8 to 32 bits; such a type is an error, which names it, only when its tensor is read.
 *
 * A model may be split into parts, NAME-00001-of-00003.gguf and so on: opening the first opens all.
 */
#ifndef CBE_FORMATS_GGUF_H
#define CBE_FORMATS_GGUF_H

#include <stdbool.h>

#include "files/inputs.h"
#include "formats/tensor.h"

typedef struct cbe_gguf cbe_gguf;

/** Bytes inside the mapped file, not ended by 0. */
typedef struct {
    const char *data;
    size_t length;
} cbe_span;

/** Opens a model's file, and all further parts of a split model.
 * @param path  a model's file, or the first of its parts
 * @return CBE_OK; CBE_ERR_IO (a missing part is named); CBE_ERR_ARG (a later part was given);
 *         CBE_ERR_FORMAT; CBE_ERR_UNSUPPORTED (version, byte order); CBE_ERR_NOMEM */
cbe_status cbe_gguf_open(cbe_gguf **out, const char *path, cbe_error *err);
void cbe_gguf_close(cbe_gguf *file);             /* NULL is allowed */
const char *cbe_gguf_path(const cbe_gguf *file); /* path of the first part; borrowed */
/** Number of files of a model, 1 unless it is split; path of file i, borrowed. */
size_t cbe_gguf_n_parts(const cbe_gguf *file);
const char *cbe_gguf_part_path(const cbe_gguf *file, size_t i);
/** Adds every part to the inputs of a run, as CBE_INPUT_MODEL. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_gguf_note(const cbe_gguf *file, cbe_inputs *inputs, cbe_error *err);

/* Metadata. A missing key and a value of another type are CBE_ERR_FORMAT; the message names the
 * key. Functions that allocate return CBE_ERR_NOMEM if memory is short. */

bool cbe_gguf_has(const cbe_gguf *file, const char *key);
/** Whether the value of a key, which the file has, is an array. */
bool cbe_gguf_is_array(const cbe_gguf *file, const char *key);
/** A value of any integer type; a negative value is CBE_ERR_FORMAT. */
cbe_status cbe_gguf_uint(const cbe_gguf *file, const char *key, uint64_t *out, cbe_error *err);
/** A value of any integer type; one above INT64_MAX is taken for INT64_MAX. */
cbe_status cbe_gguf_int(const cbe_gguf *file, const char *key, int64_t *out, cbe_error *err);
/** A value of any floating or integer type; NaN and infinity are CBE_ERR_FORMAT. */
cbe_status cbe_gguf_double(const cbe_gguf *file, const char *key, double *out, cbe_error *err);
/** A value of type bool, or an integer that is 0 or 1; a string without
 * NULs at its end, whose bytes are borrowed. */
cbe_status cbe_gguf_bool(const cbe_gguf *file, const char *key, bool *out, cbe_error *err);
cbe_status cbe_gguf_string(const cbe_gguf *file, const char *key, cbe_span *out, cbe_error *err);
/** Strings of an array. The caller frees *out (count) with cbe_gguf_free_array; the spans are
 * borrowed. */
cbe_status cbe_gguf_strings(const cbe_gguf *file, const char *key, cbe_span **out, size_t *count,
                            cbe_error *err);
/** Integers of an array of any integer type or of bools, widened; freed with
 * cbe_gguf_free_array. */
cbe_status cbe_gguf_ints(const cbe_gguf *file, const char *key, int64_t **out, size_t *count,
                         cbe_error *err);
/** Numbers of an array of any floating or integer type, rounded to float; freed with
 * cbe_gguf_free_array. */
cbe_status cbe_gguf_floats(const cbe_gguf *file, const char *key, float **out, size_t *count,
                           cbe_error *err);
void cbe_gguf_free_array(void *array);

/** Metadata as text for listings: key i and its value on one line, cut to size bytes (an array as
 * "string[3]"). @return false if i is past the end */
bool cbe_gguf_describe(const cbe_gguf *file, size_t i, cbe_span *key, char *value, size_t size);

/* Tensors. Dimensions are given slowest first, the reverse of the file's. */

/** Number of tensors of all parts; name, type and shape of tensor i, borrowed until close. */
size_t cbe_gguf_count(const cbe_gguf *file);
const char *cbe_gguf_name(const cbe_gguf *file, size_t i);
/* "q4_k"; also for types that are not read */
const char *cbe_gguf_type_name(const cbe_gguf *file, size_t i);
const size_t *cbe_gguf_shape(const cbe_gguf *file, size_t i, size_t *n_dims);
bool cbe_gguf_has_tensor(const cbe_gguf *file, const char *name);
/** Finds a tensor by name.
 * @return CBE_OK; CBE_ERR_FORMAT if there is no such tensor; CBE_ERR_UNSUPPORTED (the message names
 * the type) */
cbe_status cbe_gguf_tensor(const cbe_gguf *file, const char *name, cbe_tensor *out, cbe_error *err);

#endif
