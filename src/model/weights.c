/*
 * weights.c - see weights.h. Blocks: block_weights.c.
 *
 * All tensors are found and their shapes checked before memory is allocated for them, so that a
 * false configuration cannot ask for more memory than the files' size explains.
 */
#include "model/weights.h"

#include <math.h>
#include <string.h>

#include "core/fail.h"
#include "core/finite.h"
#include "math/gemm.h"
#include "core/memory.h"
#include "model/block_weights.h"
#include "formats/read_tensor.h"
#include "model/tied.h"

/* A norm that leaves x as it is. RMSNorm divides by sqrt(mean square + eps); beside this eps the
 * mean square of any hidden state vanishes in float32, and the gain undoes the division. Both are
 * powers of two, so nothing is rounded. */
static const double identity_eps = 0x1p64;
static const float identity_gain = 0x1p32f;

typedef struct {
    cbe_model *model;
    const cbe_source *source;
} loader;

/* Finds the tensor of a role outside of blocks; rows 0: a vector. */
static cbe_status find(const loader *in, cbe_tensor_role role, const char *ending, size_t rows,
                       size_t columns, cbe_tensor *tensor, const char **path, cbe_error *err)
{
    char name[CBE_TENSOR_NAME_SIZE];
    cbe_tensor_name(&in->model->plan, role, 0, ending, name);
    const cbe_status st = cbe_source_get(in->source, name, tensor, path, err);
    if (st != CBE_OK) return st;
    const size_t dims[] = {rows, columns};
    return rows ? cbe_tensor_expect(tensor, *path, 2, dims, err)
                : cbe_tensor_expect(tensor, *path, 1, dims + 1, err);
}

static bool has(const loader *in, cbe_tensor_role role, const char *ending)
{
    char name[CBE_TENSOR_NAME_SIZE];
    if (!in->model->plan.names->roles[role]) return false;
    cbe_tensor_name(&in->model->plan, role, 0, ending, name);
    return cbe_source_has(in->source, name);
}

/* Allocates *out and reads a tensor as floats. */
static cbe_status load(const loader *in, cbe_tensor_role role, const char *ending, size_t rows,
                       size_t columns, float **out, cbe_error *err)
{
    cbe_tensor tensor;
    const char *path;
    cbe_status st = find(in, role, ending, rows, columns, &tensor, &path, err);
    if (st != CBE_OK) return st;
    float *values = cbe_alloc(tensor.n_elements, sizeof(float), "weights", err);
    if (!values) return CBE_ERR_NOMEM;
    st = cbe_read_tensor(&tensor, NULL, path, values, err);
    if (st != CBE_OK)
        cbe_free(values);
    else
        *out = values;
    return st;
}

/* Reads gain and offset (d) of a norm outside of blocks. */
static cbe_status load_norm(const loader *in, cbe_tensor_role role, float **gamma, float **beta,
                            cbe_error *err)
{
    cbe_status st;
    const cbe_traits *traits = &in->model->config.traits;
    const size_t d = in->model->config.sizes.hidden_size;
    if (traits->norms_no_gain) {
        if (!(*gamma = cbe_alloc(d, sizeof(float), "gain", err))) return CBE_ERR_NOMEM;
        for (size_t i = 0; i < d; i++) (*gamma)[i] = 1;
        return CBE_OK;
    }
    if ((st = load(in, role, "weight", 0, d, gamma, err)) != CBE_OK) return st;
    for (size_t i = 0; i < d && traits->gain_offset; i++) (*gamma)[i] += 1;
    return traits->norm == CBE_NORM_LAYER ? load(in, role, "bias", 0, d, beta, err) : CBE_OK;
}

static cbe_status load_final_norm(const loader *in, cbe_decoder *decoder, cbe_error *err)
{
    const cbe_config *config = &in->model->config;
    decoder->norm = config->traits.norm;
    decoder->norm_eps = config->sizes.norm_eps;
    if (config->final_norm)
        return load_norm(in, CBE_ROLE_FINAL_NORM, &decoder->gamma, &decoder->beta, err);
    decoder->norm = CBE_NORM_RMS;
    decoder->norm_eps = identity_eps;
    const size_t d = decoder->hidden_size;
    if (!(decoder->gamma = cbe_alloc(d, sizeof(float), "gain", err))) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < d; i++) decoder->gamma[i] = identity_gain;
    return CBE_OK;
}

/* Multiplies rows (V, e) by a projection: *out (V, d), allocated, replaces both.
 * @param transposed  the projection is (d, e), not (e, d) */
static cbe_status project(const loader *in, const float *rows, cbe_tensor_role role,
                          bool transposed, float **out, cbe_error *err)
{
    cbe_status st;
    const cbe_config *config = &in->model->config;
    const size_t d = config->sizes.hidden_size, e = config->embedding_size;
    const size_t vocab = config->sizes.vocab_size;
    float *projection = NULL;
    st = load(in, role, "weight", transposed ? d : e, transposed ? e : d, &projection, err);
    if (st != CBE_OK) return st;
    float *product = cbe_alloc(vocab, d * sizeof(float), "projected embeddings", err);
    if (product) {
        cbe_gemm(false, transposed, vocab, d, e, 1, rows, e, projection, transposed ? e : d, 0,
                 product, d);
        *out = product;
    }
    cbe_free(projection);
    if (!product) return CBE_ERR_NOMEM;
    const size_t bad = cbe_first_not_finite(product, vocab * d);
    if (bad == vocab * d) return CBE_OK;
    char name[CBE_TENSOR_NAME_SIZE];
    cbe_tensor_name(&in->model->plan, role, 0, "weight", name);
    return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                    "%s: tensor '%s': its product with the embedding of token %zu is not finite in "
                    "float32; a model needs smaller weights",
                    cbe_source_path(in->source), name, bad / d);
}

/* Reads embedding and unembedding of a model whose embedding is not as wide as its stream, and
 * folds the projections into them. */
static cbe_status load_projected(const loader *in, cbe_error *err)
{
    cbe_status st;
    cbe_model *model = in->model;
    const size_t vocab = model->config.sizes.vocab_size, e = model->config.embedding_size;
    float *embedding = NULL, *unembedding = NULL;
    st = load(in, model->plan.embedding, "weight", vocab, e, &embedding, err);
    if (st == CBE_OK && !model->config.tied)
        st = load(in, CBE_ROLE_UNEMBEDDING, "weight", vocab, e, &unembedding, err);
    if (st == CBE_OK)
        st = project(in, embedding, CBE_ROLE_PROJECT_IN, true, &model->embedding, err);
    if (st == CBE_OK)
        st = project(in, unembedding ? unembedding : embedding, CBE_ROLE_PROJECT_OUT, false,
                     &model->decoder->unembedding, err);
    cbe_free(embedding);
    cbe_free(unembedding);
    return st;
}

/* Reads the unembedding, and the embedding.
 * @param keep  whether an embedding that is not tied is expanded */
static cbe_status load_embeddings(const loader *in, bool keep, cbe_error *err)
{
    cbe_status st;
    const char *path;
    cbe_model *model = in->model;
    const size_t vocab = model->config.sizes.vocab_size, d = model->config.sizes.hidden_size;
    if (model->config.embedding_size != d) return load_projected(in, err);
    if (model->config.tied) {
        st = load(in, model->plan.embedding, "weight", vocab, d, &model->embedding, err);
        model->decoder->unembedding = model->embedding;
        return st;
    }
    st = find(in, CBE_ROLE_EMBEDDING, "weight", vocab, d, &model->embedding_rows, &path, err);
    if (st != CBE_OK) return st;
    st = load(in, CBE_ROLE_UNEMBEDDING, "weight", vocab, d, &model->decoder->unembedding, err);
    if (st != CBE_OK || !keep) return st;
    return load(in, CBE_ROLE_EMBEDDING, "weight", vocab, d, &model->embedding, err);
}

/* Reads all weights but blocks, embedding and unembedding. */
static cbe_status load_small(const loader *in, cbe_error *err)
{
    cbe_status st;
    cbe_model *model = in->model;
    const cbe_config *config = &model->config;
    const size_t d = config->sizes.hidden_size, vocab = config->sizes.vocab_size;
    cbe_decoder *decoder = model->decoder;
    decoder->hidden_size = d;
    decoder->vocab_size = vocab;
    decoder->logit_softcap = config->logit_softcap;
    if ((st = load_final_norm(in, decoder, err)) != CBE_OK) return st;
    const bool bias = has(in, CBE_ROLE_UNEMBEDDING, "bias");
    if (bias && config->traits.unembedding_bias == CBE_BIAS_NONE)
        return cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                        "%s: tensor '%s.bias' has no place in a %s model; leaving it out would "
                        "give wrong results",
                        cbe_source_path(in->source), model->plan.unembedding,
                        config->sizes.architecture);
    if (bias || config->traits.unembedding_bias == CBE_BIAS_ALWAYS) {
        st = load(in, CBE_ROLE_UNEMBEDDING, "bias", 0, vocab, &decoder->bias, err);
        if (st != CBE_OK) return st;
    }
    if (config->traits.embedding_norm) {
        st = load_norm(in, CBE_ROLE_EMBEDDING_NORM, &model->embedding_gamma, &model->embedding_beta,
                       err);
        if (st != CBE_OK) return st;
    }
    if (config->traits.positions != CBE_POSITIONS_LEARNED) return CBE_OK;
    const size_t offset = config->traits.position_offset;
    st = load(in, CBE_ROLE_POSITION, "weight", config->sizes.max_context + offset, d,
              &model->positions, err);
    if (st != CBE_OK) return st;
    memmove(model->positions, model->positions + offset * d,
            config->sizes.max_context * d * sizeof(float));
    return CBE_OK;
}

/* Reads divisors of rotary frequencies, which GGUF files of models with scaled rotary embeddings
 * have as tensors: one list, or one for short and one for long sequences. */
static cbe_status load_divisors(const loader *in, cbe_error *err)
{
    static const char *const names[2][2] = {
        {"rope_freqs.weight", "rope_freqs.weight"},
        {"rope_factors_short.weight", "rope_factors_long.weight"}};
    cbe_config *config = &in->model->config;
    const size_t half = config->rotary_size / 2;
    if (cbe_source_format(in->source) != CBE_FORMAT_GGUF) return CBE_OK;
    const size_t kind = cbe_source_has(in->source, names[1][0]);
    if (!cbe_source_has(in->source, names[kind][0])) return CBE_OK;
    for (size_t list = 0; list < 2; list++) {
        cbe_status st;
        cbe_tensor tensor;
        const char *path, *name = names[kind][list];
        float divisors[CBE_MAX_ROTARY_PAIRS];
        if ((st = cbe_source_get(in->source, name, &tensor, &path, err)) != CBE_OK) return st;
        if ((st = cbe_tensor_expect(&tensor, path, 1, &half, err)) != CBE_OK) return st;
        if ((st = cbe_read_tensor(&tensor, NULL, path, divisors, err)) != CBE_OK) return st;
        for (size_t i = 0; i < half; i++) {
            if (!(divisors[i] > 0))
                return cbe_fail(err, CBE_ERR_FORMAT, -1,
                                "%s: tensor '%s': element %zu is %g, must be positive", path, name,
                                i, (double)divisors[i]);
            for (size_t r = 0; r < CBE_N_REACHES; r++)
                config->rope[r].divisors[list][i] = (double)divisors[i];
        }
    }
    for (size_t r = 0; r < CBE_N_REACHES; r++)
        if (r == CBE_REACH_GLOBAL || config->family->defaults.local_rope_base == 0)
            config->rope[r].n_divisors = half;
    return cbe_config_check_angles(config, cbe_source_path(in->source), err);
}

/* Decides what is expanded within `memory`: *n_resident blocks, and the embedding if it is not
 * tied. Blocks that are not resident need room for one expanded block. */
static cbe_status share_memory(const loader *in, size_t memory, bool *embedding, cbe_error *err)
{
    cbe_model *model = in->model;
    const cbe_model_config *c = &model->config.sizes;
    const size_t matrix = c->vocab_size * c->hidden_size * sizeof(float);
    const size_t block = model->block_floats * sizeof(float);
    const bool projected = model->config.embedding_size != c->hidden_size;
    const size_t fixed = projected ? 2 * matrix : matrix;
    const size_t apart = projected || model->config.tied ? 0 : matrix;
    *embedding = true;
    model->n_resident = c->n_layers;
    if (memory == 0 || memory >= fixed + apart + c->n_layers * block) return CBE_OK;
    *embedding = false;
    if (memory >= fixed + c->n_layers * block) return CBE_OK;
    if (memory < fixed + block)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: %zu MB of memory are too few for the weights: the unembedding takes "
                        "%zu MB and a block %zu MB",
                        cbe_source_path(in->source), memory >> 20, (fixed >> 20) + 1,
                        (block >> 20) + 1);
    model->n_resident = (memory - fixed - block) / block;
    return CBE_OK;
}

static cbe_status load_blocks(const loader *in, const cbe_model_options *options, cbe_error *err)
{
    cbe_model *model = in->model;
    const size_t n = model->n_resident;
    model->blocks = cbe_alloc_zero(n, sizeof *model->blocks, "blocks", err);
    model->block_memory = cbe_alloc_zero(n, sizeof *model->block_memory, "blocks", err);
    if (!model->blocks || !model->block_memory) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (options->progress && !options->progress(options->context, i, n))
            return cbe_fail(err, CBE_ERR_CANCELLED, -1, "%s: reading was cancelled",
                            cbe_source_path(in->source));
        float *memory = cbe_alloc(model->block_floats, sizeof(float), "weights", err);
        if (!memory) return CBE_ERR_NOMEM;
        model->block_memory[i] = memory;
        const cbe_status st =
            cbe_block_expand(model, in->source, i, memory, &model->blocks[i], err);
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

cbe_status cbe_weights_load(cbe_model *model, cbe_source **source, const cbe_model_options *options,
                            cbe_error *err)
{
    cbe_status st;
    bool embedding;
    const cbe_tensor_names *names = model->config.family->tensors[cbe_source_format(*source)];
    const loader in = {model, *source};
    model->plan = (cbe_block_plan){.names = names};
    cbe_tied_find_names(model, *source);
    if ((st = cbe_blocks_check(model, *source, options->remarks, err)) != CBE_OK) return st;
    model->decoder = cbe_alloc_zero(1, sizeof *model->decoder, "decoder", err);
    if (!model->decoder) return CBE_ERR_NOMEM;
    if (model->config.traits.positions == CBE_POSITIONS_ROTARY &&
        (st = load_divisors(&in, err)) != CBE_OK)
        return st;
    if ((st = load_small(&in, err)) != CBE_OK) return st;
    if ((st = cbe_tied_settle(model, *source, options->remarks, err)) != CBE_OK) return st;
    if ((st = share_memory(&in, options->memory, &embedding, err)) != CBE_OK) return st;
    if ((st = load_embeddings(&in, embedding, err)) != CBE_OK) return st;
    if ((st = load_blocks(&in, options, err)) != CBE_OK) return st;
    if (!model->embedding || model->n_resident < model->config.sizes.n_layers) {
        model->source = *source;
        *source = NULL;
    }
    return CBE_OK;
}

cbe_status cbe_weights_embedding(const cbe_model *model, size_t id, float *out, cbe_error *err)
{
    const size_t d = model->config.sizes.hidden_size;
    if (model->embedding) {
        memcpy(out, model->embedding + id * d, d * sizeof(float));
        return CBE_OK;
    }
    const cbe_status st = cbe_tensor_to_float(&model->embedding_rows, id * d, d, out, err);
    for (size_t i = 0; i < d && st == CBE_OK; i++)
        if (!isfinite(out[i]))
            return cbe_fail(err, CBE_ERR_NUMERIC, -1,
                            "%s: tensor '%s': element %zu is %g; a model needs finite weights",
                            cbe_source_path(model->source), model->embedding_rows.name, id * d + i,
                            (double)out[i]);
    return st;
}
