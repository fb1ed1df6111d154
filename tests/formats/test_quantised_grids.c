/* Grids of iq1, iq2 and iq3: their points, as the package gguf has them. */
#include "formats/quantised_grids.h"

#include "files/sha256.h"
#include "support/assert_close.h"

/* The digests are of numpy's uint8 arrays (points, 8) of levels, made of gguf 0.19. */
static void grids__have_the_points_of_the_package(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        const char *digest;
    } want[] = {
        {256, "886814bc08b031008eb1086cdbc5c3fae78eecc764a4a6742f8eb839b9f37ef6"},
        {512, "e9567eb15257b717a029c8c1e574ffd87af0c95090552eff83eb6e09b1211046"},
        {1024, "1d4ca1e2fbd2be073bef55f6582ad20109dc746ebd39b5c0780d57ebacc73024"},
        {2048, "bf92c60e2ed15644d2d948b652a55624cc35699ef5c8e0337258e332f8c47b48"},
        {256, "acce2f00b5392afa1e71d0f95604ecdc5841e6f341b3cef28bba2a05b8bc90c2"},
        {512, "c3203f9b58121a7725579c040aeb7cc501181ff5e74a12b28b72174376b1210e"},
    };
    _Static_assert(sizeof want / sizeof *want == CBE_N_GRIDS, "every grid is tested");
    for (int grid = 0; grid < CBE_N_GRIDS; grid++) {
        char digest[CBE_SHA256_TEXT];
        cbe_sha256_bytes(cbe_quantised_points((cbe_quantised_grid)grid),
                         want[grid].n * CBE_GRID_ITEMS, digest);
        assert_string_equal(digest, want[grid].digest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids__have_the_points_of_the_package),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
