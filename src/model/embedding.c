/* embedding.c - see embedding.h. Plain twin: tests/ref/model_ref.c. */
#include "model/embedding.h"

#include <math.h>

#include "math/norm.h"
#include "math/rows.h"
#include "model/weights.h"

cbe_status cbe_embed(const cbe_model *model, size_t context_length, size_t n, const int64_t *ids,
                     float *hidden, cbe_error *err)
{
    const cbe_config *config = &model->config;
    const size_t d = config->sizes.hidden_size;
    for (size_t i = 0; i < n; i++) {
        float *row = hidden + i * d;
        const cbe_status st = cbe_weights_embedding(model, (size_t)ids[i], row, err);
        if (st != CBE_OK) return st;
        if (config->traits.scaled_embedding) {
            const float scale = (float)sqrt((double)d);
            for (size_t j = 0; j < d; j++) row[j] *= scale;
        }
        if (model->positions) cbe_add_row(d, model->positions + i % context_length * d, row);
        if (model->embedding_gamma)
            cbe_norm_rows(config->traits.norm, config->sizes.norm_eps, 1, d, row,
                          model->embedding_gamma, model->embedding_beta, row);
    }
    return CBE_OK;
}
