/*
 * mutants.h - damaged versions of a file: bits, integers, parts and values of JSON changed.
 *
 * The same random state gives the same mutant.
 */
#ifndef CBE_TESTS_MUTANTS_H
#define CBE_TESTS_MUTANTS_H

#include <stddef.h>
#include <stdint.h>

/** Bytes of a file, owned. */
typedef struct {
    size_t size;
    unsigned char *data;
} mutant;

/** What a file is made of: which kinds of damage make sense. */
typedef enum {
    MUTANT_BINARY,      /* bytes, integers and parts */
    MUTANT_JSON,        /* values of JSON too */
    MUTANT_SAFETENSORS, /* the JSON header too, whose length is mostly put right */
    MUTANT_ZIP,         /* records of the archive are favoured */
    MUTANT_PICKLE /* data.pkl inside an archive of stored entries; its checksum is put right */
} mutant_kind;

/** A random number below n, n at least 1. */
uint64_t mutant_random(uint64_t *state, uint64_t n);
/** Changes *m in one to three places. */
void mutant_damage(mutant *m, mutant_kind kind, uint64_t *state);
/** Reads a whole file. @return 0, or -1 with errno set */
int mutant_read(mutant *m, const char *path);
/** Writes it. @return 0, or -1 with errno set */
int mutant_write(const mutant *m, const char *path);
void mutant_free(mutant *m);

#endif
