/*
 * group_messages.h - what groups of processes with layers of their own tell rank 0 of the run,
 * which writes it all.
 *
 * Messages are taken apart by the same program that made them: numbers travel as they are in
 * memory.
 */
#ifndef CBE_EXTRACT_GROUP_MESSAGES_H
#define CBE_EXTRACT_GROUP_MESSAGES_H

#include "extract/layer_result.h"
#include "extract/stored_point.h"
#include "processes/processes.h"

/** Tells where the search of a layer stands. */
cbe_status cbe_tell_point(cbe_processes *run, size_t layer, const cbe_search_point *point,
                          cbe_error *err);
/** Tells the result of a layer that is done. */
cbe_status cbe_tell_result(cbe_processes *run, const cbe_layer_result *result, cbe_error *err);
/** Tells that the group has no more to tell, or that it failed. */
cbe_status cbe_tell_end(cbe_processes *run, cbe_status st, const cbe_error *why, cbe_error *err);

typedef enum { CBE_HEARD_NOTHING, CBE_HEARD_POINT, CBE_HEARD_RESULT, CBE_HEARD_END } cbe_heard_kind;

/** What rank 0 heard: of point, result and why, the one of its kind is set. */
typedef struct {
    cbe_heard_kind kind;
    size_t from, layer;
    cbe_stored_point point;  /* owned */
    cbe_layer_result result; /* owned */
    cbe_error why;           /* CBE_OK in its code, or what failed */
} cbe_heard;

/** Takes the next message, in rank 0.
 * @param heard  zeroed before; to cbe_heard_free
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_INTERNAL (another program's message) */
cbe_status cbe_hear(const cbe_processes *run, bool wait, cbe_heard *heard, cbe_error *err);
void cbe_heard_free(cbe_heard *heard);

#endif
