/* corpus.c - see corpus.h. */
#include "run/corpus.h"

#include <omp.h>
#include <string.h>

#include "run/memory.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "text/raw_ids.h"
#include "tokenizer/tokenizer.h"

const char *const cbe_documents_choices[] = {"auto", "file", "blank-line", "jsonl", NULL};
_Static_assert(sizeof cbe_documents_choices / sizeof *cbe_documents_choices ==
                   CBE_N_DOCUMENTS_KINDS + 1,
               "in the order of the enum");

cbe_status cbe_use_threads(size_t threads, cbe_error *err)
{
    if (threads) omp_set_num_threads((int)threads);
    return cbe_gemm_reserve((size_t)omp_get_max_threads(), err);
}

size_t cbe_corpus_memory(const cbe_corpus *corpus)
{
    return corpus->memory ? corpus->memory : cbe_memory_available() / 10 * 7;
}

static bool reading_model(void *context, size_t done, size_t total)
{
    return cbe_stage(context, "reading the model: block %zu of %zu", done + 1, total);
}

/* Who hears of a text: of how far it is read at once, of what is odd in it when it is read, so that
 * a text that is refused has one line alone. */
typedef struct {
    cbe_watch *watch;
    cbe_remarks *remarks;
} listener;

static bool reading_text(void *context, size_t done, size_t total)
{
    (void)total;
    return cbe_stage(((const listener *)context)->watch, "reading the text: %.1f MB",
                     1e-6 * (double)done);
}

static void remark_on_text(void *context, const char *line)
{
    const listener *l = context;
    cbe_error unread;
    if (cbe_remark(l->remarks, &unread, "%s", line) != CBE_OK) cbe_warn(l->watch, "%s", line);
}

/* Bytes that decompression may take: those that the run has left, at least 1. */
static size_t memory_left(const cbe_corpus *corpus)
{
    const size_t all = cbe_corpus_memory(corpus), used = cbe_memory_in_use();
    return all == 0 ? 0 : all > used ? all - used : 1;
}

cbe_status cbe_corpus_open_model(cbe_model **out, const cbe_corpus *corpus, cbe_watch *watch,
                                 cbe_error *err)
{
    cbe_remarks remarks = {0};
    const cbe_model_options options = {.memory = cbe_corpus_memory(corpus) / 2,
                                       .inputs = corpus->inputs,
                                       .remarks = &remarks,
                                       .progress = reading_model,
                                       .context = watch};
    const cbe_status st = cbe_model_open_with(out, corpus->model, &options, err);
    if (st == CBE_OK) cbe_warn_of_remarks(watch, &remarks);
    cbe_remarks_free(&remarks);
    return st;
}

void cbe_warn_of_changes(cbe_watch *watch, const cbe_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) {
        const cbe_input_state state = cbe_input_look(&inputs->files[i]);
        bool said = state == CBE_INPUT_SAME;
        for (size_t j = 0; j < i && !said; j++)
            said = strcmp(inputs->files[j].path, inputs->files[i].path) == 0;
        if (!said)
            cbe_warn(watch, "%s %s since it was read: the results are of the file as it was then",
                     inputs->files[i].path, state == CBE_INPUT_GONE ? "is gone" : "has changed");
    }
}

cbe_status cbe_check_texts(const cbe_file_names *text, cbe_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) n += strcmp(text->paths[i], "-") == 0;
    return n < 2
               ? CBE_OK
               : cbe_fail(err, CBE_ERR_ARG, -1,
                          CBE_OPTION(
                              "text") " - is given %zu times, but standard input can be read once",
                          n);
}

/* A tokenizer may have tokens for which the embedding has no row, as long as no text uses them.
 * @param tokenizer  NULL: the ids are from a file */
static cbe_status check_ids(const cbe_tokens *tokens, const cbe_tokenizer *tokenizer,
                            const cbe_model *model, const cbe_corpus *corpus, cbe_remarks *remarks,
                            cbe_error *err)
{
    const size_t vocab_size = cbe_model_get_config(model)->vocab_size,
                 n_tokens = tokenizer ? cbe_tokenizer_vocab_size(tokenizer) : 0;
    const cbe_status st = cbe_tokens_check(tokens, vocab_size, err);
    if (n_tokens <= vocab_size) return st;
    if (st != CBE_OK)
        return cbe_fail(err, CBE_ERR_FORMAT, -1,
                        "%s: the tokenizer has %zu tokens, but the model's embedding only %zu, and "
                        "the text uses one of the others; take the tokenizer of this model",
                        corpus->model, n_tokens, vocab_size);
    return cbe_remark(remarks, err,
                      "%s: the tokenizer has %zu tokens, but the model's embedding only %zu; a "
                      "text that uses one of the others is refused",
                      corpus->model, n_tokens, vocab_size);
}

cbe_status cbe_corpus_read_tokens(cbe_tokens *tokens, const cbe_model *model,
                                  const cbe_corpus *corpus, size_t used, cbe_watch *watch,
                                  cbe_error *err)
{
    cbe_status st;
    cbe_tokenizer *tokenizer = NULL;
    cbe_tokens made = {0};
    cbe_remarks remarks = {0};
    listener heard = {watch, &remarks};
    const cbe_documents_options documents = {.kind = (cbe_documents_kind)corpus->documents,
                                             .field = corpus->text_field,
                                             .inputs = corpus->inputs,
                                             .progress = reading_text,
                                             .warn = remark_on_text,
                                             .context = &heard,
                                             .memory = memory_left(corpus)};
    if ((corpus->tokens != NULL) == (corpus->text.n > 0))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        corpus->tokens
                            ? CBE_OPTION("text") " and " CBE_OPTION("tokens") " exclude each other"
                            : "a text is missing: give " CBE_OPTION("text") " FILE or " CBE_OPTION(
                                  "tokens") " IDS.safetensors");
    if ((st = cbe_check_texts(&corpus->text, err)) != CBE_OK) return st;
    if (corpus->tokens && cbe_raw_ids_named(corpus->tokens)) {
        cbe_raw_ids raw;
        st = cbe_raw_ids_read(&raw, corpus->tokens, cbe_model_get_config(model)->vocab_size,
                              corpus->max_tokens, memory_left(corpus), corpus->inputs, err);
        if (st != CBE_OK) goto done;
        made = (cbe_tokens){.ids = raw.ids, .n_tokens = raw.n};
        cbe_tokens_cut(&made, corpus->context_length, used);
        cbe_note(watch, "token ids: %zu of %s, %zu of them not used", raw.n + raw.n_left, raw.type,
                 made.n_unused + raw.n_left);
    } else if (corpus->tokens) {
        if ((st = cbe_tokens_load(&made, corpus->tokens, corpus->inputs, err)) != CBE_OK) goto done;
    } else {
        if ((st = cbe_tokenizer_read(&tokenizer, corpus->model, corpus->inputs, &remarks, err)) !=
            CBE_OK)
            goto done;
        st = cbe_tokens_from_texts(&made, tokenizer, corpus->text.n, corpus->text.paths, &documents,
                                   corpus->context_length, corpus->max_tokens, err);
        if (st != CBE_OK) goto done;
        cbe_tokens_cut(&made, corpus->context_length, used);
    }
    if ((st = check_ids(&made, tokenizer, model, corpus, &remarks, err)) != CBE_OK) goto done;
    cbe_warn_of_remarks(watch, &remarks);
    if (made.n_replaced)
        cbe_warn(watch, "%zu parts of the text are not UTF-8 and were replaced by U+FFFD",
                 made.n_replaced);
    if (made.n_left_out)
        cbe_warn(watch, "%zu document%s of the text %s empty or null, and %s left out",
                 made.n_left_out, made.n_left_out == 1 ? "" : "s",
                 made.n_left_out == 1 ? "is" : "are", made.n_left_out == 1 ? "was" : "were");
    if (made.n_documents)
        cbe_note(watch, "text: %zu document%s, %zu tokens, %zu of them not used", made.n_documents,
                 made.n_documents == 1 ? "" : "s", made.n_tokens, made.n_unused);
    cbe_note(watch, "tokens: %zu sequences of %zu", made.n_sequences, made.context_length);
    *tokens = made;
    made = (cbe_tokens){0};
done:
    cbe_remarks_free(&remarks);
    cbe_tokens_free(&made);
    cbe_tokenizer_free(tokenizer);
    return st;
}
