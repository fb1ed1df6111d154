/* apart.c - see apart.h. A sequence is one piece of work: threads take whole ones. */
#include "fisher/apart.h"

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "core/arrays.h"
#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"
#include "math/gemm.h"

enum { N_ARRAYS = 9 };

struct cbe_apart {
    cbe_apart_options options;
    size_t rows, n_threads; /* tokens of a sequence that are not skipped */
    float *read, *write;    /* (m, d) */
    float *x;               /* (all_sequences, rows, m) */
    float *y;               /* (all_sequences, R, rows, m) */
    float *removed;         /* (all_sequences, R, rows): q */
    float *work;            /* (n_threads, room): D of a sequence; products of an evaluation */
    float *directions;      /* (max_batch, m) */
    double *energies;       /* (all_sequences, max_batch) */
    float *grads;           /* (all_sequences, max_batch, m) */
};

/* Numbers of a thread's room: D (rows, d); or x . a (rows, n), y . a (R rows, n), and what the
 * gradients are sums with, likewise. */
static size_t room_of(const cbe_apart *p)
{
    const cbe_apart_options *o = &p->options;
    const size_t products = cbe_times(cbe_times(p->rows, o->n_draws + 1, 1), o->max_batch, 2);
    return cbe_max_size(cbe_times(p->rows, o->hidden_size, 1), products);
}

static void describe(cbe_apart *p, const cbe_apart_options *options)
{
    *p = (cbe_apart){.options = *options,
                     .rows = options->context_length - options->skip_positions,
                     .n_threads = (size_t)omp_get_max_threads()};
}

static void list_arrays(cbe_apart *p, cbe_array list[N_ARRAYS])
{
    const cbe_apart_options *o = &p->options;
    const size_t size = cbe_times(o->m, o->hidden_size, 1),
                 tokens = cbe_times(o->all_sequences, p->rows, 1),
                 draws = cbe_times(tokens, o->n_draws, 1);
    const cbe_array arrays[N_ARRAYS] = {
        {&p->read, size, sizeof(float), "directions that are read"},
        {&p->write, size, sizeof(float), "directions that are written"},
        {&p->x, cbe_times(tokens, o->m, 1), sizeof(float), "coefficients of tokens"},
        {&p->y, cbe_times(draws, o->m, 1), sizeof(float), "coefficients of gradients"},
        {&p->removed, draws, sizeof(float), "products of directions removed"},
        {&p->work, cbe_times(p->n_threads, room_of(p), 1), sizeof(float), "room of the threads"},
        {&p->directions, cbe_times(o->max_batch, o->m, 1), sizeof(float), "directions"},
        {&p->energies, cbe_times(o->all_sequences, o->max_batch, 1), sizeof(double), "energies"},
        {&p->grads, cbe_times(cbe_times(o->all_sequences, o->max_batch, 1), o->m, 1), sizeof(float),
         "gradients of sequences"},
    };
    memcpy(list, arrays, sizeof arrays);
}

size_t cbe_apart_bytes(const cbe_apart_options *options)
{
    cbe_apart p;
    cbe_array list[N_ARRAYS];
    describe(&p, options);
    list_arrays(&p, list);
    return cbe_arrays_bytes(N_ARRAYS, list, sizeof p);
}

static size_t n_x(const cbe_apart *p)
{
    return p->options.all_sequences * p->rows * p->options.m;
}

cbe_status cbe_apart_create(cbe_apart **out, const cbe_apart_options *options, const double *read,
                            const double *write, cbe_error *err)
{
    cbe_apart *p = cbe_alloc_zero(1, sizeof *p, "second-order energies", err);
    if (!p) return CBE_ERR_NOMEM;
    cbe_array list[N_ARRAYS];
    describe(p, options);
    list_arrays(p, list);
    const cbe_status st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st != CBE_OK) {
        cbe_apart_free(p);
        return st;
    }
    for (size_t i = 0; i < options->m * options->hidden_size; i++) {
        p->read[i] = (float)read[i];
        p->write[i] = (float)write[i];
    }
    memset(p->x, 0, n_x(p) * sizeof *p->x);
    memset(p->y, 0, n_x(p) * options->n_draws * sizeof *p->y);
    cbe_apart_set_removed(p, 0, NULL);
    *out = p;
    return CBE_OK;
}

void cbe_apart_free(cbe_apart *p)
{
    if (!p) return;
    cbe_array list[N_ARRAYS];
    list_arrays(p, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_free(p);
}

static float *x_of(const cbe_apart *p, size_t sequence)
{
    return p->x + sequence * p->rows * p->options.m;
}

/* y of all draws of a sequence. */
static float *y_of(const cbe_apart *p, size_t sequence)
{
    return p->y + sequence * p->options.n_draws * p->rows * p->options.m;
}

static void add_sequence(cbe_apart *p, const cbe_sampled_gradients *g, size_t i, float *work)
{
    const cbe_apart_options *o = &p->options;
    const size_t d = o->hidden_size, m = o->m, own = g->first + i - o->first_sequence,
                 at = (i * o->context_length + o->skip_positions) * d;
    if (g->draw == 0) {
        cbe_replacement_differences(&o->replacement, d, own * p->rows, p->rows, g->hidden + at,
                                    work);
        cbe_gemm(false, true, p->rows, m, d, 1, work, d, p->read, d, 0, x_of(p, g->first + i), m);
    }
    cbe_gemm(false, true, p->rows, m, d, 1, g->grad + at, d, p->write, d, 0,
             y_of(p, g->first + i) + g->draw * p->rows * m, m);
}

void cbe_apart_add(cbe_apart *p, const cbe_sampled_gradients *gradients)
{
    const size_t room = room_of(p);
    cbe_gemm_enter();
#pragma omp parallel for schedule(dynamic) num_threads((int)p->n_threads)
    for (size_t i = 0; i < gradients->n_sequences; i++)
        add_sequence(p, gradients, i, p->work + (size_t)omp_get_thread_num() * room);
    cbe_gemm_leave();
    cbe_pulse();
}

/* Numbers that are 0 in all processes but one. */
static void share(const cbe_processes *processes, size_t n, float *numbers, double *sums)
{
    for (size_t i = 0; i < n; i++) sums[i] = (double)numbers[i];
    cbe_processes_sum(processes, n, sums);
    for (size_t i = 0; i < n; i++) numbers[i] = (float)sums[i];
}

cbe_status cbe_apart_complete(cbe_apart *p, const cbe_processes *processes, cbe_error *err)
{
    const cbe_apart_options *o = &p->options;
    const size_t size = p->rows * o->m; /* of a sequence and a draw */
    if (cbe_processes_size(processes) == 1) return CBE_OK;
    double *sums = cbe_alloc(size, sizeof *sums, "samples of second-order energies", err);
    const cbe_status st = cbe_processes_agree(processes, sums ? CBE_OK : CBE_ERR_NOMEM, err);
    for (size_t s = 0; s < o->all_sequences && st == CBE_OK; s++) {
        share(processes, size, x_of(p, s), sums);
        for (size_t r = 0; r < o->n_draws; r++) share(processes, size, y_of(p, s) + r * size, sums);
    }
    cbe_free(sums);
    return st;
}

static bool counts(const cbe_apart_options *o, cbe_samples samples, size_t sequence, size_t draw)
{
    const size_t number = o->all_sequences > 1 ? sequence : draw;
    return samples == CBE_SAMPLES_ALL || (number % 2 == 1) == (samples == CBE_SAMPLES_ODD);
}

/* x . a and y . a of n directions and one sequence: (rows, n) and (R, rows, n). */
static void make_products(const cbe_apart *p, size_t sequence, size_t n, float *by_x, float *by_y)
{
    const size_t m = p->options.m;
    cbe_gemm(false, true, p->rows, n, m, 1, x_of(p, sequence), m, p->directions, m, 0, by_x, n);
    cbe_gemm(false, true, p->options.n_draws * p->rows, n, m, 1, y_of(p, sequence), m,
             p->directions, m, 0, by_y, n);
}

static void set_directions(cbe_apart *p, size_t n, const double *a)
{
    for (size_t i = 0; i < n * p->options.m; i++) p->directions[i] = (float)a[i];
}

static void remove_from_sequence(cbe_apart *p, size_t sequence, size_t n, float *by_x)
{
    float *by_y = by_x + p->rows * n, *q = p->removed + sequence * p->options.n_draws * p->rows;
    make_products(p, sequence, n, by_x, by_y);
    for (size_t r = 0; r < p->options.n_draws; r++)
        for (size_t i = 0; i < p->rows; i++)
            for (size_t j = 0; j < n; j++)
                q[r * p->rows + i] += by_x[i * n + j] * by_y[(r * p->rows + i) * n + j];
}

void cbe_apart_set_removed(cbe_apart *p, size_t n, const double *a)
{
    const cbe_apart_options *o = &p->options;
    const size_t room = room_of(p);
    memset(p->removed, 0, o->all_sequences * o->n_draws * p->rows * sizeof *p->removed);
    for (size_t first = 0; first < n; first += o->max_batch) {
        const size_t count = cbe_min_size(n - first, o->max_batch);
        set_directions(p, count, a + first * o->m);
        cbe_gemm_enter();
#pragma omp parallel for schedule(static) num_threads((int)p->n_threads)
        for (size_t s = 0; s < o->all_sequences; s++)
            remove_from_sequence(p, s, count, p->work + (size_t)omp_get_thread_num() * room);
        cbe_gemm_leave();
    }
}

/* Sums over the tokens of one sequence. With e = (1/2) f^2, f = q + (x . a)(y . a),
 *
 *   de/da = f (y . a) x + f (x . a) y */
static void eval_sequence(cbe_apart *p, cbe_samples samples, size_t sequence, size_t n, bool grad,
                          float *work)
{
    const cbe_apart_options *o = &p->options;
    const size_t m = o->m, rows = p->rows, draws = o->n_draws * rows;
    float *by_x = work, *by_y = by_x + rows * n, *of_x = by_y + draws * n, *of_y = of_x + rows * n;
    const float *q = p->removed + sequence * draws;
    double *energy = p->energies + sequence * o->max_batch;
    make_products(p, sequence, n, by_x, by_y);
    memset(energy, 0, n * sizeof *energy);
    memset(of_x, 0, rows * n * sizeof *of_x);
    for (size_t r = 0; r < o->n_draws; r++) {
        const float weight = counts(o, samples, sequence, r) ? 1 : 0;
        for (size_t i = 0; i < rows; i++) {
            const size_t at = r * rows + i;
            for (size_t j = 0; j < n; j++) {
                const float a = by_x[i * n + j], b = by_y[at * n + j], f = weight * (q[at] + a * b);
                energy[j] += 0.5 * (double)f * (double)f;
                of_x[i * n + j] += f * b;
                of_y[at * n + j] = f * a;
            }
        }
    }
    float *out = p->grads + sequence * o->max_batch * m;
    if (!grad) return;
    cbe_gemm(true, false, n, m, rows, 1, of_x, n, x_of(p, sequence), m, 0, out, m);
    cbe_gemm(true, false, n, m, draws, 1, of_y, n, y_of(p, sequence), m, 1, out, m);
}

void cbe_apart_eval(cbe_apart *p, cbe_samples samples, size_t n, const double *a, double *energy,
                    double *grad)
{
    const cbe_apart_options *o = &p->options;
    const size_t m = o->m, room = room_of(p);
    size_t count = 0;
    for (size_t s = 0; s < o->all_sequences; s++)
        for (size_t r = 0; r < o->n_draws; r++) count += counts(o, samples, s, r);
    const double weight = 1 / ((double)count * (double)p->rows);
    set_directions(p, n, a);
    cbe_gemm_enter();
#pragma omp parallel for schedule(static) num_threads((int)p->n_threads)
    for (size_t s = 0; s < o->all_sequences; s++)
        eval_sequence(p, samples, s, n, grad != NULL,
                      p->work + (size_t)omp_get_thread_num() * room);
    cbe_gemm_leave();
    memset(energy, 0, n * sizeof *energy);
    if (grad) memset(grad, 0, n * m * sizeof *grad);
    for (size_t s = 0; s < o->all_sequences; s++) {
        for (size_t j = 0; j < n; j++) energy[j] += weight * p->energies[s * o->max_batch + j];
        for (size_t i = 0; i < n * m && grad; i++)
            grad[i] += weight * (double)p->grads[s * o->max_batch * m + i];
    }
    for (size_t j = 0; j < n && count == 0; j++) energy[j] = NAN;
}
