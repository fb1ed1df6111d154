/*
 * weights.c - see weights.h.
 *
 * All tensors are found and their shapes checked before anything is allocated for them, so that a
 * false configuration cannot ask for more memory than the files' own size explains.
 */
#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "model/read_tensor.h"

enum { NAME_SIZE = 128 };

typedef struct {
    const cbe_source *source;
    const cbe_config *config;
    const cbe_tensor_names *names;
    const char *prefix; /* the optional one, or "" */
} loader;

/* One tensor in its place: rows first_row .. of a matrix that may hold several. */
typedef struct {
    cbe_tensor_role role;
    size_t rows, columns; /* rows 0: a vector of `columns` numbers */
} part;

static void tensor_name(const loader *in, cbe_tensor_role role, size_t block, char out[NAME_SIZE])
{
    const char *name = in->names->roles[role];
    if (role >= CBE_FIRST_BLOCK_ROLE)
        snprintf(out, NAME_SIZE, "%s%s%zu.%s", in->prefix, in->names->block_prefix, block, name);
    else if (role == CBE_ROLE_UNEMBEDDING) /* beside the model proper: no prefix */
        snprintf(out, NAME_SIZE, "%s", name);
    else
        snprintf(out, NAME_SIZE, "%s%s", in->prefix, name);
}

static cbe_status find(const loader *in, const part *p, size_t block, cbe_tensor *tensor,
                       const char **path, cbe_error *err)
{
    char name[NAME_SIZE];
    tensor_name(in, p->role, block, name);
    const cbe_status st = cbe_source_get(in->source, name, tensor, path, err);
    if (st != CBE_OK) return st;
    const size_t dims[] = {p->rows, p->columns};
    return p->rows ? cbe_tensor_expect(tensor, *path, 2, dims, err)
                   : cbe_tensor_expect(tensor, *path, 1, dims + 1, err);
}

/* *out: the parts below one another, allocated. */
static cbe_status load(const loader *in, size_t n_parts, const part *parts, size_t block,
                       float **out, cbe_error *err)
{
    cbe_status st;
    cbe_tensor tensor;
    const char *path;
    size_t rows = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if ((st = find(in, &parts[i], block, &tensor, &path, err)) != CBE_OK) return st;
        rows += parts[i].rows ? parts[i].rows : 1;
    }
    float *matrix = cbe_alloc(rows, parts[0].columns * sizeof(float), "weights", err);
    if (!matrix) return CBE_ERR_NOMEM;
    float *to = matrix;
    for (size_t i = 0; i < n_parts; i++) {
        const bool rotary = parts[i].role == CBE_ROLE_QUERY || parts[i].role == CBE_ROLE_KEY;
        const size_t interleaved =
            rotary && in->names->interleaved_rotary ? in->config->sizes.head_size : 0;
        if ((st = find(in, &parts[i], block, &tensor, &path, err)) != CBE_OK ||
            (st = cbe_read_tensor(&tensor, interleaved, path, to, err)) != CBE_OK) {
            cbe_free(matrix);
            return st;
        }
        to += tensor.n_elements;
    }
    *out = matrix;
    return CBE_OK;
}

static cbe_status load_block(const loader *in, size_t i, cbe_block *block, cbe_error *err)
{
    const cbe_model_config *c = &in->config->sizes;
    const size_t d = c->hidden_size, m = c->mlp_size;
    const size_t q = c->n_heads * c->head_size, kv = c->n_kv_heads * c->head_size;
    const part attention_norm = {CBE_ROLE_ATTENTION_NORM, 0, d};
    const part qkv[] = {{CBE_ROLE_QUERY, q, d}, {CBE_ROLE_KEY, kv, d}, {CBE_ROLE_VALUE, kv, d}};
    const part attention_out = {CBE_ROLE_ATTENTION_OUT, d, q};
    const part mlp_norm = {CBE_ROLE_MLP_NORM, 0, d};
    const part gate_up[] = {{CBE_ROLE_GATE, m, d}, {CBE_ROLE_UP, m, d}};
    const part down = {CBE_ROLE_DOWN, d, m};
    const struct {
        size_t n_parts;
        const part *parts;
        float **out;
    } matrices[] = {
        {1, &attention_norm, &block->attention_norm},
        {3, qkv, &block->qkv},
        {1, &attention_out, &block->attention_out},
        {1, &mlp_norm, &block->mlp_norm},
        {2, gate_up, &block->gate_up},
        {1, &down, &block->down},
    };
    for (size_t j = 0; j < sizeof matrices / sizeof *matrices; j++) {
        const cbe_status st =
            load(in, matrices[j].n_parts, matrices[j].parts, i, matrices[j].out, err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

static cbe_status load_ends(const loader *in, cbe_model *model, cbe_error *err)
{
    cbe_status st;
    const size_t d = in->config->sizes.hidden_size, vocab = in->config->sizes.vocab_size;
    const part embedding = {CBE_ROLE_EMBEDDING, vocab, d}, norm = {CBE_ROLE_FINAL_NORM, 0, d};
    const part unembedding = {CBE_ROLE_UNEMBEDDING, vocab, d};
    cbe_decoder *decoder = model->decoder;
    *decoder = (cbe_decoder){.hidden_size = d,
                             .vocab_size = vocab,
                             .norm = CBE_NORM_RMS,
                             .norm_eps = in->config->sizes.norm_eps};
    if ((st = load(in, 1, &norm, 0, &decoder->gamma, err)) != CBE_OK) return st;
    if ((st = load(in, 1, &embedding, 0, &model->embedding, err)) != CBE_OK) return st;
    if (in->config->tied) {
        decoder->unembedding = model->embedding;
        return CBE_OK;
    }
    return load(in, 1, &unembedding, 0, &decoder->unembedding, err);
}

/* Tensors inside blocks that we would leave out change the result: better to stop. */
static cbe_status check_block_tensor(const loader *in, const char *name, cbe_error *err)
{
    char start[NAME_SIZE];
    const int length = snprintf(start, sizeof start, "%s%s", in->prefix, in->names->block_prefix);
    if (strncmp(name, start, (size_t)length) != 0) return CBE_OK;
    size_t block = 0;
    const char *rest = name + length;
    for (; *rest >= '0' && *rest <= '9'; rest++)
        if (block < in->config->sizes.n_layers) block = block * 10 + (size_t)(*rest - '0');
    if (*rest != '.') return CBE_OK;
    if (block >= in->config->sizes.n_layers)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: tensor '%s' is in a block past the %zu that the configuration names",
                        cbe_source_path(in->source), name, in->config->sizes.n_layers);
    for (size_t role = CBE_FIRST_BLOCK_ROLE; role < CBE_N_ROLES; role++)
        if (strcmp(rest + 1, in->names->roles[role]) == 0) return CBE_OK;
    for (size_t i = 0; in->names->ignored[i]; i++)
        if (strcmp(rest + 1, in->names->ignored[i]) == 0) return CBE_OK;
    return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                    "%s: tensor '%s' has no place in a %s model; leaving it out would give wrong "
                    "results",
                    cbe_source_path(in->source), name, in->config->sizes.architecture);
}

/* GGUF files of models with rescaled rotary embeddings carry divisors of the frequencies. */
static cbe_status load_rope(const loader *in, cbe_model *model, cbe_error *err)
{
    cbe_status st;
    const size_t half = in->config->sizes.head_size / 2;
    cbe_tensor tensor;
    const char *path, *name = "rope_freqs.weight";
    model->rope_frequencies = cbe_alloc(half, sizeof(double), "rotary frequencies", err);
    if (!model->rope_frequencies) return CBE_ERR_NOMEM;
    cbe_rope_frequencies(&in->config->rope, 2 * half, model->rope_frequencies);
    if (cbe_source_format(in->source) != CBE_FORMAT_GGUF || !cbe_source_has(in->source, name))
        return CBE_OK;
    if ((st = cbe_source_get(in->source, name, &tensor, &path, err)) != CBE_OK) return st;
    if ((st = cbe_tensor_expect(&tensor, path, 1, &half, err)) != CBE_OK) return st;
    float *divisors = cbe_alloc(half, sizeof(float), "rotary frequencies", err);
    if (!divisors) return CBE_ERR_NOMEM;
    st = cbe_read_tensor(&tensor, 0, path, divisors, err);
    for (size_t i = 0; i < half && st == CBE_OK; i++) {
        if (divisors[i] > 0)
            model->rope_frequencies[i] /= (double)divisors[i];
        else
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: tensor '%s': element %zu is %g, must be positive", path, name, i,
                          (double)divisors[i]);
    }
    cbe_free(divisors);
    return st;
}

cbe_status cbe_weights_load(cbe_model *model, const cbe_source *source, cbe_error *err)
{
    cbe_status st;
    const cbe_model_config *c = &model->config.sizes;
    loader in = {source, &model->config, &model->config.family->tensors[cbe_source_format(source)],
                 ""};
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", in.names->optional_prefix,
             in.names->roles[CBE_ROLE_EMBEDDING]);
    if (cbe_source_has(source, name)) in.prefix = in.names->optional_prefix;
    const size_t count = cbe_source_count(source);
    if (c->n_layers > count)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: %zu blocks in the configuration, but only %zu tensors in the files",
                        cbe_source_path(source), c->n_layers, count);
    for (size_t i = 0; i < count; i++)
        if ((st = check_block_tensor(&in, cbe_source_name(source, i), err)) != CBE_OK) return st;

    model->decoder = cbe_alloc_zero(1, sizeof *model->decoder, "decoder", err);
    model->blocks = cbe_alloc_zero(c->n_layers, sizeof *model->blocks, "blocks", err);
    if (!model->decoder || !model->blocks) return CBE_ERR_NOMEM;
    if ((st = load_rope(&in, model, err)) != CBE_OK) return st;
    if ((st = load_ends(&in, model, err)) != CBE_OK) return st;
    for (size_t i = 0; i < c->n_layers; i++)
        if ((st = load_block(&in, i, &model->blocks[i], err)) != CBE_OK) return st;
    return CBE_OK;
}
