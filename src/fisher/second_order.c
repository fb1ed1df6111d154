/* second_order.c - see second_order.h. */
#include "fisher/second_order.h"

#include <math.h>

#include "core/memory.h"
#include "core/pulse.h"
#include "core/sizes.h"

cbe_status cbe_second_order_init(cbe_second_order *o, cbe_error *err)
{
    o->samples = cbe_alloc_zero(cbe_times(o->all_sequences, o->n_draws, o->m), sizeof *o->samples,
                                "samples of second-order energies", err);
    return o->samples ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_second_order_free(cbe_second_order *o)
{
    cbe_free(o->samples);
    *o = (cbe_second_order){0};
}

/* (D_n . r)(g_n . w) of one token. @param other  the float32 state that replaces it; NULL: none */
static double product(const cbe_second_order *o, size_t j, const float *hidden, const float *other,
                      const float *grad)
{
    const size_t d = o->hidden_size;
    const double *r = o->read + j * d, *w = o->write + j * d, *mean = o->replacement.mean;
    double read = 0, written = 0;
    for (size_t k = 0; k < d; k++) {
        const double less = other ? (double)other[k] : mean ? mean[k] : 0;
        read += ((double)hidden[k] - less) * r[k];
        written += (double)grad[k] * w[k];
    }
    return read * written;
}

void cbe_second_order_add(cbe_second_order *o, const cbe_sampled_gradients *g)
{
    const size_t d = o->hidden_size, rows = o->context_length - o->skip_positions;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < g->n_sequences * o->m; i++) {
        const size_t s = i / o->m, j = i % o->m, own = g->first + s - o->first_sequence;
        double sum = 0;
        for (size_t n = 0; n < rows; n++) {
            const size_t at = (s * o->context_length + o->skip_positions + n) * d;
            const float *other =
                o->replacement.other ? o->replacement.other + (own * rows + n) * d : NULL;
            sum += product(o, j, g->hidden + at, other, g->grad + at);
        }
        o->samples[((g->first + s) * o->n_draws + g->draw) * o->m + j] = sum;
    }
    cbe_pulse();
}

void cbe_second_order_complete(cbe_second_order *o, const cbe_processes *processes)
{
    cbe_processes_sum(processes, o->all_sequences * o->n_draws * o->m, o->samples);
}

void cbe_second_order_energies(const cbe_second_order *o, double *energy, double *error)
{
    const double n = (double)o->all_sequences,
                 rows = (double)(o->context_length - o->skip_positions);
    for (size_t j = 0; j < o->m; j++) {
        double sum = 0, squares = 0;
        for (size_t s = 0; s < o->all_sequences; s++) {
            double own = 0;
            for (size_t r = 0; r < o->n_draws; r++) {
                const double x = o->samples[(s * o->n_draws + r) * o->m + j];
                own += x * x / (2 * rows * (double)o->n_draws);
            }
            sum += own;
            squares += own * own;
        }
        energy[j] = sum / n;
        if (error)
            error[j] = n > 1 ? sqrt(fmax(squares / n - energy[j] * energy[j], 0) / (n - 1)) : NAN;
    }
}
