/*
 * bench_gradients.c - times of label-sampled gradients of a model.
 *
 * bench_gradients MODEL IDS.safetensors [LENGTH [TOKENS [M]]]: of the first TOKENS (2048) token ids
 * of the file's input_ids, in sequences of LENGTH (256): a forward pass with E and labels of one
 * draw; besides, each further draw's backward pass with taps at all states; second moments of all
 * states' gradients; samples of second-order energies in M (64) dimensions of all states.
 * Prints one line:
 *
 *   forward F backward B moments M samples Q threads T
 *
 * in seconds, the last three for a draw.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "fisher/moments.h"
#include "fisher/apart.h"
#include "fisher/sampled_gradients.h"
#include "formats/safetensors.h"

enum { DRAWS = 2, SKIP = 1 };

/* Seconds since the last pass, and those of what is measured in it. */
typedef struct {
    size_t n_states, d, length;
    double last, forward, backward, moments_time, samples_time, inside;
    bool was_forward;
    cbe_moments *moments;
    cbe_moments_room *room;
    cbe_apart **samples;
} bench;

static cbe_status take(void *context, const cbe_sampled_gradients *g, cbe_error *err)
{
    (void)err;
    bench *b = context;
    const double start = omp_get_wtime();
    cbe_moments_add(&b->moments[g->state], b->room, g->n_sequences, SKIP, g->grad);
    const double middle = omp_get_wtime();
    cbe_apart_add(b->samples[g->state], g);
    const double end = omp_get_wtime();
    b->moments_time += middle - start;
    if (g->draw > 0) b->samples_time += end - middle;
    b->inside += end - start;
    return CBE_OK;
}

/* A forward pass and DRAWS backward passes of each batch are told in this order. */
static bool pass(void *context, size_t done, size_t total)
{
    (void)done;
    (void)total;
    static size_t count;
    bench *b = context;
    const double now = omp_get_wtime(), seconds = now - b->last - b->inside;
    if (count++ % (DRAWS + 1) == 0)
        b->forward += seconds;
    else
        b->backward += seconds;
    b->last = now;
    b->inside = 0;
    return true;
}

static cbe_status prepare(bench *b, const cbe_sampled_gradients_options *o, size_t m,
                          cbe_error *err)
{
    const size_t d = b->d;
    double *directions = cbe_alloc_zero(m, d * sizeof *directions, "directions", err);
    b->moments = cbe_alloc_zero(b->n_states, sizeof *b->moments, "moments", err);
    b->samples = cbe_alloc_zero(b->n_states, sizeof *b->samples, "samples", err);
    cbe_status st = directions && b->moments && b->samples
                        ? cbe_moments_room_create(&b->room, d, b->length, err)
                        : CBE_ERR_NOMEM;
    for (size_t i = 0; i < m && st == CBE_OK; i++) directions[i * d + i] = 1;
    const cbe_apart_options apart = {.hidden_size = d,
                                     .m = m,
                                     .context_length = b->length,
                                     .skip_positions = SKIP,
                                     .n_sequences = o->n_sequences,
                                     .all_sequences = o->n_sequences,
                                     .n_draws = DRAWS,
                                     .max_batch = 1};
    for (size_t i = 0; i < b->n_states && st == CBE_OK; i++) {
        st = cbe_moments_init(&b->moments[i], d, err);
        if (st == CBE_OK)
            st = cbe_apart_create(&b->samples[i], &apart, directions, directions, err);
    }
    cbe_free(directions);
    return st;
}

int main(int argc, char **argv)
{
    const size_t length = argc > 3 ? strtoul(argv[3], NULL, 10) : 256,
                 tokens = argc > 4 ? strtoul(argv[4], NULL, 10) : 2048,
                 m = argc > 5 ? strtoul(argv[5], NULL, 10) : 64;
    if (argc < 3 || argc > 6 || length <= SKIP || tokens < length || m == 0) {
        fprintf(stderr,
                "usage: bench_gradients MODEL IDS.safetensors [LENGTH [TOKENS [DIMENSIONS]]]\n");
        return 2;
    }
    cbe_error err = {0};
    cbe_model *model = NULL;
    cbe_safetensors *file = NULL;
    cbe_tensor ids;
    bool *states = NULL;
    bench b = {.length = length};
    const cbe_model_options whole = {0};
    cbe_status st = cbe_model_open_with(&model, argv[1], &whole, &err);
    if (st == CBE_OK) st = cbe_safetensors_open(&file, argv[2], &err);
    if (st == CBE_OK) st = cbe_safetensors_get(file, "input_ids", &ids, &err);
    if (st == CBE_OK && (ids.dtype != CBE_I64 || ids.n_elements < tokens))
        st = cbe_fail(&err, CBE_ERR_SHAPE, -1, "'%s': %zu token ids (int64) expected", argv[2],
                      tokens);
    if (st != CBE_OK) goto done;
    b.n_states = cbe_model_get_config(model)->n_layers + 1;
    b.d = cbe_model_get_config(model)->hidden_size;
    st = CBE_ERR_NOMEM;
    if (!(states = cbe_alloc(b.n_states, sizeof *states, "states", &err))) goto done;
    memset(states, true, b.n_states * sizeof *states);
    const cbe_sampled_gradients_options options = {.n_sequences = tokens / length,
                                                   .context_length = length,
                                                   .ids = (const int64_t *)ids.data,
                                                   .all_sequences = tokens / length,
                                                   .skip_positions = SKIP,
                                                   .states = states,
                                                   .n_draws = DRAWS,
                                                   .progress = pass,
                                                   .context = &b};
    if ((st = prepare(&b, &options, m, &err)) != CBE_OK) goto done;
    b.last = omp_get_wtime();
    if ((st = cbe_sampled_gradients_run(model, &options, take, &b, &err)) != CBE_OK) goto done;
    printf("forward %.3f backward %.3f moments %.3f samples %.3f threads %d\n", b.forward,
           b.backward / DRAWS, b.moments_time / DRAWS, b.samples_time / (DRAWS - 1),
           omp_get_max_threads());
done:
    if (st != CBE_OK) fprintf(stderr, "bench_gradients: %s\n", err.message);
    for (size_t i = 0; i < b.n_states; i++) {
        if (b.moments) cbe_moments_free(&b.moments[i]);
        if (b.samples) cbe_apart_free(b.samples[i]);
    }
    cbe_moments_room_free(b.room);
    cbe_free(b.moments);
    cbe_free(b.samples);
    cbe_free(states);
    cbe_safetensors_close(file);
    cbe_model_close(model);
    return st == CBE_OK ? 0 : 1;
}
