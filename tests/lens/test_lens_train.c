/* Training: it lowers the loss, its bits do not depend on threads or interruptions, other runs'
 * checkpoints are refused. */
#include "lens/train.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "support/assert_close.h"
#include "support/capture.h"
#include "support/golden.h"
#include "support/random.h"
#include "support/temp_folder.h"

/* 600 sequences: several chunks of at most 4,096 tokens, so that there are places to stop at. */
enum { B = 600, S = 20 };

typedef struct {
    cbe_model *model;
    int64_t ids[B * S];
    cbe_lens_train_options options;
} fixture;

static fixture make(const char *name)
{
    static fixture f;
    char *path = cbe_golden_path("models/%s", name);
    cbe_test_random r = {3};
    f.model = open_model(path);
    for (size_t i = 0; i < B * S; i++)
        f.ids[i] =
            (int64_t)(cbe_test_uniform(&r) * (double)cbe_model_get_config(f.model)->vocab_size);
    cbe_lens_train_options_init(&f.options);
    f.options.positions = 0.25;
    f.options.step_tokens = 64;
    free(path);
    return f;
}

typedef struct {
    cbe_tuned_lens *lens;
    cbe_lens_training training;
} result;

static cbe_status train(fixture *f, const cbe_tuned_lens *init, const cbe_lens_train_hooks *hooks,
                        result *r, cbe_error *err)
{
    *r = (result){0};
    return cbe_lens_train(&r->lens, &r->training, f->model, B, S, f->ids, init, &f->options, hooks,
                          err);
}

static void result_free(result *r)
{
    cbe_tuned_lens_free(r->lens);
    cbe_lens_training_free(&r->training);
}

static double mean(size_t n, const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static void same(const result *a, const result *b)
{
    const size_t d = a->lens->hidden_size, n = a->lens->n_layers;
    assert_int_equal(a->training.n_steps, b->training.n_steps);
    for (size_t i = 0; i < n; i++) {
        assert_memory_equal(a->lens->weight[i], b->lens->weight[i], d * d * sizeof(float));
        assert_memory_equal(a->lens->bias[i], b->lens->bias[i], d * sizeof(float));
    }
    assert_memory_equal(a->training.losses, b->training.losses,
                        a->training.n_steps * n * sizeof(double));
    assert_memory_equal(a->training.start, b->training.start, n * sizeof(double));
    assert_memory_equal(a->training.logit, b->training.logit, n * sizeof(double));
    assert_memory_equal(a->training.trained, b->training.trained, n * sizeof(double));
}

static void every_optimizer_lowers_every_loss(void **state)
{
    (void)state;
    static const double rates[] = {0, 0.3, 2e-3};
    for (int loss = 0; loss < CBE_N_LOSSES; loss++)
        for (int kind = 0; kind < CBE_N_OPTIMIZERS; kind++) {
            cbe_error err = {0};
            fixture f = make("llama");
            result r;
            f.options.loss = (cbe_loss)loss;
            f.options.optimizer = (cbe_optimizer_kind)kind;
            f.options.rate = rates[kind];
            f.options.start = CBE_START_ZERO;
            cbe_assert_ok(train(&f, NULL, NULL, &r, &err), &err);
            const size_t n = r.training.n_layers;
            /* 570 sequences of 5 positions (ce: 19 / 4) in steps of 64; 30 held out. */
            assert_int_equal(r.training.n_sequences, 570);
            assert_int_equal(r.training.n_steps, loss == CBE_LOSS_KL ? 44 : 42);
            assert_int_equal(r.training.n_measured, 512);
            assert_memory_equal(r.training.logit, r.training.start, n * sizeof(double));
            for (size_t i = 0; i < n; i++)
                if (!(r.training.trained[i] < r.training.start[i]))
                    fail_msg("%s, layer %zu: %.5f from %.5f",
                             cbe_optimizer_name((cbe_optimizer_kind)kind), i, r.training.trained[i],
                             r.training.start[i]);
            result_free(&r);
            cbe_model_close(f.model);
        }
}

static void starts_from_the_affine_lens(void **state)
{
    (void)state;
    cbe_error err = {0};
    fixture f = make("gpt2");
    result r;
    cbe_assert_ok(train(&f, NULL, NULL, &r, &err), &err);
    const size_t n = r.training.n_layers;
    assert_true(mean(n, r.training.start) < mean(n, r.training.logit));
    assert_true(mean(n, r.training.trained) < mean(n, r.training.start));
    /* Given that lens, the first losses are those of where it ended. */
    result again;
    f.options.start = CBE_START_GIVEN;
    cbe_assert_ok(train(&f, r.lens, NULL, &again, &err), &err);
    cbe_assert_close(again.training.start, r.training.trained, n, 0, 0, "start");
    result_free(&again);
    cbe_tuned_lens *narrow = NULL;
    cbe_assert_ok(cbe_tuned_lens_create(&narrow, n, r.lens->hidden_size - 1, true, &err), &err);
    assert_int_equal(train(&f, narrow, NULL, &again, &err), CBE_ERR_SHAPE);
    cbe_tuned_lens_free(narrow);
    result_free(&r);
    cbe_model_close(f.model);
}

static bool stop_at(void *context, size_t step, size_t n_steps, size_t n_layers,
                    const double *losses)
{
    (void)n_steps;
    (void)n_layers;
    (void)losses;
    return step < *(const size_t *)context;
}

static bool never(void *context, size_t done, size_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return false;
}

static void resumed_is_uninterrupted(void **state)
{
    static const cbe_optimizer_kind kinds[] = {CBE_OPTIMIZER_NATURAL, CBE_OPTIMIZER_ADAM};
    for (size_t k = 0; k < 2; k++) {
        cbe_error err = {0};
        fixture f = make("llama");
        result whole, one_thread, parts;
        size_t stop = 35;
        const cbe_lens_train_hooks hooks = {NULL, stop_at, &stop};
        const char *checkpoint = temp_path(state, k ? "adam.safetensors" : "natural.safetensors");
        const int threads = omp_get_max_threads();
        f.options.optimizer = kinds[k];
        omp_set_num_threads(2);
        cbe_assert_ok(train(&f, NULL, NULL, &whole, &err), &err);
        omp_set_num_threads(1);
        cbe_assert_ok(train(&f, NULL, NULL, &one_thread, &err), &err);
        omp_set_num_threads(threads);
        same(&whole, &one_thread);

        f.options.checkpoint = checkpoint;
        f.options.checkpoint_steps = 1;
        f.options.resume = true;
        assert_int_equal(train(&f, NULL, &hooks, &parts, &err), CBE_ERR_CANCELLED);
        assert_int_equal(access(checkpoint, R_OK), 0);
        cbe_assert_ok(train(&f, NULL, NULL, &parts, &err), &err);
        assert_in_range(parts.training.resumed_at, 1, stop);
        same(&whole, &parts);
        result_free(&parts);

        /* Stopped at the first step: the pass before training is not made again. */
        size_t first = 1;
        const cbe_lens_train_hooks at_once = {NULL, stop_at, &first}, no_fit = {never, NULL, NULL};
        f.options.resume = false;
        assert_int_equal(train(&f, NULL, &at_once, &parts, &err), CBE_ERR_CANCELLED);
        f.options.resume = true;
        cbe_assert_ok(train(&f, NULL, &no_fit, &parts, &err), &err);
        assert_int_equal(parts.training.resumed_at, 0);
        same(&whole, &parts);
        result_free(&whole);
        result_free(&one_thread);
        result_free(&parts);
        cbe_model_close(f.model);
    }
}

/* Each difference is named. */
static void refuses_checkpoints_of_other_runs(void **state)
{
    cbe_error err = {0};
    fixture f = make("llama");
    result r;
    size_t stop = 35;
    const cbe_lens_train_hooks hooks = {NULL, stop_at, &stop};
    f.options.checkpoint = temp_path(state, "refused.safetensors");
    f.options.checkpoint_steps = 1;
    assert_int_equal(train(&f, NULL, &hooks, &r, &err), CBE_ERR_CANCELLED);
    f.options.resume = true;
    const cbe_lens_train_options right = f.options;
#define REFUSED(change, named)                                                                     \
    do {                                                                                           \
        f.options = right;                                                                         \
        change;                                                                                    \
        assert_int_equal(train(&f, NULL, &hooks, &r, &err), CBE_ERR_ARG);                          \
        if (!strstr(err.message, "its " named " is")) fail_msg("%s", err.message);                 \
    } while (0)
    REFUSED(f.options.rate = 0.2, "rate");
    REFUSED(f.options.seed = 1, "seed");
    REFUSED(f.options.optimizer = CBE_OPTIMIZER_SGD, "optimizer");
    REFUSED(f.options.step_tokens = 32, "step-tokens");
    REFUSED(f.options.loss = CBE_LOSS_CE, "loss");
    REFUSED(f.options.positions = 0.6, "positions");
    REFUSED(f.options.start = CBE_START_ZERO, "start");
    f.ids[5] = f.ids[5] ? 0 : 1;
    REFUSED((void)0, "text");

    /* Damaged files. */
    size_t size;
    cbe_model_close(f.model);
    f = make("llama");
    f.options = right;
    unsigned char *bytes = cbe_read_file(right.checkpoint, &size);
    for (size_t cut = 0; cut < size; cut += size / 7 + 1) {
        cbe_write_file(right.checkpoint, bytes, cut);
        const cbe_status st = train(&f, NULL, &hooks, &r, &err);
        if (st != CBE_ERR_FORMAT && st != CBE_ERR_IO) fail_msg("cut at %zu: %s", cut, err.message);
    }
    static const struct {
        const char *from, *to;
    } edits[] = {{"\"pending\":\"", "\"pending\":\"9"},
                 {"\"step\":\"", "\"step\":\"-"},
                 {"next-sequence", "next_sequence"}};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        unsigned char *copy = malloc(size + 1);
        memcpy(copy, bytes, size);
        copy[size] = 0;
        char *at = NULL;
        for (size_t k = 8; k + 64 < size && k < 20000 && !at; k++)
            if (memcmp(copy + k, edits[i].from, strlen(edits[i].from)) == 0) at = (char *)copy + k;
        assert_non_null(at);
        /* over what follows: the header keeps its length */
        memcpy(at, edits[i].to, strlen(edits[i].to));
        cbe_write_file(right.checkpoint, copy, size);
        assert_int_equal(train(&f, NULL, &hooks, &r, &err), CBE_ERR_FORMAT);
        free(copy);
    }
    free(bytes);
    cbe_model_close(f.model);
}

static void refuses_bad_options(void **state)
{
    (void)state;
    cbe_error err = {0};
    fixture f = make("llama");
    result r;
    const cbe_lens_train_options right = f.options;
#define BAD(change, named)                                                                         \
    do {                                                                                           \
        f.options = right;                                                                         \
        change;                                                                                    \
        assert_int_equal(train(&f, NULL, NULL, &r, &err), CBE_ERR_ARG);                            \
        if (!strstr(err.message, named)) fail_msg("%s", err.message);                              \
    } while (0)
    BAD(f.options.rate = -1, "rate");
    BAD(f.options.momentum = 1, "momentum");
    BAD(f.options.damping = NAN, "damping");
    BAD(f.options.ridge = 0, "ridge");
    BAD(f.options.positions = 1.5, "positions");
    BAD(f.options.positions = NAN, "positions");
    BAD(f.options.held_out = 0, "held out");
    BAD(f.options.step_tokens = 1000000, "positions of the text can be trained on");
    f.options = right;
    f.options.optimizer = CBE_OPTIMIZER_SGD;
    f.options.start = CBE_START_ZERO;
    f.options.rate = 1e39; /* a step is infinite */
    assert_int_equal(train(&f, NULL, NULL, &r, &err), CBE_ERR_NUMERIC);
    assert_non_null(strstr(err.message, "diverged"));
    cbe_model_close(f.model);
}

static void writes_learning_curves(void **state)
{
    cbe_error err = {0};
    double losses[] = {3, 2, 2.5, 1.5}, measured[] = {4, 3};
    const cbe_lens_training t = {2, 2, 64, 5, 1, 20, 0, losses, measured, measured, measured};
    char *folder = cbe_temp_folder();
    cbe_assert_ok(cbe_lens_training_save(&t, folder, &err), &err);
    char *csv = cbe_temp_path(folder, "train.csv"), *svg = cbe_temp_path(folder, "train.svg");
    size_t size;
    unsigned char *text = cbe_read_file(csv, &size);
    static const char want[] =
        "step,tokens,0,1\n1,64,3,2\n2,128,2.5,1.5\nlogit,20,4,3\nstart,20,4,3\ntrained,20,4,3\n";
    assert_int_equal(size, sizeof want - 1);
    assert_memory_equal(text, want, size);
    assert_int_equal(access(svg, R_OK), 0);
    free(text);
    free(csv);
    free(svg);
    cbe_temp_remove(folder);
    assert_int_equal(cbe_lens_training_save(&t, temp_path(state, "nowhere"), &err), CBE_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer_lowers_every_loss),
        cmocka_unit_test(starts_from_the_affine_lens),
        cmocka_unit_test(resumed_is_uninterrupted),
        cmocka_unit_test(refuses_checkpoints_of_other_runs),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(writes_learning_curves),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
