/* corpus.c - see corpus.h. */
#include "cli/corpus.h"

#include <omp.h>
#include <string.h>

#include "cli/memory.h"
#include "core/fail.h"
#include "math/gemm.h"
#include "text/tokenizer.h"

const char *const cli_documents[] = {"auto", "file", "blank-line", "jsonl", NULL};
_Static_assert(sizeof cli_documents / sizeof *cli_documents == CBE_N_DOCUMENTS_KINDS + 1,
               "in the order of the enum");

cbe_status cli_use_threads(size_t threads, cbe_error *err)
{
    if (threads) omp_set_num_threads((int)threads);
    return cbe_gemm_reserve((size_t)omp_get_max_threads(), err);
}

cbe_status cli_corpus_begin(const cli_corpus *corpus, cli_progress *progress, cbe_error *err)
{
    cli_progress_init(progress, corpus->quiet, corpus->verbose);
    return cli_use_threads(corpus->threads, err);
}

size_t cli_corpus_memory(const cli_corpus *corpus)
{
    return corpus->memory ? corpus->memory : cli_memory_available() / 10 * 7;
}

cbe_status cli_open_model(cbe_model **out, const cli_corpus *corpus, cbe_error *err)
{
    const cbe_model_options options = {cli_corpus_memory(corpus) / 2, corpus->inputs};
    return cbe_model_open_with(out, corpus->model, &options, err);
}

void cli_warn_of_changes(cli_progress *progress, const cbe_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) {
        const cbe_input_state state = cbe_input_look(&inputs->files[i]);
        bool said = state == CBE_INPUT_SAME;
        for (size_t j = 0; j < i && !said; j++)
            said = strcmp(inputs->files[j].path, inputs->files[i].path) == 0;
        if (!said)
            cli_warn(progress,
                     "%s %s since it was read: the results are of the file as it was then",
                     inputs->files[i].path, state == CBE_INPUT_GONE ? "is gone" : "has changed");
    }
}

cbe_status cli_check_texts(const cli_files *text, cbe_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) n += strcmp(text->paths[i], "-") == 0;
    return n < 2 ? CBE_OK
                 : cbe_fail(err, CBE_ERR_ARG, -1,
                            "--text - is given %zu times, but standard input can be read once", n);
}

cbe_status cli_read_tokens(cbe_tokens *tokens, const cbe_model *model, const cli_corpus *corpus,
                           size_t used, cli_progress *progress, cbe_error *err)
{
    cbe_status st;
    cbe_tokenizer *tokenizer = NULL;
    cbe_tokens made = {0};
    const cbe_documents_options documents = {(cbe_documents_kind)corpus->documents,
                                             corpus->text_field, corpus->inputs};
    if ((corpus->tokens != NULL) == (corpus->text.n > 0))
        return cbe_fail(err, CBE_ERR_ARG, -1,
                        corpus->tokens
                            ? "--text and --tokens exclude each other"
                            : "a text is missing: give --text FILE or --tokens IDS.safetensors");
    if ((st = cli_check_texts(&corpus->text, err)) != CBE_OK) return st;
    if (corpus->tokens) {
        if ((st = cbe_tokens_load(&made, corpus->tokens, corpus->inputs, err)) != CBE_OK) goto done;
    } else {
        const size_t vocab_size = cbe_model_get_config(model)->vocab_size;
        if ((st = cbe_tokenizer_open(&tokenizer, corpus->model, corpus->inputs, err)) != CBE_OK)
            goto done;
        if (cbe_tokenizer_vocab_size(tokenizer) > vocab_size) {
            st = cbe_fail(err, CBE_ERR_FORMAT, -1,
                          "%s: the tokenizer has %zu tokens, but the model's embedding only %zu: "
                          "they are not of one model",
                          corpus->model, cbe_tokenizer_vocab_size(tokenizer), vocab_size);
            goto done;
        }
        st = cbe_tokens_from_texts(&made, tokenizer, corpus->text.n, corpus->text.paths, &documents,
                                   corpus->context_length, corpus->max_tokens, err);
        if (st != CBE_OK) goto done;
        cbe_tokens_cut(&made, corpus->context_length, used);
    }
    if ((st = cbe_tokens_check(&made, cbe_model_get_config(model)->vocab_size, err)) != CBE_OK)
        goto done;
    if (made.n_replaced)
        cli_warn(progress, "%zu parts of the text are not UTF-8 and were replaced by U+FFFD",
                 made.n_replaced);
    if (made.n_documents)
        cli_say(progress, "text: %zu document%s, %zu tokens, %zu of them not used",
                made.n_documents, made.n_documents == 1 ? "" : "s", made.n_tokens, made.n_unused);
    cli_say(progress, "tokens: %zu sequences of %zu", made.n_sequences, made.context_length);
    *tokens = made;
    made = (cbe_tokens){0};
done:
    cbe_tokens_free(&made);
    cbe_tokenizer_free(tokenizer);
    return st;
}
