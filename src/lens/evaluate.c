/*
 * evaluate.c - measures of lenses on a text; see lens/evaluate.h.
 *
 * A chunk of sequences goes through the model, and its hidden states of the layers asked for are
 * kept. Then each block of tokens takes the final logits once, and for each lens and layer the
 * lens's logits, by a product with the unembedding whose rows are measured at once
 * (row_measures.h). A cell is one row of the result: a lens, the layer of its translator and the
 * layer of the hidden states. Sums follow the order of tokens and sequences, so the bits are the
 * same for any number of threads.
 */
#include <math.h>
#include <string.h>

#include "lens/evaluate.h"
#include "core/fail.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/loss.h"
#include "math/sequence_error.h"
#include "model/decode.h"
#include "lens/row_measures.h"
#include "lens/translate.h"

enum { BLOCK_TOKENS = 256, LEAST_TOKENS = 16 };

static const size_t block_bytes = (size_t)64 << 20, default_memory = (size_t)256 << 20;

static const char *const measure_names[] = {"ce", "kl", "entropy", "top1"};
_Static_assert(sizeof measure_names / sizeof *measure_names == CBE_N_LENS_MEASURES,
               "one name for each measure");

const char *cbe_lens_measure_name(cbe_lens_measure measure)
{
    return measure_names[measure];
}

/* A cell: indices into the lenses and layers asked for. */
typedef struct {
    size_t lens, layer, state;
} cell;

/* Moments of the means of the sequences so far. */
typedef struct {
    double mean[CBE_N_LENS_MEASURES], squares[CBE_N_LENS_MEASURES];
} moments;

typedef struct {
    const cbe_model *model;
    const cbe_decoder *decoder;
    const cbe_tokens *tokens;
    const cbe_lens_eval_options *options;
    const cbe_kernels *kernels;
    /* kept: number of positions of a sequence that count. */
    size_t n_blocks, hidden_size, vocab_size, context_length, kept;
    size_t n_cells;
    cell *cells;               /* (n_cells) */
    bool *wanted;              /* (L + 1): hidden states that are read */
    size_t *state_of;          /* (L + 1): place of each layer in `states`; layer L is last */
    size_t sequences;          /* sequences of a chunk */
    size_t chunk;              /* first sequence of this chunk */
    float *states;             /* (n_layers + 1, sequences * kept, d) */
    size_t block;              /* tokens of a block */
    float *reference, *logits; /* (block, V) */
    float *normalised, *x;     /* (block, d) */
    cbe_row_reference *rows;   /* (block) */
    double (*measured)[CBE_N_LENS_MEASURES]; /* (block) */
    /* (n_cells + 1, sequences): sums over tokens; the last cell is the model itself. */
    double (*sums)[CBE_N_LENS_MEASURES];
    moments *totals;              /* (n_cells + 1) */
    size_t n_done;                /* sequences in totals */
    size_t work_done, work_total; /* tokens times cells */
} evaluation;

static cbe_status check_options(const evaluation *e, cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    if (e->tokens->n_sequences == 0 || e->context_length < 2 ||
        o->skip_positions > e->context_length - 2)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu sequences of %zu tokens, the first %zu left out, hold no token with a "
                        "next one: give a longer text "
                        "or a smaller " CBE_OPTION("skip-positions"),
                        e->tokens->n_sequences, e->context_length, o->skip_positions);
    for (size_t i = 0; i < o->n_layers; i++)
        if (o->layers[i] >= e->n_blocks || (i && o->layers[i] <= o->layers[i - 1]))
            return cbe_fail(err, CBE_ERR_ARG, -1, "layer %zu: layers must rise and lie below %zu",
                            o->layers[i], e->n_blocks);
    for (size_t i = 0; i < o->n_lenses; i++) {
        const cbe_named_lens *lens = &o->lenses[i];
        const cbe_status st = lens->lens ? cbe_tuned_lens_check(lens->lens, lens->name, e->n_blocks,
                                                                e->hidden_size, "the model", err)
                                         : CBE_OK;
        if (st != CBE_OK) return st;
    }
    return CBE_OK;
}

static cbe_status make_cells(evaluation *e, cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    size_t most;
    if (!cbe_mul_size(o->n_lenses, o->n_layers, &most) ||
        (o->transfer && !cbe_mul_size(most, o->n_layers, &most)))
        most = SIZE_MAX;
    if (!(e->cells = cbe_alloc(most, sizeof *e->cells, "lenses and layers", err)))
        return CBE_ERR_NOMEM;
    for (size_t l = 0; l < o->n_lenses; l++)
        for (size_t i = 0; i < o->n_layers; i++)
            for (size_t j = 0; j < o->n_layers; j++)
                if (i == j || (o->transfer && o->lenses[l].lens))
                    e->cells[e->n_cells++] = (cell){l, i, j};
    return CBE_OK;
}

static cbe_status allocate(evaluation *e, cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    const size_t d = e->hidden_size, v = e->vocab_size,
                 memory = o->memory ? o->memory : default_memory;
    cbe_status st;
    if ((st = make_cells(e, err)) != CBE_OK) return st;
    e->wanted = cbe_alloc_zero(e->n_blocks + 1, sizeof *e->wanted, "layers", err);
    e->state_of = cbe_alloc_zero(e->n_blocks + 1, sizeof *e->state_of, "layers", err);
    if (!e->wanted || !e->state_of) return CBE_ERR_NOMEM;
    for (size_t i = 0; i <= o->n_layers; i++) {
        const size_t layer = i < o->n_layers ? o->layers[i] : e->n_blocks;
        e->wanted[layer] = true;
        e->state_of[layer] = i;
    }
    size_t token, sequence;
    if (!cbe_mul_size((o->n_layers + 1) * sizeof(float), d, &token) ||
        !cbe_mul_size(token, e->kept, &sequence))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "hidden states of a sequence of %zu do not fit the address space", e->kept);
    e->sequences = cbe_min_size(cbe_max_size(memory / sequence, 1), e->tokens->n_sequences);
    e->block =
        cbe_max_size(cbe_min_size(BLOCK_TOKENS, block_bytes / sizeof(float) / v), LEAST_TOKENS);
    e->block = cbe_min_size(e->block, e->sequences * e->kept);
    const size_t cells = e->n_cells + 1;
    e->states = cbe_alloc(e->sequences, sequence, "hidden states", err);
    e->reference = cbe_alloc(e->block, v * sizeof *e->reference, "logits", err);
    e->logits = cbe_alloc(e->block, v * sizeof *e->logits, "logits", err);
    e->normalised = cbe_alloc(e->block, d * sizeof *e->normalised, "hidden states", err);
    e->x = cbe_alloc(e->block, d * sizeof *e->x, "hidden states", err);
    e->rows = cbe_alloc(e->block, sizeof *e->rows, "rows", err);
    e->measured = cbe_alloc(e->block, sizeof *e->measured, "rows", err);
    e->sums = cbe_alloc(cells, e->sequences * sizeof *e->sums, "sums", err);
    e->totals = cbe_alloc_zero(cells, sizeof *e->totals, "sums", err);
    return e->states && e->reference && e->logits && e->normalised && e->x && e->rows &&
                   e->measured && e->sums && e->totals
               ? CBE_OK
               : CBE_ERR_NOMEM;
}

static void release(evaluation *e)
{
    cbe_free(e->cells);
    cbe_free(e->wanted);
    cbe_free(e->state_of);
    cbe_free(e->states);
    cbe_free(e->reference);
    cbe_free(e->logits);
    cbe_free(e->normalised);
    cbe_free(e->x);
    cbe_free(e->rows);
    cbe_free(e->measured);
    cbe_free(e->sums);
    cbe_free(e->totals);
}

/* Keeps hidden_states.<layer> of the chunk's sequences, without skipped positions. */
static cbe_status keep_states(void *context, size_t layer, size_t first, size_t n_tokens,
                              const float *hidden, cbe_error *err)
{
    (void)err;
    const evaluation *e = context;
    const size_t d = e->hidden_size, skip = e->options->skip_positions;
    float *out = e->states + e->state_of[layer] * e->sequences * e->kept * d;
    for (size_t i = 0; i < n_tokens; i++) {
        const size_t sequence = (first + i) / e->context_length,
                     position = (first + i) % e->context_length;
        if (position < skip) continue;
        memcpy(out + (sequence * e->kept + position - skip) * d, hidden + i * d, d * sizeof *out);
    }
    return CBE_OK;
}

/* The next token of row i of the chunk; -1 at the end of a sequence. */
static int64_t label_of(const evaluation *e, size_t row)
{
    const size_t sequence = e->chunk + row / e->kept, position = row % e->kept;
    if (position + 1 == e->kept) return -1;
    return e->tokens->ids[sequence * e->context_length + e->options->skip_positions + position + 1];
}

static const float *states_at(const evaluation *e, size_t state, size_t row)
{
    return e->states + (state * e->sequences * e->kept + row) * e->hidden_size;
}

/* Adds the measures of rows first .. first + n - 1 to the sums of a cell; `which` NULL: the model
 * itself. */
static cbe_status add_rows(evaluation *e, size_t index, const cell *which, size_t first, size_t n,
                           cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    for (size_t i = 0; i < n; i++) {
        const size_t sequence = (first + i) / e->kept;
        double *sums = e->sums[index * e->sequences + sequence];
        for (size_t m = 0; m < CBE_N_LENS_MEASURES; m++) {
            if (!isfinite(e->measured[i][m]))
                return cbe_fail(
                    err, CBE_ERR_NUMERIC, -1,
                    "%s, layer %zu: logits of sequence %zu, position %zu are not finite",
                    which ? o->lenses[which->lens].name : "the model",
                    which ? o->layers[which->state] : e->n_blocks, e->chunk + sequence,
                    o->skip_positions + (first + i) % e->kept);
            sums[m] += e->measured[i][m];
        }
    }
    return CBE_OK;
}

static cbe_status measure_final(evaluation *e, size_t first, size_t n, cbe_error *err)
{
    cbe_decode(e->decoder, cbe_decoder_common(e->decoder), n,
               states_at(e, e->options->n_layers, first), e->normalised, e->reference);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        cbe_row_reference_set(&e->rows[i], e->kernels, e->vocab_size,
                              e->reference + i * e->vocab_size, label_of(e, first + i),
                              e->measured[i]);
    return add_rows(e, e->n_cells, NULL, first, n, err);
}

static cbe_status measure_cell(evaluation *e, size_t index, size_t first, size_t n, cbe_error *err)
{
    const cell *c = &e->cells[index];
    const cbe_tuned_lens *lens = e->options->lenses[c->lens].lens;
    const float *hidden = states_at(e, c->state, first);
    if (lens) {
        cbe_translate(cbe_tuned_lens_translator(lens, e->options->layers[c->layer]), n,
                      e->hidden_size, hidden, e->x);
        hidden = e->x;
    }
    cbe_decode(e->decoder, cbe_decoder_common(e->decoder), n, hidden, e->normalised, e->logits);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        cbe_row_measure(&e->rows[i], e->kernels, e->vocab_size, e->logits + i * e->vocab_size,
                        label_of(e, first + i), e->measured[i]);
    return add_rows(e, index, c, first, n, err);
}

static cbe_status measure_block(evaluation *e, size_t first, size_t n, cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    cbe_status st = measure_final(e, first, n, err);
    for (size_t i = 0; i < e->n_cells && st == CBE_OK; i++) {
        st = measure_cell(e, i, first, n, err);
        e->work_done += n;
        if (st == CBE_OK && o->progress && !o->progress(o->context, e->work_done, e->work_total))
            st = cbe_fail(err, CBE_ERR_CANCELLED, -1, "cancelled");
    }
    return st;
}

/* Adds the means of the chunk's n sequences to the moments (Welford 1962,
 * doi:10.1080/00401706.1962.10490022). */
static void add_sequences(evaluation *e, size_t n)
{
    for (size_t i = 0; i <= e->n_cells; i++)
        for (size_t s = 0; s < n; s++)
            for (size_t m = 0; m < CBE_N_LENS_MEASURES; m++) {
                moments *total = &e->totals[i];
                const double count = (double)(m == CBE_LENS_CE ? e->kept - 1 : e->kept);
                const double mean = e->sums[i * e->sequences + s][m] / count,
                             before = mean - total->mean[m];
                total->mean[m] += before / (double)(e->n_done + s + 1);
                total->squares[m] += before * (mean - total->mean[m]);
            }
    e->n_done += n;
}

static cbe_status measure_all(evaluation *e, cbe_error *err)
{
    const size_t n_sequences = e->tokens->n_sequences;
    const cbe_forward_sink sink = {.layers = e->wanted, .hidden = keep_states, .context = e};
    e->work_total = n_sequences * e->kept * e->n_cells;
    for (; e->chunk < n_sequences; e->chunk += e->sequences) {
        const size_t n = cbe_min_size(e->sequences, n_sequences - e->chunk), rows = n * e->kept;
        cbe_status st =
            cbe_model_forward(e->model, n, e->context_length,
                              e->tokens->ids + e->chunk * e->context_length, &sink, err);
        memset(e->sums, 0, (e->n_cells + 1) * e->sequences * sizeof *e->sums);
        for (size_t first = 0; first < rows && st == CBE_OK; first += e->block)
            st = measure_block(e, first, cbe_min_size(e->block, rows - first), err);
        if (st != CBE_OK) return st;
        add_sequences(e, n);
    }
    return CBE_OK;
}

static cbe_lens_figures figures_of(const evaluation *e, size_t index)
{
    cbe_lens_figures figures;
    for (size_t m = 0; m < CBE_N_LENS_MEASURES; m++) {
        const double mean = e->totals[index].mean[m];
        figures.mean[m] = m == CBE_LENS_KL ? cbe_not_below_zero(mean) : mean;
        figures.error[m] = cbe_sequence_error_even(e->n_done, e->totals[index].squares[m]);
    }
    return figures;
}

static cbe_status make_result(cbe_lens_eval *r, const evaluation *e, cbe_error *err)
{
    const cbe_lens_eval_options *o = e->options;
    r->n_layers = o->n_layers;
    r->n_blocks = e->n_blocks;
    r->n_sequences = e->tokens->n_sequences;
    r->context_length = e->context_length;
    r->skip_positions = o->skip_positions;
    r->n_tokens = r->n_sequences * e->kept;
    r->n_labelled = r->n_sequences * (e->kept - 1);
    r->layers = cbe_alloc(o->n_layers, sizeof *r->layers, "layers", err);
    r->names = cbe_alloc_zero(o->n_lenses, sizeof *r->names, "names", err);
    r->figures = cbe_alloc(o->n_lenses, o->n_layers * sizeof *r->figures, "figures", err);
    r->transfer = cbe_alloc_zero(o->n_lenses, sizeof *r->transfer, "figures", err);
    if (!r->layers || !r->names || !r->figures || !r->transfer) return CBE_ERR_NOMEM;
    for (size_t i = 0; i < o->n_layers; i++) r->layers[i] = o->layers[i];
    r->n_lenses = o->n_lenses;
    for (size_t i = 0; i < r->n_lenses; i++) {
        const cbe_named_lens *lens = &o->lenses[i];
        if (!(r->names[i] = cbe_copy_string(lens->name, strlen(lens->name), err)))
            return CBE_ERR_NOMEM;
        if (!o->transfer || !lens->lens) continue;
        r->transfer[i] = cbe_alloc(o->n_layers, o->n_layers * sizeof **r->transfer, "figures", err);
        if (!r->transfer[i]) return CBE_ERR_NOMEM;
    }
    return CBE_OK;
}

static void fill_result(cbe_lens_eval *r, const evaluation *e)
{
    for (size_t i = 0; i < e->n_cells; i++) {
        const cell *c = &e->cells[i];
        const cbe_lens_figures figures = figures_of(e, i);
        if (c->layer == c->state) r->figures[c->lens * r->n_layers + c->layer] = figures;
        if (r->transfer[c->lens]) r->transfer[c->lens][c->layer * r->n_layers + c->state] = figures;
    }
    r->final = figures_of(e, e->n_cells);
}

cbe_status cbe_lens_eval_run(cbe_lens_eval **out, const cbe_model *model, const cbe_tokens *tokens,
                             const cbe_lens_eval_options *options, cbe_error *err)
{
    cbe_status st;
    cbe_lens_eval *result = NULL;
    const cbe_model_config *config = cbe_model_get_config(model);
    evaluation e = {.model = model,
                    .decoder = cbe_model_decoder(model),
                    .tokens = tokens,
                    .options = options,
                    .kernels = cbe_kernels_choose(NULL),
                    .n_blocks = config->n_layers,
                    .hidden_size = config->hidden_size,
                    .context_length = tokens->context_length};
    e.vocab_size = e.decoder->vocab_size;
    if ((st = check_options(&e, err)) != CBE_OK) return st;
    e.kept = e.context_length - options->skip_positions;
    if ((st = allocate(&e, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(result = cbe_alloc_zero(1, sizeof *result, "figures", err))) goto done;
    if ((st = make_result(result, &e, err)) != CBE_OK) goto done;
    if ((st = measure_all(&e, err)) != CBE_OK) goto done;
    fill_result(result, &e);
    *out = result;
    result = NULL;
done:
    cbe_lens_eval_free(result);
    release(&e);
    return st;
}

void cbe_lens_eval_free(cbe_lens_eval *eval)
{
    if (!eval) return;
    for (size_t i = 0; i < eval->n_lenses; i++) {
        cbe_free(eval->names[i]);
        cbe_free(eval->transfer[i]);
    }
    cbe_free(eval->names);
    cbe_free(eval->transfer);
    cbe_free(eval->layers);
    cbe_free(eval->figures);
    cbe_free(eval);
}
