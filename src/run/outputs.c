/* outputs.c - see outputs.h. */
#include "run/outputs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/fail.h"
#include "core/memory.h"
#include "files/atomic_file.h"
#include "files/mapped_file.h"
#include "files/path.h"

typedef enum {
    INPUT,
    OF_MODEL, /* an input, but for files that cbe wrote beside the model */
    OPEN,     /* standard input, output or error */
    OUTPUT
} known_role;

struct cbe_known_file {
    known_role role;
    bool is_there;
    dev_t device,
        folder_device; /* device and inode where it is there; those of its folder, of outputs */
    ino_t inode, folder_inode;
    const char *option, *path; /* borrowed: as the user named it; NULL where there is none */
    char *name;                /* owned, of outputs: in its folder */
};

/* ---- inputs ---- */

static void add(cbe_outputs *o, const cbe_known_file *file)
{
    enum { FIRST = 16 };
    if (o->status != CBE_OK) return;
    if (o->n == o->room) {
        const size_t room = o->room ? 2 * o->room : FIRST;
        cbe_known_file *grown = cbe_alloc(room, sizeof *grown, "names of files", &o->err);
        if (!grown) {
            o->status = CBE_ERR_NOMEM;
            return;
        }
        if (o->n) memcpy(grown, o->files, o->n * sizeof *grown);
        cbe_free(o->files);
        o->files = grown;
        o->room = room;
    }
    o->files[o->n++] = *file;
}

void cbe_outputs_begin(cbe_outputs *o)
{
    static const char *const names[] = {"standard input", "standard output", "standard error"};
    for (int fd = 0; fd < 3; fd++) {
        struct stat info;
        if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
            add(o, &(cbe_known_file){.role = OPEN,
                                     .is_there = true,
                                     .device = info.st_dev,
                                     .inode = info.st_ino,
                                     .option = names[fd]});
    }
}

void cbe_outputs_end(cbe_outputs *o)
{
    for (size_t i = 0; i < o->n; i++) cbe_free(o->files[i].name);
    cbe_free(o->files);
    cbe_folder_lock_release(&o->lock);
    *o = (cbe_outputs){0};
}

/* @param at     where it lies
 * @param given  as the user named it, or what it is in */
static void add_input(cbe_outputs *o, known_role role, const char *option, const char *at,
                      const char *given)
{
    struct stat info;
    if (at && stat(at, &info) == 0 && !S_ISDIR(info.st_mode))
        add(o, &(cbe_known_file){role, true, info.st_dev, 0, info.st_ino, 0, option, given, NULL});
}

static void add_input_in(cbe_outputs *o, known_role role, const char *option, const char *folder,
                         const char *name, const char *given)
{
    char *path = o->status == CBE_OK ? cbe_path_join(folder, name, &o->err) : NULL;
    if (!path) o->status = CBE_ERR_NOMEM;
    add_input(o, role, option, path, given);
    cbe_free(path);
}

void cbe_outputs_read(cbe_outputs *o, const char *option, const char *path)
{
    add_input(o, INPUT, option, path, path);
}

void cbe_outputs_read_lens(cbe_outputs *o, const char *option, const char *folder)
{
    static const char *const names[] = {"config.json", "params.pt", "params.safetensors"};
    for (size_t i = 0; folder && i < sizeof names / sizeof *names; i++)
        add_input_in(o, INPUT, option, folder, names[i], folder);
}

void cbe_outputs_read_basis(cbe_outputs *o, const char *option, const char *path)
{
    static const char tensors[] = "basis.safetensors", record[] = "basis.json";
    if (!path) return;
    add_input(o, INPUT, option, path, path);
    add_input_in(o, INPUT, option, path, tensors, path);
    add_input_in(o, INPUT, option, path, record, path);
    if (strcmp(cbe_path_name(path), tensors) != 0) return;
    char *folder = o->status == CBE_OK ? cbe_path_folder_of(path, &o->err) : NULL;
    if (folder)
        add_input_in(o, INPUT, option, folder, record, path);
    else
        o->status = CBE_ERR_NOMEM;
    cbe_free(folder);
}

/* Parts of NAME-00001-of-00003.gguf. */
static void read_parts(cbe_outputs *o, const char *path)
{
    enum { TAIL = sizeof "-00001-of-00003.gguf" - 1, MOST_PARTS = 99999 };
    unsigned part, count;
    int end = 0;
    const size_t length = strlen(path);
    if (length <= TAIL ||
        sscanf(path + length - TAIL, "-%5u-of-%5u.gguf%n", &part, &count, &end) != 2 || end != TAIL)
        return;
    char *other = o->status == CBE_OK ? cbe_copy_string(path, length, &o->err) : NULL;
    if (!other) o->status = CBE_ERR_NOMEM;
    for (part = 1; other && part <= count && part <= MOST_PARTS; part++) {
        snprintf(other + length - TAIL, TAIL + 1, "-%05u-of-%05u.gguf", part % 100000,
                 count % 100000);
        add_input(o, INPUT, CBE_TERM("MODEL", "model"), other, path);
    }
    cbe_free(other);
}

void cbe_outputs_read_model(cbe_outputs *o, const char *path)
{
    DIR *list = path ? opendir(path) : NULL;
    for (const struct dirent *entry; list && (entry = readdir(list));)
        add_input_in(o, OF_MODEL, CBE_TERM("MODEL", "model"), path, entry->d_name, path);
    if (list) closedir(list);
    add_input(o, INPUT, CBE_TERM("MODEL", "model"), path, path);
    if (path) read_parts(o, path);
}

void cbe_outputs_read_corpus(cbe_outputs *o, const cbe_corpus *corpus)
{
    cbe_outputs_read_model(o, corpus->model);
    cbe_outputs_read(o, CBE_OPTION("tokens"), corpus->tokens);
    for (size_t i = 0; i < corpus->text.n; i++)
        cbe_outputs_read(o, CBE_OPTION("text"), corpus->text.paths[i]);
}

void cbe_outputs_read_run(cbe_outputs *o, const cbe_run_settings *run)
{
    cbe_lens_choice lens = {CBE_READ_LOGIT, NULL};
    cbe_outputs_read_corpus(o, &run->corpus);
    for (size_t i = 0; i < run->held_out_text.n; i++)
        cbe_outputs_read(o, CBE_OPTION("held-out-text"), run->held_out_text.paths[i]);
    cbe_outputs_read(o, CBE_OPTION("hidden-states"), run->hidden_states);
    cbe_outputs_read(o, CBE_OPTION("decoder"), run->decoder);
    /* What is no lens is refused where it is read. */
    if (run->lens && cbe_parse_lens(&lens, run->lens, NULL) == CBE_OK)
        cbe_outputs_read_lens(o, CBE_OPTION("lens") " tuned", lens.path);
}

/* ---- outputs ---- */

cbe_status cbe_outputs_folder(cbe_outputs *o, const char *folder, cbe_error *err)
{
    cbe_status st = cbe_path_make_folder(folder, err);
    if (st == CBE_OK) st = cbe_folder_lock_take(&o->lock, folder, err);
    if (st != CBE_OK) return st;
    o->folder = folder;
    o->mark = cbe_folder_mark_of(folder);
    return CBE_OK;
}

cbe_status cbe_outputs_check_folder(const cbe_outputs *o, cbe_error *err)
{
    return o->folder ? cbe_folder_mark_check(&o->mark, o->folder, err) : CBE_OK;
}

/* An output that is to be looked at. */
typedef struct {
    const char *path; /* as messages name it */
    char *target, *folder;
    cbe_known_file known;
    bool own; /* it is there, and of the kind that is written; or the command looks at it itself */
} output;

static bool is_same(const output *new, const cbe_known_file *file)
{
    const cbe_known_file *a = &new->known;
    if (a->is_there && file->is_there) return a->device == file->device && a->inode == file->inode;
    return file->role == OUTPUT && a->folder_device == file->folder_device &&
           a->folder_inode == file->folder_inode && strcmp(a->name, file->name) == 0;
}

static cbe_status check_others(const cbe_outputs *o, const output *new, cbe_error *err)
{
    const char *other = o->folder ? "folder with " CBE_TERM("-o", "output") : "file";
    for (size_t i = 0; i < o->n; i++) {
        const cbe_known_file *file = &o->files[i];
        if (!is_same(new, file) || (file->role == OF_MODEL && new->own)) continue;
        if (file->role == OPEN)
            return cbe_fail(err, CBE_ERR_ARG, -1, "%s: is open as %s; name another %s", new->path,
                            file->option, other);
        if (file->role == OUTPUT)
            return cbe_fail(
                err, CBE_ERR_ARG, -1,
                "%s: is the same file as %s, which this run writes too; name another %s", new->path,
                file->name, other);
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: is an input of this run too (%s %s); name another %s", new->path,
                        file->option, file->path, other);
    }
    return CBE_OK;
}

/* Whether a file lies beside what makes a folder a model's, or is a model by itself. */
static cbe_status is_of_model(const output *new, bool *out, cbe_error *err)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors",
                                        "model.safetensors.index.json"};
    static const char gguf[] = {'G', 'G', 'U', 'F'};
    cbe_mapped_file map;
    *out = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !*out; i++) {
        const cbe_status st = cbe_path_has(new->folder, names[i], out, err);
        if (st != CBE_OK) return st;
    }
    if (*out) return CBE_OK;
    const cbe_status st = cbe_mapped_file_open(&map, new->target, err);
    if (st != CBE_OK)
        return st == CBE_ERR_IO ? CBE_OK : st; /* not readable: no model of the user's */
    *out = map.size >= sizeof gguf && memcmp(map.data, gguf, sizeof gguf) == 0;
    cbe_mapped_file_close(&map);
    return CBE_OK;
}

/* kind CBE_N_OWN_FILES: whatever lies there. */
static cbe_status look(const cbe_outputs *o, output *new, cbe_own_file kind, cbe_error *err)
{
    struct stat info;
    bool of_model;
    cbe_status st = cbe_atomic_file_check(new->path, err);
    if (st == CBE_OK) st = cbe_path_resolve(&new->target, new->path, err);
    if (st != CBE_OK) return st;
    if (!(new->folder = cbe_path_folder_of(new->target, err))) return CBE_ERR_NOMEM;
    const char *name = cbe_path_name(new->target);
    if (!(new->known.name = cbe_copy_string(name, strlen(name), err))) return CBE_ERR_NOMEM;
    if (stat(new->folder, &info) == 0) {
        new->known.folder_device = info.st_dev;
        new->known.folder_inode = info.st_ino;
    }
    if (stat(new->target, &info) == 0) {
        new->known.is_there = true;
        new->known.device = info.st_dev;
        new->known.inode = info.st_ino;
        if (kind == CBE_N_OWN_FILES)
            new->own = true;
        else if ((st = cbe_is_own_file(kind, new->target, &new->own, err)) != CBE_OK)
            return st;
    }
    if ((st = check_others(o, new, err)) != CBE_OK || !new->known.is_there || new->own) return st;
    if (o->folder)
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        "%s: is there already and is no %s; name another folder with " CBE_TERM(
                            "-o", "output") ", or move it away",
                        new->path, cbe_own_file_name(kind));
    if ((st = is_of_model(new, &of_model, err)) == CBE_OK && of_model)
        st = cbe_fail(err, CBE_ERR_ARG, -1, "%s: is a file of a model; name another file",
                      new->path);
    return st;
}

static cbe_status write_path(cbe_outputs *o, const char *path, cbe_own_file kind, cbe_error *err)
{
    output new = {.path = path, .known = {.role = OUTPUT}};
    cbe_status st = o->status;
    if (st != CBE_OK)
        *err = o->err;
    else
        st = look(o, &new, kind, err);
    if (st == CBE_OK) {
        add(o, &new.known);
        if ((st = o->status) == CBE_OK)
            new.known.name = NULL;
        else
            *err = o->err;
    }
    cbe_free(new.known.name);
    cbe_free(new.folder);
    cbe_free(new.target);
    return st;
}

cbe_status cbe_outputs_write(cbe_outputs *o, const char *name, cbe_own_file kind, cbe_error *err)
{
    char *path = cbe_path_join(o->folder, name, err);
    if (!path) return CBE_ERR_NOMEM;
    const cbe_status st = write_path(o, path, kind, err);
    cbe_free(path);
    return st;
}

cbe_status cbe_outputs_write_any(cbe_outputs *o, const char *name, cbe_error *err)
{
    return cbe_outputs_write(o, name, CBE_N_OWN_FILES, err);
}

cbe_status cbe_outputs_write_lens(cbe_outputs *o, const char *folder, cbe_lens_format format,
                                  cbe_error *err)
{
    static const cbe_own_file params[] = {
        [CBE_LENS_PT] = CBE_OWN_LENS_PT, [CBE_LENS_SAFETENSORS] = CBE_OWN_LENS_SAFETENSORS};
    cbe_status st = cbe_outputs_folder(o, folder, err);
    if (st == CBE_OK) st = cbe_tuned_lens_prepare(folder, format, err);
    if (st == CBE_OK) st = cbe_outputs_write(o, cbe_lens_format_file(format), params[format], err);
    return st == CBE_OK ? cbe_outputs_write(o, "config.json", CBE_OWN_LENS_CONFIG, err) : st;
}

cbe_status cbe_outputs_write_file(cbe_outputs *o, const char *path, cbe_error *err)
{
    char *target = NULL, *folder = NULL;
    cbe_folder_lock lock = {0};
    cbe_status st = write_path(o, path, CBE_OWN_TENSORS, err);
    if (st == CBE_OK) st = cbe_path_resolve(&target, path, err);
    if (st == CBE_OK && !(folder = cbe_path_folder_of(target, err))) st = CBE_ERR_NOMEM;
    /* Whoever locks the folder writes files of these names; the command itself needs it for no
     * time. */
    if (st == CBE_OK) st = cbe_folder_lock_take(&lock, folder, err);
    cbe_folder_lock_release(&lock);
    cbe_free(folder);
    cbe_free(target);
    return st;
}
