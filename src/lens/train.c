/*
 * train.c - the loop of training; see lens/train.h.
 *
 * Sequences go through the model in chunks; some positions of each sequence go to a pool. When the
 * pool is full, a step is taken on step_tokens positions drawn at random: the target is computed
 * once, then each layer's loss, gradient and step by one thread, with BLAS single-threaded inside,
 * so that bits do not depend on the number of threads. Random numbers are functions of the seed and
 * of the sequence, or of the step and layer, so a checkpoint holds no generator.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/fail.h"
#include "core/held_out.h"
#include "core/memory.h"
#include "math/random.h"
#include "core/sizes.h"
#include "lens/affine_fit.h"
#include "lens/hidden_chunks.h"
#include "lens/loss.h"
#include "lens/train_options.h"
#include "lens/train_state.h"

/* Share of the sequences trained on by which the affine start's ridge is chosen. */
static const double ridge_share = 0.1;

/* Steps whose positions the pool holds: with 256 positions a step and 38 of each sequence,
 * positions of 53 sequences. */
enum { POOL_STEPS = 8 };

/* Scratch and counters of a run, besides the state. */
typedef struct {
    cbe_train_state *state;
    const cbe_lens_train_hooks *hooks;
    cbe_lens_target target;
    size_t n_threads;
    cbe_loss_room *loss_rooms;           /* (n_threads) */
    cbe_optimizer_room *optimizer_rooms; /* (n_threads) */
    float *gradients, *sampled;          /* (n_threads) of (step_tokens, d) */
    double *weights;                     /* (step_tokens) */
    size_t *shuffled;                    /* (context_length), positions of a sequence, shuffled */
    size_t last_checkpoint;              /* step of the last checkpoint */
    /* Members of a measurement. */
    const cbe_tuned_lens *measured;
    double *sums; /* (L) */
    size_t n_measured, wanted, available;
} trainer;

void cbe_lens_training_free(cbe_lens_training *training)
{
    cbe_free(training->losses);
    cbe_free(training->logit);
    cbe_free(training->start);
    cbe_free(training->trained);
    *training = (cbe_lens_training){0};
}

/* A stream of random numbers for each use, and for each index of the use. */
static cbe_rng stream(uint64_t seed, uint64_t use, uint64_t index)
{
    cbe_rng rng;
    cbe_rng_seed(&rng, seed ^ (use * 0x9e3779b97f4a7c15u + index * 0xbf58476d1ce4e5b9u));
    return rng;
}

enum { USE_ORDER = 1, USE_POSITIONS, USE_POOL, USE_DRAWS };

/* Number of positions of a sequence that can be trained on; for ce they need a next token. */
static size_t usable_positions(const cbe_train_state *s)
{
    return s->context_length - (s->options->loss == CBE_LOSS_CE ? 1 : 0);
}

/* Number of positions taken from the first n sequences of the order. */
static size_t positions_of(const cbe_train_state *s, size_t n)
{
    return (size_t)((double)n * s->options->positions * (double)usable_positions(s));
}

/* Splits the text's sequences into *held (n_held) and s->order, which is shuffled. */
static cbe_status split_text(cbe_train_state *s, size_t **held, size_t *n_held, cbe_error *err)
{
    cbe_status st;
    if ((st = cbe_hold_out_count(s->options->held_out, s->n_text, n_held, err)) != CBE_OK)
        return st;
    s->n_sequences = s->n_text - *n_held;
    *held = cbe_alloc(*n_held, sizeof **held, "sequences held out", err);
    s->order = cbe_alloc(s->n_sequences, sizeof *s->order, "order of the sequences", err);
    if (!*held || !s->order) return CBE_ERR_NOMEM;
    size_t n_order = 0, n = 0;
    for (size_t i = 0; i < s->n_text; i++) {
        if (cbe_is_held_out(i, *n_held, s->n_text))
            (*held)[n++] = i;
        else
            s->order[n_order++] = i;
    }
    cbe_rng rng = stream(s->options->seed, USE_ORDER, 0);
    for (size_t i = n_order; i > 1; i--) {
        const size_t j = cbe_rng_below(&rng, i), t = s->order[i - 1];
        s->order[i - 1] = s->order[j];
        s->order[j] = t;
    }
    s->n_steps = positions_of(s, s->n_sequences) / s->options->step_tokens;
    if (s->n_steps == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%zu positions of the text can be trained on, but a step takes %zu: give "
                        "more text, more positions of it "
                        "or smaller steps",
                        positions_of(s, s->n_sequences), s->options->step_tokens);
    return CBE_OK;
}

static void state_free(cbe_train_state *s)
{
    for (size_t i = 0; i <= s->n_layers && s->rows; i++) cbe_free(s->rows[i]);
    for (size_t i = 0; i < s->n_layers && s->optimizers; i++)
        cbe_lens_optimizer_free(&s->optimizers[i]);
    cbe_free(s->rows);
    cbe_free(s->optimizers);
    cbe_free(s->order);
    cbe_free(s->labels);
    cbe_free(s->losses);
    cbe_free(s->logit);
    cbe_free(s->start);
    cbe_tuned_lens_free(s->lens);
}

static cbe_status state_allocate(cbe_train_state *s, cbe_error *err)
{
    static const char what[] = "state of a training";
    size_t n;
    if (!cbe_mul_size(s->options->step_tokens, POOL_STEPS, &n))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "a step of %zu positions does not fit the address space",
                        s->options->step_tokens);
    s->pool = n;
    s->rows = cbe_alloc_zero(s->n_layers + 1, sizeof *s->rows, what, err);
    s->labels = cbe_alloc_zero(n, sizeof *s->labels, what, err);
    s->losses = cbe_alloc_zero(s->n_steps, s->n_layers * sizeof *s->losses, what, err);
    s->logit = cbe_alloc_zero(s->n_layers, sizeof *s->logit, what, err);
    s->start = cbe_alloc_zero(s->n_layers, sizeof *s->start, what, err);
    s->optimizers = cbe_alloc_zero(s->n_layers, sizeof *s->optimizers, what, err);
    if (!s->rows || !s->labels || !s->losses || !s->logit || !s->start || !s->optimizers)
        return CBE_ERR_NOMEM;
    for (size_t i = 0; i <= s->n_layers; i++)
        if (!(s->rows[i] = cbe_alloc_zero(n, s->hidden_size * sizeof(float), what, err)))
            return CBE_ERR_NOMEM;
    for (size_t i = 0; i < s->n_layers; i++) {
        const cbe_status st =
            cbe_lens_optimizer_create(&s->optimizers[i], s->options, s->hidden_size, err);
        if (st != CBE_OK) return st;
    }
    return cbe_tuned_lens_create(&s->lens, s->n_layers, s->hidden_size, true, err);
}

static void trainer_free(trainer *t)
{
    cbe_lens_target_free(&t->target);
    for (size_t i = 0; i < t->n_threads; i++) {
        if (t->loss_rooms) cbe_loss_room_free(&t->loss_rooms[i]);
        if (t->optimizer_rooms) cbe_optimizer_room_free(&t->optimizer_rooms[i]);
    }
    cbe_free(t->loss_rooms);
    cbe_free(t->optimizer_rooms);
    cbe_free(t->gradients);
    cbe_free(t->sampled);
    cbe_free(t->weights);
    cbe_free(t->shuffled);
    cbe_free(t->sums);
}

static cbe_status trainer_create(trainer *t, cbe_error *err)
{
    static const char what[] = "room of a training";
    const cbe_train_state *s = t->state;
    const size_t n = s->options->step_tokens, d = s->hidden_size;
    size_t size;
    t->n_threads = cbe_min_size((size_t)omp_get_max_threads(), s->n_layers);
    if (!cbe_mul_size(t->n_threads, n, &size))
        return cbe_fail(err, CBE_ERR_NOMEM, -1,
                        "a step of %zu positions does not fit the address space", n);
    cbe_status st = cbe_lens_target_create(&t->target, s->decoder, s->options->loss, n, err);
    if (st != CBE_OK) return st;
    t->loss_rooms = cbe_alloc_zero(t->n_threads, sizeof *t->loss_rooms, what, err);
    t->optimizer_rooms = cbe_alloc_zero(t->n_threads, sizeof *t->optimizer_rooms, what, err);
    t->gradients = cbe_alloc(size, d * sizeof *t->gradients, what, err);
    t->sampled = cbe_alloc(size, d * sizeof *t->sampled, what, err);
    t->weights = cbe_alloc(n, sizeof *t->weights, what, err);
    t->shuffled = cbe_alloc(s->context_length, sizeof *t->shuffled, what, err);
    t->sums = cbe_alloc_zero(s->n_layers, sizeof *t->sums, what, err);
    if (!t->loss_rooms || !t->optimizer_rooms || !t->gradients || !t->sampled || !t->weights ||
        !t->shuffled || !t->sums)
        return CBE_ERR_NOMEM;
    for (size_t i = 0; i < t->n_threads; i++) {
        if ((st = cbe_loss_room_create(&t->loss_rooms[i], s->decoder, n, err)) != CBE_OK) return st;
        if ((st = cbe_optimizer_room_create(&t->optimizer_rooms[i], d, n, err)) != CBE_OK)
            return st;
    }
    return CBE_OK;
}

static void swap_floats(size_t n, float *a, float *b)
{
    for (size_t i = 0; i < n; i++) {
        const float x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

/* Moves step_tokens positions of the pool, drawn at random, to its end. */
static void draw_positions(cbe_train_state *s)
{
    const size_t d = s->hidden_size, left = s->pending - s->options->step_tokens;
    cbe_rng rng = stream(s->options->seed, USE_POOL, s->step);
    for (size_t i = s->pending; i > left; i--) {
        const size_t j = cbe_rng_below(&rng, i);
        const int64_t label = s->labels[j];
        s->labels[j] = s->labels[i - 1];
        s->labels[i - 1] = label;
        for (size_t l = 0; l <= s->n_layers && j != i - 1; l++)
            swap_floats(d, s->rows[l] + j * d, s->rows[l] + (i - 1) * d);
    }
}

/* Takes one step on positions of the pool, which leave it. */
static cbe_status take_step(trainer *t, cbe_error *err)
{
    cbe_train_state *s = t->state;
    const cbe_lens_train_options *o = s->options;
    const size_t n = o->step_tokens, d = s->hidden_size;
    const bool natural = o->optimizer == CBE_OPTIMIZER_NATURAL;
    const double rate = o->rate * (1 - (double)s->step / (double)s->n_steps);
    double *losses = s->losses + s->step * s->n_layers;
    size_t failed = SIZE_MAX;
    draw_positions(s);
    s->pending -= n;
    const float *last = s->rows[s->n_layers] + s->pending * d;
    cbe_lens_target_set(&t->target, s->decoder, n, last, s->labels + s->pending);
    cbe_rms_weights(n, d, last, t->weights);
#pragma omp parallel for schedule(dynamic) num_threads((int)t->n_threads) reduction(min : failed)
    for (size_t i = 0; i < s->n_layers; i++) {
        const size_t own = (size_t)omp_get_thread_num();
        const float *rows = s->rows[i] + s->pending * d;
        float *gradient = t->gradients + own * n * d,
              *sampled = natural ? t->sampled + own * n * d : NULL;
        cbe_rng rng = stream(o->seed, USE_DRAWS, s->step * s->n_layers + i);
        losses[i] = cbe_lens_loss(s->decoder, &t->target, cbe_tuned_lens_translator(s->lens, i), n,
                                  rows, &t->loss_rooms[own], gradient, sampled, &rng) /
                    (double)n;
        if (!isfinite(losses[i]) ||
            !cbe_lens_optimizer_step(&s->optimizers[i], o, s->step, rate, n, rows, t->weights,
                                     gradient, sampled, &t->optimizer_rooms[own],
                                     s->lens->weight[i], s->lens->bias[i]))
            failed = cbe_min_size(failed, i);
    }
    if (failed != SIZE_MAX)
        return cbe_fail(
            err, CBE_ERR_NUMERIC, -1,
            "layer %zu is not finite any more at step %zu of %zu: its training "
            "diverged; give a smaller " CBE_OPTION("rate") " or "
                                                           "more " CBE_OPTION("damping"),
            failed, s->step + 1, s->n_steps);
    s->step++;
    if (t->hooks && t->hooks->step &&
        !t->hooks->step(t->hooks->context, s->step, s->n_steps, s->n_layers, losses))
        return cbe_fail(err, CBE_ERR_CANCELLED, -1, "cancelled");
    return CBE_OK;
}

/* Adds a token's hidden states of all layers to the pool. */
static void take_position(cbe_train_state *s, const float *const *hidden, size_t token,
                          int64_t label)
{
    const size_t d = s->hidden_size;
    for (size_t i = 0; i <= s->n_layers; i++)
        memcpy(s->rows[i] + s->pending * d, hidden[i] + token * d, d * sizeof(float));
    s->labels[s->pending++] = label;
}

/* The next token of a position of a sequence; 0 for the last position, which ce does not use. */
static int64_t label_at(const cbe_train_state *s, size_t row, size_t position)
{
    return position + 1 < s->context_length ? s->ids[row * s->context_length + position + 1] : 0;
}

static cbe_status train_chunk(void *context, size_t first, size_t n, const float *const *hidden,
                              cbe_error *err)
{
    trainer *t = context;
    cbe_train_state *s = t->state;
    const size_t usable = usable_positions(s);
    cbe_status st;
    for (size_t i = 0; i < n; i++) {
        const size_t at = s->first_sequence + first + i, row = s->order[at];
        const size_t count = positions_of(s, at + 1) - positions_of(s, at);
        cbe_rng rng = stream(s->options->seed, USE_POSITIONS, row);
        for (size_t k = 0; k < usable; k++) t->shuffled[k] = k;
        for (size_t k = 0; k < count && k < usable && s->step < s->n_steps; k++) {
            const size_t j = k + cbe_rng_below(&rng, usable - k), position = t->shuffled[j];
            t->shuffled[j] = t->shuffled[k];
            take_position(s, hidden, i * s->context_length + position, label_at(s, row, position));
            if (s->pending == s->pool && (st = take_step(t, err)) != CBE_OK) return st;
        }
    }
    s->next_sequence = s->first_sequence + first + n;
    if (!s->options->checkpoint || s->step < t->last_checkpoint + s->options->checkpoint_steps)
        return CBE_OK;
    t->last_checkpoint = s->step;
    return cbe_train_checkpoint_save(s, err);
}

/* Adds the losses of t->measured on the pool's positions to t->sums. */
static void measure(trainer *t)
{
    cbe_train_state *s = t->state;
    const size_t n = s->pending;
    cbe_lens_target_set(&t->target, s->decoder, n, s->rows[s->n_layers], s->labels);
#pragma omp parallel for schedule(dynamic) num_threads((int)t->n_threads)
    for (size_t i = 0; i < s->n_layers; i++)
        t->sums[i] +=
            cbe_lens_loss(s->decoder, &t->target, cbe_tuned_lens_translator(t->measured, i), n,
                          s->rows[i], &t->loss_rooms[omp_get_thread_num()], NULL, NULL, NULL);
    t->n_measured += n;
    s->pending = 0;
}

static cbe_status measure_chunk(void *context, size_t first, size_t n, const float *const *hidden,
                                cbe_error *err)
{
    (void)err;
    trainer *t = context;
    cbe_train_state *s = t->state;
    const size_t usable = usable_positions(s);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < usable; k++) {
            const size_t token = (first + i) * usable + k;
            if ((token + 1) * t->wanted / t->available == token * t->wanted / t->available)
                continue;
            take_position(s, hidden, i * s->context_length + k,
                          label_at(s, s->order[first + i], k));
            if (s->pending == s->options->step_tokens) measure(t);
        }
    return CBE_OK;
}

/* Computes mean losses of a lens (NULL: the logit lens) on held-out tokens, evenly spread. The
 * pool's positions are lost, so it is called before and after training only. */
static cbe_status measure_held_out(trainer *t, const size_t *held, size_t n_held,
                                   const cbe_tuned_lens *lens, double *out, cbe_error *err)
{
    cbe_train_state *s = t->state;
    size_t *order = s->order;
    for (size_t i = 0; i < s->n_layers; i++) t->sums[i] = 0;
    t->measured = lens;
    t->n_measured = 0;
    t->available = n_held * usable_positions(s);
    t->wanted = cbe_min_size(s->options->held_out_tokens, t->available);
    s->pending = 0;
    cbe_hidden_chunks chunks = {.model = s->model,
                                .n_sequences = n_held,
                                .context_length = s->context_length,
                                .ids = s->ids,
                                .order = held,
                                .chunk = measure_chunk,
                                .chunk_context = t};
    size_t *rows = cbe_alloc(n_held, sizeof *rows, "sequences held out", err);
    if (!rows) return CBE_ERR_NOMEM;
    memcpy(rows, held, n_held * sizeof *rows);
    s->order = rows;
    const cbe_status st = cbe_hidden_chunks_run(&chunks, err);
    if (st == CBE_OK && s->pending) measure(t);
    s->order = order;
    cbe_free(rows);
    for (size_t i = 0; i < s->n_layers && st == CBE_OK; i++)
        out[i] = t->sums[i] / (double)t->n_measured;
    return st;
}

static void copy_lens(cbe_tuned_lens *to, const cbe_tuned_lens *from)
{
    const size_t d = to->hidden_size;
    for (size_t i = 0; i < to->n_layers; i++) {
        memcpy(to->weight[i], from->weight[i], d * d * sizeof(float));
        if (from->bias) memcpy(to->bias[i], from->bias[i], d * sizeof(float));
    }
}

/* Runs the pass before training, if one is needed, for the start and the optimizers' input
 * sides. */
static cbe_status prepare(cbe_train_state *s, const cbe_lens_train_hooks *hooks, cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_affine_sums *fitted = NULL, *held = NULL;
    cbe_tuned_lens *affine = NULL;
    const cbe_lens_train_options *o = s->options;
    const bool natural = o->optimizer == CBE_OPTIMIZER_NATURAL;
    if (o->start == CBE_START_GIVEN) copy_lens(s->lens, s->init);
    if (o->start != CBE_START_AFFINE && !natural) return CBE_OK;
    size_t n_ridge = 0;
    if (o->start == CBE_START_AFFINE &&
        (st = cbe_hold_out_count(ridge_share, s->n_sequences, &n_ridge, err)) != CBE_OK)
        return st;
    st = cbe_affine_sum_text(&fitted, &held, s->model, s->n_sequences, s->context_length, s->ids,
                             s->order, n_ridge, hooks ? hooks->fitting : NULL,
                             hooks ? hooks->context : NULL, err);
    if (st == CBE_OK && o->start == CBE_START_AFFINE &&
        (st = cbe_affine_solve(&affine, fitted, held, NULL, err)) == CBE_OK)
        copy_lens(s->lens, affine);
    if (st == CBE_OK && natural) {
        cbe_affine_sums_merge(fitted, held);
        st = cbe_lens_optimizers_prepare(s->n_layers, s->optimizers, fitted, o->ridge, err);
    }
    cbe_tuned_lens_free(affine);
    cbe_affine_sums_free(held);
    cbe_affine_sums_free(fitted);
    return st;
}

static cbe_status run(trainer *t, const size_t *held, size_t n_held, cbe_lens_training *training,
                      cbe_error *err)
{
    cbe_status st;
    cbe_train_state *s = t->state;
    bool found = false;
    if (s->options->checkpoint) s->folder = cbe_folder_mark_of_file(s->options->checkpoint);
    if (s->options->checkpoint && s->options->resume &&
        (st = cbe_train_checkpoint_load(s, &found, err)) != CBE_OK)
        return st;
    if (!found) {
        if ((st = prepare(s, t->hooks, err)) != CBE_OK) return st;
        if ((st = measure_held_out(t, held, n_held, NULL, s->logit, err)) != CBE_OK) return st;
        if ((st = measure_held_out(t, held, n_held, s->lens, s->start, err)) != CBE_OK) return st;
        if (s->options->checkpoint && (st = cbe_train_checkpoint_save(s, err)) != CBE_OK) return st;
    }
    training->resumed_at = t->last_checkpoint = s->step;
    s->first_sequence = s->next_sequence;
    const cbe_hidden_chunks chunks = {.model = s->model,
                                      .n_sequences = s->n_sequences - s->first_sequence,
                                      .context_length = s->context_length,
                                      .ids = s->ids,
                                      .order = s->order + s->first_sequence,
                                      .chunk = train_chunk,
                                      .chunk_context = t};
    if (chunks.n_sequences && (st = cbe_hidden_chunks_run(&chunks, err)) != CBE_OK) return st;
    while (s->step < s->n_steps)
        if ((st = take_step(t, err)) != CBE_OK) return st;
    return measure_held_out(t, held, n_held, s->lens, training->trained, err);
}

cbe_status cbe_lens_train(cbe_tuned_lens **out, cbe_lens_training *training, const cbe_model *model,
                          size_t n_sequences, size_t context_length, const int64_t *ids,
                          const cbe_tuned_lens *init, const cbe_lens_train_options *options,
                          const cbe_lens_train_hooks *hooks, cbe_error *err)
{
    cbe_status st;
    const cbe_model_config *config = cbe_model_get_config(model);
    cbe_lens_train_options own = *options; /* with defaults replaced by numbers */
    cbe_lens_train_options_complete(&own);
    cbe_train_state s = {.options = &own,
                         .model = model,
                         .decoder = cbe_model_decoder(model),
                         .n_layers = config->n_layers,
                         .hidden_size = config->hidden_size,
                         .context_length = context_length,
                         .n_text = n_sequences,
                         .ids = ids,
                         .init = init};
    trainer t = {.state = &s, .hooks = hooks};
    cbe_lens_training made = {0};
    size_t *held = NULL, n_held = 0;
    if ((st = cbe_lens_train_options_check(options, err)) != CBE_OK) return st;
    if (options->start == CBE_START_GIVEN &&
        (st = cbe_tuned_lens_check(init, "the lens to begin with", s.n_layers, s.hidden_size,
                                   "the model", err)) != CBE_OK)
        return st;
    if (options->loss == CBE_LOSS_CE && context_length < 2)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "sequences of one token have no next token to predict");
    if ((st = split_text(&s, &held, &n_held, err)) != CBE_OK) goto done;
    if ((st = state_allocate(&s, err)) != CBE_OK) goto done;
    if ((st = trainer_create(&t, err)) != CBE_OK) goto done;
    st = CBE_ERR_NOMEM;
    if (!(made.trained = cbe_alloc_zero(s.n_layers, sizeof *made.trained, "losses", err)))
        goto done;
    if ((st = run(&t, held, n_held, &made, err)) != CBE_OK) goto done;
    made.n_layers = s.n_layers;
    made.n_steps = s.n_steps;
    made.step_tokens = options->step_tokens;
    made.n_sequences = s.n_sequences;
    made.n_held_out = n_held;
    made.n_measured = t.n_measured;
    made.losses = s.losses;
    made.logit = s.logit;
    made.start = s.start;
    s.losses = s.logit = s.start = NULL;
    *out = s.lens;
    s.lens = NULL;
    *training = made;
    made = (cbe_lens_training){0};
done:
    cbe_lens_training_free(&made);
    trainer_free(&t);
    state_free(&s);
    cbe_free(held);
    return st;
}
