/* spectrum_files.c - writing spectra of layers as JSON and CSV (fisher/spectrum_record.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "fisher/spectrum_record.h"
#include "formats/json_writer.h"
#include "report/csv.h"

static yyjson_mut_val *numbers_json(cbe_json_writer *w, size_t n, const double *numbers)
{
    yyjson_mut_val *list = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, list, cbe_json_new_number(w, numbers[i]));
    return list;
}

static yyjson_mut_val *layer_json(cbe_json_writer *w, size_t layer, const cbe_state_spectrum *s)
{
    char state[40];
    yyjson_mut_val *json = cbe_json_new_object(w);
    snprintf(state, sizeof state, "hidden_states.%zu", s->state);
    cbe_json_put_count(w, json, "layer", layer);
    cbe_json_put_string(w, json, "state", state);
    cbe_json_put_number(w, json, "sum", s->energy.sum);
    cbe_json_put_number(w, json, "largest", s->energy.largest);
    cbe_json_put_count(w, json, "dimensions_50", s->energy.half);
    cbe_json_put_count(w, json, "dimensions_90", s->energy.ninety);
    cbe_json_put_count(w, json, "dimensions_99", s->energy.ninety_nine);
    cbe_json_put_number(w, json, "participation", s->energy.participation);
    cbe_json_put_number(w, json, "variance", s->variance.sum);
    cbe_json_put_number(w, json, "variance_participation", s->variance.participation);
    cbe_json_put(w, json, "energies", numbers_json(w, s->hidden_size, s->energies));
    cbe_json_put(w, json, "variances", numbers_json(w, s->hidden_size, s->variances));
    return json;
}

static cbe_status save_json(const char *folder, size_t n, const size_t *layers,
                            const cbe_state_spectrum *spectra, const cbe_spectrum_record *r,
                            cbe_error *err)
{
    char seed[24]; /* a string, since seeds exceed the integers of JSON readers */
    snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    cbe_json_writer writer = cbe_json_start(), *w = &writer;
    yyjson_mut_val *root = cbe_json_new_object(w), *list = cbe_json_new_list(w),
                   *texts = cbe_json_new_list(w);
    for (size_t i = 0; i < n; i++) cbe_json_append(w, list, layer_json(w, layers[i], &spectra[i]));
    for (size_t i = 0; i < r->n_texts; i++)
        cbe_json_append(w, texts, cbe_json_new_string(w, r->texts[i]));
    cbe_json_put_string(w, root, "format", "spectra");
    cbe_json_put_string(w, root, "version", CBE_VERSION);
    cbe_json_put_string(w, root, "model", r->model);
    cbe_json_put(w, root, "texts", texts);
    cbe_json_put_string(w, root, "tokens", r->tokens);
    cbe_json_put_string(w, root, "site", r->site);
    cbe_json_put_string(w, root, "seed", seed);
    cbe_json_put_count(w, root, "draws", r->n_draws);
    cbe_json_put_count(w, root, "n_sequences", r->n_sequences);
    cbe_json_put_count(w, root, "context_length", r->context_length);
    cbe_json_put_count(w, root, "skip_positions", r->skip_positions);
    cbe_json_put_count(w, root, "n_tokens", r->n_tokens);
    cbe_json_put(w, root, "layers", list);
    char *text = cbe_json_finish(w, root, true);
    if (!text)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "the record of the spectra does not fit memory");
    const cbe_status st = cbe_atomic_file_save_in(folder, "spectrum.json", text, strlen(text), err);
    cbe_free(text);
    return st;
}

static cbe_status save_csv(const char *folder, size_t n, const size_t *layers,
                           const cbe_state_spectrum *spectra, cbe_error *err)
{
    cbe_byte_buffer csv = {0};
    cbe_status st = cbe_csv_print(&csv, err,
                                  "layer,state,sum,largest,dimensions_50,dimensions_90,"
                                  "dimensions_99,participation,variance,variance_participation");
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const cbe_spectrum_summary *e = &spectra[i].energy, *v = &spectra[i].variance;
        st = cbe_csv_print(&csv, err, "\n%zu,hidden_states.%zu", layers[i], spectra[i].state);
        if (st == CBE_OK) st = cbe_csv_number(&csv, e->sum, err);
        if (st == CBE_OK) st = cbe_csv_number(&csv, e->largest, err);
        if (st == CBE_OK)
            st = cbe_csv_print(&csv, err, ",%zu,%zu,%zu", e->half, e->ninety, e->ninety_nine);
        if (st == CBE_OK) st = cbe_csv_number(&csv, e->participation, err);
        if (st == CBE_OK) st = cbe_csv_number(&csv, v->sum, err);
        if (st == CBE_OK) st = cbe_csv_number(&csv, v->participation, err);
    }
    if (st == CBE_OK) st = cbe_csv_print(&csv, err, "\n");
    if (st == CBE_OK)
        st = cbe_atomic_file_save_in(folder, "spectrum.csv", csv.bytes, csv.size, err);
    cbe_free(csv.bytes);
    return st;
}

cbe_status cbe_spectrum_save(const char *folder, size_t n, const size_t *layers,
                             const cbe_state_spectrum *spectra, const cbe_spectrum_record *record,
                             cbe_error *err)
{
    const cbe_status st = save_csv(folder, n, layers, spectra, err);
    return st == CBE_OK ? save_json(folder, n, layers, spectra, record, err) : st;
}
