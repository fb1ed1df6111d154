/*
 * test_faults.c - every command of cbe, with every allocation, every write and every read failing
 * once; with standard descriptors closed; with a reader of its output who goes away; and with an
 * input that is truncated while it is read.
 *
 * A case is a small run of a command. Once it runs undisturbed, which says how many calls there are
 * and which versions of files it puts in place; then once for each call of each kind, in a process
 * forked for it, that call fails. What must hold is in docs/faults.md. Time stands still in these
 * runs, so that files that tell seconds can be compared byte by byte.
 *
 *   test_faults                            all cases, in two processes
 *   test_faults CASE [KIND:N[+][:ERROR]]   one case, or one fault of it and what the command says
 *
 * Cases inputs-... are of inputs that are removed or replaced before the n-th write.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#ifdef CBE_COVERAGE
#include <gcov.h>
#endif

#include "formats/safetensors.h"
#include "faults/inject.h"
#include "support/assert_close.h"
#include "support/listing.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

int cbe_main(int argc, char **argv); /* of src/cli/main.c, under this name */

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* ---- the runs ---- */

typedef struct {
    const char *name;
    const char *before; /* makes an input, in %F; NULL: all are there */
    /* makes what is in %O already, so that losing it would show; NULL: nothing is */
    const char *earlier;
    const char *line; /* the command; all that it writes is in %O */
    /* not run with the address sanitizer, where a process takes several times as long */
    bool slow;
    bool on; /* memory is also taken away for good: from the n-th allocation on */
} fault_case;

#define LLAMA  "%G/models/llama --tokens %F/ids.safetensors -t 1"
#define STATES "--hidden-states %H --decoder %E -t 1"

/* Those that take longest are first, so that two processes end at about the same time. */
static const fault_case cases[] = {
    {.name = "ablate",
     .slow = true,
     .before = "extract " LLAMA " -q -l 1 -k 1 --preset seed --max-iter 1 -o %F/basis",
     .line = "ablate " LLAMA " -q --basis %F/basis -o %O/effects"},
    {.name = "fidelity",
     .slow = true,
     .before = "extract " LLAMA " -q -l 1 -k 1 --preset seed --max-iter 1 -o %F/basis",
     .line = "fidelity " LLAMA " -q --directions 1 --basis %F/basis -o %O/fidelity"},
    {.name = "spectrum",
     .slow = true,
     .line = "spectrum " LLAMA " -q -l 1 --draws 1 --checkpoint-seconds 0 --resume -o %O/spectrum"},
    {.name = "extract-model",
     .slow = true,
     .line = "extract " LLAMA " -q --lens model -l 1 -k 1 --starts 1 --max-iter 1 --ablation "
             "resample --resume -o %O/result"},
    {.name = "lens-train",
     .slow = true,
     .on = true,
     .line = "lens train " LLAMA " -q --positions 0.5 --step-tokens 8 --held-out 0.3 "
             "--checkpoint-steps 1 --resume -o %O/lens"},
    {.name = "extract",
     .on = true,
     .earlier = "extract " STATES " -q -k 2 -l 0 --seed 7 --preset seed --max-iter 2 -o %O/result",
     .line = "extract " STATES
             " -q -k 2 -l 0 --starts 1 --max-iter 1 --held-out 0.25 --resume -o %O/result"},
    {.name = "extract-text",
     .slow = true,
     .line = "extract %G/gguf/tiny-llama/llama-q8_0.gguf --text %F/text.gz %F/text.zst -t 1 -q "
             "--lens affine --context-length 12 "
             "-l 1 -k 1 --starts 1 --max-iter 1 --resume -o %O/result"},
    {.name = "tokenize",
     .slow = true,
     .line = "tokenize %G/tokenizers/made-llama2 --text %F/short"},
    {.name = "lens-eval",
     .slow = true,
     .line = "lens eval " LLAMA " -q --lens %G/lens/llama -l 0-1 --layer-transfer -o %O/eval"},
    {.name = "lens-fit", .slow = true, .line = "lens fit " LLAMA " -q -o %O/lens"},
    {.name = "capture",
     .slow = true,
     .earlier = "capture " LLAMA " -q -l 0 -o %O/h.safetensors",
     .line = "capture " LLAMA " -q --logits -o %O/h.safetensors"},
    {.name = "probe",
     .on = true,
     .line = "probe " STATES " -q -l 0 --vectors-file %F/v.safetensors -o %O/p.safetensors --lens "
             "tuned=%G/lens/extract-rmsnorm"},
    {.name = "decoder", .slow = true, .line = "decoder %G/models/gpt2 -o %O/d.safetensors"},
    {.name = "lens-convert",
     .line = "lens convert %G/lens/extract-rmsnorm -o %O/lens --format safetensors"},
    {.name = "info-model", .line = "info %G/models/llama"},
    {.name = "info-gguf", .line = "info %G/gguf/tiny-llama/llama-q8_0.gguf"},
    {.name = "info-arrays", .line = "info %G/npy/states.npz"},
    {.name = "info-lens", .line = "info %G/lens/extract-rmsnorm"},
    {.name = "info-tensors", .line = "info %H"},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* Runs whose inputs, all of them in %I, change or vanish under way. */
static const struct {
    const char *name, *line;
    size_t n_inputs; /* files that are read */
} input_cases[] = {
    {"inputs-extract",
     "extract %I/model --tokens %I/ids.safetensors -t 1 -q -l 1 -k 2 --starts 1 --max-iter 1 "
     "--init %I/basis -o %O/result",
     5},
    {"inputs-text",
     "extract %I/llama.gguf --text %I/text.gz %I/text.zst %I/text.gz -t 1 -q --lens affine "
     "--context-length 12 -l 1 -k 1 "
     "--starts 1 --max-iter 1 -o %O/result",
     3},
    {"inputs-states",
     "extract --hidden-states %I/h.safetensors --decoder %I/d.safetensors --lens tuned=%I/lens -t "
     "1 -q -l 0 -k 2 --starts 1 "
     "--max-iter 1 --resume -o %O/result",
     4},
    {"inputs-probe",
     "probe --hidden-states %I/h.safetensors --decoder %I/d.safetensors --vectors-file "
     "%I/v.safetensors -t 1 -q -l 0 "
     "-o %O/p.safetensors",
     3},
    {"inputs-ablate",
     "ablate %I/model --tokens %I/ids.safetensors -t 1 -q --basis %I/basis -m 1 -o %O/effects", 5},
    {"inputs-capture", "capture %I/model --tokens %I/ids.safetensors -t 1 -q -o %O/h.safetensors",
     3},
    {"inputs-fit", "lens fit %I/model --tokens %I/ids.safetensors -t 1 -q -o %O/lens", 3},
    {"inputs-train",
     "lens train %I/llama.gguf --text %I/text.zst -t 1 -q --context-length 12 --step-tokens 8 "
     "--positions 0.5 --held-out 0.3 "
     "--checkpoint-steps 1 -o %O/lens",
     2},
    {"inputs-eval",
     "lens eval %I/llama.gguf --text %I/text.gz -t 1 -q --context-length 12 -o %O/eval", 2},
};
enum { N_INPUT_CASES = sizeof input_cases / sizeof *input_cases };

/* ---- what a run leaves ---- */

enum { OUTPUT = 1 << 16, ERRORS = 4096, MOST_HELD = 6, MOST_ARGS = 64 };

/* Of a run in a process of its own, in memory that both share. */
typedef struct {
    long counts[INJECT_N_KINDS];
    char failed[32];
    size_t held, descriptors;
    uintptr_t held_by[MOST_HELD];
    size_t n_versions, n_output;
    listed_file versions[LISTING_FILES]; /* put in place by rename, with what was in them then */
    char output[OUTPUT];
    /* written by the parent: */
    int status; /* exit status, or minus the signal */
    char errors[ERRORS];
} outcome;

static outcome *shared;
static char out_folder[600], gone_folder[600], in_folder[600], kept_folder[600];
static int errors_fd;

static void list_output(listing *out)
{
    listing_read(out, out_folder);
}

/* ---- running ---- */

int clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){1, 0};
    return 0;
}

/* What else befalls the child: descriptors that are closed, bit fd; and the line of standard output
 * from which on nobody reads, from 1, 0: all are read. */
static unsigned to_close;
static long unread_from;

static ssize_t take_output(void *unused, const char *data, size_t size)
{
    static long n_lines;
    (void)unused;
    if (unread_from && ++n_lines >= unread_from) {
        errno = EPIPE;
        return 0;
    }
    for (size_t done = 0; done < size;) {
        /* stdio goes on after a short write, as it does with files */
        const long n = inject_output(size - done);
        if (n < 0) return 0;
        assert_true(shared->n_output + (size_t)n <= OUTPUT);
        memcpy(shared->output + shared->n_output, data + done, (size_t)n);
        shared->n_output += (size_t)n;
        done += (size_t)n;
    }
    return (ssize_t)size;
}

static void note_renamed(const char *path)
{
    const size_t folder = strlen(out_folder);
    if (strncmp(path, out_folder, folder) != 0 || shared->n_versions == LISTING_FILES) return;
    listed_file *made = &shared->versions[shared->n_versions++];
    memset(made, 0, sizeof *made);
    snprintf(made->name, LISTING_NAME, "%s", path + folder + 1);
    made->hash = listing_hash_file(path);
}

static size_t open_descriptors(void)
{
    size_t n = 0;
    for (int fd = STDERR_FILENO + 1; fd < 64; fd++) n += fcntl(fd, F_GETFD) != -1;
    return n;
}

static void move_away(void)
{
    rename(out_folder, gone_folder);
}

/* In the child: runs the line with the fault, and ends. */
static void run_child(const char *line, const inject_fault *fault, bool note_versions)
{
    static char buffer[1 << 12];
    char copy[4096], *argv[MOST_ARGS] = {(char[]){"cbe"}};
    int argc = 1;
    alarm(1200);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word && argc < MOST_ARGS - 1; word = strtok(NULL, " "))
        argv[argc++] = word;
    dup2(errors_fd, STDERR_FILENO);
    const bool no_output = to_close >> STDOUT_FILENO & 1;
    stdout = no_output ? fdopen(STDOUT_FILENO, "w")
                       : fopencookie(NULL, "w", (cookie_io_functions_t){.write = take_output});
    setvbuf(stdout, buffer, unread_from ? _IOLBF : _IOFBF, sizeof buffer);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (to_close >> fd & 1) close(fd);
    inject_renamed = note_versions ? note_renamed : NULL;
    const size_t descriptors = open_descriptors();
    inject_begin(fault);
    const int status = cbe_main(argc, argv);
    inject_end();
    for (int i = 0; i < INJECT_N_KINDS; i++) shared->counts[i] = inject_count((inject_kind)i);
    snprintf(shared->failed, sizeof shared->failed, "%s", inject_failed());
    shared->held = inject_held();
    for (size_t i = 0; i < MOST_HELD && i < shared->held; i++)
        shared->held_by[i] = (uintptr_t)inject_held_by(i);
    shared->descriptors = open_descriptors() - descriptors;
#ifdef CBE_COVERAGE
    __gcov_dump(); /* _exit leaves out what it has counted */
#endif
    _exit(status);
}

static void run_line(const char *line, const inject_fault *fault, bool note_versions)
{
    int status;
    memset(shared, 0, offsetof(outcome, output));
    shared->errors[0] = 0;
    assert_int_equal(ftruncate(errors_fd, 0), 0);
    assert_int_equal(lseek(errors_fd, 0, SEEK_SET), 0);
    fflush(stdout);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) run_child(line, fault, note_versions);
    assert_int_equal(waitpid(child, &status, 0), child);
    const ssize_t n = pread(errors_fd, shared->errors, ERRORS - 1, 0);
    shared->errors[n > 0 ? n : 0] = 0;
    shared->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const inject_fault no_fault = {.n = 0};

/* %O, %I and what program_expand knows. */
static const char *expand(const char *line)
{
    static char text[4096];
    size_t n = 0;
    for (const char *c = program_expand(line); *c; c++) {
        if (c[0] == '%' && (c[1] == 'O' || c[1] == 'I')) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s",
                                  c[1] == 'O' ? out_folder : in_folder);
            c++;
        } else {
            text[n++] = *c;
        }
        assert_true(n < sizeof text - 1);
    }
    text[n] = 0;
    return text;
}

static void must_run(const char *line)
{
    run_line(expand(line), &no_fault, false);
    if (shared->status != 0)
        fail_msg("cbe %s: exit status %d: %s", line, shared->status, shared->errors);
}

/* ---- one case ---- */

extern char __executable_start;
static char earlier_folder[600];

typedef struct {
    const fault_case *what;
    bool begun;
    char line[4096];
    outcome calm; /* of the undisturbed run */
    listing earlier, final;
    size_t n_allowed;
    listed_file
        allowed[2 *
                LISTING_FILES]; /* earlier files, and all that the undisturbed run puts in place */
    size_t n_states;
    size_t n_lost;         /* runs that a truncated file ended */
    uint64_t states[4096]; /* states of %O that a run was seen to go on from to the same end */
} case_run;

static uint64_t hash_listing(const listing *files)
{
    return listing_hash(LISTING_BEGIN, files->files, files->n * sizeof *files->files);
}

static void copy_file(const char *from, const char *to)
{
    size_t size;
    char *data = temp_read(from, &size);
    temp_write(to, data, size);
    free(data);
}

/* Files of a folder and its folders, to another, which is emptied before. */
static void copy_folder(const char *from, const char *to)
{
    temp_clear(to);
    DIR *dir = opendir(from);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[1200], copy[1200];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", from, entry->d_name);
        snprintf(copy, sizeof copy, "%s/%s", to, entry->d_name);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            copy_folder(path, copy);
        else
            copy_file(path, copy);
    }
    if (dir) closedir(dir);
}

/* %O as it is before the command. */
static void reset_output(const case_run *r)
{
    listing now;
    list_output(&now);
    if (r->begun && listing_same(&now, &r->earlier)) return;
    copy_folder(earlier_folder, out_folder);
}

static void begin_case(case_run *r, const fault_case *what)
{
    r->what = what;
    r->n_allowed = r->n_states = 0;
    r->begun = false;
    temp_clear(out_folder);
    temp_clear(gone_folder);
    rmdir(gone_folder);
    if (what->before) must_run(what->before);
    if (what->earlier) must_run(what->earlier);
    copy_folder(out_folder, earlier_folder);
    list_output(&r->earlier);
    snprintf(r->line, sizeof r->line, "%s", expand(what->line));
    run_line(r->line, &no_fault, true);
    for (size_t i = 0; i < r->earlier.n; i++) r->allowed[r->n_allowed++] = r->earlier.files[i];
    for (size_t i = 0; i < shared->n_versions; i++)
        r->allowed[r->n_allowed++] = shared->versions[i];
    reset_output(r);
    run_line(r->line, &no_fault, false);
    if (shared->status != 0)
        fail_msg("%s: exit status %d: %s", r->line, shared->status, shared->errors);
    r->calm = *shared;
    list_output(&r->final);
    r->states[r->n_states++] = hash_listing(&r->final);
    r->begun = true;
}

static char fault_text[100];

static void describe_fault(const inject_fault *fault)
{
    const char *error = fault->error ? strerrorname_np(fault->error) : NULL;
    snprintf(fault_text, sizeof fault_text, "%s:%ld%s:%s", inject_kind_name(fault->kind), fault->n,
             fault->on ? "+" : "",
             fault->way == INJECT_SHORT    ? "short"
             : fault->way == INJECT_VANISH ? "vanish"
                                           : error);
}

#define wrong(r, ...)                                                                              \
    do {                                                                                           \
        print_error("%s %s (%s): ", (r)->what->name, fault_text, shared->failed);                  \
        print_error(__VA_ARGS__);                                                                  \
        print_error("\n");                                                                         \
        n_wrong++;                                                                                 \
    } while (0)
static size_t n_wrong;
enum { MOST_WRONG = 100 };

static bool is_temporary(const char *name)
{
    const size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".tmp") == 0;
}

static void check_files(const case_run *r, const inject_fault *fault, const listing *now)
{
    const bool may_stay = fault->way == INJECT_VANISH || strcmp(shared->failed, "unlink") == 0;
    for (size_t i = 0; i < now->n; i++) {
        bool known = may_stay && is_temporary(now->files[i].name);
        for (size_t k = 0; k < r->n_allowed && !known; k++)
            known = memcmp(&now->files[i], &r->allowed[k], sizeof(listed_file)) == 0;
        if (!known) wrong(r, "%s is left, which is no whole version of a file", now->files[i].name);
    }
    size_t kept = 0;
    for (size_t i = 0; i < r->earlier.n; i++) {
        const listed_file *file = listing_find(now, r->earlier.files[i].name);
        kept += file && file->hash == r->earlier.files[i].hash;
    }
    /* Two files cannot take their places in one step: only a rename that fails can part them. */
    const bool may_part = fault->way == INJECT_VANISH || strcmp(shared->failed, "rename") == 0;
    if (kept > 0 && kept < r->earlier.n && !may_part)
        wrong(r, "%zu of %zu earlier files were replaced", r->earlier.n - kept, r->earlier.n);
    for (size_t i = 0; i < r->earlier.n; i++)
        if (!listing_find(now, r->earlier.files[i].name))
            wrong(r, "%s was there before and is lost", r->earlier.files[i].name);
}

/* What follows the warnings. */
static const char *behind_warnings(const char *errors)
{
    static const char warning[] = "cbe: warning: ";
    const char *line = errors;
    for (const char *end;
         strncmp(line, warning, sizeof warning - 1) == 0 && (end = strchr(line, '\n'));)
        line = end + 1;
    return line;
}

/* What the program says: one line, with the reason. */
static void check_message(const case_run *r, const inject_fault *fault)
{
    const char *line = behind_warnings(shared->errors), *end = strchr(line, '\n');
    const char *reason = fault->kind == INJECT_MEMORY  ? "memory"
                         : fault->way == INJECT_VANISH ? ""
                                                       : strerror(fault->error);
    if (strncmp(line, "cbe: ", 5) != 0 || !end || end[1])
        wrong(r, "exit status %d, and not one line on standard error: %s", shared->status, line);
    else if (!strstr(line, reason) && !strstr(line, "standard output cannot be written: a part"))
        wrong(r, "'%s' is not in the message: %s", reason, line);
}

static void check_run(const case_run *r, const inject_fault *fault, const listing *now)
{
    const int most = fault->way == INJECT_VANISH ? 2 : 1;
    if (shared->status < 0 || shared->status > most) {
        wrong(r, shared->status < 0 ? "ended by signal %d: %s" : "exit status %d: %s",
              abs(shared->status), shared->errors);
        return;
    }
    if (shared->status == 0) {
        if (*behind_warnings(shared->errors))
            wrong(r, "exit status 0, but it says: %s", shared->errors);
        if (shared->n_output != r->calm.n_output ||
            memcmp(shared->output, r->calm.output, shared->n_output) != 0)
            wrong(r, "exit status 0, but standard output differs");
        if (!listing_same(now, &r->final) && fault->way != INJECT_VANISH &&
            strcmp(shared->failed, "unlink") != 0)
            wrong(r, "exit status 0, but the files differ");
    } else {
        check_message(r, fault);
    }
    if (shared->held > r->calm.held) {
        wrong(r, "%zu blocks are not freed, asked for at +%#lx, +%#lx, +%#lx of the program",
              shared->held, (unsigned long)(shared->held_by[0] - (uintptr_t)&__executable_start),
              (unsigned long)(shared->held_by[1] - (uintptr_t)&__executable_start),
              (unsigned long)(shared->held_by[2] - (uintptr_t)&__executable_start));
    }
    if (shared->descriptors) wrong(r, "%zu files stay open", shared->descriptors);
    check_files(r, fault, now);
}

/* The same command again, from what the fault left. */
static void check_again(case_run *r, const listing *left)
{
    const uint64_t state = hash_listing(left);
    listing now;
    for (size_t i = 0; i < r->n_states; i++)
        if (r->states[i] == state) return;
    run_line(r->line, &no_fault, false);
    list_output(&now);
    size_t n = 0; /* what a failed unlink left stays */
    for (size_t i = 0; i < now.n; i++)
        if (!is_temporary(now.files[i].name)) now.files[n++] = now.files[i];
    now.n = n;
    if (shared->status != 0)
        wrong(r, "run again: exit status %d: %s", shared->status, shared->errors);
    else if (!listing_same(&now, &r->final))
        wrong(r, "run again: other files than those of an undisturbed run");
    else if (r->n_states < sizeof r->states / sizeof *r->states)
        r->states[r->n_states++] = state;
}

/* With descriptors closed: the same files; the status tells of output that was lost, and a line
 * does if it can. */
static void try_closed(case_run *r, unsigned closed)
{
    listing now;
    const bool lost = closed >> STDOUT_FILENO & 1 && r->calm.n_output > 0;
    snprintf(fault_text, sizeof fault_text, "closed:%u", closed);
    reset_output(r);
    to_close = closed;
    run_line(r->line, &no_fault, false);
    to_close = 0;
    list_output(&now);
    if (shared->status != (lost ? 1 : 0))
        wrong(r, "exit status %d: %s", shared->status, shared->errors);
    if (!listing_same(&now, &r->final)) wrong(r, "the files differ");
    if (!(closed >> STDOUT_FILENO & 1) &&
        (shared->n_output != r->calm.n_output ||
         memcmp(shared->output, r->calm.output, shared->n_output) != 0))
        wrong(r, "standard output differs");
    const bool shut = closed >> STDERR_FILENO & 1;
    const char *errors = lost && !shut ? behind_warnings(shared->errors) : shared->errors;
    const char *expected = shut   ? ""
                           : lost ? "cbe: standard output cannot be written: Bad file descriptor\n"
                                  : r->calm.errors;
    if (strcmp(errors, expected) != 0) wrong(r, "on standard error: %s", shared->errors);
    if (shared->descriptors) wrong(r, "%zu files stay open", shared->descriptors);
}

/* Nobody reads standard output from this line on: the same files, status 1 and a line. @return
 * whether there was such a line */
static bool try_unread(case_run *r, long line)
{
    listing now;
    snprintf(fault_text, sizeof fault_text, "unread:%ld", line);
    reset_output(r);
    unread_from = line;
    run_line(r->line, &no_fault, false);
    unread_from = 0;
    list_output(&now);
    if (!listing_same(&now, &r->final)) wrong(r, "the files differ");
    if (shared->status == 0 && shared->n_output == r->calm.n_output) return false;
    const char *said = behind_warnings(shared->errors), *end = strchr(said, '\n');
    if (shared->status != 1) wrong(r, "exit status %d: %s", shared->status, shared->errors);
    if (strncmp(said, "cbe: standard output cannot be written: ", 40) != 0 || !end || end[1])
        wrong(r, "on standard error: %s", shared->errors);
    return true;
}

static void try_fault(case_run *r, const inject_fault *fault)
{
    listing now;
    describe_fault(fault);
    reset_output(r);
    run_line(r->line, fault, false);
    if (fault->way == INJECT_VANISH && access(gone_folder, F_OK) == 0) {
        temp_clear(out_folder);
        rmdir(out_folder);
        assert_int_equal(rename(gone_folder, out_folder), 0);
    }
    list_output(&now);
    check_run(r, fault, &now);
    check_again(r, &now);
}

static const inject_fault kinds[] = {
    {.kind = INJECT_MEMORY, .error = ENOMEM},
    {.kind = INJECT_MEMORY, .error = ENOMEM, .on = true},
    {.kind = INJECT_WRITE, .error = EIO},
    {.kind = INJECT_WRITE, .error = ENOSPC, .on = true},
    {.kind = INJECT_WRITE, .way = INJECT_SHORT},
    {.kind = INJECT_WRITE, .way = INJECT_VANISH, .vanish = move_away},
    {.kind = INJECT_READ, .error = EIO},
};

static bool run_case(const fault_case *what)
{
    static case_run run;
    size_t runs = 0;
    begin_case(&run, what);
    n_wrong = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (kinds[k].kind == INJECT_MEMORY && kinds[k].on && (!what->on || SANITIZED)) continue;
        for (long n = 1; n <= run.calm.counts[kinds[k].kind] && n_wrong < MOST_WRONG; n++, runs++) {
            inject_fault fault = kinds[k];
            fault.n = n;
            try_fault(&run, &fault);
        }
    }
    for (unsigned closed = 1; closed < 8 && n_wrong < MOST_WRONG; closed++, runs++)
        try_closed(&run, closed);
    for (long line = 1; n_wrong < MOST_WRONG && try_unread(&run, line); line++) runs++;
    print_message(
        "%-14s %5ld allocations, %3ld writes, %3ld reads: %5zu faults, %zu states to go on from\n",
        what->name, run.calm.counts[INJECT_MEMORY], run.calm.counts[INJECT_WRITE],
        run.calm.counts[INJECT_READ], runs, run.n_states - 1);
    return n_wrong == 0;
}

/* ---- inputs ---- */

static void remove_inputs(void)
{
    temp_clear(in_folder);
}

/* Each file is another one of the same length, which is neither a model nor a text: gzip's magic
 * number, and no more of gzip. */
static void replace_files(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[1200], other[1300];
        struct stat info;
        size_t size;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(other, sizeof other, "%s~", path);
        if (path[strlen(path) - 1] == '~') continue;
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
            replace_files(path);
            continue;
        }
        char *data = temp_read(path, &size);
        memset(data, 'x', size);
        if (size > 1) memcpy(data, "\x1f\x8b", 2);
        temp_write(other, data, size);
        free(data);
        assert_int_equal(rename(other, path), 0);
    }
    if (dir) closedir(dir);
}

static void replace_inputs(void)
{
    replace_files(in_folder);
}

/* How many lines there are, all of them warnings that name a file of the inputs; SIZE_MAX: there is
 * another one. */
static size_t count_warnings(const char *errors)
{
    static const char begin[] = "cbe: warning: ";
    size_t n = 0;
    for (const char *line = errors, *end; *line; line = end + 1) {
        if (!(end = strchr(line, '\n'))) return SIZE_MAX;
        const char *verdict = strstr(line, ": no mere removal: "),
                   *lens = strstr(line, ": the lens was fitted on the text that");
        /* of vectors and lenses, not of files */
        if ((verdict && verdict < end) || (lens && lens < end)) continue;
        if (strncmp(line, begin, strlen(begin)) != 0 ||
            strncmp(line + strlen(begin), in_folder, strlen(in_folder)) != 0)
            return SIZE_MAX;
        n++;
    }
    return n;
}

/* Inputs go before the n-th write. Before they are read this is an error that names one; once they
 * are, the results are those of an undisturbed run, and each file is warned of. @return whether
 * they were read */
static bool try_inputs(const case_run *r, const inject_fault *fault, size_t n_inputs, bool read,
                       bool last)
{
    listing now;
    describe_fault(fault);
    reset_output(r);
    copy_folder(kept_folder, in_folder);
    run_line(r->line, fault, false);
    list_output(&now);
    if (shared->status != 0) {
        const char *end = strchr(shared->errors, '\n');
        if (read)
            wrong(r, "exit status %d after the inputs were read: %s", shared->status,
                  shared->errors);
        if (!strstr(shared->errors, in_folder) || !end || end[1])
            wrong(r, "exit status %d, and not one line that names an input: %s", shared->status,
                  shared->errors);
        check_files(r, fault, &now);
        return false;
    }
    const size_t n = count_warnings(shared->errors);
    if (n != n_inputs && !(last && n == 0))
        wrong(r, "%zu files are not warned of: %s", n_inputs, shared->errors);
    if (!listing_same(&now, &r->final)) wrong(r, "the files differ");
    if (shared->n_output != r->calm.n_output ||
        memcmp(shared->output, r->calm.output, shared->n_output) != 0)
        wrong(r, "standard output differs");
    return true;
}

static bool run_input_case(size_t which)
{
    static case_run run;
    static void (*const changes[])(void) = {remove_inputs, replace_inputs};
    const fault_case what = {.name = input_cases[which].name, .line = input_cases[which].line};
    size_t runs = 0, tried_after = 0;
    copy_folder(kept_folder, in_folder);
    begin_case(&run, &what);
    n_wrong = 0;
    for (size_t c = 0; c < 2; c++) {
        const long n_writes = run.calm.counts[INJECT_WRITE];
        bool read = false;
        for (long n = 1; n <= n_writes && n_wrong < MOST_WRONG; n++, runs++) {
            const inject_fault fault = {
                .kind = INJECT_WRITE, .n = n, .way = INJECT_VANISH, .vanish = changes[c]};
            read = try_inputs(&run, &fault, input_cases[which].n_inputs, read, n + 1 >= n_writes);
            tried_after += read;
        }
        if (!read) wrong(&run, "the inputs were never read");
    }
    print_message("%-14s %5zu runs, in %zu of them after the inputs were read\n", what.name, runs,
                  tried_after);
    return n_wrong == 0;
}

/* ---- inputs that are truncated ---- */

static const struct {
    fault_case run;
    const char *source, *input; /* input: a copy of source, which the line reads */
} truncations[] = {
    {{.name = "truncated hidden states",
      .line = "probe --hidden-states %F/cut.safetensors --decoder %E -t 1 -q -l 0-1 --vectors-file "
              "%F/v.safetensors -o %O/p.safetensors"},
     "%H",
     "%F/cut.safetensors"},
    {{.name = "truncated decoder",
      .line = "probe --hidden-states %H --decoder %F/cut.safetensors -t 1 -q -l 0 --vectors-file "
              "%F/v.safetensors -o %O/p.safetensors"},
     "%E",
     "%F/cut.safetensors"},
    {{.name = "truncated model",
      .slow = true,
      .line = "capture %F/cut.gguf --text %F/short -t 1 -q -o %O/h.safetensors"},
     "%G/gguf/tiny-llama/llama-q8_0.gguf",
     "%F/cut.gguf"},
    {{.name = "truncated ids",
      .slow = true,
      .line = "lens fit %G/models/llama --tokens %F/cut.safetensors -t 1 -q -o %O/lens"},
     "%F/ids.safetensors",
     "%F/cut.safetensors"},
    {{.name = "truncated arrays", .line = "info %F/cut.npz"}, "%G/npy/states.npz", "%F/cut.npz"},
};
enum { N_TRUNCATIONS = sizeof truncations / sizeof *truncations, CUTS = 200 };

static char input_path[600];

static void cut_input(void)
{
    if (truncate(input_path, 0) != 0) _exit(126);
}

/* Before an allocation or a read, another process empties the file: the run ends as if it had not,
 * or by a line that names the file. */
static void try_cut(case_run *r, inject_kind kind, long n)
{
    const inject_fault fault = {.kind = kind, .n = n, .way = INJECT_VANISH, .vanish = cut_input};
    listing now;
    describe_fault(&fault);
    reset_output(r);
    run_line(r->line, &fault, false);
    list_output(&now);
    const char *line = behind_warnings(shared->errors), *end = strchr(line, '\n');
    if (shared->status < 0 || shared->status > 2)
        wrong(r, "status %d: %s", shared->status, shared->errors);
    else if (shared->status > 0 &&
             (strncmp(line, "cbe: ", 5) != 0 || !strstr(line, input_path) || !end || end[1]))
        wrong(r, "exit status %d, and not one line with the file: %s", shared->status,
              shared->errors);
    else if (shared->status == 0 &&
             (*line || !listing_same(&now, &r->final) || shared->n_output != r->calm.n_output))
        wrong(r, "exit status 0, but another result: %s", shared->errors);
    check_files(r, &fault, &now);
    r->n_lost += shared->status == 1 && strstr(line, "truncated while it was in use") != NULL;
}

static bool run_truncation(size_t i)
{
    static case_run run;
    size_t runs = 0;
    n_wrong = 0;
    snprintf(input_path, sizeof input_path, "%s", program_expand(truncations[i].input));
    copy_file(program_expand(truncations[i].source), input_path);
    begin_case(&run, &truncations[i].run);
    run.n_lost = 0;
    for (int kind = INJECT_MEMORY; kind < INJECT_N_KINDS; kind++) {
        const long n_calls = run.calm.counts[kind], step = n_calls / CUTS + 1;
        for (long n = 1; kind != INJECT_WRITE && n <= n_calls && n_wrong < MOST_WRONG;
             n += step, runs++) {
            copy_file(program_expand(truncations[i].source), input_path);
            try_cut(&run, (inject_kind)kind, n);
        }
    }
    unlink(input_path);
    print_message("%-24s %4zu moments, %zu of them in the middle of reading it\n",
                  truncations[i].run.name, runs, run.n_lost);
    return n_wrong == 0;
}

/* ---- all of them ---- */

static void write_compressed(const char *text)
{
    unsigned char packed[2000];
    const size_t length = strlen(text);
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)length;
    z.next_out = packed;
    z.avail_out = sizeof packed;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    temp_write(program_expand("%F/text.gz"), packed, sizeof packed - z.avail_out);
    deflateEnd(&z);
    temp_write(program_expand("%F/text.zst"), packed,
               ZSTD_compress(packed, sizeof packed, text, length, 3));
}

static void make_inputs(void)
{
    enum { N_SEQUENCES = 4, LENGTH = 8 };
    static const char text[] =
        "A basis is causal when what is taken out of it changes what comes out. Each direction is "
        "found by "
        "how much the output moves when it is gone, and the next among those that are left.\n";
    cbe_error err;
    double v[2 * 64];
    cbe_test_random random = {3};
    cbe_safetensors *hidden = NULL;
    write_compressed(text);
    temp_write(program_expand("%F/short"), "the sun\n", 8);
    cbe_assert_ok(cbe_safetensors_open(&hidden, program_expand("%H"), &err), &err);
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_get(hidden, "hidden_states.0", &t, &err), &err);
    const size_t d = t.dims[t.n_dims - 1];
    assert_true(d <= 64);
    cbe_safetensors_close(hidden);
    for (size_t i = 0; i < 2 * d; i++) v[i] = cbe_test_normal(&random);
    int64_t ids[N_SEQUENCES * LENGTH];
    for (size_t i = 0; i < N_SEQUENCES * LENGTH; i++)
        ids[i] = (int64_t)(cbe_test_uniform(&random) * 60);
    write_tensor("%F/ids.safetensors", "input_ids", CBE_I64, N_SEQUENCES, LENGTH, ids);
    write_tensor("%F/v.safetensors", "v", CBE_F64, 2, d, v);
}

/* The inputs that change: %F/kept has them as they are. */
static void keep_inputs(void)
{
    static const char *const folders[] = {"%F/kept", "%F/kept/model", "%F/kept/lens",
                                          "%F/kept/basis"};
    static const char *const files[][2] = {
        {"%G/models/llama/config.json", "%F/kept/model/config.json"},
        {"%G/models/llama/model.safetensors", "%F/kept/model/model.safetensors"},
        {"%G/gguf/tiny-llama/llama-q8_0.gguf", "%F/kept/llama.gguf"},
        {"%G/lens/extract-rmsnorm/config.json", "%F/kept/lens/config.json"},
        {"%G/lens/extract-rmsnorm/params.pt", "%F/kept/lens/params.pt"},
        {"%H", "%F/kept/h.safetensors"},
        {"%E", "%F/kept/d.safetensors"},
        {"%F/v.safetensors", "%F/kept/v.safetensors"},
        {"%F/ids.safetensors", "%F/kept/ids.safetensors"},
        {"%F/text.gz", "%F/kept/text.gz"},
        {"%F/text.zst", "%F/kept/text.zst"},
    };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        temp_clear(program_expand(folders[i]));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        copy_file(program_expand(files[i][0]), program_expand(files[i][1]));
    must_run("extract " LLAMA " -q -l 1 -k 1 --preset seed --max-iter 1 -o %F/kept/basis");
}

/* @return the folder, to temp_folder_remove */
static void *set_up(void)
{
    void *state = NULL;
    assert_int_equal(program_set_up(&state), 0);
    snprintf(out_folder, sizeof out_folder, "%s/out", (char *)state);
    snprintf(gone_folder, sizeof gone_folder, "%s/gone", (char *)state);
    snprintf(in_folder, sizeof in_folder, "%s/in", (char *)state);
    snprintf(kept_folder, sizeof kept_folder, "%s/kept", (char *)state);
    snprintf(earlier_folder, sizeof earlier_folder, "%s/earlier", (char *)state);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    errors_fd = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(errors_fd >= 0);
    make_inputs();
    keep_inputs();
    return state;
}

/* Threads would make the calls come in any order; and memory is faster than a disk. */
static void choose_surroundings(char **argv)
{
    if (getenv("OPENBLAS_NUM_THREADS")) return;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
    execv("/proc/self/exe", argv);
}

/* One fault, and what the command says. */
static void show_fault(const fault_case *what, const char *text)
{
    static case_run run;
    inject_fault fault;
    if (!inject_parse(&fault, text)) fail_msg("%s: not KIND:N[+][:ERROR]", text);
    begin_case(&run, what);
    describe_fault(&fault);
    run_line(run.line, &fault, false);
    print_message("%s %s: status %d%s%s\n%s", what->name, fault_text, shared->status,
                  *shared->failed ? ", failed " : "", shared->failed, shared->errors);
}

/* Takes cases until none is left. */
static int work(atomic_size_t *next, const char *name, const char *fault)
{
    int status = 0;
    void *folder = set_up();
    for (size_t i; (i = atomic_fetch_add(next, 1)) < N_CASES + N_INPUT_CASES + N_TRUNCATIONS;) {
        if (i >= N_CASES + N_INPUT_CASES) {
            const size_t t = i - N_CASES - N_INPUT_CASES;
            const fault_case *what = &truncations[t].run;
            if (name ? strcmp(name, what->name) == 0 && !fault : !(what->slow && SANITIZED))
                status |= !run_truncation(t);
            continue;
        }
        if (i >= N_CASES) {
            const char *case_name = input_cases[i - N_CASES].name;
            if (name ? strcmp(name, case_name) == 0 : !SANITIZED)
                status |= !run_input_case(i - N_CASES);
            continue;
        }
        if (name ? strcmp(name, cases[i].name) != 0 : cases[i].slow && SANITIZED) continue;
        if (fault)
            show_fault(&cases[i], fault);
        else if (!run_case(&cases[i]))
            status = 1;
    }
    temp_folder_remove(&folder);
    return status;
}

int main(int argc, char **argv)
{
    int failures = 0;
    choose_surroundings(argv);
    atomic_size_t *next =
        mmap(NULL, sizeof *next, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int workers = argc > 1 || sysconf(_SC_NPROCESSORS_ONLN) < 2 ? 1 : 2;
    for (int i = 0; i < workers; i++)
        if (fork() == 0) _exit(work(next, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL));
    for (int status; wait(&status) > 0;) failures += status != 0;
    return failures != 0;
}
