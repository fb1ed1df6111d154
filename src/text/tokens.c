/* tokens.c - see cbe/tokens.h. */
#include "cbe/tokens.h"

#include <string.h>

#include "cbe/safetensors.h"
#include "core/fail.h"
#include "core/memory.h"
#include "io/mapped_file.h"
#include "text/id_list.h"

/* Appends the tokens of one document. */
static cbe_status read_text(cbe_id_list *all, const cbe_tokenizer *tokenizer, const char *path,
                            size_t *n_replaced, cbe_error *err)
{
    cbe_mapped_file file;
    int64_t *ids = NULL;
    size_t n_ids, replaced;
    cbe_status st = cbe_mapped_file_open(&file, path, err);
    if (st != CBE_OK) return st;
    st = cbe_tokenizer_encode(tokenizer, file.size ? (const char *)file.data : "", file.size, false,
                              &ids, &n_ids, &replaced, err);
    if (st != CBE_OK) goto done;
    *n_replaced += replaced;
    for (size_t i = 0; i < n_ids && st == CBE_OK; i++) st = cbe_id_list_push(all, ids[i], err);
done:
    cbe_tokenizer_free_ids(ids);
    cbe_mapped_file_close(&file);
    return st;
}

cbe_status cbe_tokens_from_texts(cbe_tokens *out, const cbe_tokenizer *tokenizer, size_t n_paths,
                                 const char *const *paths, size_t context_length, size_t max_tokens,
                                 cbe_error *err)
{
    cbe_status st = CBE_OK;
    cbe_id_list all = {0};
    size_t n_replaced = 0, n_text_tokens = 0;
    const int64_t separator = cbe_tokenizer_eos(tokenizer);
    if (context_length == 0)
        return cbe_fail(err, CBE_ERR_ARG, -1, "the context length is 0; it must be at least 1");
    for (size_t i = 0; i < n_paths; i++) {
        if (i > 0 && separator >= 0)
            if ((st = cbe_id_list_push(&all, separator, err)) != CBE_OK) goto done;
        const size_t before = all.count;
        if ((st = read_text(&all, tokenizer, paths[i], &n_replaced, err)) != CBE_OK) goto done;
        n_text_tokens += all.count - before;
    }
    if (n_text_tokens == 0) {
        st = n_paths == 0
                 ? cbe_fail(err, CBE_ERR_ARG, -1, "no text was given; name a file")
                 : cbe_fail(err, CBE_ERR_ARG, -1, "%s: no tokens%s; give a file that holds text",
                            paths[0], n_paths > 1 ? ", nor in the other texts" : "");
        goto done;
    }
    const size_t usable = max_tokens > 0 && max_tokens < all.count ? max_tokens : all.count;
    const size_t length = usable < context_length ? usable : context_length;
    const size_t n_sequences = usable / length;
    *out = (cbe_tokens){.n_sequences = n_sequences,
                        .context_length = length,
                        .ids = all.ids,
                        .n_documents = n_paths,
                        .n_unused = all.count - n_sequences * length,
                        .n_replaced = n_replaced};
    all.ids = NULL;
done:
    cbe_free(all.ids);
    return st;
}

/* Copies tensor `name` of int64, with n_dims dimensions at most. */
static cbe_status read_int64(const cbe_safetensors *file, const char *name, size_t n_dims,
                             cbe_tensor *tensor, int64_t **out, cbe_error *err)
{
    cbe_status st = cbe_safetensors_get(file, name, tensor, err);
    if (st != CBE_OK) return st;
    if (tensor->dtype != CBE_I64 || tensor->n_dims == 0 || tensor->n_dims > n_dims)
        return cbe_fail(err, CBE_ERR_SHAPE, -1,
                        "%s: tensor '%s' is %s with %zu dimensions; I64 with 1%s is needed",
                        cbe_safetensors_path(file), name, cbe_dtype_get(tensor->dtype)->name,
                        tensor->n_dims, n_dims == 2 ? " or 2" : "");
    int64_t *copy = cbe_alloc(tensor->n_elements, sizeof *copy, name, err);
    if (!copy) return CBE_ERR_NOMEM;
    if (tensor->n_elements) memcpy(copy, tensor->data, tensor->n_elements * sizeof *copy);
    *out = copy;
    return CBE_OK;
}

/* A permutation of n without fixed points. */
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

cbe_status cbe_tokens_load(cbe_tokens *out, const char *path, cbe_error *err)
{
    cbe_status st;
    cbe_safetensors *file = NULL;
    cbe_tokens made = {0};
    cbe_tensor ids, derangement;
    if ((st = cbe_safetensors_open(&file, path, err)) != CBE_OK) goto done;
    if ((st = read_int64(file, "input_ids", 2, &ids, &made.ids, err)) != CBE_OK) goto done;
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
    if (cbe_safetensors_has(file, "derangement")) {
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
    cbe_safetensors_close(file);
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
