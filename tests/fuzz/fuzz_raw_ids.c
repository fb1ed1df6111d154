/* Raw token ids: with and without a head, beside an index. The first byte chooses the vocabulary
 * and whether there is an index, the second its length. */
#include "core/memory.h"
#include "fuzz_input.h"
#include "text/raw_ids.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t vocabularies[] = {1, 65, 256, 50257, 65536, 128256, 262144, SIZE_MAX};
    if (size < 2) return 0;
    const size_t vocab_size = vocabularies[data[0] % 8];
    const size_t index = data[0] & 8 ? (data[1] < size - 2 ? data[1] : size - 2) : 0;
    cbe_error err = {0};
    cbe_raw_ids got = {0};
    fuzz_file("x.idx", data + 2, index); /* an empty one counts for nothing */
    const char *path = fuzz_file("x.bin", data + 2 + index, size - 2 - index);
    const size_t most = data[0] >> 6;
    if (fuzz_succeeded(cbe_raw_ids_read(&got, path, vocab_size, most, 1 << 20, NULL, &err), &err)) {
        fuzz_expect(got.n > 0 && got.ids && got.type, "there are ids");
        fuzz_expect(!most || got.n <= most, "no more ids than were asked for");
        fuzz_expect((got.n + got.n_left) <= size, "an id has a byte or more");
        cbe_free(got.ids);
    }
    return 0;
}
