/* tokens.c - see text/tokens.h. */
#include "text/tokens.h"

#include <stdbool.h>
#include <string.h>

#include "core/fail.h"
#include "core/memory.h"
#include "formats/array_file.h"
#include "files/text_stream.h"
#include "text/documents.h"
#include "tokenizer/id_list.h"

/* State of joining documents to one list of tokens. */
typedef struct {
    const cbe_tokenizer *tokenizer;
    cbe_id_list all;
    size_t n_documents, n_empty, n_replaced, max_tokens;
} packing;

static cbe_status take_document(void *user, const char *where, const char *text, size_t length,
                                bool *stop, cbe_error *err)
{
    packing *p = user;
    (void)where;
    int64_t *ids = NULL;
    size_t n_ids, replaced;
    const int64_t separator = cbe_tokenizer_eos(p->tokenizer);
    cbe_status st = cbe_tokenizer_encode(p->tokenizer, text ? text : "", length, false, &ids,
                                         &n_ids, &replaced, err);
    if (st != CBE_OK) return st;
    if (n_ids == 0) {
        p->n_empty++;
        cbe_tokenizer_free_ids(ids);
        return CBE_OK;
    }
    if (p->n_documents > 0 && separator >= 0) st = cbe_id_list_push(&p->all, separator, err);
    if (st == CBE_OK) st = cbe_id_list_append(&p->all, ids, n_ids, err);
    p->n_documents++;
    p->n_replaced += replaced;
    *stop = p->max_tokens > 0 && p->all.count >= p->max_tokens;
    cbe_tokenizer_free_ids(ids);
    return st;
}

void cbe_tokens_cut(cbe_tokens *tokens, size_t context_length, size_t max_tokens)
{
    const size_t usable =
        max_tokens > 0 && max_tokens < tokens->n_tokens ? max_tokens : tokens->n_tokens;
    tokens->context_length = usable < context_length ? usable : context_length;
    tokens->n_sequences = usable / tokens->context_length;
    tokens->n_unused = tokens->n_tokens - tokens->n_sequences * tokens->context_length;
}

cbe_status cbe_tokens_from_texts(cbe_tokens *out, const cbe_tokenizer *tokenizer, size_t n_paths,
                                 const char *const *paths, const cbe_documents_options *documents,
                                 size_t context_length, size_t max_tokens, cbe_error *err)
{
    cbe_status st = CBE_OK;
    bool stop = false;
    packing p = {.tokenizer = tokenizer, .max_tokens = max_tokens};
    cbe_documents_counts counts = {0};
    cbe_documents_options counted = documents ? *documents : (cbe_documents_options){0};
    counted.counts = &counts;
    if (context_length == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "the context length is 0; it must be at least 1");
    if (n_paths == 0) return cbe_fail(err, CBE_ERR_ARG, -1, "no text was given; name a file");
    for (size_t i = 0; i < n_paths; i++) {
        /* A file that will not be read must exist too. */
        st = stop ? cbe_text_look(paths[i], err)
                  : cbe_documents_visit(paths[i], &counted, take_document, &p, &stop, err);
        if (st != CBE_OK) goto done;
    }
    if (p.all.count == 0) {
        st = cbe_fail(err, CBE_ERR_ARG, -1,
                      "%s: no documents%s%s, so no tokens; give a file that holds text",
                      cbe_text_name(paths[0]), p.n_empty + counts.n_null ? " but empty ones" : "",
                      n_paths > 1 ? ", nor in the other texts" : "");
        goto done;
    }
    *out = (cbe_tokens){.ids = p.all.ids,
                        .n_documents = p.n_documents,
                        .n_tokens = p.all.count,
                        .n_left_out = p.n_empty + counts.n_null,
                        .n_replaced = p.n_replaced + counts.n_replaced};
    cbe_tokens_cut(out, context_length, max_tokens);
    p.all.ids = NULL;
done:
    cbe_free(p.all.ids);
    return st;
}

/* Reads integers `name`, with at most n_dims dimensions. */
static cbe_status read_int64(const cbe_array_file *file, const char *name, size_t n_dims,
                             cbe_tensor *tensor, int64_t **out, cbe_error *err)
{
    cbe_status st = cbe_array_file_describe(file, name, tensor, err);
    if (st != CBE_OK) return st;
    const bool floats = tensor->dtype == CBE_F32 || tensor->dtype == CBE_F64 ||
                        tensor->dtype == CBE_F16 || tensor->dtype == CBE_BF16;
    if (floats || tensor->n_dims == 0 || tensor->n_dims > n_dims)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: tensor '%s' is %s with %zu dimensions; I64 with 1%s is needed",
                        cbe_array_file_path(file), name, cbe_dtype_get(tensor->dtype)->name,
                        tensor->n_dims, n_dims == 2 ? " or 2" : "");
    return cbe_array_file_ids(file, name, tensor, out, err);
}

/* Checks that a derangement is a permutation of n tokens without fixed points. */
static cbe_status check_derangement(const char *path, const int64_t *derangement, size_t n,
                                    cbe_error *err)
{
    bool *seen = cbe_alloc_zero(n, sizeof *seen, "derangement", err);
    if (!seen) return CBE_ERR_NOMEM;
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < n && st == CBE_OK; i++) {
        const int64_t to = derangement[i];
        const char *fault = to < 0 || (uint64_t)to >= n ? "is not one of the tokens"
                            : (size_t)to == i           ? "is the token itself"
                            : seen[to]                  ? "comes twice"
                                                        : NULL;
        if (fault)
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "%s: derangement[%zu] = %lld %s; a permutation of all %zu tokens that "
                          "leaves none in place is needed",
                          path, i, (long long)to, fault, n);
        else
            seen[to] = true;
    }
    cbe_free(seen);
    return st;
}

/* Checks that a mask, if there is one, leaves no token out, since a model is run on whole
 * sequences. */
static cbe_status check_mask(const cbe_array_file *file, cbe_error *err)
{
    static const char *const names[] = {"attention_mask", "mask"};
    cbe_status st = CBE_OK;
    for (size_t i = 0; i < 2 && st == CBE_OK; i++) {
        cbe_tensor t;
        int64_t *mask = NULL;
        if (!cbe_array_file_has(file, names[i])) continue;
        if ((st = cbe_array_file_integers(file, names[i], &t, &mask, err)) != CBE_OK) return st;
        for (size_t k = 0; k < t.n_elements && st == CBE_OK; k++)
            if (mask[k] == 0)
                st = cbe_fail(err, CBE_ERR_UNSUPPORTED, -1,
                              "%s: %s leaves tokens out, but a model is run on whole sequences; "
                              "leave out the padding, or "
                              "give " CBE_OPTION("hidden-states") " with the mask",
                              cbe_array_file_path(file), names[i]);
        cbe_free(mask);
    }
    return st;
}

cbe_status cbe_tokens_load(cbe_tokens *out, const char *path, cbe_inputs *inputs, cbe_error *err)
{
    cbe_status st;
    cbe_array_file *file = NULL;
    cbe_tokens made = {0};
    cbe_tensor ids, derangement;
    if ((st = cbe_array_file_open(&file, path, "input_ids", err)) != CBE_OK) goto done;
    if ((st = cbe_array_file_note(file, inputs, CBE_INPUT_TOKENS, err)) != CBE_OK) goto done;
    if ((st = read_int64(file, "input_ids", 2, &ids, &made.ids, err)) != CBE_OK) goto done;
    if ((st = check_mask(file, err)) != CBE_OK) goto done;
    made.n_sequences = ids.n_dims == 2 ? ids.dims[0] : 1;
    made.context_length = ids.dims[ids.n_dims - 1];
    if (ids.n_elements == 0) {
        st = cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: input_ids holds no token", path);
        goto done;
    }
    for (size_t i = 0; i < ids.n_elements; i++)
        if (made.ids[i] < 0) {
            st = cbe_fail(err, CBE_ERR_ARG, -1,
                          "%s: input_ids[%zu][%zu] = %lld; ids are not negative", path,
                          i / made.context_length, i % made.context_length, (long long)made.ids[i]);
            goto done;
        }
    if (cbe_array_file_has(file, "derangement")) {
        st = read_int64(file, "derangement", 1, &derangement, &made.derangement, err);
        if (st != CBE_OK) goto done;
        if (derangement.n_elements != ids.n_elements) {
            st = cbe_fail(err, CBE_ERR_SHAPE, -1, "%s: derangement has %zu entries for %zu tokens",
                          path, derangement.n_elements, ids.n_elements);
            goto done;
        }
        st = check_derangement(path, made.derangement, ids.n_elements, err);
        if (st != CBE_OK) goto done;
    }
    *out = made;
    made = (cbe_tokens){0};
done:
    cbe_tokens_free(&made);
    cbe_array_file_close(file);
    return st;
}

cbe_status cbe_tokens_check(const cbe_tokens *tokens, size_t vocab_size, cbe_error *err)
{
    for (size_t i = 0; i < tokens->n_sequences * tokens->context_length; i++)
        if (tokens->ids[i] < 0 || (uint64_t)tokens->ids[i] >= vocab_size)
            return cbe_fail(err, CBE_ERR_ARG, -1,
                            "token %zu of sequence %zu is %lld, but the vocabulary has %zu tokens; "
                            "were the ids made by another model's tokenizer?",
                            i % tokens->context_length, i / tokens->context_length,
                            (long long)tokens->ids[i], vocab_size);
    return CBE_OK;
}

void cbe_tokens_free(cbe_tokens *tokens)
{
    if (!tokens) return;
    cbe_free(tokens->ids);
    cbe_free(tokens->derangement);
    *tokens = (cbe_tokens){0};
}
