/* quadratic.c - see quadratic.h. Sequences are added in parallel, one thread each. */
#include "fisher/quadratic.h"

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "core/arrays.h"
#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/gemm.h"

enum { N_ARRAYS = 5 };

struct cbe_quadratic {
    cbe_quadratic_options options;
    size_t rows, n_threads; /* tokens of a sequence that are not skipped */
    float *read, *write;    /* (m, d) */
    float *samples;         /* (all_sequences, R, m, m) */
    /* (n_sequences, rows, m): R D_n of each token, made at the first draw */
    float *reads;
    float *work; /* (n_threads, rows, max(d, m)): D of a sequence, or W g */
};

static size_t room_of(const cbe_quadratic *q)
{
    return cbe_times(q->rows, cbe_max_size(q->options.hidden_size, q->options.m), 1);
}

static void describe(cbe_quadratic *q, const cbe_quadratic_options *options)
{
    *q = (cbe_quadratic){.options = *options,
                         .rows = options->context_length - options->skip_positions,
                         .n_threads = (size_t)omp_get_max_threads()};
}

static void list_arrays(cbe_quadratic *q, cbe_array list[N_ARRAYS])
{
    const cbe_quadratic_options *o = &q->options;
    const size_t size = cbe_times(o->m, o->hidden_size, 1);
    const cbe_array arrays[N_ARRAYS] = {
        {&q->read, size, sizeof(float), "directions that are read"},
        {&q->write, size, sizeof(float), "directions that are written"},
        {&q->samples, cbe_times(cbe_times(o->all_sequences, o->n_draws, 1), o->m, o->m),
         sizeof(float), "samples of second-order energies"},
        {&q->reads, cbe_times(o->n_sequences, q->rows, o->m), sizeof(float),
         "coefficients of tokens"},
        {&q->work, cbe_times(q->n_threads, room_of(q), 1), sizeof(float), "room of the threads"},
    };
    memcpy(list, arrays, sizeof arrays);
}

size_t cbe_quadratic_bytes(const cbe_quadratic_options *options)
{
    cbe_quadratic q;
    cbe_array list[N_ARRAYS];
    describe(&q, options);
    list_arrays(&q, list);
    return cbe_arrays_bytes(N_ARRAYS, list, sizeof q);
}

cbe_status cbe_quadratic_create(cbe_quadratic **out, const cbe_quadratic_options *options,
                                const double *read, const double *write, cbe_error *err)
{
    cbe_quadratic *q = cbe_alloc_zero(1, sizeof *q, "second-order energies", err);
    if (!q) return CBE_ERR_NOMEM;
    cbe_array list[N_ARRAYS];
    describe(q, options);
    list_arrays(q, list);
    const cbe_status st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st != CBE_OK) {
        cbe_quadratic_free(q);
        return st;
    }
    for (size_t i = 0; i < options->m * options->hidden_size; i++) {
        q->read[i] = (float)read[i];
        q->write[i] = (float)write[i];
    }
    memset(q->samples, 0,
           options->all_sequences * options->n_draws * options->m * options->m * sizeof(float));
    *out = q;
    return CBE_OK;
}

void cbe_quadratic_free(cbe_quadratic *q)
{
    if (!q) return;
    cbe_array list[N_ARRAYS];
    list_arrays(q, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_free(q);
}

static float *sample_of(const cbe_quadratic *q, size_t sequence, size_t draw)
{
    const cbe_quadratic_options *o = &q->options;
    return q->samples + (sequence * o->n_draws + draw) * o->m * o->m;
}

const float *cbe_quadratic_sample(const cbe_quadratic *q, size_t sequence, size_t draw)
{
    return sample_of(q, sequence, draw);
}

static void add_sequence(cbe_quadratic *q, const cbe_sampled_gradients *g, size_t i, float *work)
{
    const cbe_quadratic_options *o = &q->options;
    const size_t d = o->hidden_size, m = o->m, own = g->first + i - o->first_sequence,
                 at = (i * o->context_length + o->skip_positions) * d;
    float *reads = q->reads + own * q->rows * m;
    if (g->draw == 0) {
        cbe_replacement_differences(&o->replacement, d, own * q->rows, q->rows, g->hidden + at,
                                    work);
        cbe_gemm(false, true, q->rows, m, d, 1, work, d, q->read, d, 0, reads, m);
    }
    cbe_gemm(false, true, q->rows, m, d, 1, g->grad + at, d, q->write, d, 0, work, m);
    cbe_gemm(true, false, m, m, q->rows, 1, reads, m, work, m, 0,
             sample_of(q, g->first + i, g->draw), m);
}

void cbe_quadratic_add(cbe_quadratic *q, const cbe_sampled_gradients *gradients)
{
    const size_t room = room_of(q);
    cbe_gemm_enter();
#pragma omp parallel for schedule(dynamic) num_threads((int)q->n_threads)
    for (size_t i = 0; i < gradients->n_sequences; i++)
        add_sequence(q, gradients, i, q->work + (size_t)omp_get_thread_num() * room);
    cbe_gemm_leave();
    cbe_pulse();
}

cbe_status cbe_quadratic_complete(cbe_quadratic *q, const cbe_processes *processes, cbe_error *err)
{
    const cbe_quadratic_options *o = &q->options;
    const size_t size = o->n_draws * o->m * o->m; /* of a sequence's samples */
    if (cbe_processes_size(processes) == 1) return CBE_OK;
    double *sums = cbe_alloc(size, sizeof *sums, "samples of second-order energies", err);
    const cbe_status st = cbe_processes_agree(processes, sums ? CBE_OK : CBE_ERR_NOMEM, err);
    for (size_t s = 0; s < o->all_sequences && st == CBE_OK; s++) {
        float *samples = sample_of(q, s, 0); /* 0 in all processes but one */
        for (size_t i = 0; i < size; i++) sums[i] = (double)samples[i];
        cbe_processes_sum(processes, size, sums);
        for (size_t i = 0; i < size; i++) samples[i] = (float)sums[i];
    }
    cbe_free(sums);
    return st;
}

static bool counts(const cbe_quadratic_options *o, cbe_samples samples, size_t sequence,
                   size_t draw)
{
    const size_t number = o->all_sequences > 1 ? sequence : draw;
    return samples == CBE_SAMPLES_ALL || (number % 2 == 1) == (samples == CBE_SAMPLES_ODD);
}

/* a' B a; with grad, adds weight times (a' B a) (B + B') a to it. */
static double add_form(size_t m, const float *b, const double *a, double weight, double *grad)
{
    double form = 0;
    for (size_t i = 0; i < m; i++) {
        double row = 0;
#pragma omp simd reduction(+ : row)
        for (size_t k = 0; k < m; k++) row += (double)b[i * m + k] * a[k];
        form += a[i] * row;
    }
    for (size_t i = 0; i < m && grad; i++) {
        const double by_column = weight * form * a[i];
        double row = 0;
#pragma omp simd reduction(+ : row)
        for (size_t k = 0; k < m; k++) row += (double)b[i * m + k] * a[k];
        for (size_t k = 0; k < m; k++) grad[k] += by_column * (double)b[i * m + k];
        grad[i] += weight * form * row;
    }
    return form;
}

void cbe_quadratic_eval(const cbe_quadratic *q, cbe_samples samples, size_t n, const double *a,
                        double *energy, double *grad)
{
    const cbe_quadratic_options *o = &q->options;
    const size_t m = o->m;
    size_t count = 0;
    for (size_t s = 0; s < o->all_sequences; s++)
        for (size_t r = 0; r < o->n_draws; r++) count += counts(o, samples, s, r);
    const double weight = 1 / ((double)count * (double)q->rows);
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < n; j++) {
        double sum = 0, *to = grad ? grad + j * m : NULL;
        if (to) memset(to, 0, m * sizeof *to);
        for (size_t s = 0; s < o->all_sequences; s++)
            for (size_t r = 0; r < o->n_draws; r++) {
                if (!counts(o, samples, s, r)) continue;
                const double form = add_form(m, sample_of(q, s, r), a + j * m, weight, to);
                sum += form * form;
            }
        energy[j] = count ? sum * weight / 2 : NAN;
    }
}
