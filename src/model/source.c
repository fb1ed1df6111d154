/* source.c - see source.h. */
#include "model/source.h"

#include <stdio.h>
#include <string.h>

#include "formats/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "files/input_list.h"
#include "formats/json.h"
#include "formats/model_place.h"
#include "files/mapped_file.h"
#include "files/path.h"

struct cbe_source {
    char *path;
    cbe_gguf *gguf;                /* NULL for a folder, which has the members below */
    cbe_mapped_file config, index; /* index: empty if there is none */
    cbe_safetensors **shards;
    size_t n_shards;
    yyjson_doc *index_json; /* NULL: there is no index */
    yyjson_val *weight_map; /* names of files by names of tensors */
};

static cbe_status add_shard(cbe_source *source, const char *name, cbe_error *err)
{
    char *path = cbe_path_join(source->path, name, err);
    if (!path) return CBE_ERR_NOMEM;
    cbe_status st = cbe_safetensors_open(&source->shards[source->n_shards], path, err);
    if (st == CBE_OK) source->n_shards++;
    cbe_free(path);
    return st;
}

/* Whether a name is a plain file name: an index may only name files in its own folder. */
static bool is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static const char *file_name(const cbe_safetensors *shard)
{
    return cbe_path_name(cbe_safetensors_path(shard));
}

/* The open shard of a file name; NULL: it is not open. */
static const cbe_safetensors *find_shard(const cbe_source *source, const char *name)
{
    for (size_t i = 0; i < source->n_shards; i++)
        if (strcmp(file_name(source->shards[i]), name) == 0) return source->shards[i];
    return NULL;
}

/* Opens each file that the weight_map of model.safetensors.index.json names, once. */
static cbe_status open_shards(cbe_source *source, const char *index_path, yyjson_val *map,
                              cbe_error *err)
{
    if (!yyjson_is_obj(map))
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: key 'weight_map' must be an object",
                        index_path);
    source->shards = cbe_alloc_zero(yyjson_obj_size(map), sizeof(cbe_safetensors *), "shards", err);
    if (!source->shards) return CBE_ERR_NOMEM;
    yyjson_val *key, *file;
    cbe_status st = CBE_OK;
    CBE_JSON_EACH(map, walk, key, file)
    {
        const char *name = yyjson_get_str(file);
        if (!name || !is_plain_name(name))
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: tensor '%.80s' must be in a file of the same folder, not '%.80s'",
                          index_path, yyjson_get_str(key), name ? name : "?");
        else if (!find_shard(source, name))
            st = add_shard(source, name, err);
        if (st != CBE_OK) break;
    }
    return st;
}

static cbe_status open_index(cbe_source *source, const char *index_path, cbe_error *err)
{
    const cbe_mapped_file *index = &source->index;
    cbe_status st = cbe_mapped_file_open(&source->index, index_path, err);
    if (st != CBE_OK) return st;
    st =
        cbe_json_read(&source->index_json, (const char *)index->data, index->size, index_path, err);
    if (st != CBE_OK) return st;
    source->weight_map = cbe_json_at(yyjson_doc_get_root(source->index_json), "weight_map");
    return open_shards(source, index_path, source->weight_map, err);
}

/* Fails for a folder without a safetensors file, and says what to do. */
static cbe_status no_weights(const cbe_source *source, cbe_error *err)
{
    static const char *const pickled[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                          "consolidated.00.pth"};
    for (size_t i = 0; i < sizeof pickled / sizeof *pickled; i++) {
        bool found;
        const cbe_status st = cbe_path_has(source->path, pickled[i], &found, err);
        if (st != CBE_OK) return st;
        if (found)
            return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                            "%s: only pickled weights (%s), which are not read; save the model "
                            "again with transformers' save_pretrained, which writes safetensors",
                            source->path, pickled[i]);
    }
    return cbe_fail(err, CBE_ERR_IO, -1,
                    "%s: neither model.safetensors nor model.safetensors.index.json in this folder",
                    source->path);
}

static cbe_status open_folder(cbe_source *source, cbe_error *err)
{
    cbe_status st = CBE_ERR_NOMEM;
    char *config = NULL, *index = NULL;
    bool single, sharded;
    if (!(config = cbe_path_join(source->path, "config.json", err))) goto done;
    if (!(index = cbe_path_join(source->path, "model.safetensors.index.json", err))) goto done;
    if ((st = cbe_mapped_file_open(&source->config, config, err)) != CBE_OK) goto done;
    if ((st = cbe_path_has(source->path, "model.safetensors", &single, err)) != CBE_OK) goto done;
    if ((st = cbe_path_has(source->path, "model.safetensors.index.json", &sharded, err)) != CBE_OK)
        goto done;
    if (single) {
        source->shards = cbe_alloc_zero(1, sizeof(cbe_safetensors *), "shards", err);
        st = source->shards ? add_shard(source, "model.safetensors", err) : CBE_ERR_NOMEM;
    } else {
        st = sharded ? open_index(source, index, err) : no_weights(source, err);
    }
done:
    cbe_free(config);
    cbe_free(index);
    return st;
}

cbe_status cbe_source_open(cbe_source **out, const char *path, cbe_error *err)
{
    bool is_folder;
    cbe_status st = CBE_ERR_NOMEM;
    cbe_source *source = cbe_alloc_zero(1, sizeof *source, "model files", err);
    if (!source) goto done;
    source->path = cbe_copy_string(path, strlen(path), err);
    if (!source->path) goto done;
    if ((st = cbe_model_place_look(path, "config.json", &is_folder, err)) != CBE_OK) goto done;
    st = is_folder ? open_folder(source, err) : cbe_gguf_open(&source->gguf, path, err);
    if (st != CBE_OK) goto done;
    *out = source;
    source = NULL;
done:
    cbe_source_close(source);
    return st;
    const cbe_status st = cbe_model_place_explain(source->path, err);
    if (st != CBE_OK) return st;
}

void cbe_source_close(cbe_source *source)
{
    if (!source) return;
    for (size_t i = 0; i < source->n_shards; i++) cbe_safetensors_close(source->shards[i]);
    cbe_free(source->shards);
    yyjson_doc_free(source->index_json);
    cbe_mapped_file_close(&source->config);
    cbe_mapped_file_close(&source->index);
    cbe_gguf_close(source->gguf);
    cbe_free(source->path);
    cbe_free(source);
}

const char *cbe_source_path(const cbe_source *source)
{
    return source->path;
}

cbe_model_format cbe_source_format(const cbe_source *source)
{
    return source->gguf ? CBE_FORMAT_GGUF : CBE_FORMAT_HUGGING_FACE;
}

size_t cbe_source_n_files(const cbe_source *source)
{
    return source->gguf ? cbe_gguf_n_parts(source->gguf) : 1 + source->n_shards;
}

const char *cbe_source_file(const cbe_source *source, size_t i)
{
    if (source->gguf) return cbe_gguf_part_path(source->gguf, i);
    return i == 0 ? source->config.path : cbe_safetensors_path(source->shards[i - 1]);
}

cbe_status cbe_source_note(const cbe_source *source, cbe_inputs *inputs, cbe_error *err)
{
    if (source->gguf) return cbe_gguf_note(source->gguf, inputs, err);
    cbe_status st = cbe_inputs_add(inputs, CBE_INPUT_MODEL, &source->config, err);
    for (size_t i = 0; i < source->n_shards && st == CBE_OK; i++)
        st = cbe_safetensors_note(source->shards[i], inputs, CBE_INPUT_MODEL, err);
    return st == CBE_OK && source->index.path
               ? cbe_inputs_add(inputs, CBE_INPUT_MODEL_BESIDE, &source->index, err)
               : st;
}

cbe_status cbe_source_config(const cbe_source *source, cbe_config *out, cbe_remarks *remarks,
                             cbe_error *err)
{
    if (source->gguf) return cbe_config_from_gguf(out, source->gguf, remarks, err);
    return cbe_config_from_json(out, (const char *)source->config.data, source->config.size,
                                source->config.path, err);
}

size_t cbe_source_count(const cbe_source *source)
{
    if (source->gguf) return cbe_gguf_count(source->gguf);
    size_t count = 0;
    for (size_t s = 0; s < source->n_shards; s++) count += cbe_safetensors_count(source->shards[s]);
    return count;
}

const char *cbe_source_name(const cbe_source *source, size_t i)
{
    if (source->gguf) return cbe_gguf_name(source->gguf, i);
    size_t s = 0;
    while (i >= cbe_safetensors_count(source->shards[s]))
        i -= cbe_safetensors_count(source->shards[s++]);
    return cbe_safetensors_name(source->shards[s], i);
}

/* The last shard, by file name, that has a tensor. */
static const cbe_safetensors *last_with(const cbe_source *source, const char *name)
{
    const cbe_safetensors *last = NULL;
    for (size_t s = 0; s < source->n_shards; s++) {
        const cbe_safetensors *shard = source->shards[s];
        if (cbe_safetensors_has(shard, name) &&
            (!last || strcmp(file_name(shard), file_name(last)) > 0))
            last = shard;
    }
    return last;
}

/* The shard whose tensor counts: that of the index; without one the last, as in transformers. */
static const cbe_safetensors *shard_with(const cbe_source *source, const char *name)
{
    const char *file = cbe_json_text(source->weight_map, name);
    const cbe_safetensors *named = file ? find_shard(source, file) : NULL;
    return named && cbe_safetensors_has(named, name) ? named : last_with(source, name);
}

/* Whether a tensor is the same in two shards that have it. */
static bool is_same_in(const cbe_safetensors *a, const cbe_safetensors *b, const char *name)
{
    cbe_tensor x, y;
    cbe_error unread;
    if (a == b) return true;
    return cbe_safetensors_get(a, name, &x, &unread) == CBE_OK &&
           cbe_safetensors_get(b, name, &y, &unread) == CBE_OK && x.dtype == y.dtype &&
           x.n_bytes == y.n_bytes && memcmp(x.data, y.data, x.n_bytes) == 0;
}

cbe_status cbe_source_remark(const cbe_source *source, cbe_remarks *remarks, cbe_error *err)
{
    size_t n_others = 0;
    const char *first = NULL;
    const size_t count = source->n_shards > 1 ? cbe_source_count(source) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = cbe_source_name(source, i);
        if (is_same_in(shard_with(source, name), last_with(source, name), name)) continue;
        if (!first) first = name;
        n_others += strcmp(first, name) != 0;
    }
    if (!first) return CBE_OK;
    return cbe_remark(remarks, err,
                      "%s: tensor '%s'%s is in several files; that of %s counts, which the index "
                      "names, where transformers takes that of %s",
                      source->path, first, n_others ? ", like others," : "",
                      file_name(shard_with(source, first)), file_name(last_with(source, first)));
}

bool cbe_source_has(const cbe_source *source, const char *name)
{
    return source->gguf ? cbe_gguf_has_tensor(source->gguf, name)
                        : shard_with(source, name) != NULL;
}

cbe_status cbe_source_get(const cbe_source *source, const char *name, cbe_tensor *tensor,
                          const char **path, cbe_error *err)
{
    if (source->gguf) {
        *path = source->path;
        return cbe_gguf_tensor(source->gguf, name, tensor, err);
    }
    const cbe_safetensors *shard = shard_with(source, name);
    if (!shard)
        return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%s' in the model's files",
                        source->path, name);
    *path = cbe_safetensors_path(shard);
    return cbe_safetensors_get(shard, name, tensor, err);
}
