/* Names that a terminal would act on, wherever a command meets them: none reaches either stream. */
#define _XOPEN_SOURCE 700 /* posix_openpt */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/gguf_bytes.h"
#include "support/program.h"
#include "support/temp_folder.h"
#include "support/terminal.h"

/* C0, DEL, C1 as a byte and as a character, marks of direction, characters without a width, ends of
 * lines, a tag. No blank and no slash: it is a file's name and an argument. */
#define EVIL                                                                                       \
    "e\033]0;x\007\x9b"                                                                            \
    "31m\xc2\x9b"                                                                                  \
    "4m\xe2\x80\xae\xd8\x9c\xe2\x80\x8f\xe2\x80\xa8\xe2\x81\xa6\xef\xbb\xbf\xf3\xa0\x81\x81\xff"   \
    "\x7f\r\n."
/* The same as far as UTF-8 has it, as JSON is written with escapes, and without. */
#define ESCAPES                                                                                    \
    "e\\u001b]0;"                                                                                  \
    "x\\u0007\\u009b31m\\u202e\\u061c\\u200f\\u2028\\u2066\\ufeff\\udb40\\udc41\\u007f\\n"
#define RAW                                                                                        \
    "e\xc2\x9b"                                                                                    \
    "31m\xe2\x80\xae\xd8\x9c\xe2\x80\x8f\xe2\x80\xa8\xe2\x81\xa6\xef\xbb\xbf\xf3\xa0\x81\x81\x7f"
#define MODEL "%G/models/llama"
#define IDS   " --tokens %G/models/llama/golden.safetensors"

static void **folder_state;

static void write_safetensors(const char *name, const char *header, size_t n_bytes)
{
    static bytes b;
    b.size = 0;
    bytes_u64(&b, strlen(header));
    bytes_text(&b, header);
    bytes_zeros(&b, n_bytes);
    temp_write(temp_path(folder_state, name), b.data, b.size);
}

static void write_text(const char *name, const char *text)
{
    temp_write(temp_path(folder_state, name), text, strlen(text));
}

static void copy(const char *from, const char *to)
{
    size_t size;
    char *data = temp_read(program_expand(from), &size);
    temp_write(temp_path(folder_state, to), data, size);
    free(data);
}

static void make_gguf(const char *name, const char *architecture, const char *key)
{
    static bytes b;
    gguf_head(&b, 1, 3);
    gguf_key(&b, "general.architecture", STRING);
    gguf_string(&b, architecture);
    gguf_key(&b, key, STRING);
    gguf_string(&b, EVIL);
    gguf_pair_u32(&b, EVIL "length", 3);
    gguf_info(&b, EVIL, 2, 2, 0, 0);
    gguf_data(&b, 32, 16);
    temp_write(temp_path(folder_state, name), b.data, b.size);
}

/* A model folder with one file replaced, or one of its texts. */
static void make_folder(const char *name, const char *file, const char *text)
{
    char path[256];
    mkdir(temp_path(folder_state, name), 0700);
    snprintf(path, sizeof path, "%s/config.json", name);
    copy(MODEL "/config.json", path);
    snprintf(path, sizeof path, "%s/%s", name, file);
    write_text(path, text);
}

static int set_up(void **state)
{
    if (program_set_up(state) != 0) return -1;
    folder_state = state;
    write_safetensors("tensors.safetensors",
                      "{\"__metadata__\":{\"norm\":\"" ESCAPES "\",\"site\":\"" RAW "\"},\"" ESCAPES
                      "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"" RAW
                      "\":{\"dtype\":\"F32\",\"shape\":[2],"
                      "\"data_offsets\":[8,16]}}",
                      16);
    write_safetensors("dtype.safetensors",
                      "{\"" RAW "\":{\"dtype\":\"" RAW "\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                      8);
    write_safetensors("wrong.safetensors",
                      "{\"" ESCAPES "\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}",
                      8);
    write_safetensors("decoder.safetensors",
                      "{\"__metadata__\":{\"norm\":\"" ESCAPES
                      "\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                      4);
    write_safetensors("eps.safetensors",
                      "{\"__metadata__\":{\"norm\":\"rmsnorm\",\"norm_eps\":\"" RAW
                      "\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                      4);
    make_gguf("keys.gguf", "llama", EVIL "key");
    make_gguf("architecture.gguf", EVIL, "general.name");
    write_text("broken.json", "{\"" RAW "\": \033[31m}");
    make_folder("type", "config.json", "{\"model_type\": \"" ESCAPES "\"}");
    make_folder("syntax", "config.json",
                "{\"model_type\": \033[31m\x9b"
                "31m}");
    make_folder("index", "model.safetensors.index.json",
                "{\"weight_map\": {\"" ESCAPES "\": \"../" ESCAPES "\"}}");
    make_folder("tokenizer", "tokenizer.json",
                "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"" ESCAPES
                " " ESCAPES "\"]}}");
    make_folder("model", "tokenizer.json", "{\"model\": {\"type\": \"" ESCAPES "\"}}");
    make_folder("pattern", "tokenizer.json",
                "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "
                "\"pre_tokenizer\": {\"type\": \"Split\", "
                "\"pattern\": {\"Regex\": \"(" ESCAPES
                "\"}, \"behavior\": \"Isolated\", \"invert\": false}}");
    mkdir(temp_path(state, EVIL), 0700);
    copy(MODEL "/config.json", EVIL "/config.json");
    copy(MODEL "/model.safetensors", EVIL "/model.safetensors");
    copy("%G/gguf/tiny-llama/tokenizer.json", EVIL "/tokenizer.json");
    mkdir(temp_path(state, "lens"), 0700);
    copy("%G/lens/llama/params.pt", "lens/params.pt");
    write_text("lens/config.json",
               "{\"base_model_name_or_path\": \"" ESCAPES
               "\", \"d_model\": 64, \"num_hidden_layers\": 3, \"bias\": "
               "true, \"unembed_hash\": \"" ESCAPES "\", \"lens_type\": \"linear_tuned_lens\"}");
    mkdir(temp_path(state, "bad-lens"), 0700);
    copy("%G/lens/llama/params.pt", "bad-lens/params.pt");
    write_text("bad-lens/config.json",
               "{\"d_model\": 64, \"num_hidden_layers\": 3, \"lens_type\": \"" ESCAPES "\"}");
    write_text(EVIL "text",
               "A text with \xff in it, long enough for a sequence of eight tokens and more.");
    write_text("lines.jsonl", "{\"" RAW "\": 3, \033[31m}\n");
    write_text("ids", "1 2 \033[31m\n");
    return 0;
}

/* Runs it; neither stream may have any of that. */
static void run(const char *line, int status)
{
    const int got = program_run(line);
    if (got != status) fail_msg("cbe %s: status %d, not %d: %s", line, got, status, program_err);
    const unsigned out = terminal_acts_on(program_out, strlen(program_out)),
                   err = terminal_acts_on(program_err, strlen(program_err));
    if (out) fail_msg("cbe %s: U+%04X on standard output: %s", line, out, program_out);
    if (err) fail_msg("cbe %s: U+%04X on standard error: %s", line, err, program_err);
    size_t lines = 0;
    for (const char *c = program_err; *c; c++) lines += *c == '\n';
    if (status == 2 && lines != 1)
        fail_msg("cbe %s: %zu lines of error: %s", line, lines, program_err);
}

static void files__are_told_without_what_a_terminal_acts_on(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int status;
    } runs[] = {
        {"info %F/tensors.safetensors", 0},
        {"info %F/dtype.safetensors", 0},
        {"info %F/wrong.safetensors", 2},
        {"info %F/keys.gguf --tensors", 0},
        {"info %F/architecture.gguf --tensors", 0},
        {"info %F/lens", 0},
        {"info %F/bad-lens", 2},
        {"info %F/broken.json", 2},
        {"info %F/type", 2},
        {"info %F/syntax", 2},
        {"info %F/index", 2},
        {"plan %F/type --tokens 100", 2},
        {"decoder %F/architecture.gguf -o %F/out", 2},
        {"decoder %F/keys.gguf -o %F/out", 2},
        {"capture %F/architecture.gguf" IDS " -o %F/out", 2},
        {"capture " MODEL " --tokens %F/tensors.safetensors -o %F/out", 2},
        {"tokenize %F/tokenizer a", 2},
        {"tokenize %F/model a", 2},
        {"tokenize %F/pattern a", 2},
        {"tokenize %F/architecture.gguf a", 2},
        {"tokenize %G/gguf/tiny-llama --text %F/lines.jsonl", 2},
        {"tokenize %G/gguf/tiny-llama --text %F/ids --decode", 2},
        {"probe --hidden-states %F/tensors.safetensors --decoder %E --vectors-file "
         "%F/tensors.safetensors -o %F/out",
         2},
        {"probe --hidden-states %H --decoder %F/decoder.safetensors --vectors-file "
         "%F/tensors.safetensors -o %F/out",
         2},
        {"extract --hidden-states %H --decoder %F/decoder.safetensors -o %F/made", 2},
        {"extract --hidden-states %H --decoder %F/eps.safetensors -o %F/made", 2},
        {"extract --hidden-states %H --decoder %E --lens tuned=%F/lens -o %F/made", 2},
        {"ablate " MODEL " --basis %F/tensors.safetensors" IDS, 2},
        {"extract " MODEL IDS
         " --lens tuned=%F/lens -o %F/made -k 1 -l 0 --preset seed --max-iter 1 -v",
         0},
        {"lens convert %F/lens -o %F/converted", 0},
        {"lens convert %F/bad-lens -o %F/converted", 2},
        {"lens eval " MODEL IDS " --lens %F/lens", 0},
        {"lens train " MODEL IDS " --init %F/bad-lens -o %F/trained", 2},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) run(runs[i].line, runs[i].status);
}

static void names__of_files_are_told_so_too(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int status;
    } runs[] = {
        {EVIL, 2},
        {"lens " EVIL, 2},
        {"info %F/" EVIL, 0},
        {"info %F/" EVIL "none", 2},
        {"info %F/" EVIL "/config.json", 2},
        {"plan %F/" EVIL "none --tokens 100", 2},
        {"decoder %F/" EVIL " -o %F/" EVIL "decoder", 0},
        {"decoder %F/" EVIL " -o %F/" EVIL "none/decoder", 2},
        {"capture %F/" EVIL IDS " -o %F/" EVIL "states", 0},
        {"capture %F/" EVIL IDS " -o %F/" EVIL "none/states", 2},
        {"capture %F/" EVIL " --tokens %F/" EVIL "none -o %F/states", 2},
        {"tokenize %F/" EVIL " --text %F/" EVIL "text", 0},
        {"tokenize %F/" EVIL " --text %F/" EVIL "none", 2},
        {"tokenize %F/" EVIL " --decode " EVIL, 2},
        {"lens fit %F/" EVIL IDS " -o %F/" EVIL "lens", 0},
        {"lens train %F/" EVIL IDS " --init %F/" EVIL "lens -o %F/" EVIL "trained --step-tokens 2",
         0},
        {"lens eval %F/" EVIL IDS " --lens %F/" EVIL "lens -o %F/" EVIL "eval", 0},
        {"lens convert %F/" EVIL "lens -o %F/" EVIL "converted", 0},
        {"lens convert %F/" EVIL "none -o %F/" EVIL "converted", 2},
        {"extract %F/" EVIL IDS " --lens tuned=%F/" EVIL "none -o %F/" EVIL "basis", 2},
        {"probe --hidden-states %F/" EVIL "none --decoder %E --vectors-file %F/" EVIL
         "none -o %F/p",
         2},
        {"ablate %F/" EVIL IDS " --basis %F/" EVIL "none", 2},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) run(runs[i].line, runs[i].status);
}

static void arguments__are_told_so_too(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "extract", "probe",    "ablate", "fidelity", "spectrum",   "capture",   "decoder",
        "plan",    "tokenize", "info",   "lens fit", "lens train", "lens eval", "lens convert"};
    static const char *const more[] = {" --" EVIL,
                                       " -\033",
                                       " a b c " EVIL,
                                       " --layers=" EVIL,
                                       " --divide " EVIL " m -o %F/o",
                                       " --memory " EVIL,
                                       " --ablation " EVIL,
                                       " --threads " EVIL};
    char line[1024];
    for (size_t c = 0; c < sizeof commands / sizeof *commands; c++)
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            snprintf(line, sizeof line, "%s%s", commands[c], more[i]);
            run(line, 2);
        }
}

/* Standard output of the program on a terminal. */
static size_t on_terminal(char *const argv[], char *got, size_t size)
{
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) skip();
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0) skip();
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(slave, STDOUT_FILENO);
        close(slave);
        close(master);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(slave);
    size_t n = 0;
    for (ssize_t part; n < size && (part = read(master, got + n, size - n)) > 0;)
        n += (size_t)part; /* EIO: all is read */
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(master);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return n;
}

/* Token 0 is hostile; a pipe gets its bytes, a terminal what can be shown. */
static void decoded_text__is_exact_unless_it_goes_to_a_terminal(void **state)
{
    mkdir(temp_path(state, "decode"), 0700);
    write_text("decode/tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1, \"" ESCAPES
               "\": 0}, \"merges\": []}}");
    static const char exact[] = "e\033]0;x\007\xc2\x9b"
                                "31m\xe2\x80\xae\xd8\x9c\xe2\x80\x8f\xe2\x80\xa8\xe2\x81\xa6\xef"
                                "\xbb\xbf\xf3\xa0\x81\x81\x7f\n a\n";
    static const char shown[] =
        "e?]0;x??31m????????\r\n a\r\n"; /* a terminal puts \r before each \n */
    char got[256], model[600];
    write_text("both", "0 1\n");
    program_done("tokenize %F/decode --text %F/both --decode");
    assert_string_equal(program_out, exact);
    snprintf(model, sizeof model, "%s", temp_path(state, "decode"));
    char program[600], text[600], command[] = "tokenize", files[] = "--text", way[] = "--decode";
    char *const argv[] = {program, command, model, files, text, way, NULL};
    snprintf(program, sizeof program, "%s", program_expand("%P"));
    snprintf(text, sizeof text, "%s", temp_path(state, "both"));
    const size_t n = on_terminal(argv, got, sizeof got - 1);
    got[n] = 0;
    assert_string_equal(got, shown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files__are_told_without_what_a_terminal_acts_on),
        cmocka_unit_test(names__of_files_are_told_so_too),
        cmocka_unit_test(arguments__are_told_so_too),
        cmocka_unit_test(decoded_text__is_exact_unless_it_goes_to_a_terminal),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
