/* moments.c - see moments.h. Strips of rows of the matrix are added up in parallel. */
#include "fisher/moments.h"

#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "core/arrays.h"
#include "core/memory.h"
#include "core/sizes.h"
#include "math/gemm.h"
#include "processes/long_sums.h"

enum { STRIP = 64 /* rows of the matrix */, N_ARRAYS = 2 };

struct cbe_moments_room {
    size_t hidden_size, context_length, n_threads;
    double *rows;  /* (S, d): of a sequence */
    double *strip; /* (n_threads, STRIP, d) */
};

size_t cbe_moments_count(size_t d)
{
    const size_t more = cbe_times(d, d + 3, 1); /* even */
    return more == SIZE_MAX ? more : more / 2;
}

/* Index of (i, i) in the triangle. */
static size_t place_of(size_t d, size_t i)
{
    return i * d - i * (i + 1) / 2 + i;
}

size_t cbe_moments_bytes(size_t hidden_size)
{
    return cbe_times(cbe_moments_count(hidden_size), sizeof(cbe_long_sum), 1);
}

cbe_status cbe_moments_init(cbe_moments *m, size_t hidden_size, cbe_error *err)
{
    *m = (cbe_moments){.hidden_size = hidden_size};
    m->sums =
        cbe_alloc_zero(cbe_moments_count(hidden_size), sizeof *m->sums, "second moments", err);
    return m->sums ? CBE_OK : CBE_ERR_NOMEM;
}

void cbe_moments_free(cbe_moments *m)
{
    cbe_free(m->sums);
    *m = (cbe_moments){0};
}

static void list_arrays(cbe_moments_room *room, cbe_array list[N_ARRAYS])
{
    const cbe_array arrays[N_ARRAYS] = {
        {&room->rows, cbe_times(room->context_length, room->hidden_size, 1), sizeof(double),
         "rows of a sequence"},
        {&room->strip, cbe_times(room->n_threads, STRIP, room->hidden_size), sizeof(double),
         "products of a sequence"},
    };
    memcpy(list, arrays, sizeof arrays);
}

size_t cbe_moments_room_bytes(size_t hidden_size, size_t context_length)
{
    cbe_moments_room room = {hidden_size, context_length, (size_t)omp_get_max_threads(), NULL,
                             NULL};
    cbe_array list[N_ARRAYS];
    list_arrays(&room, list);
    return cbe_arrays_bytes(N_ARRAYS, list, sizeof room);
}

cbe_status cbe_moments_room_create(cbe_moments_room **out, size_t hidden_size,
                                   size_t context_length, cbe_error *err)
{
    cbe_moments_room *room = cbe_alloc_zero(1, sizeof *room, "second moments", err);
    if (!room) return CBE_ERR_NOMEM;
    cbe_array list[N_ARRAYS];
    *room =
        (cbe_moments_room){hidden_size, context_length, (size_t)omp_get_max_threads(), NULL, NULL};
    list_arrays(room, list);
    const cbe_status st = cbe_arrays_allocate(N_ARRAYS, list, err);
    if (st == CBE_OK)
        *out = room;
    else
        cbe_moments_room_free(room);
    return st;
}

void cbe_moments_room_free(cbe_moments_room *room)
{
    if (!room) return;
    cbe_array list[N_ARRAYS];
    list_arrays(room, list);
    cbe_arrays_free(N_ARRAYS, list);
    cbe_free(room);
}

/* Rows first .. first + STRIP - 1 of the matrix, from n rows of a sequence. */
static void add_strip(cbe_moments *m, size_t n, const double *rows, size_t first, double *strip)
{
    const size_t d = m->hidden_size, height = cbe_min_size(STRIP, d - first), width = d - first;
    cbe_gemm_f64(true, false, height, width, n, 1, rows + first, d, rows + first, d, 0, strip,
                 width);
    for (size_t i = 0; i < height; i++) {
        cbe_long_sum *to = m->sums + place_of(d, first + i);
        const double *from = strip + i * width + i;
        for (size_t k = 0; k < width - i; k++) cbe_long_add(&to[k], from[k]);
    }
}

void cbe_moments_add(cbe_moments *m, cbe_moments_room *room, size_t n_sequences, size_t skip,
                     const float *rows)
{
    const size_t d = m->hidden_size, length = room->context_length, n = length - skip,
                 strips = (d - 1) / STRIP + 1;
    cbe_gemm_enter();
    for (size_t s = 0; s < n_sequences; s++) {
        const float *from = rows + (s * length + skip) * d;
#pragma omp parallel num_threads((int)room->n_threads)
        {
#pragma omp for schedule(static)
            for (size_t r = 0; r < n; r++)
                for (size_t k = 0; k < d; k++) room->rows[r * d + k] = (double)from[r * d + k];
#pragma omp for schedule(dynamic) nowait
            for (size_t strip = 0; strip < strips; strip++)
                add_strip(m, n, room->rows, strip * STRIP,
                          room->strip + (size_t)omp_get_thread_num() * STRIP * d);
#pragma omp for schedule(static)
            for (size_t k = 0; k < d; k++) {
                double sum = 0;
                for (size_t r = 0; r < n; r++) sum += room->rows[r * d + k];
                cbe_long_add(&m->sums[d * (d + 1) / 2 + k], sum);
            }
        }
    }
    m->n += n_sequences * n;
    cbe_gemm_leave();
}

void cbe_moments_add_up(cbe_moments *m, const cbe_processes *processes)
{
    size_t before;
    cbe_processes_place(processes, m->n, &before, &m->n);
    cbe_processes_add_up(processes, cbe_moments_count(m->hidden_size), m->sums);
}

void cbe_moments_mean(const cbe_moments *m, double *square, double *mean)
{
    const size_t d = m->hidden_size;
    for (size_t i = 0; i < d; i++)
        for (size_t k = i; k < d; k++)
            square[i * d + k] = square[k * d + i] =
                cbe_long_value(&m->sums[place_of(d, i) + (k - i)]) / (double)m->n;
    for (size_t k = 0; k < d && mean; k++)
        mean[k] = cbe_long_value(&m->sums[d * (d + 1) / 2 + k]) / (double)m->n;
}
