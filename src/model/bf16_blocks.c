/* bf16_blocks.c - see bf16_blocks.h. */
#include "model/bf16_blocks.h"

#include <stdint.h>

#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"

enum { MAPS = 4, MATRICES = 2 * MAPS };

struct cbe_bf16_blocks {
    size_t first, count;
    cbe_block *blocks;          /* (count) */
    cbe_bf16_matrix **matrices; /* (count, MATRICES): for each linear map forward and backward */
};

/* A linear map of a block. */
typedef struct {
    cbe_linear *map;
    size_t outputs, inputs;
} linear_map;

static void list_maps(const cbe_config *config, cbe_block *block, linear_map maps[MAPS])
{
    const cbe_model_config *c = &config->sizes;
    const size_t d = c->hidden_size, m = c->mlp_size, q = c->n_heads * c->head_size;
    maps[0] = (linear_map){&block->qkv, q + 2 * c->n_kv_heads * c->head_size, d};
    maps[1] = (linear_map){&block->attention_out, d, q};
    maps[2] = (linear_map){&block->up, config->traits.gated ? 2 * m : m, d};
    maps[3] = (linear_map){&block->down, d, m};
}

size_t cbe_bf16_blocks_bytes(const cbe_model *model, size_t first, bool back)
{
    cbe_block block;
    linear_map maps[MAPS];
    size_t bytes = 0;
    list_maps(&model->config, &block, maps);
    for (size_t i = 0; i < MAPS; i++)
        for (int way = 0; way <= back; way++)
            if (!cbe_add_size(bytes, cbe_bf16_matrix_bytes(maps[i].inputs, maps[i].outputs),
                              &bytes))
                return SIZE_MAX;
    return cbe_times(bytes, model->config.sizes.n_layers - first, 1);
}

size_t cbe_bf16_blocks_max_size(const cbe_model *model)
{
    cbe_block block;
    linear_map maps[MAPS];
    size_t longest = 0;
    list_maps(&model->config, &block, maps);
    for (size_t i = 0; i < MAPS; i++)
        longest = cbe_max_size(longest, cbe_max_size(maps[i].inputs, maps[i].outputs));
    return longest;
}

static cbe_status convert(const cbe_config *config, bool back, cbe_bf16 *bf16, cbe_block *block,
                          cbe_bf16_matrix **matrices, cbe_error *err)
{
    linear_map maps[MAPS];
    list_maps(config, block, maps);
    for (size_t i = 0; i < MAPS; i++) {
        cbe_linear *map = maps[i].map;
        const size_t outputs = maps[i].outputs, inputs = maps[i].inputs;
        cbe_status st = cbe_bf16_matrix_create(&matrices[2 * i], bf16, inputs, outputs, map->weight,
                                               inputs, true, err);
        if (st == CBE_OK && back)
            st = cbe_bf16_matrix_create(&matrices[2 * i + 1], bf16, outputs, inputs, map->weight,
                                        inputs, false, err);
        if (st != CBE_OK) return st;
        map->forward = matrices[2 * i];
        map->back = matrices[2 * i + 1];
    }
    return CBE_OK;
}

bool cbe_bf16_blocks_possible(const cbe_model *model)
{
    return model->n_resident == model->config.sizes.n_layers;
}

cbe_status cbe_bf16_blocks_create(cbe_bf16_blocks **out, const cbe_model *model, size_t first,
                                  bool back, cbe_bf16 *bf16, cbe_error *err)
{
    const size_t count = model->config.sizes.n_layers - first;
    if (!cbe_bf16_blocks_possible(model))
        return cbe_fail(
            err, CBE_ERR_ARG, -1,
            "products in bfloat16 need all weights of the model in memory; give more " CBE_OPTION(
                "memory"));
    cbe_bf16_blocks *o = cbe_alloc_zero(1, sizeof *o, "blocks in bfloat16", err);
    if (!o) return CBE_ERR_NOMEM;
    o->first = first;
    o->count = count;
    o->blocks = cbe_alloc_zero(count, sizeof *o->blocks, "blocks in bfloat16", err);
    o->matrices = cbe_alloc_zero(count, MATRICES * sizeof *o->matrices, "blocks in bfloat16", err);
    cbe_status st = o->blocks && o->matrices ? CBE_OK : CBE_ERR_NOMEM;
    for (size_t i = 0; i < count && st == CBE_OK; i++) {
        o->blocks[i] = model->blocks[first + i];
        st = convert(&model->config, back, bf16, &o->blocks[i], o->matrices + i * MATRICES, err);
    }
    if (st == CBE_OK)
        *out = o;
    else
        cbe_bf16_blocks_free(o);
    return st;
}

void cbe_bf16_blocks_free(cbe_bf16_blocks *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->count * MATRICES && o->matrices; i++)
        cbe_bf16_matrix_free(o->matrices[i]);
    cbe_free(o->matrices);
    cbe_free(o->blocks);
    cbe_free(o);
}

const cbe_block *cbe_bf16_blocks_get(const cbe_bf16_blocks *blocks, size_t index)
{
    return &blocks->blocks[index - blocks->first];
}
