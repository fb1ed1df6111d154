/* model.c - opening and closing models; see model/model.h. The forward pass is in forward.c. */
#include "model/model.h"

#include <string.h>
#include <sys/stat.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/mapped_file.h"
#include "model/private.h"
#include "model/source.h"
#include "model/weights.h"

cbe_status cbe_model_open(cbe_model **out, const char *path, cbe_error *err)
{
    if (!out || !path)
        return cbe_fail(err, CBE_ERR_ARG, -1, "cbe_model_open: %s is NULL",
                        out ? "the path" : "out");
    cbe_remarks remarks = {0};
    const cbe_status st =
        cbe_model_open_with(out, path, &(cbe_model_options){.remarks = &remarks}, err);
    if (st == CBE_OK) cbe_remarks_give(&remarks, &(*out)->remarks);
    cbe_remarks_free(&remarks);
    return st;
}

const char *cbe_model_warning(const cbe_model *model, size_t i)
{
    return model ? cbe_remarks_line(&model->remarks, i) : NULL;
}

cbe_status cbe_model_open_with(cbe_model **out, const char *path, const cbe_model_options *options,
                               cbe_error *err)
{
    cbe_status st;
    cbe_source *source = NULL;
    cbe_model *model = NULL;
    if ((st = cbe_source_open(&source, path, err)) != CBE_OK) goto done;
    if ((st = cbe_source_note(source, options->inputs, err)) != CBE_OK) goto done;
    if (!(model = cbe_alloc_zero(1, sizeof *model, "model", err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if (!(model->path = cbe_copy_string(path, strlen(path), err))) {
        st = CBE_ERR_NOMEM;
        goto done;
    }
    if ((st = cbe_source_config(source, &model->config, options->remarks, err)) != CBE_OK)
        goto done;
    if ((st = cbe_source_remark(source, options->remarks, err)) != CBE_OK) goto done;
    if ((st = cbe_weights_load(model, &source, options, err)) != CBE_OK) {
        st = cbe_config_explain(&model->config, st, err);
        goto done;
    }
    *out = model;
    model = NULL;
done:
    cbe_model_close(model);
    cbe_source_close(source);
    return st;
}

void cbe_model_close(cbe_model *model)
{
    if (!model) return;
    for (size_t i = 0; model->block_memory && i < model->n_resident; i++)
        cbe_free(model->block_memory[i]);
    cbe_free(model->block_memory);
    cbe_free(model->blocks);
    if (!model->decoder || model->embedding != model->decoder->unembedding)
        cbe_free(model->embedding);
    cbe_decoder_free(model->decoder);
    cbe_free(model->positions);
    cbe_free(model->embedding_gamma);
    cbe_free(model->embedding_beta);
    cbe_source_close(model->source);
    cbe_remarks_free(&model->remarks);
    cbe_free(model->path);
    cbe_free(model);
}

const char *cbe_model_path(const cbe_model *model)
{
    return model->path;
}

/* Reads a configuration and keeps its sizes; the configuration is allocated, since it is large. */
static cbe_status read_sizes(cbe_model_config *out, const cbe_source *source,
                             const cbe_mapped_file *json, const char *path, cbe_error *err)
{
    cbe_config *config = cbe_alloc_zero(1, sizeof *config, "configuration", err);
    if (!config) return CBE_ERR_NOMEM;
    const cbe_status st =
        source ? cbe_source_config(source, config, NULL, err)
               : cbe_config_from_json(config, (const char *)json->data, json->size, path, err);
    if (st == CBE_OK) *out = config->sizes;
    cbe_free(config);
    return st;
}

cbe_status cbe_model_read_config(cbe_model_config *out, size_t *file_bytes, const char *path,
                                 cbe_error *err)
{
    cbe_source *source = NULL;
    cbe_mapped_file json = {0};
    const char *dot = strrchr(path, '.');
    const bool alone = dot && strcmp(dot, ".json") == 0;
    *file_bytes = 0;
    cbe_status st =
        alone ? cbe_mapped_file_open(&json, path, err) : cbe_source_open(&source, path, err);
    if (st == CBE_OK) st = read_sizes(out, source, &json, path, err);
    for (size_t i = 0; source && i < cbe_source_n_files(source); i++) {
        struct stat info;
        if (stat(cbe_source_file(source, i), &info) == 0) *file_bytes += (size_t)info.st_size;
    }
    cbe_source_close(source);
    cbe_mapped_file_close(&json);
    return st;
}

const cbe_model_config *cbe_model_get_config(const cbe_model *model)
{
    return &model->config.sizes;
}

const cbe_decoder *cbe_model_decoder(const cbe_model *model)
{
    return model->decoder;
}
