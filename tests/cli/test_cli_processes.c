/* cbe extract in several processes, as mpirun starts them: tokens divided, layers divided, both;
 * one that dies; bad usage. And cbe spectrum. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "processes/processes.h"
#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"

enum { SEQUENCES = 8, LENGTH = 12, LONG_SEQUENCES = 5, LONG_LENGTH = 130, VECTORS = 3, LAYERS = 3 };

static cbe_error err;
static const char model[] = "%G/models/llama --tokens %F/tokens.safetensors",
                  long_model[] = "%G/models/llama --tokens %F/long.safetensors";

/* The command in so many processes; 0: without mpirun. */
static int run(size_t processes, const char *line)
{
    char whole[600];
    snprintf(whole, sizeof whole, processes ? "-n %zu " : "", processes);
    const size_t n = strlen(whole);
    snprintf(whole + n, sizeof whole - n, "%s%s", processes ? "%P " : "", line);
    return processes ? program_run_under(getenv("CBE_MPIEXEC"), whole) : program_run(whole);
}

static void run_done(size_t processes, const char *format, const char *inputs, const char *options,
                     const char *folder)
{
    char line[500];
    snprintf(line, sizeof line, format, inputs, options, folder);
    if (run(processes, line) != 0) fail_msg("%zu processes, %s: %s", processes, line, program_err);
}

static void extract(size_t processes, const char *options, const char *folder)
{
    run_done(processes, "extract %s -q -k 3 %s -o %%F/%s", model, options, folder);
}

static void extract_long(size_t processes, const char *options, const char *folder)
{
    run_done(processes, "extract %s -q -k 2 %s -o %%F/%s", long_model, options, folder);
}

/* Energies (LAYERS, VECTORS) of a result. */
static void read_energies(const char *folder, float *energies)
{
    char path[100], name[40];
    cbe_safetensors *file = NULL;
    snprintf(path, sizeof path, "%%F/%s/basis.safetensors", folder);
    cbe_assert_ok(cbe_safetensors_open(&file, program_expand(path), &err), &err);
    for (size_t i = 0; i < LAYERS; i++) {
        cbe_tensor t;
        snprintf(name, sizeof name, "layers.%zu.energies", i);
        cbe_assert_ok(cbe_safetensors_get(file, name, &t, &err), &err);
        assert_int_equal(t.n_elements, VECTORS);
        memcpy(energies + i * VECTORS, t.data, VECTORS * sizeof *energies);
    }
    cbe_safetensors_close(file);
}

/* Rows of several short sequences share products, which BLAS may round by their shape. Climbs end
 * within a cone of 1e-4 or so around a maximum, and to first order in that move energies of vectors
 * that must be orthogonal to it. */
static void assert_same_energies(const char *folder, const char *other)
{
    float got[LAYERS * VECTORS], want[LAYERS * VECTORS];
    read_energies(folder, got);
    read_energies(other, want);
    cbe_assert_close_f32(got, want, LAYERS * VECTORS, 0, 3e-4, "%s and %s", folder, other);
}

static void assert_same_file(const char *name, const char *folder, const char *other)
{
    char path[2][100];
    size_t n[2];
    snprintf(path[0], sizeof path[0], "%%F/%s/%s", folder, name);
    snprintf(path[1], sizeof path[1], "%%F/%s/%s", other, name);
    char *a = temp_read(program_expand(path[0]), &n[0]),
         *b = temp_read(program_expand(path[1]), &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(a, b, n[0]);
    free(a);
    free(b);
}

static void assert_same_bytes(const char *folder, const char *other)
{
    assert_same_file("basis.safetensors", folder, other);
}

static bool is_there(const char *name)
{
    struct stat info;
    char path[100];
    snprintf(path, sizeof path, "%%F/%s", name);
    return stat(program_expand(path), &info) == 0;
}

static void tokens_divided__find_the_basis_of_one_process(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        size_t fewest, most; /* processes */
    } cases[] = {{"--starts 3", 2, 4},
                 {"--starts 3 --ablation resample --seed 2", 3, 3},
                 {"--starts 3 --objective ce --ablation zero --held-out 0.25", 2, 2},
                 {"--preset seed --skip-positions 1", 3, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        extract(0, cases[i].options, "one");
        for (size_t processes = cases[i].fewest; processes <= cases[i].most; processes++) {
            char with[200];
            snprintf(with, sizeof with, "%s --divide tokens", cases[i].options);
            extract(processes, with, "divided");
            assert_same_energies("divided", "one");
            assert_false(is_there("divided/checkpoint.safetensors"));
        }
    }
}

/* Sequences long enough for products and sums of their own, in shares of other sizes: nothing is
 * rounded differently. */
static void tokens_divided__have_the_very_bits_of_one_process(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        size_t processes[2];
    } cases[] = {{"--starts 3 --skip-positions 1", {2, 3}},
                 {"--starts 3 --ablation resample --seed 2", {3, 4}},
                 {"--starts 2 --ablation optimal -l 1,2", {2, 0}},
                 {"--preset leaps --starts 2 --max-iter 5 --lens model -l 1", {2, 3}},
                 {"--lens model -l 1", {2, 3}},
                 {"--lens model --scope own --metric covariance -l 1", {2, 3}},
                 {"--starts 2 --metric covariance --within pc=12 -l 1,2", {2, 3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        extract_long(0, cases[i].options, "one");
        for (size_t p = 0; p < 2 && cases[i].processes[p]; p++) {
            char with[200];
            snprintf(with, sizeof with, "%s --divide tokens", cases[i].options);
            extract_long(cases[i].processes[p], with, "divided");
            assert_same_bytes("divided", "one");
        }
    }
}

/* Sums of sequences, short and long, are those of one process, and so are the files. */
static void spectrum__has_the_very_bits_of_one_process(void **state)
{
    (void)state;
    static const char line[] = "spectrum %s -q --draws 2 %s -o %%F/%s";
    run_done(0, line, long_model, "", "one");
    run_done(2, line, long_model, "", "two");
    run_done(3, line, long_model, "", "three");
    assert_same_file("spectrum.json", "two", "one");
    assert_same_file("spectrum.json", "three", "one");
    assert_same_file("spectrum.csv", "three", "one");
    run_done(0, line, model, "-l 1", "one");
    run_done(4, line, model, "-l 1", "four");
    assert_same_file("spectrum.json", "four", "one");
}

static void layers_divided__have_the_very_bits_of_one_process(void **state)
{
    (void)state;
    extract(0, "--starts 3", "plain");
    extract(2, "--starts 3 --divide layers", "layers2");
    extract(3, "--starts 3", "layers3");
    assert_same_bytes("layers2", "plain");
    assert_same_bytes("layers3", "plain");
    extract(2, "--starts 3 --divide tokens", "tokens2");
    extract(4, "--starts 3 --divide 2", "groups");
    assert_same_bytes("groups", "tokens2");
    assert_non_null(strstr(program_out, "ceiling"));
}

/* Each process runs the model on some of the sequences, for the layers of all. */
static void layers_divided__share_the_forward_pass_and_have_the_very_bits(void **state)
{
    (void)state;
    static const char *const options[] = {"--starts 3", "--starts 2 --ablation resample --seed 2",
                                          "--lens model -l 0,1"};
    static const char *const divisions[] = {"--divide layers", "--divide 2"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        extract_long(0, options[i], "one");
        for (size_t p = 2; p <= 4; p++) {
            char with[200];
            const char *division = divisions[p == 4];
            if (p == 3 && strstr(options[i], "-l")) continue; /* two layers */
            snprintf(with, sizeof with, "%s %s", options[i], division);
            extract_long(p, with, "divided");
            assert_same_bytes("divided", "one");
        }
    }
}

/* The job ends when one is killed, and goes on from what was found to what it would have found. */
static void killed__one_of_them_ends_all_and_resumes(void **state)
{
    (void)state;
    static const char *const divisions[] = {"tokens", "layers"};
    for (size_t i = 0; i < 2; i++) {
        char line[500], with[100], whole[20], killed[20], checkpoint[60], folder[30];
        snprintf(whole, sizeof whole, "whole-%s", divisions[i]);
        snprintf(killed, sizeof killed, "killed-%s", divisions[i]);
        snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", killed);
        snprintf(folder, sizeof folder, "%%F/%s", killed);
        snprintf(with, sizeof with, "--starts 3 --divide %s -k 12", divisions[i]);
        extract(3, with, whole);
        snprintf(with, sizeof with, "--starts 3 --divide %s -k 12 --resume", divisions[i]);
        int deaths = 0;
        while (deaths < 3) {
            /* Rank 1 kills itself as soon as there is a checkpoint that is not of an earlier run:
             * tests/mpi/die_at_file.sh. */
            snprintf(line, sizeof line,
                     "-n 3 %%D/mpi/die_at_file.sh 1 %%F/%s %%P extract %s -q %s -o %%F/%s",
                     checkpoint, model, with, killed);
            const int status = program_run_under(getenv("CBE_MPIEXEC"), line);
            if (status == 0) { /* it was done by then */
                if (deaths > 0) break;
                temp_clear(program_expand(folder));
                continue;
            }
            if (!strstr(program_err, "rank 1") && !strstr(program_err, "PID"))
                fail_msg("which one died is not said: %s", program_err);
            deaths++;
        }
        extract(3, with, killed);
        assert_same_bytes(killed, whole);
        assert_false(is_there(checkpoint));
    }
}

/* Each has a checkpoint of its own sums, and goes on from it; of another number of processes none
 * does. */
static void spectrum_killed__goes_on_to_the_same_bytes(void **state)
{
    (void)state;
    static const char options[] = "--draws 4 --checkpoint-seconds 0 --resume",
                      line[] = "spectrum %s -q %s -o %%F/%s";
    char killed[600], one[300];
    run_done(0, line, long_model, "--draws 4", "spectrum-whole");
    snprintf(killed, sizeof killed,
             "-n 2 %%D/mpi/die_at_file.sh 0 %%F/spectrum-killed/checkpoint.1.safetensors %%P "
             "spectrum %s -q %s -o %%F/spectrum-killed",
             long_model, options);
    do { /* again, if it was done by then */
        if (is_there("spectrum-killed")) temp_clear(program_expand("%F/spectrum-killed"));
    } while (program_run_under(getenv("CBE_MPIEXEC"), killed) == 0);
    assert_true(is_there("spectrum-killed/checkpoint.1.safetensors"));
    if (is_there("spectrum-killed/checkpoint.safetensors")) {
        snprintf(one, sizeof one, line, long_model, options, "spectrum-killed");
        assert_int_equal(run(0, one), 2);
        assert_non_null(strstr(program_err, "another number of processes: 2, now 1"));
    }
    run_done(2, line, long_model, options, "spectrum-killed");
    assert_same_file("spectrum.json", "spectrum-killed", "spectrum-whole");
    assert_false(is_there("spectrum-killed/checkpoint.safetensors"));
    assert_false(is_there("spectrum-killed/checkpoint.1.safetensors"));
}

/* A search of many minutes. SIGTERM to any one process ends the job. */
static void signalled__one_of_them_ends_all(void **state)
{
    (void)state;
    static const char *const divisions[] = {"tokens", "layers"};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned rank = 0; rank < 2; rank++) {
            char line[500];
            snprintf(line, sizeof line,
                     "-n 2 %%D/mpi/stop_at_work.sh %u %%P extract %s -q -k 1 -l 0-1 --starts "
                     "200000 --divide %s -o %%F/signalled",
                     rank, model, divisions[i]);
            assert_int_not_equal(program_run_under(getenv("CBE_MPIEXEC"), line), 0);
            if (rank == 0)
                assert_non_null(
                    strstr(program_err, "cbe: interrupted before the first checkpoint\n"));
            assert_false(is_there("signalled/basis.safetensors"));
        }
}

static void bad_usage__is_one_line_and_status_2(void **state)
{
    (void)state;
    static const struct {
        size_t processes;
        const char *line, *said;
    } cases[] = {
        {2, "extract %G/models/llama --tokens %F/tokens.safetensors -o %F/bad --divide 4",
         "--divide 4: 2 processes do not make groups"},
        {4, "extract %G/models/llama --tokens %F/tokens.safetensors -o %F/bad --divide 4",
         "only 3 layers"},
        {2, "extract %G/models/llama --tokens %F/tokens.safetensors -o %F/bad --divide both",
         "--divide both: give auto, tokens, layers"},
        {2, "extract %G/models/none --tokens %F/tokens.safetensors -o %F/bad", "models/none"},
        {2, "extract --hidden-states %H --decoder %E --divide tokens -o %F/bad -l 0 --memory 1K",
         "--memory"},
        {2, "probe %G/models/llama --tokens %F/tokens.safetensors -o %F/bad",
         "only extract and spectrum can share their work"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run(cases[i].processes, cases[i].line), 2);
        const char *said = strstr(program_err, "cbe: ");
        assert_non_null(said);
        if (!strstr(said, cases[i].said)) fail_msg("case %zu: %s", i, program_err);
        if (strstr(said + 1, "cbe: "))
            fail_msg("case %zu, more than one process speaks: %s", i, program_err);
    }
}

/* Two processes that were given other options or files: all end, one says what differs. */
static void given_other_things__is_named_by_one_line_and_status_2(void **state)
{
    (void)state;
    static const struct {
        const char *one, *other, *said;
    } cases[] = {
        {"--starts 3", "--starts 4", "process 0 has another --starts: 3, here 4"},
        {"", "--starts 4", "process 0 has another --starts: not given, here 4"},
        {"--starts 3", "", "process 0 has another --starts: 3, here not given"},
        {"--seed 1", "--seed 2", "another --seed: 1, here 2"},
        {"-k 2", "-k 3", "another --vectors: 2, here 3"},
        {"--site pre", "", "another --site: pre, here not given"},
        {"--divide tokens", "--divide layers", "another --divide: tokens, here layers"},
        {"", "--resume", "another --resume: false, here true"},
        {"-o %F/bad", "-o %F/bad2", "another --output: "},
        {"--init %F/init", "", "process 0 has --init basis.safetensors, which is not given here"},
        {"--lens tuned=%G/lens/llama", "",
         "process 0 has --lens config.json, which is not given here"},
        {"--tokens %F/long.safetensors", "",
         "another input: tokens tokens.safetensors is another file here"},
        {"-l", "", "process 0 has"},
        {"--unknown", "", "--unknown is not an option"},
        {"", "--unknown", "process 1: --unknown is not an option"},
        {"--divide 7", "", "another --divide: 7, here auto"},
    };
    extract(0, "--starts 1 --max-iter 2", "init");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[1000];
        const char *one = strcmp(cases[i].one, "-l") == 0 ? "-l 0-1" : cases[i].one;
        snprintf(line, sizeof line,
                 "-n 1 %%P extract %s -q -o %%F/bad %s : -n 1 %%P extract %s -q -o %%F/bad %s",
                 model, one, model, cases[i].other);
        const int status = program_run_under(getenv("CBE_MPIEXEC"), line);
        if (status != 2)
            fail_msg("'%s' and '%s': status %d, %s", cases[i].one, cases[i].other, status,
                     program_err);
        const char *said = strstr(program_err, "cbe: ");
        if (!said || !strstr(said, cases[i].said) || strstr(said + 1, "cbe: "))
            fail_msg("'%s' and '%s': %s", cases[i].one, cases[i].other, program_err);
        assert_false(is_there("bad/basis.safetensors"));
    }
}

/* What each has for itself may differ, and files may have other names where they have the same
 * content. */
static void given_other_threads_and_paths__is_the_same_run(void **state)
{
    (void)state;
    size_t size;
    char *ids = temp_read(program_expand("%F/tokens.safetensors"), &size), line[1000];
    temp_write(program_expand("%F/elsewhere.safetensors"), ids, size);
    free(ids);
    extract(0, "--starts 1 --max-iter 2", "one");
    snprintf(line, sizeof line,
             "-n 1 %%P extract %s -q -k 3 --starts 1 --max-iter 2 -o %%F/two -t 1 --memory 2G : "
             "-n 1 %%P extract %%G/models/llama --tokens %%F/elsewhere.safetensors -v -k 3 "
             "--starts 1 --max-iter 2 -o %%F/two -t 2 --memory 3G",
             model);
    if (program_run_under(getenv("CBE_MPIEXEC"), line) != 0) fail_msg("%s", program_err);
    assert_same_bytes("one", "two");
}

/* A pipe can be read once, but each process reads the text. */
static void text_that_is_a_pipe__is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"-", "%F/pipe"};
    assert_int_equal(mkfifo(program_expand("%F/pipe"), 0600), 0);
    for (size_t i = 0; i < 2; i++) {
        char line[300];
        snprintf(line, sizeof line,
                 "extract %%G/gguf/tiny-llama/llama-f32.gguf --text %s -q -o %%F/bad", texts[i]);
        assert_int_equal(run(2, line), 2);
        assert_non_null(strstr(
            program_err, "each of several processes reads the text, but a pipe can be read once"));
    }
}

/* Ids of n sequences. */
static void write_ids(const char *path, size_t n, size_t length)
{
    int64_t *ids = malloc(n * length * sizeof *ids);
    cbe_test_random r = {7};
    cbe_safetensors_writer *writer = NULL;
    const cbe_tensor_spec spec = {"input_ids", CBE_I64, 2, {n, length}};
    assert_non_null(ids);
    for (size_t i = 0; i < n * length; i++) ids[i] = (int64_t)(cbe_test_uniform(&r) * 60);
    cbe_assert_ok(
        cbe_safetensors_writer_create(&writer, program_expand(path), 1, &spec, 0, NULL, &err),
        &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, n * length, ids, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
    free(ids);
}

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    write_ids("%F/tokens.safetensors", SEQUENCES, LENGTH);
    write_ids("%F/long.safetensors", LONG_SEQUENCES, LONG_LENGTH);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_divided__find_the_basis_of_one_process),
        cmocka_unit_test(tokens_divided__have_the_very_bits_of_one_process),
        cmocka_unit_test(spectrum__has_the_very_bits_of_one_process),
        cmocka_unit_test(spectrum_killed__goes_on_to_the_same_bytes),
        cmocka_unit_test(layers_divided__have_the_very_bits_of_one_process),
        cmocka_unit_test(layers_divided__share_the_forward_pass_and_have_the_very_bits),
        cmocka_unit_test(killed__one_of_them_ends_all_and_resumes),
        cmocka_unit_test(signalled__one_of_them_ends_all),
        cmocka_unit_test(bad_usage__is_one_line_and_status_2),
        cmocka_unit_test(given_other_things__is_named_by_one_line_and_status_2),
        cmocka_unit_test(given_other_threads_and_paths__is_the_same_run),
        cmocka_unit_test(text_that_is_a_pipe__is_refused),
    };
    if (!cbe_processes_library() || !getenv("CBE_MPIEXEC")) return 77; /* built without MPI */
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
