/*
 * mutate.c - damaged files of every format, each read by the program.
 *
 *     mutate PROGRAM GOLDEN [--seconds N] [--runs N] [--seed N] [--keep FOLDER]
 *            [--only FORMAT:RUN] [FORMAT]...
 *
 * A run damages one file of a set, starts one command over it and looks at what comes of it.
 * Findings are: an end by a signal, a report of a sanitizer, a hang, an exit status but 0 and 2, a
 * refusal that is not one line, control characters on either stream, output that a failed command
 * leaves behind, and NaN or infinity in what cbe capture wrote. A run has a number: the same number
 * and seed are the same run.
 * Exit status: 0 no finding, 1 findings, 2 usage.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "mutate/mutants.h"
#include "support/terminal.h"

enum {
    HANG_SECONDS = 1200,
    SANITIZER_STATUS = 99, /* set by the options below */
    MOST_FILES = 6,
    MOST_COMMANDS = 5,
    PATH_SIZE = 1024
};

/* A set of files, each "FROM>TO": FROM is a fixture of tests/golden, or a file that is made
 * here. */
typedef struct {
    const char *format;
    mutant_kind kind;
    const char *files[MOST_FILES];       /* the first is damaged */
    const char *commands[MOST_COMMANDS]; /* of cbe; %F: the folder of the files, %O: the output */
} target;

#define CONFIG  "models/bloom-six-heads/config.json>m/config.json"
#define CAPTURE "capture %F/m --tokens %F/ids.npy --logits -q -o %O"
#define IDS     "made/ids.npy>ids.npy"

static const target targets[] = {
    {"gguf",
     MUTANT_BINARY,
     {"gguf/families/phi3.gguf>m.gguf", IDS},
     {"capture %F/m.gguf --tokens %F/ids.npy --logits -q -o %O", "info %F/m.gguf --tensors",
      "decoder %F/m.gguf -o %O", "capture %F/m.gguf --tokens %F/ids.npy -q -o %O"}},
    {"gguf",
     MUTANT_BINARY,
     {"gguf/families/gemma3-linear.gguf>m.gguf", IDS},
     {"capture %F/m.gguf --tokens %F/ids.npy --logits -q -o %O", "decoder %F/m.gguf -o %O"}},
    {"gguf", MUTANT_BINARY, {"gguf/q4_k.gguf>m.gguf"}, {"info %F/m.gguf --tensors"}},
    {"gguf",
     MUTANT_BINARY,
     {"gguf/tiny-llama/llama-q4_0.gguf>m.gguf", "made/text>text"},
     {"capture %F/m.gguf --text %F/text --context-length 8 --max-tokens 16 -q -o %O",
      "tokenize %F/m.gguf --text %F/text --special"}},
    {"gguf",
     MUTANT_BINARY,
     {"tokenizers/made-bloom/tokenizer.gguf>t.gguf", "made/text>text"},
     {"tokenize %F/t.gguf --text %F/text --special"}},
    {"zip",
     MUTANT_ZIP,
     {"lens/gpt2/params.pt>l/params.pt", "lens/gpt2/config.json>l/config.json"},
     {"lens convert %F/l -o %O", "info %F/l"}},
    {"pickle",
     MUTANT_PICKLE,
     {"lens/gpt2/params.pt>l/params.pt", "lens/gpt2/config.json>l/config.json"},
     {"lens convert %F/l -o %O"}},
    {"npz",
     MUTANT_ZIP,
     {"npy/states.npz>s.npz", "made/decoder>d.safetensors", "made/v>v.safetensors"},
     {"info %F/s.npz", "probe --hidden-states %F/s.npz --decoder %F/d.safetensors --vectors-file "
                       "%F/v.safetensors -q "
                       "-o %O"}},
    {"npz", MUTANT_ZIP, {"npy/compressed.npz>s.npz"}, {"info %F/s.npz"}},
    {"npy",
     MUTANT_BINARY,
     {"npy/hidden_states.2.npy>s.npy", "made/decoder>d.safetensors", "made/v>v.safetensors"},
     {"probe --hidden-states %F/s.npy --decoder %F/d.safetensors --vectors-file %F/v.safetensors "
      "-q "
      "-o %O",
      "info %F/s.npy"}},
    {"npy",
     MUTANT_BINARY,
     {IDS, CONFIG, "models/bloom-six-heads/model.safetensors>m/model.safetensors"},
     {CAPTURE}},
    {"safetensors",
     MUTANT_SAFETENSORS,
     {"models/bloom-six-heads/model.safetensors>m/model.safetensors", CONFIG, IDS},
     {CAPTURE, "decoder %F/m -o %O", "info %F/m/model.safetensors"}},
    {"safetensors",
     MUTANT_SAFETENSORS,
     {"extract/rmsnorm-tuned/hidden.safetensors>h.safetensors",
      "extract/rmsnorm-tuned/decoder.safetensors>d.safetensors", "made/v24>v.safetensors"},
     {"probe --hidden-states %F/h.safetensors --decoder %F/d.safetensors --vectors-file "
      "%F/v.safetensors -q -o %O"}},
    {"safetensors",
     MUTANT_SAFETENSORS,
     {"extract/rmsnorm-tuned/decoder.safetensors>d.safetensors",
      "extract/rmsnorm-tuned/hidden.safetensors>h.safetensors", "made/v24>v.safetensors"},
     {"probe --hidden-states %F/h.safetensors --decoder %F/d.safetensors --vectors-file "
      "%F/v.safetensors -q -o %O"}},
    {"safetensors",
     MUTANT_SAFETENSORS,
     {"extract/rmsnorm-tuned/lens/params.safetensors>l/params.safetensors",
      "extract/rmsnorm-tuned/lens/config.json>l/config.json"},
     {"lens convert %F/l -o %O", "info %F/l"}},
    {"tokenizer.json",
     MUTANT_JSON,
     {"tokenizers/made-smollm/tokenizer.json>m/tokenizer.json", "made/text>text", "made/ids>ids"},
     {"tokenize %F/m --text %F/text --special", "tokenize %F/m --text %F/ids --decode"}},
    {"tokenizer.json",
     MUTANT_JSON,
     {"tokenizers/made-unigram/tokenizer.json>m/tokenizer.json", "made/text>text", "made/ids>ids"},
     {"tokenize %F/m --text %F/text --special", "tokenize %F/m --text %F/ids --decode"}},
    {"tokenizer.json",
     MUTANT_JSON,
     {"tokenizers/made-steps/tokenizer.json>m/tokenizer.json", "made/text>text"},
     {"tokenize %F/m --text %F/text --special"}},
    {"config.json",
     MUTANT_JSON,
     {CONFIG, "models/bloom-six-heads/model.safetensors>m/model.safetensors", IDS},
     {CAPTURE, "info %F/m"}},
    {"config.json",
     MUTANT_JSON,
     {"models/gemma3-linear/config.json>m/config.json",
      "models/gemma3-linear/model.safetensors>m/model.safetensors", IDS},
     {CAPTURE, "decoder %F/m -o %O"}},
    {"config.json",
     MUTANT_JSON,
     {"models/phi3-longrope/config.json>m/config.json",
      "models/phi3-longrope/model.safetensors>m/model.safetensors", IDS},
     {CAPTURE}},
    {"config.json",
     MUTANT_JSON,
     {"lens/gpt2/config.json>l/config.json", "lens/gpt2/params.pt>l/params.pt"},
     {"lens convert %F/l -o %O", "info %F/l"}},
    {"index",
     MUTANT_JSON,
     {"made/index>m/model.safetensors.index.json", CONFIG,
      "models/bloom-six-heads/model.safetensors>m/part.safetensors", IDS},
     {CAPTURE, "info %F/m"}},
    {"gzip",
     MUTANT_BINARY,
     {"made/text.gz>text.gz", "tokenizers/made-smollm/tokenizer.json>m/tokenizer.json"},
     {"tokenize %F/m --text %F/text.gz", "tokenize %F/m --text %F/text.gz --documents blank-line"}},
    {"zstd",
     MUTANT_BINARY,
     {"made/text.zst>text.zst", "tokenizers/made-smollm/tokenizer.json>m/tokenizer.json"},
     {"tokenize %F/m --text %F/text.zst",
      "tokenize %F/m --text %F/text.zst --documents blank-line"}},
    {"jsonl",
     MUTANT_JSON,
     {"made/lines>text.jsonl", "tokenizers/made-smollm/tokenizer.json>m/tokenizer.json"},
     {"tokenize %F/m --text %F/text.jsonl"}},
};
enum { N_TARGETS = sizeof targets / sizeof *targets };

typedef struct {
    const char *program, *golden, *keep;
    char folder[PATH_SIZE], output[PATH_SIZE + 8], out[PATH_SIZE + 8], err[PATH_SIZE + 8];
} place;

static void die(const char *what)
{
    fprintf(stderr, "mutate: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* Files that are no fixtures. */

static void write_bytes(const place *p, const char *name, const void *data, size_t size)
{
    char path[2 * PATH_SIZE];
    mutant m = {size, malloc(size ? size : 1)};
    if (!m.data) abort();
    memcpy(m.data, data, size);
    snprintf(path, sizeof path, "%s/made/%s", p->folder, name);
    if (mutant_write(&m, path) != 0) die(path);
    mutant_free(&m);
}

static const char text[] = "One line of text, with 123 and caf\xc3\xa9.\n\nAnother \xff one, and a "
                           "third: \xf0\x9f\x99\x82\n\n";

static void make_texts(const place *p)
{
    enum { TIMES = 20 };
    static const char lines[] =
        "{\"text\": \"One, two.\"}\n\n{\"text\": \"caf\\u00e9\", \"b\": 3}\n";
    char all[TIMES * sizeof text], packed[2 * sizeof all];
    size_t n = 0;
    for (int i = 0; i < TIMES; i++, n += sizeof text - 1) memcpy(all + n, text, sizeof text - 1);
    write_bytes(p, "text", all, n);
    write_bytes(p, "ids", "5 6 7 8\n1 0 3\n", 14);
    write_bytes(p, "lines", lines, sizeof lines - 1);
    z_stream z = {.next_in = (Bytef *)all,
                  .avail_in = (uInt)n,
                  .next_out = (Bytef *)packed,
                  .avail_out = sizeof packed};
    deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_FINISH);
    write_bytes(p, "text.gz", packed, z.total_out);
    deflateEnd(&z);
    write_bytes(p, "text.zst", packed, ZSTD_compress(packed, sizeof packed, all, n, 3));
}

/* A safetensors file of ones. */
static void make_tensors(const place *p, const char *name, const char *header, size_t n_floats)
{
    unsigned char data[4096] = {0};
    const size_t length = strlen(header);
    const float one = 1;
    data[0] = (unsigned char)(length & 255);
    data[1] = (unsigned char)(length >> 8);
    memcpy(data + 8, header, length);
    for (size_t i = 0; i < n_floats; i++) memcpy(data + 8 + length + 4 * i, &one, sizeof one);
    write_bytes(p, name, data, 8 + length + 4 * n_floats);
}

/* Eight ids as a .npy file. */
static void make_ids(const place *p)
{
    char data[128 + 64] = "\x93NUMPY\x01\x00\x76\x00{'descr': '<i8', 'fortran_order': False, "
                          "'shape': (2, 4), }";
    const size_t used = 10 + strlen(data + 10);
    memset(data + used, ' ', 127 - used);
    data[8] = 0x76, data[9] = 0, data[127] = '\n';
    for (int i = 0; i < 8; i++) data[128 + 8 * i] = (char)(i + 1);
    write_bytes(p, "ids.npy", data, sizeof data);
}

/* The index of a model of one part: names are what stands before ":{" in the header. */
static void make_index(const place *p)
{
    char path[2 * PATH_SIZE], *index = NULL;
    size_t size = 0;
    mutant m;
    snprintf(path, sizeof path, "%s/models/bloom-six-heads/model.safetensors", p->golden);
    if (mutant_read(&m, path) != 0) die(path);
    FILE *out = open_memstream(&index, &size);
    fprintf(out, "{\"weight_map\": {");
    bool first = true;
    for (size_t i = 8, start = 0; i + 3 < m.size && m.data[i]; i++) {
        if (m.data[i] == '"' && i + 2 < m.size && m.data[i + 1] == ':' && start &&
            memcmp(m.data + i + 2, "{\"dt", 4) == 0) {
            fprintf(out, "%s\"%.*s\": \"part.safetensors\"", first ? "" : ", ", (int)(i - start),
                    (const char *)m.data + start);
            first = false;
        }
        if (m.data[i] == '"') start = i + 1;
        if (m.data[i] == '}' && m.data[i + 1] == '}') break;
    }
    fprintf(out, "}}\n");
    fclose(out);
    write_bytes(p, "index", index, size);
    free(index);
    mutant_free(&m);
}

static void make_files(const place *p)
{
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/made", p->folder);
    if (mkdir(path, 0700) != 0) die(path);
    make_texts(p);
    make_ids(p);
    make_index(p);
    make_tensors(p, "v", "{\"v\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", 5);
    make_tensors(p, "v24", "{\"v\":{\"dtype\":\"F32\",\"shape\":[24],\"data_offsets\":[0,96]}}",
                 24);
    make_tensors(p, "decoder",
                 "{\"__metadata__\":{\"norm\":\"rmsnorm\",\"norm_eps\":\"1e-5\",\"logit_softcap\":"
                 "\"0\"},\"norm.weight\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]},"
                 "\"unembedding.weight\":{\"dtype\":\"F32\",\"shape\":[7,5],\"data_offsets\":[20,"
                 "160]}}",
                 40);
}

/* Folders. */

/* Removes a file or folder with what is in it. @return the number of files that there were */
static size_t remove_all(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return 0;
    if (!S_ISDIR(info.st_mode)) {
        unlink(path);
        return 1;
    }
    size_t n = 0;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char inner[2 * PATH_SIZE];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        n += remove_all(inner);
    }
    if (folder) closedir(folder);
    rmdir(path);
    return n;
}

/* Where "FROM>TO" comes from and goes to. */
static void paths_of(const place *p, const char *file, char from[2 * PATH_SIZE],
                     char to[2 * PATH_SIZE])
{
    const char *arrow = strchr(file, '>');
    const bool made = strncmp(file, "made/", 5) == 0;
    snprintf(from, 2 * PATH_SIZE, "%s/%.*s", made ? p->folder : p->golden, (int)(arrow - file),
             file);
    snprintf(to, 2 * PATH_SIZE, "%s/files/%s", p->folder, arrow + 1);
    for (char *slash = to + strlen(p->folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(to, 0700);
        *slash = '/';
    }
}

static void copy_files(const place *p, const target *t)
{
    char path[2 * PATH_SIZE], from[2 * PATH_SIZE], to[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/files", p->folder);
    remove_all(path);
    for (size_t i = 0; i < MOST_FILES && t->files[i]; i++) {
        mutant m;
        paths_of(p, t->files[i], from, to);
        if (mutant_read(&m, from) != 0) die(from);
        if (mutant_write(&m, to) != 0) die(to);
        mutant_free(&m);
    }
}

/* One run. */

static void expand(const place *p, const char *command, char *line, size_t size)
{
    size_t n = 0;
    for (; *command && n + 1 < size; command++) {
        if (*command != '%') {
            line[n++] = *command;
            continue;
        }
        command++;
        n += (size_t)snprintf(line + n, size - n, "%s%s", *command == 'O' ? p->output : p->folder,
                              *command == 'O' ? "" : "/files");
    }
    line[n < size ? n : size - 1] = 0;
}

/* Ends with the child, or a while after it should have. @return false: it hung, and was killed */
static bool wait_for(pid_t child, int *status)
{
    const struct timespec moment = {0, 2000000};
    const time_t until = time(NULL) + HANG_SECONDS;
    for (;;) {
        const pid_t ended = waitpid(child, status, WNOHANG);
        if (ended == child) return true;
        if (time(NULL) > until) break;
        nanosleep(&moment, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, status, 0);
    return false;
}

static bool start(const place *p, const char *line, int *status)
{
    char copy[8 * PATH_SIZE], program[PATH_SIZE], *argv[64] = {NULL};
    size_t argc = 0;
    snprintf(program, sizeof program, "%s", p->program);
    argv[argc++] = program;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word && argc < 63; word = strtok(NULL, " "))
        argv[argc++] = word;
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        const int in = open("/dev/null", O_RDONLY);
        const int out = open(p->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const int err = open(p->err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        execv(p->program, argv);
        _exit(98);
    }
    return wait_for(child, status);
}

/* Whether a captured file has NaN or infinity in a tensor of float32. */
static bool holds_nan(const char *path)
{
    mutant m;
    bool found = false;
    if (mutant_read(&m, path) != 0) return false;
    const size_t length = m.size > 8 ? m.data[0] + 256u * m.data[1] + 65536u * m.data[2] : 0;
    const char *header = (const char *)m.data + 8, *at = header;
    while (length && length + 8 <= m.size && !found) {
        static const char type[] = "\"dtype\":\"F32\"", offsets[] = "\"data_offsets\":[";
        const char *end = header + length;
        for (; at + sizeof type < end && memcmp(at, type, sizeof type - 1) != 0; at++) {
        }
        for (; at + sizeof offsets < end && memcmp(at, offsets, sizeof offsets - 1) != 0; at++) {
        }
        if (at + sizeof offsets >= end) break;
        char *comma;
        const size_t from = strtoull(at + sizeof offsets - 1, &comma, 10);
        const size_t to = strtoull(comma + 1, NULL, 10);
        for (size_t i = 8 + length + from; i < 8 + length + to && i + 4 <= m.size; i += 4) {
            float x;
            memcpy(&x, m.data + i, sizeof x);
            found |= !isfinite(x);
        }
    }
    mutant_free(&m);
    return found;
}

/* What is wrong with the end of a run; NULL: nothing. */
static const char *judge(const place *p, const char *line, bool ended, int status, char what[300])
{
    mutant err, out;
    if (!ended) return "hang";
    if (WIFSIGNALED(status)) {
        snprintf(what, 300, "signal %d", WTERMSIG(status));
        return what;
    }
    const int code = WEXITSTATUS(status);
    if (code == SANITIZER_STATUS) return "report of a sanitizer";
    if (code != 0 && code != 2) {
        snprintf(what, 300, "exit status %d", code);
        return what;
    }
    if (mutant_read(&err, p->err) != 0 || mutant_read(&out, p->out) != 0) die("output");
    const char *verdict = NULL;
    size_t lines = 0;
    for (size_t i = 0; i < err.size;) {
        static const char warning[] = "cbe: warning: ";
        const unsigned char *end = memchr(err.data + i, '\n', err.size - i);
        const size_t n = end ? (size_t)(end - err.data) - i : err.size - i;
        lines += n < sizeof warning || memcmp(err.data + i, warning, sizeof warning - 1) != 0;
        if (code == 2 && (n < 6 || memcmp(err.data + i, "cbe: ", 5) != 0))
            verdict = "a line that is no message";
        i += n + 1;
    }
    if (code == 2 && lines != 1) verdict = "a refusal that is not one line";
    const bool data = strstr(line, "--decode") != NULL; /* text that the user asked for */
    const unsigned bad = terminal_acts_on(err.data, err.size);
    const unsigned bad_out = data ? 0 : terminal_acts_on(out.data, out.size);
    if (bad || bad_out) {
        snprintf(what, 300, "U+%04X on standard %s", bad ? bad : bad_out, bad ? "error" : "output");
        verdict = what;
    }
    if (code == 0 && strncmp(line, "capture", 7) == 0 && holds_nan(p->output))
        verdict = "NaN or infinity captured";
    mutant_free(&err);
    mutant_free(&out);
    const size_t left = remove_all(p->output);
    return code != 0 && left ? "output left behind" : verdict;
}

static void copy_to(const place *p, const char *path, const char *stem, const char *what)
{
    char to[2 * PATH_SIZE];
    mutant m;
    snprintf(to, sizeof to, "%s/%s.%s", p->keep, stem, what);
    if (mutant_read(&m, path) != 0) return;
    mutant_write(&m, to);
    mutant_free(&m);
}

/* The damaged file, standard error and the command, to look at. */
static void keep(const place *p, const char *format, size_t run, const char *victim,
                 const char *line, const char *verdict)
{
    char stem[128], path[2 * PATH_SIZE];
    if (!p->keep) return;
    mkdir(p->keep, 0700);
    snprintf(stem, sizeof stem, "%s-%zu", format, run);
    copy_to(p, victim, stem, "input");
    copy_to(p, p->err, stem, "stderr");
    snprintf(path, sizeof path, "%s/%s.command", p->keep, stem);
    FILE *file = fopen(path, "w");
    if (!file) return;
    fprintf(file, "cbe %s\n%s\n", line, verdict);
    fclose(file);
}

/* Damages, runs, judges. @return 1 where something was found */
static size_t run_once(const place *p, const target *t, size_t run, uint64_t seed)
{
    char from[2 * PATH_SIZE], to[2 * PATH_SIZE], line[8 * PATH_SIZE], what[300];
    uint64_t state = seed ^ (run * 0xd1342543de82ef95);
    mutant m;
    size_t n_commands = 0;
    int status = 0;
    while (n_commands < MOST_COMMANDS && t->commands[n_commands]) n_commands++;
    mutant_random(&state, 2);
    copy_files(p, t);
    paths_of(p, t->files[0], from, to);
    if (mutant_read(&m, from) != 0) die(from);
    mutant_damage(&m, t->kind, &state);
    if (mutant_write(&m, to) != 0) die(to);
    mutant_free(&m);
    expand(p, t->commands[mutant_random(&state, n_commands)], line, sizeof line);
    const bool ended = start(p, line, &status);
    const char *verdict = judge(p, line, ended, status, what);
    if (!verdict) return 0;
    printf("%s:%zu: %s: cbe %s\n", t->format, run, verdict, line);
    fflush(stdout);
    keep(p, t->format, run, to, line, verdict);
    return 1;
}

/* Every set undamaged: what is refused then would hide everything. */
static void check_sets(const place *p)
{
    char line[8 * PATH_SIZE], what[300];
    for (size_t i = 0; i < N_TARGETS; i++) {
        copy_files(p, &targets[i]);
        for (size_t c = 0; c < MOST_COMMANDS && targets[i].commands[c]; c++) {
            int status = 0;
            expand(p, targets[i].commands[c], line, sizeof line);
            const bool ended = start(p, line, &status);
            const char *verdict = judge(p, line, ended, status, what);
            if (!verdict && WEXITSTATUS(status) == 0) continue;
            mutant err;
            if (mutant_read(&err, p->err) != 0) die(p->err);
            fprintf(stderr, "mutate: cbe %s: undamaged, but %s: %.*s\n", line,
                    verdict ? verdict : "refused", (int)err.size, (const char *)err.data);
            exit(2);
        }
    }
}

static bool is_format(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < N_TARGETS; i++) found |= strcmp(targets[i].format, name) == 0;
    return found;
}

static bool wanted(const char *format, int n, char **names)
{
    bool found = n == 0;
    for (int i = 0; i < n; i++) found |= strcmp(names[i], format) == 0;
    return found;
}

static void report(const size_t *runs, const size_t *findings)
{
    printf("\n| format | runs | findings |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < N_TARGETS; i++) {
        size_t n = 0, bad = 0, earlier = 0;
        for (size_t k = 0; k < N_TARGETS; k++) {
            if (strcmp(targets[k].format, targets[i].format) != 0) continue;
            earlier += k < i;
            n += runs[k];
            bad += findings[k];
        }
        if (!earlier && n) printf("| %s | %zu | %zu |\n", targets[i].format, n, bad);
    }
}

static int usage(void)
{
    fprintf(stderr,
            "usage: mutate PROGRAM GOLDEN [--seconds N] [--runs N] [--seed N] [--keep FOLDER] "
            "[--only FORMAT:RUN] [FORMAT]...\n");
    return 2;
}

int main(int argc, char **argv)
{
    size_t seconds = 0, most = 0, runs[N_TARGETS] = {0}, findings[N_TARGETS] = {0}, total = 0;
    uint64_t seed = 1;
    char *only = NULL, *colon = NULL;
    int n_names = 0;
    place p = {0};
    if (argc < 3) return usage();
    p.program = argv[1];
    p.golden = argv[2];
    char **names = argv + 3;
    for (int i = 3; i < argc; i++) {
        const bool more = i + 1 < argc;
        if (more && strcmp(argv[i], "--seconds") == 0)
            seconds = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--runs") == 0)
            most = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[++i], NULL, 10);
        else if (more && strcmp(argv[i], "--keep") == 0)
            p.keep = argv[++i];
        else if (more && strcmp(argv[i], "--only") == 0)
            only = argv[++i];
        else if (is_format(argv[i]))
            names[n_names++] = argv[i];
        else
            return usage();
    }
    if ((!seconds && !most && !only) || (only && !(colon = strrchr(only, ':')))) return usage();

    const char *temporary = getenv("TMPDIR");
    snprintf(p.folder, sizeof p.folder, "%s/cbe-mutate-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(p.folder)) die(p.folder);
    snprintf(p.output, sizeof p.output, "%s/output", p.folder);
    snprintf(p.out, sizeof p.out, "%s/stdout", p.folder);
    snprintf(p.err, sizeof p.err, "%s/stderr", p.folder);
    setenv("OMP_NUM_THREADS", "1", 0);
    setenv("ASAN_OPTIONS", "exitcode=99:detect_leaks=0", 0);
    setenv("UBSAN_OPTIONS", "exitcode=99:print_stacktrace=1", 0);
    make_files(&p);
    check_sets(&p);

    const time_t until = time(NULL) + (time_t)seconds;
    const size_t single = only ? strtoull(colon + 1, NULL, 10) : 0; /* told with its format */
    for (size_t run = single; only ? run == single : !most || run < most * N_TARGETS; run++) {
        const size_t i = run % N_TARGETS;
        if (seconds && time(NULL) >= until) break;
        if (!wanted(targets[i].format, n_names, names)) continue;
        findings[i] += run_once(&p, &targets[i], run, seed);
        runs[i]++;
    }
    remove_all(p.folder);
    report(runs, findings);
    for (size_t i = 0; i < N_TARGETS; i++) total += findings[i];
    return total ? 1 : 0;
}
