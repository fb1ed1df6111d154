/* checkpoint.c - see checkpoint.h: which layers are done, where layers in work stand, and what
 * rank 0 is told of them. */
#include "extract/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "extract/checkpoint_state.h"
#include "extract/group_messages.h"
#include "core/fail.h"
#include "core/memory.h"

void cbe_checkpoint_free(cbe_checkpoint *c)
{
    if (!c) return;
    cbe_run_identity_free(&c->identity);
    cbe_layer_results_free(c->loaded ? c->n_layers : 0, c->loaded);
    for (size_t i = 0; c->points && i < c->n_layers; i++) cbe_stored_point_free(&c->points[i]);
    void *owned[] = {c->path, c->done, c->loaded, c->layers, c->points, c};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) cbe_free(owned[i]);
}

cbe_status cbe_checkpoint_create(cbe_checkpoint **out, const char *path,
                                 const cbe_run_record *record, size_t n_layers,
                                 const size_t *layers, size_t n_vectors, cbe_processes *run,
                                 cbe_error *err)
{
    cbe_checkpoint *c = cbe_alloc_zero(1, sizeof *c, "checkpoint", err);
    if (!c) return CBE_ERR_NOMEM;
    c->n_layers = n_layers;
    c->hidden_size = record->hidden_size;
    c->n_vectors = n_vectors ? n_vectors : record->hidden_size;
    c->path = cbe_copy_string(path, strlen(path), err);
    if (c->path) c->folder = cbe_folder_mark_of_file(c->path);
    c->done = cbe_alloc_zero(n_layers, sizeof *c->done, "checkpoint", err);
    c->loaded = cbe_alloc_zero(n_layers, sizeof *c->loaded, "checkpoint", err);
    c->layers = cbe_alloc(n_layers, sizeof *c->layers, "checkpoint", err);
    c->points = cbe_alloc_zero(n_layers, sizeof *c->points, "checkpoint", err);
    c->run = cbe_processes_rank(run) > 0 ? run : NULL;
    cbe_status st =
        c->path && c->done && c->loaded && c->layers && c->points ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK) memcpy(c->layers, layers, n_layers * sizeof *layers);
    if (st == CBE_OK && !c->run) st = cbe_checkpoint_describe(c, record, err);
    if (st != CBE_OK) {
        cbe_checkpoint_free(c);
        return st;
    }
    *out = c;
    return CBE_OK;
}

static cbe_stored_point *point_of(const cbe_checkpoint *c, size_t layer)
{
    for (size_t i = 0; i < c->n_layers; i++)
        if (c->layers[i] == layer) return &c->points[i];
    return NULL;
}

cbe_status cbe_checkpoint_found(const cbe_checkpoint *c, size_t layer,
                                const cbe_search_point *point, cbe_error *err)
{
    return c->run ? cbe_tell_point(c->run, layer, point, err)
                  : cbe_checkpoint_save(c, layer, point, err);
}

cbe_status cbe_checkpoint_heard(cbe_checkpoint *c, size_t layer, cbe_stored_point *point,
                                cbe_error *err)
{
    cbe_stored_point *place = point_of(c, layer);
    if (!place)
        return cbe_fail(err, CBE_ERR_INTERNAL, -1, "heard of layer %zu, which is not in the run",
                        layer);
    cbe_stored_point_free(place);
    *place = *point;
    *point = (cbe_stored_point){0};
    return cbe_checkpoint_save(c, 0, NULL, err);
}

cbe_status cbe_checkpoint_done(cbe_checkpoint *c, const cbe_layer_result *result, cbe_error *err)
{
    if (c->run) return cbe_tell_result(c->run, result, err);
    cbe_stored_point *place = point_of(c, result->layer);
    if (place) cbe_stored_point_free(place);
    c->done[c->n_done++] = result;
    return cbe_checkpoint_save(c, 0, NULL, err);
}

/* The result of a layer that was read; NULL: there is none. */
static cbe_layer_result *loaded_of(const cbe_checkpoint *c, size_t layer)
{
    for (size_t i = 0; i < c->n_layers; i++)
        if (c->loaded[i].layer == layer && c->loaded[i].basis.n_vectors > 0) return &c->loaded[i];
    return NULL;
}

bool cbe_checkpoint_is_done(const cbe_checkpoint *c, size_t layer)
{
    return loaded_of(c, layer) != NULL;
}

bool cbe_checkpoint_take(cbe_checkpoint *c, size_t layer, cbe_layer_result *result)
{
    cbe_layer_result *loaded = loaded_of(c, layer);
    if (!loaded) return false;
    *result = *loaded;
    *loaded = (cbe_layer_result){0};
    c->done[c->n_done++] = result;
    return true;
}

const cbe_search_point *cbe_checkpoint_point(const cbe_checkpoint *c, size_t layer)
{
    const cbe_stored_point *p = point_of(c, layer);
    return p && p->view.n_vectors ? &p->view : NULL;
}

cbe_status cbe_checkpoint_remove(cbe_checkpoint *c, cbe_error *err)
{
    if (remove(c->path) == 0) return CBE_OK;
    return cbe_fail(err, cbe_status_of_errno(errno), -1,
                    "%s: the checkpoint of a run that is done cannot be removed: %s", c->path,
                    strerror(errno));
}
