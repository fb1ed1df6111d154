/* json_memory.c - see json_memory.h. */
#include "formats/json_memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "core/fail.h"

/* A growing list of allocated blocks. */
typedef struct {
    void **blocks;
    size_t n, room;
} block_list;

/* jansson has its own allocator again when the last of us has left. The functions are kept then, as
 * a thread of the caller may still be in one of ours. */
static struct {
    pthread_mutex_t lock;
    size_t n_inside;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};
static json_malloc_t given_malloc;
static json_free_t given_free;

static _Thread_local struct {
    bool was_short;
    bool parsing;
    jmp_buf out; /* where to go if the parser lacks memory */
    /* Blocks that the parser allocated, and blocks that it freed, whose memory is freed after
     * parsing. */
    block_list made, dropped;
} mine;

static void list_free(block_list *list)
{
    given_free(list->blocks);
    *list = (block_list){0};
}

static bool list_add(block_list *list, void *block)
{
    if (list->n == list->room) {
        const size_t room = list->room ? 2 * list->room : 64;
        void **blocks = given_malloc(room * sizeof *blocks);
        if (!blocks) return false;
        if (list->n) memcpy(blocks, list->blocks, list->n * sizeof *blocks);
        given_free(list->blocks);
        list->blocks = blocks;
        list->room = room;
    }
    list->blocks[list->n++] = block;
    return true;
}

/* Leaves the parser by longjmp, if it is running; the list holds its blocks. */
static void *no_memory(void)
{
    mine.was_short = true;
    if (mine.parsing) longjmp(mine.out, 1);
    return NULL;
}

static void *watched_malloc(size_t size)
{
    void *block = given_malloc(size);
    if (!block) return no_memory();
    if (mine.parsing && !list_add(&mine.made, block)) {
        given_free(block);
        return no_memory();
    }
    return block;
}

static void watched_free(void *block)
{
    if (!mine.parsing)
        given_free(block);
    else if (block && !list_add(&mine.dropped, block))
        no_memory();
}

void cbe_json_begin(void)
{
    pthread_mutex_lock(&watch.lock);
    if (watch.n_inside++ == 0) {
        json_malloc_t make;
        json_free_t drop;
        json_get_alloc_funcs(&make, &drop);
        if (make != watched_malloc) { /* another library may have kept ours and set it again */
            given_malloc = make;
            given_free = drop;
        }
        json_set_alloc_funcs(watched_malloc, watched_free);
    }
    pthread_mutex_unlock(&watch.lock);
    mine.was_short = false;
}

/* An allocator that somebody else has set meanwhile stays. */
static void leave(void)
{
    pthread_mutex_lock(&watch.lock);
    if (--watch.n_inside == 0) {
        json_malloc_t make;
        json_free_t drop;
        json_get_alloc_funcs(&make, &drop);
        if (make == watched_malloc) json_set_alloc_funcs(given_malloc, given_free);
    }
    pthread_mutex_unlock(&watch.lock);
}

bool cbe_json_short(void)
{
    return mine.was_short;
}

/* json_loadb, which leaves no block behind if memory is short. */
static json_t *parse(const char *text, size_t length, size_t flags, json_error_t *problem)
{
    json_t *volatile root = NULL;
    mine.parsing = true;
    if (setjmp(mine.out) == 0) root = json_loadb(text, length, flags, problem);
    mine.parsing = false;
    const block_list *over = mine.was_short ? &mine.made : &mine.dropped;
    for (size_t i = 0; i < over->n; i++) given_free(over->blocks[i]);
    list_free(&mine.made);
    list_free(&mine.dropped);
    return mine.was_short ? NULL : root;
}

cbe_status cbe_json_parse(json_t **out, const char *text, size_t length, size_t flags,
                          const char *path, json_error_t *problem, cbe_error *err)
{
    cbe_json_begin();
    json_t *root = parse(text ? text : "", length, flags, problem);
    leave();
    if (mine.was_short)
        return cbe_fail(err, CBE_ERR_NOMEM, -1, "%s: out of memory while its JSON is read", path);
    if (!root) return CBE_ERR_FORMAT;
    *out = root;
    return CBE_OK;
}

/* The text in memory of malloc: that of json_dumps would be of jansson's allocator. */
static char *dump(const json_t *value, size_t flags)
{
    const size_t length = json_dumpb(value, NULL, 0, flags);
    char *text = length ? malloc(length + 1) : NULL;
    if (!text) return NULL;
    if (json_dumpb(value, text, length, flags) == length) {
        text[length] = 0;
        return text;
    }
    free(text);
    return NULL;
}

char *cbe_json_end(json_t *value, size_t flags)
{
    char *text = value ? dump(value, flags) : NULL;
    json_decref(value);
    leave();
    if (!mine.was_short) return text;
    free(text);
    return NULL;
}
