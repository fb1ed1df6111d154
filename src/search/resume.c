/* resume.c - see resume.h. */
#include "search/resume.h"

#include <string.h>

#include "core/fail.h"
#include "core/memory.h"

cbe_status cbe_point_room_make(cbe_point_room *room, size_t d, cbe_error *err)
{
    *room = (cbe_point_room){cbe_alloc(CBE_MAXIMA_MOST, d * sizeof(double), "search", err),
                             cbe_alloc(CBE_MAXIMA_MOST, sizeof(double), "search", err),
                             cbe_alloc(CBE_MAXIMA_MOST, sizeof(cbe_start_kind), "search", err)};
    return room->runner_ups && room->energies && room->kinds ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_point_room_free(cbe_point_room *room)
{
    cbe_free(room->runner_ups);
    cbe_free(room->energies);
    cbe_free(room->kinds);
    *room = (cbe_point_room){0};
}

cbe_status cbe_search_tell_point(const cbe_search *s, size_t n, const cbe_vector_record *records,
                                 const cbe_maxima *runner_ups, const cbe_point_room *room,
                                 cbe_error *err)
{
    const size_t left = runner_ups ? runner_ups->n : 0;
    if (!s->options->found) return CBE_OK;
    for (size_t i = 0; i < left; i++) {
        memcpy(room->runner_ups + i * s->d, runner_ups->list[i].v, s->d * sizeof(double));
        room->energies[i] = runner_ups->list[i].energy;
        room->kinds[i] = runner_ups->list[i].kind;
    }
    cbe_search_point point = {.hidden_size = s->d,
                              .n_vectors = n,
                              .vectors = s->found,
                              .records = records,
                              .n_runner_ups = left,
                              .runner_ups = room->runner_ups,
                              .runner_up_energies = room->energies,
                              .runner_up_kinds = room->kinds};
    memcpy(point.random, s->rng.s, sizeof point.random);
    return s->options->found(s->context, &point, err);
}

cbe_status cbe_search_restore(cbe_search *s, size_t *n, cbe_vector_record *records,
                              cbe_maxima *runner_ups, cbe_error *err)
{
    const cbe_search_point *from = s->options->from;
    *n = 0;
    if (!from) return CBE_OK;
    if (from->hidden_size != s->d || from->n_vectors > s->n_vectors ||
        from->n_runner_ups > CBE_MAXIMA_MOST)
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "the search that is to go on had %zu vectors of %zu numbers, this one finds %zu of %zu",
            from->n_vectors, from->hidden_size, s->n_vectors, s->d);
    *n = from->n_vectors;
    memcpy(s->found, from->vectors, *n * s->d * sizeof *s->found);
    memcpy(records, from->records, *n * sizeof *records);
    memcpy(s->rng.s, from->random, sizeof s->rng.s);
    if (runner_ups) runner_ups->n = from->n_runner_ups;
    for (size_t i = 0; runner_ups && i < from->n_runner_ups; i++) {
        memcpy(runner_ups->list[i].v, from->runner_ups + i * s->d, s->d * sizeof(double));
        runner_ups->list[i].energy = from->runner_up_energies[i];
        runner_ups->list[i].kind = from->runner_up_kinds[i];
    }
    return CBE_OK;
}
