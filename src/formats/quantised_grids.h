/*
 * quantised_grids.h - the points of the grids that GGUF's types iq1, iq2 and iq3 choose from: each
 * point gives the levels of 8 (iq1, iq2) or 4 (iq3) neighbouring items.
 */
#ifndef CBE_FORMATS_QUANTISED_GRIDS_H
#define CBE_FORMATS_QUANTISED_GRIDS_H

#include <stdint.h>

typedef enum {
    CBE_GRID_IQ2_XXS = 0, /* 256 points */
    CBE_GRID_IQ2_XS,      /* 512 */
    CBE_GRID_IQ2_S,       /* 1024 */
    CBE_GRID_IQ1,         /* 2048 */
    CBE_GRID_IQ3_XXS,     /* 256 */
    CBE_GRID_IQ3_S,       /* 512 */
    CBE_N_GRIDS
} cbe_quantised_grid;

enum { CBE_GRID_ITEMS = 8 };

/** The points of a grid, static. Levels are 0 to 2, of iq3 0 to 7, whose points leave the last four
 * items 0. Thread-safe. */
const uint8_t (*cbe_quantised_points(cbe_quantised_grid grid))[CBE_GRID_ITEMS];

#endif
