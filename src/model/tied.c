/* tied.c - see tied.h. */
#include "model/tied.h"

#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "model/block_weights.h"

/* Most elements of a matrix that are compared at once. */
enum { COMPARED_AT_ONCE = 1 << 16 };

static bool has(const cbe_model *model, const cbe_source *source, cbe_tensor_role role)
{
    char name[CBE_TENSOR_NAME_SIZE];
    if (!model->plan.names->roles[role]) return false;
    cbe_tensor_name(&model->plan, role, 0, "weight", name);
    return cbe_source_has(source, name);
}

/* Whether the files have a tensor with the prefix in force, the embedding's or any. */
static bool has_prefix(const cbe_model *model, const cbe_source *source, bool any)
{
    if (!any) return has(model, source, CBE_ROLE_EMBEDDING);
    for (int role = 0; role < CBE_N_ROLES; role++)
        if (role != CBE_ROLE_UNEMBEDDING && has(model, source, (cbe_tensor_role)role)) return true;
    return false;
}

void cbe_tied_find_names(cbe_model *model, const cbe_source *source)
{
    const cbe_tensor_names *names = model->plan.names;
    cbe_block_plan *plan = &model->plan;
    plan->unembedding = names->roles[CBE_ROLE_UNEMBEDDING];
    if (names->unembedding_too && !has(model, source, CBE_ROLE_UNEMBEDDING)) {
        plan->unembedding = names->unembedding_too;
        if (!has(model, source, CBE_ROLE_UNEMBEDDING))
            plan->unembedding = names->roles[CBE_ROLE_UNEMBEDDING];
    }
    for (int any = 0; any < 2; any++)
        for (size_t i = 0; i < CBE_MAX_PREFIXES && names->prefixes[i]; i++) {
            plan->prefix = names->prefixes[i];
            if (has_prefix(model, source, any)) return;
        }
    plan->prefix = names->prefixes[0]; /* for messages */
}

/* Compares two tensors of one shape, as floats. */
static cbe_status compare(const cbe_tensor *a, const cbe_tensor *b, bool *same, cbe_error *err)
{
    *same = a->dtype == b->dtype && memcmp(a->data, b->data, a->n_bytes) == 0;
    if (*same) return CBE_OK;
    float *x = cbe_alloc(2 * COMPARED_AT_ONCE, sizeof *x, "rows to compare", err);
    if (!x) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    *same = true;
    for (size_t first = 0; first < a->n_elements && *same && st == CBE_OK;
         first += COMPARED_AT_ONCE) {
        const size_t n = cbe_min_size(COMPARED_AT_ONCE, a->n_elements - first);
        float *y = x + COMPARED_AT_ONCE;
        st = cbe_tensor_to_float(a, first, n, x, err);
        if (st == CBE_OK) st = cbe_tensor_to_float(b, first, n, y, err);
        for (size_t i = 0; i < n && *same && st == CBE_OK; i++) *same = x[i] == y[i];
    }
    cbe_free(x);
    return st;
}

cbe_status cbe_tied_settle(cbe_model *model, const cbe_source *source, cbe_remarks *remarks,
                           cbe_error *err)
{
    cbe_status st;
    cbe_config *config = &model->config;
    const bool embedding = has(model, source, CBE_ROLE_EMBEDDING),
               unembedding = has(model, source, CBE_ROLE_UNEMBEDDING);
    model->plan.embedding = CBE_ROLE_EMBEDDING;
    if (!config->tied && embedding && !unembedding)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: no tensor '%s.weight' in the model's files; if the unembedding is the "
                        "embedding, config.json must say \"tie_word_embeddings\": true",
                        cbe_source_path(source), model->plan.unembedding);
    if (!config->tied || !unembedding) return CBE_OK;
    if (!embedding) {
        model->plan.embedding = CBE_ROLE_UNEMBEDDING;
        return CBE_OK;
    }
    const size_t dims[] = {config->sizes.vocab_size, config->embedding_size};
    cbe_tensor tensors[2];
    char names[2][CBE_TENSOR_NAME_SIZE];
    for (size_t i = 0; i < 2; i++) {
        const char *path;
        cbe_tensor_name(&model->plan, i ? CBE_ROLE_UNEMBEDDING : CBE_ROLE_EMBEDDING, 0, "weight",
                        names[i]);
        if ((st = cbe_source_get(source, names[i], &tensors[i], &path, err)) != CBE_OK) return st;
        if ((st = cbe_tensor_expect(&tensors[i], path, 2, dims, err)) != CBE_OK) return st;
    }
    if ((st = compare(&tensors[0], &tensors[1], &config->tied, err)) != CBE_OK) return st;
    if (config->tied) return CBE_OK;
    return cbe_remark(
        remarks, err,
        "%s: the configuration ties the embeddings (tie_word_embeddings), but '%s' and "
        "'%s' differ; '%s' is the unembedding, as in transformers 5 (older versions "
        "leave it out)",
        cbe_source_path(source), names[0], names[1], names[1]);
}
