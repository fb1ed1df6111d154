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

enum { WRAPPER_SIZE = 64, WHOLE_NAME = WRAPPER_SIZE + CBE_TENSOR_NAME_SIZE };

/* What programs for training put before the names of all tensors of a model they wrap. */
static const char *const wrappers[] = {"module.", "_orig_mod."};

struct cbe_source {
    char *path;
    cbe_gguf *gguf;                /* NULL for a folder, which has the members below */
    cbe_mapped_file config, index; /* index: empty if there is none */
    cbe_safetensors **shards;
    size_t n_shards;
    char wrapper[WRAPPER_SIZE]; /* stands before the names of all tensors, and is left out */
    yyjson_doc *index_json;     /* NULL: there is no index */
    yyjson_val *weight_map;     /* names of files by names of tensors */
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

/* The name of a file in a weight_map, which may be told as a path from its folder. */
static const char *without_dot(const char *name)
{
    while (name && strncmp(name, "./", 2) == 0) name += 2;
    return name;
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

/* Name of the i-th tensor as the files have it. */
static const char *whole_name(const cbe_source *source, size_t i)
{
    size_t s = 0;
    while (i >= cbe_safetensors_count(source->shards[s]))
        i -= cbe_safetensors_count(source->shards[s++]);
    return cbe_safetensors_name(source->shards[s], i);
}

static bool all_begin_with(const cbe_source *source, const char *start)
{
    const size_t count = cbe_source_count(source);
    for (size_t i = 0; i < count; i++)
        if (strncmp(whole_name(source, i), start, strlen(start)) != 0) return false;
    return count > 0;
}

/* Finds what wraps the names of all tensors; wrappers may be inside of others. */
static void find_wrapper(cbe_source *source)
{
    for (bool found = true; found;) {
        found = false;
        for (size_t k = 0; k < sizeof wrappers / sizeof *wrappers; k++) {
            char start[WRAPPER_SIZE];
            const int length = snprintf(start, sizeof start, "%s%s", source->wrapper, wrappers[k]);
            if ((size_t)length >= sizeof start || !all_begin_with(source, start)) continue;
            memcpy(source->wrapper, start, sizeof start);
            found = true;
        }
    }
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
        const char *name = without_dot(yyjson_get_str(file));
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
    const cbe_status st = cbe_model_place_explain(source->path, err);
    if (st != CBE_OK) return st;
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
    if (st == CBE_OK) find_wrapper(source);
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
    return whole_name(source, i) + strlen(source->wrapper);
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
    const char *file = without_dot(cbe_json_text(source->weight_map, name));
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
    if (source->wrapper[0]) {
        const cbe_status st =
            cbe_remark(remarks, err,
                       "%s: the names of all tensors begin with '%s', as a program for training "
                       "writes them; it is left out, where transformers would find no tensor",
                       source->path, source->wrapper);
        if (st != CBE_OK) return st;
    }
    const size_t count = source->n_shards > 1 ? cbe_source_count(source) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = whole_name(source, i);
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

/* The shard with a tensor, whose name is told without what wraps it. */
static const cbe_safetensors *find_tensor(const cbe_source *source, const char *name,
                                          char whole[WHOLE_NAME])
{
    snprintf(whole, WHOLE_NAME, "%s%s", source->wrapper, name);
    return shard_with(source, whole);
}

bool cbe_source_has(const cbe_source *source, const char *name)
{
    char whole[WHOLE_NAME];
    return source->gguf ? cbe_gguf_has_tensor(source->gguf, name)
                        : find_tensor(source, name, whole) != NULL;
}

/* Says that a tensor is missing, and which one has more before its name. */
static cbe_status no_tensor(const cbe_source *source, const char *name, cbe_error *err)
{
    const size_t count = cbe_source_count(source), length = strlen(name);
    for (size_t i = 0; i < count; i++) {
        const char *other = cbe_source_name(source, i);
        const size_t before = strlen(other) > length ? strlen(other) - length : 0;
        if (before == 0 || other[before - 1] != '.' || strcmp(other + before, name) != 0) continue;
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: no tensor '%s' in the model's files but '%.160s', as in a model of "
                        "which this one is a part; save the language model alone with transformers",
                        source->path, name, other);
    }
    return cbe_fail(err, CBE_ERR_FORMAT, -1, "%s: no tensor '%s' in the model's files",
                    source->path, name);
}

cbe_status cbe_source_get(const cbe_source *source, const char *name, cbe_tensor *tensor,
                          const char **path, cbe_error *err)
{
    char whole[WHOLE_NAME];
    if (source->gguf) {
        *path = source->path;
        return cbe_gguf_tensor(source->gguf, name, tensor, err);
    }
    const cbe_safetensors *shard = find_tensor(source, name, whole);
    if (!shard) return no_tensor(source, name, err);
    *path = cbe_safetensors_path(shard);
    return cbe_safetensors_get(shard, whole, tensor, err);
}
