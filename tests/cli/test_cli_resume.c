/* cbe extract, interrupted: killed at any moment it goes on to the same bits; signals; checkpoints
 * of other runs; damaged ones. */
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "math/random.h"
#include "support/assert_close.h"
#include "support/program.h"
#include "support/temp_folder.h"

/* Runs to be killed, at least. With a sanitizer a run takes ten times as long, and the moments are
 * others, not more. */
#ifdef __SANITIZE_ADDRESS__
enum { KILLS = 20 };
#else
enum { KILLS = 100 };
#endif

/* The command of all tests, with more of it; static memory, valid until the next call. */
static const char *extract(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *extract(const char *format, ...)
{
    static char line[600] = "extract --hidden-states %H --decoder %E -q -t 1 ";
    static size_t begun;
    if (!begun) begun = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + begun, sizeof line - begun, format, args);
    va_end(args);
    return line;
}

/* A file of the test's folder. */
static char *read_file(const char *name, size_t *size)
{
    char line[200];
    snprintf(line, sizeof line, "%%F/%s", name);
    return temp_read(program_expand(line), size);
}

static bool is_there(const char *name)
{
    char line[200];
    struct stat info;
    snprintf(line, sizeof line, "%%F/%s", name);
    return stat(program_expand(line), &info) == 0;
}

static void assert_same_bytes(const char *a, const char *b)
{
    size_t n, m;
    char *x = read_file(a, &n), *y = read_file(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void make_folder(const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "%%F/%s", name);
    assert_int_equal(mkdir(program_expand(line), 0700), 0);
}

/* Runs that are killed again and again until one gets to its end; returns how often.
 * @param longest  milliseconds of processor time that the first of them has at most */
static int kill_until_done(cbe_rng *rng, const char *options, const char *folder, size_t longest)
{
    char line[400];
    int kills = 0;
    snprintf(line, sizeof line, "%s", extract("%s --resume -o %%F/%s", options, folder));
    for (;;) {
        const int status = program_run_limited(line, (unsigned)cbe_rng_below(rng, longest));
        if (status == 0) return kills;
        if (status != -1) fail_msg("cbe %s: exit status %d, %s", line, status, program_err);
        kills++;
        longest += longest / 20 + 1; /* so that it ends, on a slow processor too */
    }
}

static void extract__killed_at_random_moments_ends_with_the_same_bits(void **state)
{
    (void)state;
    static const char *const options[] = {"-k 12", "-k 6 --preset seed",
                                          "-k 6 --ablation optimal --starts 3 --held-out 0.25",
                                          "-k 6 --metric covariance --within pc=10"};
    cbe_rng rng;
    cbe_rng_seed(&rng, 1);
    int kills = 0;
    enum { N_OPTIONS = sizeof options / sizeof *options };
    for (int run = 0; run < N_OPTIONS || kills < KILLS; run++) {
        char line[400], folder[32], whole[64], resumed[64];
        const char *with = options[run % N_OPTIONS];
        snprintf(whole, sizeof whole, "whole%d/basis.safetensors", run % N_OPTIONS);
        if (run < N_OPTIONS) {
            snprintf(line, sizeof line, "%s", extract("%s -o %%F/whole%d", with, run));
            program_done(line);
        }
        snprintf(folder, sizeof folder, "killed%d", run);
        kills += kill_until_done(&rng, with, folder, 60);
        snprintf(resumed, sizeof resumed, "%s/basis.safetensors", folder);
        assert_same_bytes(whole, resumed);
        snprintf(resumed, sizeof resumed, "%s/checkpoint.safetensors", folder);
        assert_false(is_there(resumed));
    }
    print_message("%d runs were killed\n", kills);
}

static void extract__signalled_keeps_what_it_has_found(void **state)
{
    (void)state;
    static const struct {
        int signal, status;
    } cases[] = {{SIGINT, 130}, {SIGTERM, 143}};
    program_done(extract("-k 20 --starts 4 -o %%F/unsignalled"));
    for (size_t i = 0; i < 2; i++) {
        char line[200], file[64], checkpoint[64];
        int status = 0;
        /* Again, if it was done before the signal came. */
        for (bool sent = false; !sent || status == 0;) {
            snprintf(line, sizeof line, "%s", extract("-k 20 --starts 4 -o %%F/signalled%zu", i));
            snprintf(checkpoint, sizeof checkpoint, "%%F/signalled%zu/checkpoint.safetensors", i);
            status = program_run_signalled(line, checkpoint, cases[i].signal, &sent);
            if (!sent) assert_int_equal(status, 0);
        }
        assert_int_equal(status, cases[i].status);
        assert_non_null(strstr(program_err, "interrupted"));
        assert_non_null(strstr(program_err, "--resume"));
        assert_int_equal(access(program_expand(checkpoint), F_OK), 0);
        snprintf(line, sizeof line, "%s",
                 extract("-k 20 --starts 4 --resume -o %%F/signalled%zu", i));
        program_done(line);
        snprintf(file, sizeof file, "signalled%zu/basis.safetensors", i);
        assert_same_bytes("unsignalled/basis.safetensors", file);
    }
}

/* Whether there is a checkpoint that was written between two vectors of a layer, with runner-ups
 * for the next. */
static bool has_layer_in_work(const char *path)
{
    cbe_error err;
    cbe_safetensors *file;
    if (cbe_safetensors_open(&file, path, &err) != CBE_OK) return false;
    const bool has = cbe_safetensors_has(file, "points.0.vectors") &&
                     cbe_safetensors_has(file, "points.0.runner_ups");
    cbe_safetensors_close(file);
    return has;
}

/* Whether there is a checkpoint of a run in the covariance metric with a layer that is done. */
static bool has_layer_done(const char *path)
{
    static const char *const names[] = {"layers.0.read", "layers.0.write", "layers.0.mean"};
    cbe_error err;
    cbe_safetensors *file;
    if (cbe_safetensors_open(&file, path, &err) != CBE_OK) return false;
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) n += cbe_safetensors_has(file, names[i]);
    cbe_safetensors_close(file);
    return n == 3;
}

/* A checkpoint of a run that was killed when `has` said so of it, in FOLDER. */
static void leave_checkpoint_that(bool (*has)(const char *path), const char *options,
                                  const char *folder)
{
    char line[400], place[64], file[100];
    snprintf(line, sizeof line, "%s", extract("%s --resume -o %%F/%s", options, folder));
    snprintf(place, sizeof place, "%%F/%s", folder);
    snprintf(file, sizeof file, "%s/checkpoint.safetensors", place);
    for (bool acted = false; !acted;) { /* again, if it was done before it could be killed */
        temp_clear(program_expand(place));
        if (program_run_while(line, file, has, NULL, NULL, &acted) > 0)
            fail_msg("cbe %s: %s", line, program_err);
    }
}

static void leave_checkpoint(const char *options, const char *folder)
{
    leave_checkpoint_that(has_layer_in_work, options, folder);
}

/* What a layer read and wrote, and its mean, come out of the checkpoint. */
static void resume__keeps_the_pairs_of_a_layer_that_is_done(void **state)
{
    (void)state;
    static const char options[] = "-k 12 --layers 0-1 --metric covariance=0.01 --within pc=14";
    leave_checkpoint_that(has_layer_done, options, "pairs");
    program_done(extract("%s --resume -o %%F/pairs", options));
    program_done(extract("%s -o %%F/pairs-whole", options));
    assert_same_bytes("pairs-whole/basis.safetensors", "pairs/basis.safetensors");
}

static void resume__of_another_run_names_what_differs(void **state)
{
    (void)state;
    static const struct {
        const char *options, *said;
    } cases[] = {
        {"-k 21", "--vectors: 20, now 21"},
        {"-k 20 --seed 1", "--seed: 0, now 1"},
        {"-k 20 --ablation zero --seed 1", "--ablation: mean, now zero"},
        {"-k 20 --layers 0-1", "--layers: all, now 0-1"},
        {"-k 20 --skip-positions 1", "number of tokens"},
        {"-k 20 --metric covariance", "--metric: euclidean, now covariance"},
        {"-k 20 --within pc=20", "--within: auto, now pc=20"},
    };
    leave_checkpoint("-k 20", "other");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        snprintf(line, sizeof line, "%s", extract("%s --resume -o %%F/other", cases[i].options));
        assert_int_equal(program_run(line), 2);
        assert_non_null(strstr(program_err, cases[i].said));
        assert_non_null(strstr(program_err, "leave out --resume"));
        assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    }
    /* Inputs are known by their content: a decoder with one bit changed. */
    size_t size;
    char *decoder = temp_read(program_expand("%E"), &size);
    decoder[size - 2] ^= 1;
    temp_write(program_expand("%F/decoder.safetensors"), decoder, size);
    free(decoder);
    assert_int_equal(program_run("extract --hidden-states %H --decoder %F/decoder.safetensors -q "
                                 "-k 20 --resume -o %F/other"),
                     2);
    assert_non_null(strstr(program_err, "decoder decoder.safetensors has changed"));
    /* What does not change the result may change. */
    program_done(extract("-k 20 --resume -o %%F/other --memory 2G"));
    program_done(extract("-k 20 -o %%F/other-whole"));
    assert_same_bytes("other-whole/basis.safetensors", "other/basis.safetensors");
}

static void without_resume__a_checkpoint_is_replaced_and_that_is_said(void **state)
{
    (void)state;
    leave_checkpoint("-k 20", "anew");
    program_done(extract("-k 2 -o %%F/anew"));
    assert_non_null(strstr(program_err, "--resume goes on with it"));
    assert_false(is_there("anew/checkpoint.safetensors"));
}

/* Every byte of the header, some of the rest: never a crash, and never half of it taken. */
static void resume__from_a_damaged_checkpoint_says_so(void **state)
{
    (void)state;
    size_t size, header = 0;
    leave_checkpoint("-k 8 --layers 0-1 --starts 4", "damaged");
    char *whole = read_file("damaged/checkpoint.safetensors", &size), *copy = malloc(size);
    memcpy(&header, whole, 8);
    for (size_t at = 8; at < 8 + header; at += 1 + header / 60) {
        memcpy(copy, whole, size);
        copy[at] ^= 2;
        temp_write(program_expand("%F/damaged/checkpoint.safetensors"), copy, size);
        const int status =
            program_run(extract("-k 8 --layers 0-1 --starts 4 --resume -o %%F/damaged"));
        if (status != 0) {
            assert_int_equal(status, 2);
            assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
        }
    }
    for (size_t cut = 0; cut < size; cut += 1 + size / 20) {
        temp_write(program_expand("%F/damaged/checkpoint.safetensors"), whole, cut);
        assert_int_equal(
            program_run(extract("-k 8 --layers 0-1 --starts 4 --resume -o %%F/damaged")), 2);
        assert_non_null(strstr(program_err, "checkpoint.safetensors"));
    }
    free(copy);
    free(whole);
}

/* Numbers that no run can have written, in a file that is whole. */
static void resume__from_numbers_that_cannot_be_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *said;
        unsigned char byte; /* all of the tensor's first 32 bytes; 0xff makes NaN */
    } cases[] = {
        {"points.0.vectors", "vector 0 has NaN or infinity in it: the checkpoint is damaged", 0xff},
        {"points.0.runner_ups", "vector 0 has NaN or infinity in it: the checkpoint is damaged",
         0xff},
        {"points.0.random", "points.0.random is all zeros: the checkpoint is damaged", 0},
    };
    enum { FIRST = 32 };
    size_t size, header = 0, begin;
    leave_checkpoint("-k 20 --layers 0", "impossible");
    char *whole = read_file("impossible/checkpoint.safetensors", &size), *copy = malloc(size);
    memcpy(&header, whole, 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[40];
        memcpy(copy, whole, size);
        snprintf(name, sizeof name, "\"%s\"", cases[i].tensor);
        char *entry = strstr(copy + 8, name);
        assert_non_null(entry);
        assert_int_equal(sscanf(strstr(entry, "\"data_offsets\":[") + strlen("\"data_offsets\":["),
                                "%zu", &begin),
                         1);
        memset(copy + 8 + header + begin, cases[i].byte, FIRST);
        temp_write(program_expand("%F/impossible/checkpoint.safetensors"), copy, size);
        assert_int_equal(program_run(extract("-k 20 --layers 0 --resume -o %%F/impossible")), 2);
        if (!strstr(program_err, cases[i].said)) fail_msg("%s: %s", cases[i].tensor, program_err);
    }
    free(copy);
    free(whole);
}

static void resume__from_something_else_says_so(void **state)
{
    (void)state;
    make_folder("plain");
    temp_write(program_expand("%F/plain/checkpoint.safetensors"), "x", 1);
    assert_int_equal(program_run(extract("-k 2 --resume -o %%F/plain")), 2);
    assert_non_null(strstr(program_err, "plain/checkpoint.safetensors"));
    assert_true(is_there("plain/checkpoint.safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extract__killed_at_random_moments_ends_with_the_same_bits),
        cmocka_unit_test(extract__signalled_keeps_what_it_has_found),
        cmocka_unit_test(resume__keeps_the_pairs_of_a_layer_that_is_done),
        cmocka_unit_test(resume__of_another_run_names_what_differs),
        cmocka_unit_test(without_resume__a_checkpoint_is_replaced_and_that_is_said),
        cmocka_unit_test(resume__from_a_damaged_checkpoint_says_so),
        cmocka_unit_test(resume__from_numbers_that_cannot_be_says_so),
        cmocka_unit_test(resume__from_something_else_says_so),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
