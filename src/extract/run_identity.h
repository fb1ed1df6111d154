/*
 * run_identity.h - what a run is, as pairs of texts: its options, its inputs, and what else decides
 * on its result. Two identities are compared, and what differs is named: the identity of an
 * interrupted run and of the run that goes on, or the identities of two processes.
 */
#ifndef CBE_EXTRACT_RUN_IDENTITY_H
#define CBE_EXTRACT_RUN_IDENTITY_H

#include "extract/run_record.h"
#include "files/inputs.h"

/** Start with {0}. Texts are UTF-8: bytes that are not become U+FFFD. */
typedef struct {
    size_t n, room;
    char **texts; /* (2 n), owned: key, value */
} cbe_run_identity;

void cbe_run_identity_free(cbe_run_identity *identity); /* a zeroed one is allowed */

/** Adds a pair. @return CBE_OK, CBE_ERR_NOMEM */
cbe_status cbe_run_identity_add(cbe_run_identity *identity, const char *key, const char *value,
                                cbe_error *err);
cbe_status cbe_run_identity_add_count(cbe_run_identity *identity, const char *key, size_t value,
                                      cbe_error *err);
/** Adds the list of layers, which may be too long for its option's value. */
cbe_status cbe_run_identity_add_layers(cbe_run_identity *identity, size_t n, const size_t *layers,
                                       cbe_error *err);
/** Adds options in force, as --NAME, and the list of their names.
 * @param matters  whether an option is compared */
cbe_status cbe_run_identity_add_options(cbe_run_identity *identity, size_t n,
                                        const cbe_run_option *options,
                                        bool (*matters)(const char *name), cbe_error *err);
/** Adds the role, digest and name of each input, in their order. Names are not compared. */
cbe_status cbe_run_identity_add_inputs(cbe_run_identity *identity, const cbe_inputs *inputs,
                                       cbe_error *err);

/** Returns the value of a key of another run; NULL: it has none. */
typedef const char *cbe_run_lookup(const void *context, const char *key);
/** Looks up a key of a cbe_run_identity. */
const char *cbe_run_identity_get(const void *identity, const char *key);

/** Words with which a difference is told. */
typedef struct {
    const char *where;   /* what the message begins with */
    const char *who;     /* "the run that was interrupted had" */
    const char *now;     /* "now" */
    const char *changed; /* of a file: "has changed" */
    const char *advice;  /* "give the same again, or leave out --resume" */
} cbe_run_words;

/** Compares with another run: inputs first, then the pairs in their order.
 * @return CBE_OK; CBE_ERR_ARG (what differs first); CBE_ERR_FORMAT (what the other has is no
 *   identity); CBE_ERR_NOMEM */
cbe_status cbe_run_identity_compare(const cbe_run_identity *identity, cbe_run_lookup *other,
                                    const void *context, const cbe_run_words *words,
                                    cbe_error *err);

#endif
