/* What the commands write, looked at before any work: every file of every command with something in
 * its place, every input as an output, and folders in use. What is refused leaves all files as they
 * were. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "files/folder_lock.h"
#include "support/assert_close.h"
#include "support/listing.h"
#include "support/program.h"
#include "support/random.h"
#include "support/temp_folder.h"
#include "support/tensor_file.h"

enum { MOST_OUTPUTS = 8, NOBODY = 65534, SKIPPED = 77 };

#define IDS "--tokens %F/ids.safetensors -t 1 -q"

/* Each command: as it runs, and with an input that is not there and would be read after outputs
 * were looked at. */
typedef struct {
    const char *line, *broken,
        *missing; /* to which " -o PATH" is added; what the message of a broken run names */
    bool folder;  /* what -o names */
    const char *outputs[MOST_OUTPUTS]; /* of a folder */
} command;

static const command commands[] = {
    {"capture %G/models/llama " IDS,
     "capture %G/models/llama --tokens %F/none",
     "none",
     false,
     {NULL}},
    {"decoder %G/models/llama", "decoder %F/none", "none", false, {NULL}},
    {"probe --hidden-states %H --decoder %E -q -l 0 --vectors-file %F/v.safetensors",
     "probe --hidden-states %H --decoder %E -l 0 --vectors-file %F/none",
     "none",
     false,
     {NULL}},
    {"extract --hidden-states %H --decoder %E -q -t 1 -l 0 -k 1 --preset seed --max-iter 1",
     "extract --hidden-states %F/none --decoder %F/none",
     "none",
     true,
     {"basis.safetensors", "basis.json", "vectors.csv", "checkpoint.safetensors"}},
    {"ablate %G/models/llama " IDS " -l 1 --basis %F/basis",
     "ablate %G/models/llama --tokens %F/none -l 1 --basis %F/basis",
     "none",
     true,
     {"ablate.json", "ablate.csv", "ablate-1.svg"}},
    {"lens fit %G/models/llama " IDS,
     "lens fit %F/none --tokens %F/none",
     "none",
     true,
     {"params.pt", "config.json"}},
    {"lens fit %G/models/llama " IDS " --format safetensors",
     "lens fit %F/none --tokens %F/none --format safetensors",
     "none",
     true,
     {"params.safetensors", "config.json"}},
    {"lens train %G/models/llama " IDS " --positions 0.5 --step-tokens 8 --held-out 0.3",
     "lens train %F/none --tokens %F/none",
     "none",
     true,
     {"params.pt", "config.json", "train.csv", "train.svg", "checkpoint.safetensors"}},
    {"lens eval %G/models/llama " IDS " -l 0-1 --layer-transfer --lens %G/lens/llama %F/lens",
     "lens eval %F/none --tokens %F/none --layer-transfer --lens %G/lens/llama %F/lens",
     "none",
     true,
     {"eval.json", "eval.csv", "eval.svg", "transfer.csv", "transfer.svg", "transfer-2.svg"}},
    {"lens convert %G/lens/llama",
     "lens convert %F/broken-lens",
     "broken-lens",
     true,
     {"params.safetensors", "config.json"}},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static cbe_error err;

static const char *with_output(const char *line, const char *output)
{
    static char text[2][1800];
    static unsigned next;
    char *out = text[next++ % 2];
    snprintf(out, sizeof text[0], "%s -o %s", line, output);
    return out;
}

/* The command must refuse, before its inputs are read, in one line that says this. */
static void refused(const char *line, const char *said)
{
    const int status = program_run(line);
    const char *end = strchr(program_err, '\n');
    if (status != 2 || *program_out || strncmp(program_err, "cbe: ", 5) != 0 || !end || end[1] ||
        !strstr(program_err, program_expand(said)))
        fail_msg("%s: exit status %d, not one line with '%s': %s%s", line, status,
                 program_expand(said), program_out, program_err);
}

/* The program's split at blanks cannot give an empty argument. */
static void empty_name(const command *c)
{
    char option[400];
    snprintf(option, sizeof option, "%s --output=", c->broken);
    refused(option, "has an empty name");
}

static void output__that_cannot_be_written_is_found_before_the_work(void **state)
{
    (void)state;
    char name[400];
    temp_write(program_expand("%F/plain"), "x", 1);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const command *c = &commands[i];
        /* What follows is refused for its output: with a good one it is an input that is named. */
        temp_clear(program_expand("%F/out"));
        refused(with_output(c->broken, c->folder ? "%F/out" : "%F/out/file"), c->missing);
        empty_name(c);
        refused(with_output(c->broken, "%F/plain/x"), "Not a directory");
        refused(with_output(c->broken, c->folder ? "%F/gone/x" : "%F/gone/x"),
                "No such file or directory");
        snprintf(name, sizeof name, "%%F/%0300d", 1);
        refused(with_output(c->broken, name), "File name too long");
        refused(with_output(c->broken, c->folder ? "%F/plain" : "%F/out"),
                c->folder ? "is not a folder" : "is a directory");
        refused(with_output(c->broken, "/dev/null"),
                c->folder ? "is not a folder" : "device or pipe");
        if (!c->folder) {
            refused(with_output(c->broken, "%F/plain/"), "%F/plain/");
            refused(with_output(c->broken, "%F/new/"), "ends in a slash");
            refused(with_output(c->broken, "/proc/self/fd/1"), "stands for a file that is open");
            refused(with_output(c->broken, "/dev/fd/2"), "stands for a file that is open");
            if (access("/dev/stdout", F_OK) == 0)
                refused(with_output(c->broken, "/dev/stdout"), "stands for a file that is open");
            refused(with_output(c->broken, "/proc/version-of-mine"), "/proc");
            refused(with_output(c->broken, "%F/stdout"), "%F/stdout: is open as standard output");
            refused(with_output(c->broken, "%F/stderr"), "%F/stderr: is open as standard error");
        }
    }
}

/* As another user where the test runs as root. */
static void without_permission(void)
{
    if (geteuid() == 0 &&
        (chmod(program_expand("%F"), 0777) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(SKIPPED);
    if (access(getenv("CBE_PROGRAM"), X_OK) != 0 || access(program_expand("%E"), R_OK) != 0)
        _exit(SKIPPED); /* a private checkout */
    for (size_t i = 0; i < N_COMMANDS; i++)
        for (int inside = 0; inside < 2; inside++) {
            if (inside && !commands[i].folder) continue;
            const int status = program_run(
                with_output(commands[i].broken, inside ? "%F/closed" : "%F/closed/new"));
            if (status == 2 && strstr(program_err, "Permission denied") &&
                strstr(program_err, "closed"))
                continue;
            print_error("%s: exit status %d, %s", commands[i].broken, status, program_err);
            _exit(1);
        }
}

static void output__without_permission_is_found_before_the_work(void **state)
{
    (void)state;
    int status;
    assert_int_equal(mkdir(program_expand("%F/closed"), 0555), 0);
    unlink(program_expand("%F/stdout")); /* the other user makes his own */
    unlink(program_expand("%F/stderr"));
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        without_permission();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) skip();
    assert_int_equal(status, 0);
}

/* Things that may lie in the place of an output. */
static const struct {
    const char *what, *said;
} obstacles[] = {
    {"folder", "is a directory"},           {"pipe", "device or pipe"},
    {"link to a device", "device or pipe"}, {"circle", "in a circle"},
    {"link to nowhere", "No such file"},    {"open file", "stands for a file that is open"},
    {"empty file", "is there already"},     {"text", "is there already"},
    {"other tensors", "is there already"},
};
enum { N_OBSTACLES = sizeof obstacles / sizeof *obstacles };

static void put_obstacle(size_t i, const char *path)
{
    static const char text[] = "{\"format\": \"notes\"}\n";
    size_t size;
    switch (i) {
    case 0: assert_int_equal(mkdir(path, 0777), 0); break;
    case 1: assert_int_equal(mkfifo(path, 0600), 0); break;
    case 2: assert_int_equal(symlink("/dev/null", path), 0); break;
    case 3: assert_int_equal(symlink(strrchr(path, '/') + 1, path), 0); break;
    case 4: assert_int_equal(symlink("not-there/x", path), 0); break;
    case 5: assert_int_equal(symlink("/proc/self/fd/1", path), 0); break;
    case 6: temp_write(path, "", 0); break;
    case 7: temp_write(path, text, sizeof text - 1); break;
    default: {
        char *data = temp_read(program_expand("%G/models/llama/model.safetensors"), &size);
        temp_write(path, data, size);
        free(data);
    }
    }
}

static void output__with_something_in_its_place_is_found_before_the_work(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++)
        for (size_t k = 0; k < MOST_OUTPUTS && commands[i].outputs[k]; k++)
            for (size_t o = 0; o < N_OBSTACLES; o++) {
                static listing before, after;
                char path[1200];
                temp_clear(program_expand("%F/out"));
                snprintf(path, sizeof path, "%s/%s", program_expand("%F/out"),
                         commands[i].outputs[k]);
                put_obstacle(o, path);
                listing_read(&before, program_expand("%F/out"));
                refused(with_output(commands[i].broken, "%F/out"), commands[i].outputs[k]);
                if (!strstr(program_err, obstacles[o].said))
                    fail_msg("%s, %s in place of %s: %s", commands[i].line, obstacles[o].what,
                             commands[i].outputs[k], program_err);
                listing_read(&after, program_expand("%F/out"));
                assert_true(listing_same(&before, &after));
            }
}

/* All outputs are named in the table: none is written that was not looked at. And a later run may
 * write them anew. */
static void outputs__are_all_declared_and_replaced_by_a_later_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const command *c = &commands[i];
        static listing files;
        temp_clear(program_expand("%F/again"));
        const char *line = with_output(c->line, c->folder ? "%F/again" : "%F/again/file");
        for (int run = 0; run < 2; run++) {
            program_done(line);
            listing_read(&files, program_expand("%F/again"));
            for (size_t f = 0; f < files.n; f++) {
                bool known = !c->folder && strcmp(files.files[f].name, "file") == 0;
                for (size_t k = 0; k < MOST_OUTPUTS && c->outputs[k]; k++)
                    known |= strcmp(files.files[f].name, c->outputs[k]) == 0;
                if (!known)
                    fail_msg("%s: %s is not among its outputs", c->line, files.files[f].name);
            }
        }
    }
}

static void output__that_is_an_input_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *output, *said;
    } cases[] = {
        {"decoder %F/m", "%F/m", "is a directory"},
        {"decoder %F/m", "%F/m/model.safetensors",
         "%F/m/model.safetensors: is an input of this run too (MODEL %F/m)"},
        {"decoder %F/m", "%F/m/config.json",
         "config.json: is an input of this run too (MODEL %F/m)"},
        {"decoder %F/m", "%F/m/notes.txt", "notes.txt: is an input of this run too (MODEL"},
        {"decoder %F/m/", "%F/hard", "%F/hard: is an input of this run too (MODEL %F/m/)"},
        {"decoder %F/m", "%F/soft", "%F/soft: is an input of this run too (MODEL %F/m)"},
        {"decoder %F/m", "%F/m/../m/./model.safetensors", "is an input of this run too"},
        {"decoder %F/link-to-m", "%F/m/model.safetensors", "(MODEL %F/link-to-m)"},
        {"decoder %F/one.gguf", "%F/one.gguf", "(MODEL %F/one.gguf)"},
        {"decoder %F/p-00001-of-00002.gguf", "%F/p-00002-of-00002.gguf",
         "(MODEL %F/p-00001-of-00002.gguf)"},
        {"decoder %G/models/llama", "%F/one.gguf", "%F/one.gguf: is a file of a model"},
        {"decoder %G/models/llama", "%F/m/model.safetensors",
         "model.safetensors: is a file of a model"},
        {"decoder %G/models/llama", "%F/m/notes.txt", "notes.txt: is a file of a model"},
        {"capture %G/models/llama --text %F/text", "%F/text", "(--text %F/text)"},
        {"capture %G/models/llama --text %F/other %F/text", "%F/text-link",
         "%F/text-link: is an input of this run too (--text %F/text)"},
        {"capture %G/models/llama " IDS, "%F/ids.safetensors", "(--tokens %F/ids.safetensors)"},
        {"capture %F/m " IDS, "%F/m/model.safetensors", "(MODEL %F/m)"},
        {"probe --hidden-states %F/h --decoder %F/d --vectors-file %F/v.safetensors", "%F/h",
         "(--hidden-states %F/h)"},
        {"probe --hidden-states %F/h --decoder %F/d --vectors-file %F/v.safetensors", "%F/d",
         "(--decoder %F/d)"},
        {"probe --hidden-states %F/h --decoder %F/d --vectors-file %F/v.safetensors",
         "%F/v.safetensors", "(--vectors-file %F/v.safetensors)"},
        {"probe --hidden-states %F/h --decoder %F/d --vectors-file %F/v.safetensors --lens "
         "tuned=%F/lens",
         "%F/lens/params.pt", "(--lens tuned %F/lens)"},
        {"probe %F/m " IDS " --vectors-file %F/basis/basis.safetensors",
         "%F/basis/basis.safetensors", "(--vectors-file"},
        {"probe %F/m --text %F/text --vectors-file %F/v.safetensors", "%F/text",
         "(--text %F/text)"},
        {"extract --hidden-states %H --decoder %E --init %F/basis", "%F/basis",
         "basis.safetensors: is an input of this run too (--init %F/basis); name another folder "
         "with -o"},
        {"extract --hidden-states %H --decoder %E --init %F/basis/basis.safetensors", "%F/basis",
         "(--init %F/basis/basis.safetensors)"},
        {"extract --hidden-states %F/basis/basis.safetensors --decoder %E", "%F/basis",
         "(--hidden-states %F/basis/basis.safetensors)"},
        {"extract --hidden-states %H --decoder %F/basis/basis.json", "%F/basis",
         "basis.json: is an input of this run too (--decoder"},
        {"extract %F/m " IDS
         " --lens tuned=%F/lens --resume --tokens %F/checked/checkpoint.safetensors",
         "%F/checked", "checkpoint.safetensors: is an input of this run too (--tokens"},
        {"extract --hidden-states %H --decoder %E", "%F/knot", "is the same file as"},
        {"ablate %F/m " IDS " --basis %F/basis --text %F/effects/ablate.csv", "%F/effects",
         "ablate.csv: is an input of this run too (--text"},
        {"lens fit %F/m " IDS, "%F/m", "holds a model (model.safetensors)"},
        {"lens fit %F/m --text %F/lens/config.json", "%F/lens",
         "config.json: is an input of this run too (--text"},
        {"lens fit %G/models/llama " IDS, "%F/bare",
         "config.json: is there already and is no config of a lens"},
        {"lens fit %G/models/llama " IDS " --format safetensors", "%F/lens",
         "holds params.pt already"},
        {"lens train %G/models/llama " IDS " --init %F/lens", "%F/lens",
         "params.pt: is an input of this run too (--init %F/lens)"},
        {"lens train %G/models/llama " IDS, "%F/of-extract",
         "checkpoint.safetensors: is there already and is no checkpoint of cbe lens train"},
        {"lens convert %F/lens --format pt", "%F/lens",
         "params.pt: is an input of this run too (LENS %F/lens)"},
        {"lens convert %F/lens --format pt", "%F/link-to-lens",
         "is an input of this run too (LENS %F/lens)"},
        {"lens convert %F/lens", "%F/lens", "holds params.pt already"},
        {"lens eval %G/models/llama --text %F/evaluated/eval.csv --lens %F/lens", "%F/evaluated",
         "eval.csv: is an input of this run too (--text"},
    };
    static listing before, after;
    listing_read(&before, program_expand("%F"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refused(with_output(cases[i].line, cases[i].output), cases[i].said);
        listing_read(&after, program_expand("%F"));
        for (size_t f = 0; f < before.n; f++) {
            const char *name = before.files[f].name;
            const listed_file *now = listing_find(&after, name);
            if (strcmp(name, "stdout") == 0 || strcmp(name, "stderr") == 0) continue;
            if (!now || now->hash != before.files[f].hash)
                fail_msg("%s -o %s: %s has changed", cases[i].line, cases[i].output, name);
        }
    }
    /* What cbe wrote beside a model is its own. */
    for (int run = 0; run < 2; run++) program_done("decoder %F/m -o %F/m/decoder.safetensors");
    for (int run = 0; run < 2; run++)
        program_done("extract %F/m " IDS " -l 0 -k 1 --preset seed --max-iter 1 -o %F/m");
}

static void write_checkpoint(const char *path, size_t n_metadata, const char *const *metadata,
                             const char *tensor)
{
    static const float zero;
    cbe_safetensors_writer *writer = NULL;
    const cbe_tensor_spec spec = {tensor, CBE_F32, 1, {1}};
    cbe_assert_ok(cbe_safetensors_writer_create(&writer, program_expand(path), 1, &spec, n_metadata,
                                                metadata, &err),
                  &err);
    cbe_assert_ok(cbe_safetensors_writer_put(writer, 0, 0, 1, &zero, &err), &err);
    cbe_assert_ok(cbe_safetensors_writer_commit(writer, &err), &err);
}

static void lens_train__says_that_it_replaces_a_checkpoint_of_its_own(void **state)
{
    (void)state;
    static const char *const metadata[] = {"optimizer", "natural", "next-sequence", "0"};
    temp_clear(program_expand("%F/trained"));
    write_checkpoint("%F/trained/checkpoint.safetensors", 2, metadata, "losses");
    program_done("lens train %G/models/llama " IDS
                 " --positions 0.5 --step-tokens 8 --held-out 0.3 -o %F/trained");
    assert_non_null(strstr(program_err, "--resume goes on with it"));
    assert_int_equal(access(program_expand("%F/trained/checkpoint.safetensors"), F_OK), -1);
    /* Of a run without checkpoints it is no file. */
    write_checkpoint("%F/trained/checkpoint.safetensors", 0, NULL, "mine");
    program_done(
        "lens train %G/models/llama " IDS
        " --positions 0.5 --step-tokens 8 --held-out 0.3 --checkpoint-steps 0 -o %F/trained");
    assert_int_equal(access(program_expand("%F/trained/checkpoint.safetensors"), F_OK), 0);
}

/* The link stays, and what it leads to is written: in the folder of that. */
static void output__that_is_a_link_is_followed(void **state)
{
    (void)state;
    struct stat info;
    temp_clear(program_expand("%F/far"));
    temp_clear(program_expand("%F/near"));
    assert_int_equal(symlink("../far/d.safetensors", program_expand("%F/near/d.safetensors")), 0);
    assert_int_equal(symlink("../far/basis.json", program_expand("%F/near/basis.json")), 0);
    for (int run = 0; run < 2; run++) {
        program_done("decoder %G/models/llama -o %F/near/d.safetensors");
        program_done(with_output(commands[3].line, "%F/near"));
    }
    static const char *const names[] = {"d.safetensors", "basis.json"};
    for (size_t i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "%%F/near/%s", names[i]);
        assert_int_equal(lstat(program_expand(path), &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        snprintf(path, sizeof path, "%%F/far/%s", names[i]);
        assert_int_equal(lstat(program_expand(path), &info), 0);
        assert_true(S_ISREG(info.st_mode));
    }
    static listing files;
    listing_read(&files, program_expand("%F/far"));
    assert_int_equal(files.n, 2);
}

/* Another process that uses the folder as a run does; killed, it gives it free. */
static void folder__in_use_is_refused_until_its_run_has_ended(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        int ready[2];
        char byte, said[80];
        const char *output = commands[i].folder ? "%F/busy" : "%F/busy/out.safetensors";
        temp_clear(program_expand("%F/busy"));
        assert_int_equal(pipe(ready), 0);
        const pid_t child = fork();
        if (child == 0) {
            cbe_folder_lock lock;
            if (cbe_folder_lock_take(&lock, program_expand("%F/busy"), &err) == CBE_OK &&
                write(ready[1], lock.taken ? "y" : "n", 1) == 1)
                pause();
            _exit(1);
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        if (byte == 'y') {
            refused(with_output(commands[i].broken, output), "busy: in use by another run of cbe");
            snprintf(said, sizeof said, "(process %ld); wait for it, or name another folder",
                     (long)child);
            if (strstr(program_err, "(process") && !strstr(program_err, said))
                fail_msg("%s", program_err);
        }
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        if (byte != 'y') skip();
        refused(with_output(commands[i].broken, output), commands[i].missing);
    }
}

static void copy(const char *from, const char *to)
{
    size_t size;
    char *data = temp_read(program_expand(from), &size);
    temp_write(program_expand(to), data, size);
    free(data);
}

/* A lens of somebody else has the form of cbe's own, and no word of who wrote it. */
static void lens__of_another_program_is_not_replaced(void **state)
{
    (void)state;
    static const char *const lines[] = {"lens fit %G/models/llama " IDS,
                                        "lens train %G/models/llama " IDS,
                                        "lens convert %F/own --format pt"};
    static listing before, after;
    program_done("lens fit %G/models/llama " IDS " -o %F/own");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        temp_clear(program_expand("%F/theirs"));
        copy("%G/lens/llama/params.pt", "%F/theirs/params.pt");
        copy("%G/lens/llama/config.json", "%F/theirs/config.json");
        listing_read(&before, program_expand("%F/theirs"));
        refused(with_output(lines[i], "%F/theirs"), "of a lens that cbe has written");
        listing_read(&after, program_expand("%F/theirs"));
        assert_true(listing_same(&before, &after));
    }
    program_done("lens fit %G/models/llama " IDS " -o %F/own");
}

/* The folder gives way to another one while the run stands still. */
static void move_folder(void *unused)
{
    (void)unused;
    temp_clear(program_expand("%F/moved"));
    assert_int_equal(rmdir(program_expand("%F/moved")), 0);
    assert_int_equal(rename(program_expand("%F/place"), program_expand("%F/moved")), 0);
    temp_clear(program_expand("%F/place"));
}

/* Left alone, each run would go on for seconds behind its first checkpoint, so that a test that
 * gets little of a processor still comes in time. */
static void folder__that_is_moved_away_gets_nothing_more(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "extract --hidden-states %H --decoder %E -q -t 1 -l 0 -k 20 --starts 512 --max-iter 20 "
        "-o %F/place",
        "lens train %G/models/llama --tokens %F/many.safetensors -t 1 -q --context-length 8 "
        "--positions 1 --step-tokens 2 --checkpoint-steps 1 -o %F/place"};
    static listing files;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        bool acted = false;
        int status = 0;
        for (int tries = 0; !acted && tries < 1000; tries++) {
            temp_clear(program_expand("%F/place"));
            status = program_run_while(lines[i], "%F/place/checkpoint.safetensors", NULL,
                                       move_folder, NULL, &acted);
        }
        assert_true(acted);
        if (status != 2 ||
            !strstr(program_err, "place: was moved or replaced while the run was at work"))
            fail_msg("cbe %s: status %d, %s", lines[i], status, program_err);
        listing_read(&files, program_expand("%F/place"));
        assert_int_equal(files.n, 0);
    }
}

static void link_in(const char *target, const char *name)
{
    assert_int_equal(symlink(target, program_expand(name)), 0);
}

static int set_up(void **state)
{
    enum { N_SEQUENCES = 4, MANY = 500, LENGTH = 8, D = 32 };
    static const char *const folders[] = {"%F/m",         "%F/lens",    "%F/broken-lens",
                                          "%F/bare",      "%F/checked", "%F/effects",
                                          "%F/evaluated", "%F/knot",    "%F/of-extract"};
    static int64_t ids[MANY * LENGTH];
    cbe_test_random random = {5};
    if (program_set_up(state) != 0) return -1;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        temp_clear(program_expand(folders[i]));
    for (size_t i = 0; i < MANY * LENGTH; i++) ids[i] = (int64_t)(cbe_test_uniform(&random) * 60);
    write_tensor("%F/ids.safetensors", "input_ids", CBE_I64, N_SEQUENCES, LENGTH, ids);
    write_tensor("%F/many.safetensors", "input_ids", CBE_I64, MANY, LENGTH, ids);
    copy("%F/ids.safetensors", "%F/checked/checkpoint.safetensors");
    cbe_safetensors *hidden = NULL;
    cbe_tensor t;
    cbe_assert_ok(cbe_safetensors_open(&hidden, program_expand("%H"), &err), &err);
    cbe_assert_ok(cbe_safetensors_get(hidden, "hidden_states.0", &t, &err), &err);
    double *v = calloc(t.dims[t.n_dims - 1], sizeof *v);
    v[0] = 1;
    write_tensor("%F/v.safetensors", "v", CBE_F64, 1, t.dims[t.n_dims - 1], v);
    free(v);
    cbe_safetensors_close(hidden);
    copy("%H", "%F/h");
    copy("%E", "%F/d");
    copy("%G/models/llama/model.safetensors", "%F/m/model.safetensors");
    copy("%G/models/llama/config.json", "%F/m/config.json");
    copy("%G/models/llama/config.json", "%F/bare/config.json");
    program_done("lens convert %G/lens/llama --format pt -o %F/lens");
    copy("%G/gguf/tiny-llama/llama-q8_0.gguf", "%F/one.gguf");
    temp_write(program_expand("%F/p-00001-of-00002.gguf"), "GGUF", 4);
    temp_write(program_expand("%F/p-00002-of-00002.gguf"), "GGUF", 4);
    temp_write(program_expand("%F/broken-lens/config.json"), "x", 1);
    temp_write(program_expand("%F/broken-lens/params.pt"), "x", 1);
    temp_write(program_expand("%F/m/notes.txt"), "x", 1);
    temp_write(program_expand("%F/text"), "a text\n", 7);
    temp_write(program_expand("%F/other"), "another\n", 8);
    temp_write(program_expand("%F/effects/ablate.csv"), "layer,span,rank,kl\n", 19);
    temp_write(program_expand("%F/evaluated/eval.csv"), "lens,layer,ce,x\n", 16);
    assert_int_equal(link(program_expand("%F/m/model.safetensors"), program_expand("%F/hard")), 0);
    link_in("m/model.safetensors", "%F/soft");
    link_in("text", "%F/text-link");
    link_in("m", "%F/link-to-m");
    link_in("lens", "%F/link-to-lens");
    link_in("basis.safetensors", "%F/knot/checkpoint.safetensors");
    program_done("extract %G/models/llama " IDS
                 " -l 1 -k 1 --preset seed --max-iter 1 -o %F/basis");
    static const char *const format[] = {"format", "causal basis extraction, unfinished"};
    write_checkpoint("%F/of-extract/checkpoint.safetensors", 1, format, "x");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output__that_cannot_be_written_is_found_before_the_work),
        cmocka_unit_test(output__without_permission_is_found_before_the_work),
        cmocka_unit_test(output__with_something_in_its_place_is_found_before_the_work),
        cmocka_unit_test(outputs__are_all_declared_and_replaced_by_a_later_run),
        cmocka_unit_test(output__that_is_an_input_is_refused),
        cmocka_unit_test(lens_train__says_that_it_replaces_a_checkpoint_of_its_own),
        cmocka_unit_test(output__that_is_a_link_is_followed),
        cmocka_unit_test(folder__in_use_is_refused_until_its_run_has_ended),
        cmocka_unit_test(folder__that_is_moved_away_gets_nothing_more),
        cmocka_unit_test(lens__of_another_program_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, set_up, temp_folder_remove);
}
