/* spectra_checkpoint.c - see spectra_checkpoint.h. */
#include "fisher/spectra_checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/path.h"

enum { NAME = 48, COUNT = 24 /* bytes of a tensor's name, and of a number */ };

static const char *const keys[] = {"states at once", "groups done", "sequences done"};
enum { N_KEYS = sizeof keys / sizeof *keys };

static const char hidden_name[] = "sums", gradient_name[] = "gradient_sums",
                  variance_name[] = "variances", energy_name[] = "energies";

/* A tensor of the file. */
typedef struct {
    char name[NAME];
    size_t n_dims, dims[2];
    const void *data;
} part;

static void name_part(char name[NAME], const char *what, size_t state)
{
    snprintf(name, NAME, "%s.%zu", what, state);
}

/* ---- writing ---- */

static void add_sums(part *p, const char *what, size_t state, const cbe_moments *m)
{
    *p = (part){.n_dims = 2, .dims = {cbe_moments_count(m->hidden_size), 2}, .data = m->sums};
    name_part(p->name, what, state);
}

static void add_list(part *p, const char *what, size_t state, size_t d, const double *list)
{
    *p = (part){.n_dims = 1, .dims = {d}, .data = list};
    name_part(p->name, what, state);
}

static size_t list_parts(part *parts, const cbe_spectra_state *s)
{
    size_t n = 0;
    for (size_t i = 0; s->done && i < s->n_done; i++) {
        add_list(&parts[n++], variance_name, s->states[i], s->hidden_size, s->done[i].variances);
        add_list(&parts[n++], energy_name, s->states[i], s->hidden_size, s->done[i].energies);
    }
    for (size_t i = 0; i < s->n_at_work; i++) {
        add_sums(&parts[n++], hidden_name, s->states[s->n_done + i], &s->hidden[i]);
        add_sums(&parts[n++], gradient_name, s->states[s->n_done + i], &s->gradients[i]);
    }
    return n;
}

static cbe_status write_parts(const cbe_spectra_checkpoint *c, const cbe_spectra_place *place,
                              size_t n, const part *parts, cbe_tensor_spec *specs,
                              const char **metadata, cbe_error *err)
{
    const size_t values[N_KEYS] = {place->states_at_once, place->groups_done,
                                   place->sequences_done};
    char numbers[N_KEYS][COUNT];
    cbe_safetensors_writer *writer = NULL;
    memcpy(metadata, c->pairs, 2 * c->n_pairs * sizeof *metadata);
    for (size_t i = 0; i < N_KEYS; i++) {
        snprintf(numbers[i], COUNT, "%zu", values[i]);
        metadata[2 * (c->n_pairs + i)] = keys[i];
        metadata[2 * (c->n_pairs + i) + 1] = numbers[i];
    }
    for (size_t i = 0; i < n; i++)
        specs[i] = (cbe_tensor_spec){
            parts[i].name, CBE_F64, parts[i].n_dims, {parts[i].dims[0], parts[i].dims[1]}};
    cbe_status st = cbe_folder_mark_check_file(c->folder, c->path, err);
    if (st == CBE_OK)
        st = cbe_safetensors_writer_create(&writer, c->path, n, specs, c->n_pairs + N_KEYS,
                                           metadata, err);
    for (size_t i = 0; i < n && st == CBE_OK; i++)
        st = cbe_safetensors_writer_put(
            writer, i, 0, parts[i].dims[0] * (parts[i].n_dims == 2 ? parts[i].dims[1] : 1),
            parts[i].data, err);
    if (st == CBE_OK) return cbe_safetensors_writer_commit(writer, err);
    cbe_safetensors_writer_abandon(writer);
    return st;
}

cbe_status cbe_spectra_checkpoint_save(const cbe_spectra_checkpoint *c, const cbe_spectra_state *s,
                                       cbe_error *err)
{
    const size_t most = 2 * (s->n_done + s->n_at_work);
    part *parts = cbe_alloc(most + 1, sizeof *parts, "checkpoint", err);
    cbe_tensor_spec *specs = cbe_alloc(most + 1, sizeof *specs, "checkpoint", err);
    const char **metadata = cbe_alloc(c->n_pairs + N_KEYS, 2 * sizeof *metadata, "checkpoint", err);
    cbe_status st = parts && specs && metadata ? CBE_OK : CBE_ERR_NOMEM;
    if (st == CBE_OK)
        st = write_parts(c, &s->place, list_parts(parts, s), parts, specs, metadata, err);
    cbe_free(parts);
    cbe_free(specs);
    cbe_free(metadata);
    return st;
}

/* ---- reading ---- */

static cbe_status read_count(const cbe_safetensors *file, size_t key, size_t least, size_t most,
                             size_t *out, cbe_error *err)
{
    const char *text = cbe_safetensors_metadata(file, keys[key]);
    char *end = NULL;
    const unsigned long long value =
        text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || value < least || value > most)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: '%s' is %.40s, must be a number of %zu to %zu: the checkpoint is "
                        "damaged; remove it to begin again",
                        cbe_safetensors_path(file), keys[key], text ? text : "missing", least,
                        most);
    *out = (size_t)value;
    return CBE_OK;
}

cbe_status cbe_spectra_checkpoint_open(cbe_safetensors **file, const cbe_spectra_checkpoint *c,
                                       size_t n_states, size_t n_sequences,
                                       cbe_spectra_place *place, cbe_error *err)
{
    cbe_path_kind kind = CBE_PATH_NOTHING;
    cbe_safetensors *opened = NULL;
    *file = NULL;
    *place = (cbe_spectra_place){0};
    cbe_status st = c->path && c->resume ? cbe_path_look(c->path, &kind, err) : CBE_OK;
    if (st != CBE_OK || kind == CBE_PATH_NOTHING) return st;
    st = cbe_safetensors_open(&opened, c->path, err);
    if (st == CBE_OK) st = c->compare(c->context, opened, err);
    if (st == CBE_OK) st = read_count(opened, 0, 1, n_states, &place->states_at_once, err);
    if (st == CBE_OK)
        st = read_count(opened, 1, 0, (n_states - 1) / place->states_at_once + 1,
                        &place->groups_done, err);
    if (st == CBE_OK) st = read_count(opened, 2, 0, n_sequences, &place->sequences_done, err);
    if (st == CBE_OK)
        *file = opened;
    else
        cbe_safetensors_close(opened);
    return st;
}

/* Copies n_dims dims of finite numbers. */
static cbe_status read_numbers(const cbe_safetensors *file, const char *what, size_t state,
                               size_t n_dims, const size_t *dims, double *to, cbe_error *err)
{
    char name[NAME];
    cbe_tensor t;
    const size_t n = dims[0] * (n_dims == 2 ? dims[1] : 1);
    name_part(name, what, state);
    cbe_status st = cbe_safetensors_get(file, name, &t, err);
    if (st == CBE_OK) st = cbe_tensor_expect(&t, cbe_safetensors_path(file), n_dims, dims, err);
    if (st != CBE_OK) return st;
    bool finite = t.dtype == CBE_F64;
    if (finite) memcpy(to, t.data, n * sizeof *to);
    for (size_t i = 0; i < n && finite; i++) finite = isfinite(to[i]);
    return finite ? CBE_OK
                  : cbe_fail(err, CBE_ERR_FORMAT, -1,
                             "%s: tensor '%s' is not of finite float64 numbers: the checkpoint is "
                             "damaged; remove it to begin again",
                             cbe_safetensors_path(file), name);
}

cbe_status cbe_spectra_checkpoint_sums(const cbe_safetensors *file, size_t state,
                                       cbe_moments *hidden, cbe_moments *gradients, cbe_error *err)
{
    const size_t dims[2] = {cbe_moments_count(hidden->hidden_size), 2};
    _Static_assert(sizeof(cbe_long_sum) == 2 * sizeof(double), "a sum is two numbers of the file");
    const cbe_status st =
        read_numbers(file, hidden_name, state, 2, dims, (double *)hidden->sums, err);
    return st == CBE_OK
               ? read_numbers(file, gradient_name, state, 2, dims, (double *)gradients->sums, err)
               : st;
}

static cbe_status read_list(const cbe_safetensors *file, const char *what, size_t state, size_t d,
                            double *list, cbe_error *err)
{
    const cbe_status st = read_numbers(file, what, state, 1, &d, list, err);
    if (st != CBE_OK) return st;
    bool right = list[d - 1] >= 0;
    for (size_t i = 1; i < d; i++) right = right && list[i] <= list[i - 1];
    return right ? CBE_OK
                 : cbe_fail(err, CBE_ERR_FORMAT, -1,
                            "%s: tensor '%s.%zu' does not fall towards 0: the checkpoint is "
                            "damaged; remove it to begin again",
                            cbe_safetensors_path(file), what, state);
}

cbe_status cbe_spectra_checkpoint_spectrum(const cbe_safetensors *file, size_t state,
                                           cbe_state_spectrum *out, cbe_error *err)
{
    const cbe_status st =
        read_list(file, variance_name, state, out->hidden_size, out->variances, err);
    return st == CBE_OK ? read_list(file, energy_name, state, out->hidden_size, out->energies, err)
                        : st;
}
