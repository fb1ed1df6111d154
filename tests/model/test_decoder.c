/* Decoder files: round trip, and everything that can be wrong with one. Logits against plain
 * float64. */
#include "support/assert_close.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/decoder.h"
#include "formats/safetensors.h"
#include "core/memory.h"
#include "support/golden.h"

enum { D = 6, V = 11, N = 5 };

typedef struct {
    char *folder, *path;
    float gamma[D], beta[D], unembedding[V * D], bias[V], hidden[N * D];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = cbe_temp_folder();
    f->path = cbe_temp_path(f->folder, "decoder.safetensors");
    for (int i = 0; i < D; i++) f->gamma[i] = 1 + 0.1f * (float)i;
    for (int i = 0; i < D; i++) f->beta[i] = 0.3f - 0.2f * (float)i;
    for (int i = 0; i < V * D; i++) f->unembedding[i] = (float)(i * 29 % 17) / 8 - 1;
    for (int i = 0; i < V; i++) f->bias[i] = (float)(i % 4) - 1.5f;
    for (int i = 0; i < N * D; i++) f->hidden[i] = (float)(i * 31 % 23) / 3 - 2;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    cbe_temp_remove(f->folder);
    free(f->path);
    free(f);
    return 0;
}

static cbe_decoder decoder_of(fixture *f, cbe_norm norm, double cap, bool offsets)
{
    return (cbe_decoder){.hidden_size = D,
                         .vocab_size = V,
                         .norm = norm,
                         .norm_eps = 1e-5,
                         .logit_softcap = cap,
                         .gamma = f->gamma,
                         .beta = offsets ? f->beta : NULL,
                         .unembedding = f->unembedding,
                         .bias = offsets ? f->bias : NULL};
}

static void plain_logits(const cbe_decoder *c, const float *hidden, double *logits)
{
    double mean = 0, variance = 0, normed[D];
    for (int i = 0; i < D && c->norm == CBE_NORM_LAYER; i++) mean += (double)hidden[i] / D;
    for (int i = 0; i < D; i++) variance += pow((double)hidden[i] - mean, 2) / D;
    for (int i = 0; i < D; i++)
        normed[i] =
            ((double)hidden[i] - mean) / sqrt(variance + c->norm_eps) * (double)c->gamma[i] +
            (c->beta ? (double)c->beta[i] : 0);
    for (int t = 0; t < V; t++) {
        double z = c->bias ? (double)c->bias[t] : 0;
        for (int i = 0; i < D; i++) z += (double)c->unembedding[t * D + i] * normed[i];
        logits[t] = c->logit_softcap > 0 ? c->logit_softcap * tanh(z / c->logit_softcap) : z;
    }
}

static void decoder__logits_match_plain_float64(void **state)
{
    fixture *f = *state;
    cbe_error err;
    for (int norm = 0; norm < CBE_N_NORMS; norm++)
        for (int kind = 0; kind < 4; kind++) {
            const cbe_decoder decoder =
                decoder_of(f, (cbe_norm)norm, kind & 1 ? 2.5 : 0, (kind & 2) != 0);
            float got[N * V];
            double wide[N * V], want[N * V];
            cbe_assert_ok(cbe_decoder_logits(&decoder, N, f->hidden, got, &err), &err);
            for (int n = 0; n < N; n++) plain_logits(&decoder, f->hidden + n * D, want + n * V);
            for (int i = 0; i < N * V; i++) wide[i] = (double)got[i];
            /* 6 products of about 2 each, rounded to 6e-8. */
            cbe_assert_close(wide, want, N * V, 2e-6, 0, "%s, kind %d", cbe_norm_name(norm), kind);
        }
    const cbe_decoder decoder = decoder_of(f, CBE_NORM_RMS, 0, false);
    cbe_assert_ok(cbe_decoder_logits(&decoder, 0, f->hidden, NULL, &err), &err);
}

static void decoder__survives_a_round_trip(void **state)
{
    fixture *f = *state;
    cbe_error err;
    for (int kind = 0; kind < 2; kind++) {
        const cbe_decoder saved = decoder_of(f, (cbe_norm)kind, kind ? 30.1 : 0, kind);
        cbe_decoder *read = NULL;
        cbe_assert_ok(cbe_decoder_save(&saved, f->path, &err), &err);
        cbe_assert_ok(cbe_decoder_read(&read, f->path, NULL, &err), &err);
        assert_int_equal(read->hidden_size, D);
        assert_int_equal(read->vocab_size, V);
        assert_int_equal(read->norm, saved.norm);
        assert_true(read->norm_eps == 1e-5 && read->logit_softcap == saved.logit_softcap);
        assert_memory_equal(read->gamma, f->gamma, sizeof f->gamma);
        assert_memory_equal(read->unembedding, f->unembedding, sizeof f->unembedding);
        assert_true((read->beta != NULL) == (kind == 1) && (read->bias != NULL) == (kind == 1));
        if (kind) assert_memory_equal(read->beta, f->beta, sizeof f->beta);
        if (kind) assert_memory_equal(read->bias, f->bias, sizeof f->bias);
        cbe_decoder_free(read);
    }
}

/* What a file of a test holds; a NULL metadata value leaves its key out. */
typedef struct {
    const char *norm, *eps, *cap;
    size_t gamma_size, vocab, hidden;
    const char *skip;   /* this tensor is left out */
    const char *poison; /* this one gets an infinity */
} contents;

static void put_file(fixture *f, const contents *c)
{
    cbe_error err;
    const char *keys[] = {"norm", "norm_eps", "logit_softcap"};
    const char *values[] = {c->norm, c->eps, c->cap}, *pairs[6];
    size_t n_pairs = 0, n = 0;
    for (size_t i = 0; i < 3; i++)
        if (values[i]) {
            pairs[2 * n_pairs] = keys[i];
            pairs[2 * n_pairs++ + 1] = values[i];
        }
    const cbe_tensor_spec all[] = {{"norm.weight", CBE_F32, 1, {c->gamma_size}},
                                   {"unembedding.weight", CBE_F32, 2, {c->vocab, c->hidden}},
                                   {"unembedding.bias", CBE_F32, 1, {V}}};
    cbe_tensor_spec specs[3];
    for (size_t i = 0; i < 3; i++)
        if (!c->skip || strcmp(all[i].name, c->skip) != 0) specs[n++] = all[i];
    cbe_safetensors_writer *writer = NULL;
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, f->path, n, specs, n_pairs, pairs, &err),
                  &err);
    for (size_t i = 0; i < n; i++) {
        float values32[2 * V * D] = {0};
        const size_t count = specs[i].dims[0] * (specs[i].n_dims == 2 ? specs[i].dims[1] : 1);
        assert_true(count <= sizeof values32 / sizeof *values32);
        if (c->poison && strcmp(specs[i].name, c->poison) == 0) values32[count - 1] = INFINITY;
        cbe_assert_ok(cbe_safetensors_writer_put(writer, i, 0, count, values32, &err), &err);
    }
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

static void decoder__refuses_bad_files_by_name(void **state)
{
    fixture *f = *state;
    const struct {
        contents file;
        cbe_status status;
        const char *word;
    } cases[] = {
        {{"rmsnorm", "1e-5", "0", D, V, D, NULL, NULL}, CBE_OK, ""},
        {{NULL, "1e-5", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "'norm'"},
        {{"batchnorm", "1e-5", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "batchnorm"},
        {{"rmsnorm", NULL, "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "norm_eps"},
        {{"rmsnorm", "", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "norm_eps"},
        {{"rmsnorm", "-1e-5", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "norm_eps"},
        {{"rmsnorm", "1e-5x", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "1e-5x"},
        {{"rmsnorm", "nan", "0", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "norm_eps"},
        {{"rmsnorm", "1e-5", NULL, D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "logit_softcap"},
        {{"rmsnorm", "1e-5", "inf", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "logit_softcap"},
        {{"rmsnorm", "1e-5", "-30", D, V, D, NULL, NULL}, CBE_ERR_FORMAT, "logit_softcap"},
        {{"rmsnorm", "1e-5", "0", D + 1, V, D, NULL, NULL}, CBE_ERR_SHAPE, "norm.weight"},
        {{"rmsnorm", "1e-5", "0", D, V + 1, D, NULL, NULL}, CBE_ERR_SHAPE, "unembedding.bias"},
        {{"rmsnorm", "1e-5", "0", D, V, D, "norm.weight", NULL}, CBE_ERR_FORMAT, "norm.weight"},
        {{"rmsnorm", "1e-5", "0", D, V, D, "unembedding.weight", NULL},
         CBE_ERR_FORMAT,
         "unembedding.weight"},
        {{"rmsnorm", "1e-5", "0", D, V, D, NULL, "norm.weight"}, CBE_ERR_NUMERIC, "norm.weight"},
        {{"rmsnorm", "1e-5", "0", D, V, D, NULL, "unembedding.weight"},
         CBE_ERR_NUMERIC,
         "unembedding.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cbe_error err = {0};
        cbe_decoder *decoder = NULL;
        put_file(f, &cases[i].file);
        const cbe_status st = cbe_decoder_read(&decoder, f->path, NULL, &err);
        if (st != cases[i].status || (decoder != NULL) != (st == CBE_OK) ||
            (st != CBE_OK &&
             (!strstr(err.message, cases[i].word) || !strstr(err.message, f->path))))
            fail_msg("case %zu: %s \"%s\"", i, cbe_status_name(st), err.message);
        cbe_decoder_free(decoder);
    }
}

static void common__is_what_float32_cannot_bear(void **state)
{
    (void)state;
    float bias[3] = {1e6f, 1e6f + 3, -1e30f};
    cbe_decoder decoder = {.vocab_size = 3, .bias = bias};
    assert_true(cbe_decoder_common(&decoder) == 999936); /* 3906 times 256 */
    decoder.logit_softcap = 30;
    assert_true(cbe_decoder_common(&decoder) == 0);
    decoder.logit_softcap = 0;
    for (size_t t = 0; t < 3; t++) bias[t] = -1e9f;
    assert_true(cbe_decoder_common(&decoder) == -1e9f);
    for (size_t t = 0; t < 3; t++) bias[t] = (float)t * 50 - 20; /* as biases of models are */
    assert_true(cbe_decoder_common(&decoder) == 0);
    decoder.bias = NULL;
    assert_true(cbe_decoder_common(&decoder) == 0);
}

static void decoder__names_a_missing_file(void **state)
{
    (void)state;
    cbe_error err;
    cbe_decoder *decoder = NULL;
    assert_int_equal(cbe_decoder_read(&decoder, "no/such/file.safetensors", NULL, &err),
                     CBE_ERR_IO);
    assert_non_null(strstr(err.message, "no/such/file.safetensors"));
    assert_null(decoder);
}

static void decoder__survives_each_failing_allocation(void **state)
{
    fixture *f = *state;
    cbe_error err;
    const cbe_decoder saved = decoder_of(f, CBE_NORM_LAYER, 30, true);
    cbe_assert_ok(cbe_decoder_save(&saved, f->path, &err), &err);
    cbe_status st = CBE_ERR_NOMEM;
    long n = 0;
    for (; st != CBE_OK && n < 200; n++) {
        cbe_decoder *decoder = NULL;
        float logits[N * V];
        cbe_memory_fail_after(n);
        st = cbe_decoder_read(&decoder, f->path, NULL, &err);
        if (st == CBE_OK) st = cbe_decoder_logits(decoder, N, f->hidden, logits, &err);
        if (st == CBE_OK) st = cbe_decoder_save(decoder, f->path, &err);
        cbe_memory_fail_after(-1);
        assert_true(st == CBE_OK || (st == CBE_ERR_NOMEM && err.code == CBE_ERR_NOMEM));
        cbe_decoder_free(decoder);
    }
    assert_int_equal(st, CBE_OK);
    assert_true(n > 6);
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(decoder__logits_match_plain_float64),
        WITH_FOLDER(decoder__survives_a_round_trip),
        WITH_FOLDER(decoder__refuses_bad_files_by_name),
        cmocka_unit_test(common__is_what_float32_cannot_bear),
        cmocka_unit_test(decoder__names_a_missing_file),
        WITH_FOLDER(decoder__survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
