/*
 * What a run is, by its options and inputs: every option of extract and lens train is compared,
 * both ways; order and number of inputs; inputs of one name, of odd names, one twice, beside the
 * output; inputs that change or vanish under way.
 */
#define _GNU_SOURCE /* memmem */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "support/assert_close.h"
#include "support/inputs.h"
#include "support/program.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

/* Fast, but with many vectors, so that a run can be met while it searches. */
#define SHORT  " -q -t 1 -k 20 -l 0 --max-iter 5"
#define QUICK  SHORT " --starts 1"
#define STATES "extract --hidden-states %H --decoder %E" QUICK
#define GGUF   "%G/gguf/tiny-llama/llama-f32.gguf"
#define TEXT   "extract " GGUF QUICK " --context-length 32"

/* Leaves a checkpoint in FOLDER, of a run that was killed. */
static void leave_checkpoint(const char *options, const char *folder)
{
    char line[2000], checkpoint[200];
    bool acted = false;
    snprintf(line, sizeof line, "%s -o %s", options, folder);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint.safetensors", folder);
    for (int tries = 0; !acted; tries++) {
        const int status = program_run_while(line, checkpoint, NULL, NULL, NULL, &acted);
        if (!acted && (status != 0 || tries == 1000))
            fail_msg("cbe %s: status %d, no checkpoint, %s", line, status, program_err);
    }
}

static int resume(const char *options, const char *folder)
{
    char line[2000];
    snprintf(line, sizeof line, "%s --resume -o %s", options, folder);
    return program_run(line);
}

/* An option of extract in two runs that are the same otherwise. */
typedef struct {
    const char *option, *both, *one, *other;
    /* in the refusal of either; said NULL: the run goes on, and so it does with said_back NULL
     * alone */
    const char *said, *said_back;
} option_case;

static const option_case cases[] = {
    {"text", TEXT, "--text %F/a.txt %F/b.txt", "--text %F/b.txt %F/a.txt",
     "another order: text 2, b.txt, is number 1 now",
     "another order: text 2, a.txt, is number 1 now"},
    {"text", TEXT, "--text %F/a.txt %F/b.txt", "--text %F/a.txt", "text b.txt is not given now",
     "text b.txt was not among its inputs"},
    {"text", TEXT, "--text %F/a.txt %F/a.txt", "--text %F/a.txt", "text a.txt is not given now",
     "text a.txt was not among its inputs"},
    {"text", TEXT, "--text %F/a.txt %F/b.txt", "--text %F/a.txt %F/sub/a.txt",
     "text 2, a.txt, has changed", "text 2, b.txt, has changed"},
    {"text", TEXT, "--max-tokens 64 --text %F/a.txt %F/b.txt", "--max-tokens 64 --text %F/a.txt",
     "another number of texts: 2, now 1", "another number of texts: 1, now 2"},
    {"text", TEXT, "--text %F/a.txt", "--text %F/moved.txt", NULL, NULL},
    {"documents", TEXT " --text %F/a.txt", "", "--documents file", "--documents: auto, now file",
     "--documents: file, now auto"},
    {"text-field", STATES, "", "--text-field body", "--text-field: text, now body",
     "--text-field: body, now text"},
    {"tokens", "extract %G/models/llama" QUICK, "--tokens %F/one.safetensors",
     "--tokens %F/two.safetensors", "tokens two.safetensors has changed",
     "tokens one.safetensors has changed"},
    {"hidden-states", "extract --decoder %E" QUICK, "--hidden-states %H",
     "--hidden-states %F/hidden.safetensors", "hidden_states hidden.safetensors has changed",
     "hidden_states hidden.safetensors has changed"},
    {"decoder", "extract --hidden-states %H" QUICK, "--decoder %E",
     "--decoder %F/decoder.safetensors", "decoder decoder.safetensors has changed",
     "decoder decoder.safetensors has changed"},
    {"lens", STATES, "-l 0-1", "-l 0-1 --lens tuned=%F/lens",
     "no --lens, and now it is config.json", "--lens config.json, which is not given now"},
    {"lens", STATES, "-l 0-1 --lens tuned=%F/lens", "-l 0-1 --lens tuned=%F/lens-moved", NULL,
     NULL},
    {"lens-tokens", STATES, "", "--lens-tokens 0", "--lens-tokens: 40000, now 0",
     "--lens-tokens: 0, now 40000"},
    {"layers", STATES, "", "-l 0-1", "--layers: 0, now 0-1", "--layers: 0-1, now 0"},
    {"ablation", STATES, "", "-a zero", "--ablation: mean, now zero", "--ablation: zero, now mean"},
    {"objective", STATES, "", "--objective ce", "--objective: kl, now ce",
     "--objective: ce, now kl"},
    {"scope", "extract %G/models/llama --tokens %F/one.safetensors" QUICK, "", "--scope own",
     "--scope: all, now own", "--scope: own, now all"},
    {"site", STATES, "", "--site post", "--site: pre, now post", "--site: post, now pre"},
    {"context-length", STATES, "", "--context-length 8", "--context-length: 256, now 8",
     "--context-length: 8, now 256"},
    {"max-tokens", STATES, "", "--max-tokens 8", "--max-tokens: 0, now 8",
     "--max-tokens: 8, now 0"},
    {"skip-positions", STATES, "--skip-positions 0", "--skip-positions auto",
     "--skip-positions: 0, now auto", "--skip-positions: auto, now 0"},
    {"seed", STATES, "", "--seed 18446744073709551615", "--seed: 0, now 18446744073709551615",
     "--seed: 18446744073709551615, now 0"},
    {"threads", STATES, "", "-t 2", NULL, NULL},
    {"memory", STATES, "--memory 2G", "--memory 3G", NULL, NULL},
    {"quiet", STATES, "", "-q", NULL, NULL},
    {"verbose", STATES, "", "-v", NULL, NULL},
    {"vectors", STATES, "", "-k 19", "--vectors: 20, now 19", "--vectors: 19, now 20"},
    {"preset", STATES " --skip-positions 0", "", "--preset seed", "--preset: default, now seed",
     "--preset: seed, now default"},
    {"starts", "extract --hidden-states %H --decoder %E" SHORT, "", "--starts 8",
     "--starts: not given, now 8", "--starts: 8, now not given"},
    {"init", STATES, "", "--init %F/init", "no --init, and now it is basis.safetensors",
     "--init basis.safetensors, which is not given now"},
    {"init", STATES, "--init %F/init", "--init %F/init2", "init 1, basis.safetensors, has changed",
     "init 1, basis.safetensors, has changed"},
    {"max-iter", STATES, "", "--max-iter 6", "--max-iter: 5, now 6", "--max-iter: 6, now 5"},
    {"metric", STATES, "", "--metric covariance", "--metric: euclidean, now covariance",
     "--metric: covariance, now euclidean"},
    {"within", STATES, "", "--within pc=22", "--within: auto, now pc=22",
     "--within: pc=22, now auto"},
    {"min-energy", STATES, "", "--min-energy 1e-9", "--min-energy: 0, now 1", "--min-energy: 1"},
    {"held-out", STATES, "", "--held-out 0.25", "--held-out: auto, now 0.25",
     "--held-out: 0.25, now auto"},
    {"held-out-text", TEXT, "--text %F/a.txt", "--text %F/a.txt --held-out-text %F/b.txt",
     "held-out-text, and now it is b.txt", "held-out-text b.txt, which is not given now"},
    {"model-energies", STATES, "", "--model-energies no", "--model-energies: auto, now no",
     "--model-energies: no, now auto"},
    {"divide", STATES, "", "--divide layers", NULL, NULL},
    /* Every line has them. */
    {"output", STATES, "", "", NULL, NULL},
    {"resume", STATES, "", "", NULL, NULL},
    /* Only a program built with oneDNN, on some CPUs, takes another one. */
    {"precision", STATES, "", "--precision float32", NULL, NULL},
};
enum { N_CASES = sizeof cases / sizeof *cases };

#define TRAIN                                                                                      \
    "lens train " GGUF " -q -t 1 --context-length 32 --step-tokens 16 --checkpoint-steps 1"
#define TRAINED TRAIN " --text %F/a.txt"

/* The same of lens train, whose record knows texts by their token ids. */
static const option_case train_cases[] = {
    {"MODEL", "lens train -q -t 1 --tokens %F/one.safetensors --step-tokens 4 --checkpoint-steps 1",
     "%G/models/llama", "%F/model-changed", "its model is another", "its model is another"},
    {"text", TRAIN, "--text %F/a.txt %F/b.txt", "--text %F/b.txt %F/a.txt", "its text is another",
     "its text is another"},
    {"text", TRAIN, "--text %F/a.txt %F/b.txt", "--text %F/a.txt", "its text is another",
     "its text is another"},
    {"text", TRAIN, "--text %F/a.txt", "--text %F/moved.txt", NULL, NULL},
    {"tokens", "lens train %G/models/llama -q -t 1 --step-tokens 4 --checkpoint-steps 1",
     "--tokens %F/one.safetensors", "--tokens %F/two.safetensors", "its text is another",
     "its text is another"},
    {"documents", TRAINED, "--documents file", "--documents blank-line", "its text is another",
     "its text is another"},
    {"text-field", TRAINED, "", "--text-field body", NULL, NULL},
    {"output", TRAINED, "", "", NULL, NULL},
    {"format", TRAINED, "", "--format pt", NULL, NULL},
    {"loss", TRAINED, "", "--loss ce", "its loss is kl, not ce", "its loss is ce, not kl"},
    {"start", TRAINED, "", "--start zero", "its start is affine, not zero",
     "its start is zero, not affine"},
    {"init", TRAINED, "", "--init %F/trained", "its init is another", "its init is another"},
    {"optimizer", TRAINED, "", "--optimizer adam", "its optimizer is natural, not adam",
     "its optimizer is adam, not natural"},
    {"rate", TRAINED, "", "--rate 0.05", "its rate is 0.1", "its rate is 0.05"},
    {"momentum", TRAINED, "", "--momentum 0.25", "its momentum is 0.5, not 0.25",
     "its momentum is 0.25, not 0.5"},
    {"damping", TRAINED, "", "--damping 20", "its damping is 30, not 20",
     "its damping is 20, not 30"},
    {"ridge", TRAINED, "", "--ridge 0.5", "its ridge is 0.01", "its ridge is 0.5"},
    {"positions", TRAINED, "", "--positions 0.25", "its positions is 0.2", "its positions is 0.25"},
    {"step-tokens", TRAINED, "", "--step-tokens 17", "its step-tokens is 16, not 17",
     "its step-tokens is 17, not 16"},
    {"held-out", TRAINED, "", "--held-out 0.25", "its held-out is 0.05", "its held-out is 0.25"},
    {"held-out-tokens", TRAINED, "", "--held-out-tokens 30", "its held-out-tokens is 512, not 30",
     "its held-out-tokens is 30, not 512"},
    {"checkpoint-steps", TRAINED, "", "--checkpoint-steps 2", NULL, NULL},
    {"resume", TRAINED, "", "", NULL, NULL},
    {"context-length", TRAINED, "", "--context-length 16", "its context-length is 32, not 16",
     "its context-length is 16, not 32"},
    {"max-tokens", TRAINED, "", "--max-tokens 1024", "its text is another", "its text is another"},
    {"seed", TRAINED, "", "--seed 5", "its seed is 0, not 5", "its seed is 5, not 0"},
    {"threads", TRAINED, "", "-t 2", NULL, NULL},
    {"memory", TRAINED, "--memory 2G", "--memory 3G", NULL, NULL},
    {"quiet", TRAINED, "", "-q", NULL, NULL},
    {"verbose", TRAINED, "", "-v", NULL, NULL},
};
enum { N_TRAIN_CASES = sizeof train_cases / sizeof *train_cases };

/* From one run's checkpoint to the other. */
static void check_resumed(const option_case *c, const char *from, const char *to, const char *said)
{
    char left[600], resumed[600];
    temp_clear(program_expand("%F/run"));
    snprintf(left, sizeof left, "%s %s", c->both, from);
    snprintf(resumed, sizeof resumed, "%s %s", c->both, to);
    leave_checkpoint(left, "%F/run");
    const int status = resume(resumed, "%F/run");
    if (status != (said ? 2 : 0))
        fail_msg("%s, '%s' then '%s': status %d, %s", c->option, from, to, status, program_err);
    if (!said) return;
    if (!strstr(program_err, said))
        fail_msg("%s, '%s' then '%s': not '%s' but %s", c->option, from, to, said, program_err);
    assert_non_null(strstr(program_err, "leave out --resume\n"));
    assert_ptr_equal(strchr(program_err, '\n'), program_err + strlen(program_err) - 1);
    /* the checkpoint stands */
    assert_int_equal(access(program_expand("%F/run/checkpoint.safetensors"), F_OK), 0);
}

static void check_all(size_t n, const option_case *list)
{
    for (size_t i = 0; i < n; i++) {
        check_resumed(&list[i], list[i].one, list[i].other, list[i].said);
        check_resumed(&list[i], list[i].other, list[i].one, list[i].said_back);
    }
}

static void resume__compares_every_option_both_ways(void **state)
{
    (void)state;
    check_all(N_CASES, cases);
}

static void train_resume__compares_every_option_both_ways(void **state)
{
    (void)state;
    check_all(N_TRAIN_CASES, train_cases);
}

/* That a table has all options that --help lists. */
static void check_table(const char *help, size_t fewest, size_t n_listed, const option_case *list)
{
    size_t n = 0;
    program_done(help);
    for (char *line = strtok(program_out, "\n"); line; line = strtok(NULL, "\n")) {
        char name[40];
        const char *dashes = strncmp(line, "  ", 2) == 0 ? strstr(line, "--") : NULL;
        if (!dashes || dashes > line + 6 || sscanf(dashes, "--%39[a-z-]", name) != 1 ||
            strcmp(name, "help") == 0)
            continue;
        bool there = false;
        for (size_t i = 0; i < n_listed; i++) there |= strcmp(list[i].option, name) == 0;
        if (!there)
            fail_msg(
                "--%s: add it to the table of this test: does another value change the result?",
                name);
        n++;
    }
    assert_true(n >= fewest);
}

static void resume__no_option_is_left_out_of_the_tables(void **state)
{
    (void)state;
    check_table("extract --help", 30, N_CASES, cases);
    check_table("lens train --help", 25, N_TRAIN_CASES, train_cases);
}

static void resume__from_a_record_of_another_form_says_so(void **state)
{
    (void)state;
    size_t size;
    temp_clear(program_expand("%F/run"));
    leave_checkpoint(STATES, "%F/run");
    char *data = temp_read(program_expand("%F/run/checkpoint.safetensors"), &size);
    char *form = strstr(data + 8, "form of the record");
    assert_non_null(form);
    form[0] = 'F';
    temp_write(program_expand("%F/run/checkpoint.safetensors"), data, size);
    free(data);
    assert_int_equal(resume(STATES, "%F/run"), 2);
    assert_non_null(strstr(program_err, "has the form of an earlier cbe"));
}

static json_t *load_record(const char *path)
{
    json_error_t problem;
    json_t *root = json_load_file(program_expand(path), 0, &problem);
    if (!root) fail_msg("%s: %s", path, problem.text);
    return root;
}

/* The roles, base names and digests of a record's inputs are those of these files: "role path"
 * each. */
static void assert_inputs(const char *record, size_t n, const char *const *want)
{
    json_t *root = load_record(record);
    const json_t *inputs = json_object_get(root, "inputs");
    assert_int_equal(json_array_size(inputs), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *input = json_array_get(inputs, i);
        const char *blank = strchr(want[i], ' '), *path = program_expand(blank + 1);
        const char *role = json_string_value(json_object_get(input, "role"));
        assert_int_equal(strlen(role), blank - want[i]);
        assert_memory_equal(role, want[i], strlen(role));
        assert_string_equal(json_string_value(json_object_get(input, "sha256")), file_sha256(path));
    }
    json_decref(root);
}

/* Two texts of one base name, one of them twice, and names of all bytes: from start to end, in
 * every command. */
static void names__of_any_kind_work_from_start_to_end(void **state)
{
    (void)state;
    static const char *const names[] = {"%F/sub/a.txt", "%F/a.txt", "%F/odd\xff\xfe\"\\\x01\n.txt",
                                        "%F/odd\xfe\xff\"\\\x01\n.txt"};
    char texts[1000], line[1600];
    size_t size, used = 0;
    char *text = temp_read(program_expand("%F/a.txt"), &size);
    for (size_t i = 2; i < 4; i++)
        temp_write(program_expand(names[i]), text + 50 * i, size - 50 * i);
    free(text);
    for (size_t i = 0; i < 4; i++)
        used += (size_t)snprintf(texts + used, sizeof texts - used, "%s ", names[i]);
    snprintf(texts + used, sizeof texts - used, "%s -q -t 1 --context-length 32", names[1]);
    temp_clear(program_expand("%F/run"));
    snprintf(line, sizeof line, "extract %s" QUICK " --text %s", GGUF, texts);
    leave_checkpoint(line, "%F/run");
    if (resume(line, "%F/run") != 0) fail_msg("%s", program_err);
    static const char *const want[] = {"model " GGUF,
                                       "text %F/sub/a.txt",
                                       "text %F/a.txt",
                                       "text %F/odd\xff\xfe\"\\\x01\n.txt",
                                       "text %F/odd\xfe\xff\"\\\x01\n.txt",
                                       "text %F/a.txt"};
    assert_inputs("%F/run/basis.json", 6, want);
    static const struct {
        const char *command, *options;
    } lines[] = {{"probe", "-l 0 --vectors-file %F/v.safetensors -o %F/probe.safetensors"},
                 {"ablate", "--basis %F/run -m 1 -o %F/odd\xff-effects"},
                 {"capture", "-l 0 -o %F/captured.safetensors"},
                 {"lens fit", "-o %F/fitted"},
                 {"lens train", "--step-tokens 16 --max-tokens 512 -o %F/trained\xff"},
                 {"lens eval", "--max-tokens 256 -o %F/measured"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        snprintf(line, sizeof line, "%s %s --text %s %s", lines[i].command, GGUF, texts,
                 lines[i].options);
        program_done(line);
        if (strstr(program_err, "warning")) fail_msg("%s: %s", line, program_err);
    }
}

static void copy(const char *from, const char *to)
{
    size_t size;
    char *data = temp_read(program_expand(from), &size);
    temp_write(program_expand(to), data, size);
    free(data);
}

/* What was read counts, wherever the output lies: here beside the model. */
static void output__inside_the_model_folder_is_no_input(void **state)
{
    (void)state;
    static const char *const want[] = {"model %F/model/config.json",
                                       "model %F/model/model.safetensors",
                                       "tokens %F/one.safetensors"};
    temp_clear(program_expand("%F/model"));
    copy("%G/models/llama/config.json", "%F/model/config.json");
    copy("%G/models/llama/model.safetensors", "%F/model/model.safetensors");
    for (int again = 0; again < 2; again++) {
        program_done("extract %F/model --tokens %F/one.safetensors" QUICK " -o %F/model");
        assert_inputs("%F/model/basis.json", 3, want);
    }
    leave_checkpoint("extract %F/model --tokens %F/one.safetensors" QUICK, "%F/model");
    if (resume("extract %F/model --tokens %F/one.safetensors" QUICK, "%F/model") != 0)
        fail_msg("%s", program_err);
    assert_inputs("%F/model/basis.json", 3, want);
    program_done("ablate %F/model --tokens %F/one.safetensors -q -t 1 -m 1 --basis %F/model");
    program_done("extract %F/model --tokens %F/one.safetensors -q -t 1 -k 2 -l 0 --init %F/model "
                 "-o %F/again");
}

/* What becomes of an input while the search is on. */
typedef struct {
    const char *path;
    enum { REMOVED, REPLACED, GROWN } how;
} change;

static void change_input(void *context)
{
    const change *c = context;
    char path[600];
    snprintf(path, sizeof path, "%s", program_expand(c->path));
    if (c->how == REMOVED) {
        assert_int_equal(unlink(path), 0);
    } else if (c->how == REPLACED) {
        assert_int_equal(unlink(path), 0);
        temp_write(path, "something else", 14);
    } else {
        FILE *file = fopen(path, "ab");
        assert_non_null(file);
        fputs("more", file);
        fclose(file);
    }
}

static void inputs__that_change_or_vanish_are_warned_of_at_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        change what;
        const char *said;
    } changes[] = {
        {TEXT " --text %F/in/a.txt",
         {"%F/in/a.txt", REMOVED},
         "in/a.txt is gone since it was read"},
        {TEXT " --text %F/in/a.txt",
         {"%F/in/a.txt", REPLACED},
         "in/a.txt has changed since it was read"},
        {TEXT " --text %F/in/a.txt %F/in/a.txt",
         {"%F/in/a.txt", GROWN},
         "in/a.txt has changed since it was read"},
        {"extract %F/in/llama.gguf --text %F/a.txt --context-length 32" QUICK,
         {"%F/in/llama.gguf", REMOVED},
         "in/llama.gguf is gone"},
        {"extract --hidden-states %F/in/h.safetensors --decoder %E" QUICK,
         {"%F/in/h.safetensors", REMOVED},
         "in/h.safetensors is gone"},
        {"extract --hidden-states %H --decoder %F/in/d.safetensors" QUICK,
         {"%F/in/d.safetensors", REPLACED},
         "in/d.safetensors has changed"},
        {STATES " -l 0-1 --lens tuned=%F/in/lens",
         {"%F/in/lens/params.pt", REMOVED},
         "in/lens/params.pt is gone"},
        {STATES " --init %F/in/init",
         {"%F/in/init/basis.json", REMOVED},
         "in/init/basis.json is gone"},
        {"extract %F/in/model --tokens %F/in/ids.safetensors" QUICK,
         {"%F/in/ids.safetensors", REMOVED},
         "in/ids.safetensors is gone"},
        {"extract %F/in/model --tokens %F/one.safetensors" QUICK,
         {"%F/in/model/config.json", GROWN},
         "in/model/config.json has changed"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char line[1000];
        bool acted = false;
        json_t *before, *after;
        for (int tries = 0; !acted; tries++) {
            static const char *const folders[] = {"%F/in", "%F/in/lens", "%F/in/init",
                                                  "%F/in/model"};
            static const char *const files[][2] = {
                {"%F/a.txt", "%F/in/a.txt"},
                {GGUF, "%F/in/llama.gguf"},
                {"%H", "%F/in/h.safetensors"},
                {"%E", "%F/in/d.safetensors"},
                {"%F/lens/config.json", "%F/in/lens/config.json"},
                {"%F/lens/params.pt", "%F/in/lens/params.pt"},
                {"%F/init/basis.json", "%F/in/init/basis.json"},
                {"%F/init/basis.safetensors", "%F/in/init/basis.safetensors"},
                {"%F/one.safetensors", "%F/in/ids.safetensors"},
                {"%G/models/llama/config.json", "%F/in/model/config.json"},
                {"%G/models/llama/model.safetensors", "%F/in/model/model.safetensors"}};
            for (size_t f = 0; f < sizeof folders / sizeof *folders; f++)
                temp_clear(program_expand(folders[f]));
            for (size_t f = 0; f < sizeof files / sizeof *files; f++)
                copy(files[f][0], files[f][1]);
            if (tries == 0) {
                snprintf(line, sizeof line, "%s -o %%F/calm", changes[i].line);
                program_done(line);
                assert_string_equal(program_err_but_verdicts(), "");
                snprintf(line, sizeof line, "%s -o %%F/disturbed", changes[i].line);
            }
            change what = changes[i].what;
            const int status = program_run_while(line, "%F/disturbed/checkpoint.safetensors", NULL,
                                                 change_input, &what, &acted);
            if (status != 0) fail_msg("%s: status %d, %s", line, status, program_err);
            if (!acted && tries == 1000) fail_msg("%s: could not be stopped in time", line);
        }
        const char *said = program_err_but_verdicts(), *warning = strstr(said, "cbe: warning: ");
        if (!warning || !strstr(warning, changes[i].said)) fail_msg("%s: %s", line, program_err);
        if (strchr(said, '\n')[1]) fail_msg("%s: more than one line: %s", line, program_err);
        assert_string_equal(file_sha256(program_expand("%F/disturbed/basis.safetensors")),
                            file_sha256(program_expand("%F/calm/basis.safetensors")));
        before = load_record("%F/calm/basis.json");
        after = load_record("%F/disturbed/basis.json");
        assert_true(
            json_equal(json_object_get(before, "inputs"), json_object_get(after, "inputs")));
        json_decref(before);
        json_decref(after);
    }
}

/* A file with one byte near its end changed. */
static void write_changed(const char *from, const char *to)
{
    size_t size;
    char *data = temp_read(program_expand(from), &size);
    data[size - 2] ^= 1;
    temp_write(program_expand(to), data, size);
    free(data);
}

/* The weights of the model llama with one of its first block changed. */
static void write_other_block(const char *path)
{
    cbe_error err;
    cbe_safetensors *file = NULL;
    cbe_tensor t;
    size_t size;
    char source[600];
    snprintf(source, sizeof source, "%s", program_expand("%G/models/llama/model.safetensors"));
    char *data = temp_read(source, &size);
    cbe_assert_ok(cbe_safetensors_open(&file, source, &err), &err);
    cbe_assert_ok(cbe_safetensors_get(file, "model.layers.0.mlp.down_proj.weight", &t, &err), &err);
    char *place = memmem(data, size, t.data, t.n_bytes);
    assert_non_null(place);
    place[t.n_bytes - 4] ^= 1;
    temp_write(program_expand(path), data, size);
    cbe_safetensors_close(file);
    free(data);
}

/* Ids, others, and directions of tiny-llama's hidden size. */
static void write_numbers(void)
{
    enum { SEQUENCES = 4, LENGTH = 16, WIDTH = 64 };
    int64_t ids[SEQUENCES * LENGTH];
    double v[2 * WIDTH];
    for (size_t i = 0; i < SEQUENCES * LENGTH; i++) ids[i] = (int64_t)(i * i * 7 % 59);
    write_tensor("%F/one.safetensors", "input_ids", CBE_I64, SEQUENCES, LENGTH, ids);
    ids[5] = 3;
    write_tensor("%F/two.safetensors", "input_ids", CBE_I64, SEQUENCES, LENGTH, ids);
    for (size_t i = 0; i < 2 * WIDTH; i++) v[i] = i % WIDTH == 3 + i / WIDTH;
    write_tensor("%F/v.safetensors", "v", CBE_F64, 2, WIDTH, v);
}

static int set_up(void **state)
{
    enum { PART = 3000 };
    if (program_set_up(state) != 0) return -1;
    size_t size;
    char *text = temp_read(program_expand("%D/../data/sample.txt"), &size);
    static const char *const folders[] = {"%F/sub", "%F/lens", "%F/lens-moved"};
    for (size_t i = 0; i < 3; i++) assert_int_equal(mkdir(program_expand(folders[i]), 0700), 0);
    assert_true(size > 3 * PART);
    temp_write(program_expand("%F/a.txt"), text, PART);
    temp_write(program_expand("%F/moved.txt"), text, PART);
    temp_write(program_expand("%F/b.txt"), text + PART, PART);
    temp_write(program_expand("%F/sub/a.txt"), text + 2 * PART, PART);
    free(text);
    copy("%G/lens/extract-rmsnorm/config.json", "%F/lens/config.json");
    copy("%G/lens/extract-rmsnorm/params.pt", "%F/lens/params.pt");
    copy("%F/lens/config.json", "%F/lens-moved/config.json");
    copy("%F/lens/params.pt", "%F/lens-moved/params.pt");
    write_changed("%H", "%F/hidden.safetensors");
    write_changed("%E", "%F/decoder.safetensors");
    write_numbers();
    /* A model with one number of a block changed, not of its unembedding. */
    assert_int_equal(mkdir(program_expand("%F/model-changed"), 0700), 0);
    copy("%G/models/llama/config.json", "%F/model-changed/config.json");
    write_other_block("%F/model-changed/model.safetensors");
    program_done(TRAINED " -o %F/trained");
    program_done("extract --hidden-states %H --decoder %E -q -k 2 -o %F/init");
    program_done("extract --hidden-states %H --decoder %E -q -k 3 -o %F/init2");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resume__no_option_is_left_out_of_the_tables),
        cmocka_unit_test(resume__compares_every_option_both_ways),
        cmocka_unit_test(train_resume__compares_every_option_both_ways),
        cmocka_unit_test(resume__from_a_record_of_another_form_says_so),
        cmocka_unit_test(names__of_any_kind_work_from_start_to_end),
        cmocka_unit_test(output__inside_the_model_folder_is_no_input),
        cmocka_unit_test(inputs__that_change_or_vanish_are_warned_of_at_the_end),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
