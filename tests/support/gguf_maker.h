/*
 * gguf_maker.h - small .gguf files from lines of text, for tables of inputs.
 *
 * A line is one of
 *     KEY TYPE VALUE       metadata; TYPE is u8, i8, .. f64, bool, str
 *     KEY TYPE[] V,V,..    an array; a string's bytes may be \xHH
 *     -KEY                 leaves the key out
 *     tensor NAME TYPE DIMS [V,V,..]   TYPE f32 or 8 (q8_0); DIMS as 16x32, the fastest first; the
 *                          values are repeated; without values numbers follow from the name
 *     -tensor NAME         leaves the tensor out
 *     version N            of the format
 *     tail N               zeros at the end of the file
 *     cut N                the last N bytes are missing
 * A later line takes the place of an earlier one of the same key or tensor.
 */
#ifndef CBE_TESTS_GGUF_MAKER_H
#define CBE_TESTS_GGUF_MAKER_H

/** Writes the file of `base` and then `more`, both ended by NULL; more may be NULL. */
void gguf_make(const char *path, const char *const *base, const char *const *more);

/** Lines of a llama model of 2 blocks, hidden size 16, vocabulary 32. */
extern const char *const gguf_small_llama[];
/** Lines of a byte-level tokenizer: a token for each byte, its id the byte, and the merges "1 2",
 * "3 4", "12 34", "a b" and "Ġ a", whose tokens have the ids 256 to 260; pre is "gpt-2". */
extern const char *const gguf_small_bpe[];
/** Lines of a SentencePiece tokenizer: <unk>, <s>, </s>, the 256 tokens of bytes, then "▁", "a",
 * "b", "ab" and "▁ab" with the ids 259 to 263. */
extern const char *const gguf_small_llama_tokenizer[];

#endif
