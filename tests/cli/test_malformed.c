/*
 * Malformed inputs: the tables of tests/malformed, read and carried out. Each case makes files,
 * runs cbe on them, and says its exit status (2 where nothing else is said) and the one line on
 * standard error. How a case is written: tests/malformed/README.md.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/assert_close.h"
#include "support/golden.h"
#include "support/program.h"
#include "support/temp_folder.h"

enum { NAME = 200, MOST_FILES = 8, MOST_LINE = 4096, CASES_AT_LEAST = 150, CONTENT = 1 << 20 };

/* A case while it is read; lines of the table are borrowed. */
typedef struct {
    const char *table;
    size_t line; /* of the table, for messages */
    char name[NAME], run[MOST_LINE], wanted[MOST_LINE];
    bool whole; /* wanted is the whole message, else a part of it */
    int status;
    size_t n_files;
    char files[MOST_FILES][NAME]; /* made, in the test's folder */
    size_t size;
    unsigned char content[CONTENT]; /* of the file that is being made */
} one_case;

static void **folder_state;
static size_t n_cases, n_failed;

static void wrong_table(const one_case *c, const char *why)
{
    fail_msg("%s, line %zu: %s", c->table, c->line, why);
}

/* Writes the file that is being made, if there is one. */
static void finish_file(one_case *c)
{
    if (c->n_files)
        temp_write(temp_path(folder_state, c->files[c->n_files - 1]), c->content, c->size);
}

static void begin_file(one_case *c, const char *name)
{
    finish_file(c);
    if (c->n_files == MOST_FILES || strlen(name) >= NAME)
        wrong_table(c, "too many files, or too long a name");
    strcpy(c->files[c->n_files++], name);
    c->size = 0;
    char folder[NAME];
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - name), name);
        mkdir(temp_path(folder_state, folder), 0700); /* may be there */
    }
}

static void append(one_case *c, const void *data, size_t size)
{
    if (c->n_files == 0 || size > CONTENT - c->size)
        wrong_table(c, "no file is being made, or it is too large");
    memcpy(c->content + c->size, data, size);
    c->size += size;
}

static void append_number(one_case *c, const char *text, size_t size)
{
    unsigned char bytes[8];
    char *end;
    unsigned long long value =
        *text == '-' ? (unsigned long long)strtoll(text, &end, 0) : strtoull(text, &end, 0);
    if (end == text || *end) wrong_table(c, "a number is needed");
    for (size_t i = 0; i < size; i++, value >>= 8) bytes[i] = (unsigned char)value;
    append(c, bytes, size);
}

/* The string in quotes at *text, with the escapes \n \t \r \" \\ and \xHH; *text goes behind it.
 * Static memory, one of two in turn. */
static const unsigned char *quoted(const one_case *c, const char **text, size_t *size)
{
    static unsigned char strings[2][MOST_LINE];
    static size_t turn;
    unsigned char *out = strings[turn++ % 2];
    const char *s = *text;
    while (*s == ' ') s++;
    if (*s++ != '"') wrong_table(c, "a string in quotes is needed");
    for (*size = 0; *s && *s != '"'; s++) {
        int byte = (unsigned char)*s;
        if (*s == '\\') {
            static const char letters[] = "ntr\"\\", bytes[] = "\n\t\r\"\\";
            const char *known = *++s ? strchr(letters, *s) : NULL;
            unsigned hex;
            if (known) {
                byte = bytes[known - letters];
            } else {
                if (*s != 'x' || sscanf(s + 1, "%2x", &hex) != 1)
                    wrong_table(c, "an escape is not known");
                byte = (int)hex;
                s += 2;
            }
        }
        out[(*size)++] = (unsigned char)byte;
    }
    if (*s != '"') wrong_table(c, "a string does not end");
    *text = s + 1;
    return out;
}

static size_t place_of(one_case *c, const unsigned char *what, size_t size)
{
    for (size_t at = 0; at + size <= c->size; at++)
        if (memcmp(c->content + at, what, size) == 0) return at;
    wrong_table(c, "what is to be replaced is not in the file");
    return 0;
}

static void replace(one_case *c, const char *text)
{
    size_t old_size, new_size;
    const unsigned char *old = quoted(c, &text, &old_size), *new = quoted(c, &text, &new_size);
    const size_t at = place_of(c, old, old_size), rest = c->size - at - old_size;
    if (c->size - old_size + new_size > CONTENT) wrong_table(c, "the file is too large");
    memmove(c->content + at + new_size, c->content + at + old_size, rest);
    memcpy(c->content + at, new, new_size);
    c->size = at + new_size + rest;
}

static void put(one_case *c, const char *text)
{
    size_t size;
    char *end;
    const size_t at = strtoul(text, &end, 0);
    const char *rest = end;
    const unsigned char *bytes = quoted(c, &rest, &size);
    if (end == text || size > c->size || at > c->size - size)
        wrong_table(c, "there are no such bytes in the file");
    memcpy(c->content + at, bytes, size);
}

static void append_fixture(one_case *c, const char *name)
{
    size_t size;
    char *path = cbe_golden_path("%s", name);
    unsigned char *data = cbe_read_file(path, &size);
    append(c, data, size);
    free(data);
    free(path);
}

/* A safetensors header behind its length. */
static void append_header(one_case *c, const char *text)
{
    size_t size;
    char number[32];
    const unsigned char *json = quoted(c, &text, &size);
    snprintf(number, sizeof number, "%zu", size);
    append_number(c, number, 8);
    append(c, json, size);
}

/* A GGUF string. */
static void append_string(one_case *c, const char *text)
{
    append_header(c, text);
}

static void append_text(one_case *c, const char *text)
{
    size_t size;
    const unsigned char *bytes = quoted(c, &text, &size);
    append(c, bytes, size);
}

static void append_u32(one_case *c, const char *text)
{
    append_number(c, text, 4);
}

static void append_u64(one_case *c, const char *text)
{
    append_number(c, text, 8);
}

static void append_zeros(one_case *c, const char *text)
{
    static const unsigned char zeros[4096];
    const size_t n = strtoul(text, NULL, 10);
    if (n > sizeof zeros) wrong_table(c, "too many zeros");
    append(c, zeros, n);
}

static void cut(one_case *c, const char *text)
{
    const size_t size = strtoul(text, NULL, 10);
    if (size >= c->size) wrong_table(c, "the file is not longer");
    c->size = size;
}

static void set_run(one_case *c, const char *text)
{
    snprintf(c->run, sizeof c->run, "%s", text);
}

static void set_status(one_case *c, const char *text)
{
    c->status = atoi(text);
}

static void set_whole(one_case *c, const char *text)
{
    c->whole = true;
    snprintf(c->wanted, sizeof c->wanted, "%s", text);
}

static void set_part(one_case *c, const char *text)
{
    snprintf(c->wanted, sizeof c->wanted, "%s", text);
}

static const struct {
    const char *word;
    void (*act)(one_case *c, const char *text);
} words[] = {
    {"file", begin_file},
    {"from", append_fixture},
    {"text", append_text},
    {"header", append_header},
    {"string", append_string},
    {"u32", append_u32},
    {"u64", append_u64},
    {"zeros", append_zeros},
    {"cut", cut},
    {"put", put},
    {"replace", replace},
    {"run", set_run},
    {"status", set_status},
    {"says", set_whole},
    {"has", set_part},
};

/* Runs what was read, compares, and removes the files. */
static void carry_out(one_case *c)
{
    if (!*c->name) return;
    if (!*c->run) wrong_table(c, "the case before has no 'run'");
    finish_file(c);
    n_cases++;
    const int status = program_run(c->run);
    const size_t length = strlen(program_err);
    const char *wanted = program_expand(c->wanted), *message = program_err + strlen("cbe: ");
    const bool one_line = strncmp(program_err, "cbe: ", 5) == 0 &&
                          strchr(program_err, '\n') == program_err + length - 1;
    if (one_line) program_err[length - 1] = 0;
    if (status != c->status || !one_line || !*c->wanted ||
        (c->whole ? strcmp(message, wanted) != 0 : !strstr(message, wanted))) {
        print_error("%s: %s\n  status %d, want %d\n  got  %s\n  want %s\n", c->table, c->name,
                    status, c->status, program_err, wanted);
        n_failed++;
    }
    /* where a run would have gone; unless it holds files of the case */
    rmdir(temp_path(folder_state, "out"));
    for (size_t i = 0; i < c->n_files; i++) {
        unlink(temp_path(folder_state, c->files[i]));
        for (char *slash; (slash = strrchr(c->files[i], '/'));) {
            *slash = 0;
            rmdir(temp_path(folder_state, c->files[i])); /* unless it still holds another file */
        }
    }
}

static void begin_case(one_case *c, const char *name)
{
    carry_out(c);
    c->n_files = c->size = 0;
    c->run[0] = c->wanted[0] = 0;
    c->whole = false;
    c->status = 2;
    snprintf(c->name, sizeof c->name, "%s", name);
}

static void read_line(one_case *c, char *line)
{
    c->line++;
    if (!*line || *line == '#') return;
    char *text = strchr(line, ' ');
    if (!text) wrong_table(c, "a word and what belongs to it are needed");
    *text++ = 0;
    if (strcmp(line, "case") == 0) {
        begin_case(c, text);
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(line, words[i].word) == 0) {
            words[i].act(c, text);
            return;
        }
    wrong_table(c, "the word is not known");
}

static void read_table(const char *name)
{
    size_t size;
    char path[600];
    one_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    snprintf(path, sizeof path, "%s/malformed/%s", CBE_TEST_DATA, name);
    c->table = name;
    char *text = temp_read(path, &size);
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        read_line(c, line);
    }
    carry_out(c);
    free(text);
    free(c);
}

static void malformed_inputs__are_refused_with_the_message_of_the_table(void **state)
{
    char path[600];
    struct dirent **tables;
    folder_state = state;
    snprintf(path, sizeof path, "%s/malformed", CBE_TEST_DATA);
    const int n = scandir(path, &tables, NULL, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        const char *ending = strrchr(tables[i]->d_name, '.');
        if (ending && strcmp(ending, ".txt") == 0) read_table(tables[i]->d_name);
        free(tables[i]);
    }
    free(tables);
    if (n_failed) fail_msg("%zu of %zu cases differ from the tables", n_failed, n_cases);
    if (n_cases < CASES_AT_LEAST)
        fail_msg("there are %zu cases, %d are promised", n_cases, CASES_AT_LEAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_inputs__are_refused_with_the_message_of_the_table),
    };
    return cmocka_run_group_tests(tests, program_set_up, temp_folder_remove);
}
