/*
 * rules.h - constants of an evaluation through a lens: sizes of its pieces, and when it may be
 * rough.
 *
 * A unit is a run of rows whose share of a gradient vector is added up in float; a part is some
 * units, with a gradient vector of its own.
 */
#ifndef CBE_OBJECTIVE_LENS_RULES_H
#define CBE_OBJECTIVE_LENS_RULES_H

enum {
    CBE_LENS_PARTS = 16,         /* most parts of the rows */
    CBE_LENS_UNIT_ROWS = 128,    /* most rows of a unit */
    CBE_LENS_SMALL_UNIT = 64,    /* most rows of a unit of few rows: several threads get some */
    CBE_LENS_LEAST_UNIT = 16,    /* least average rows of a unit, each costs a pass over V */
    CBE_LENS_UNITS_AT_ONCE = 64, /* units whose sums over d are kept side by side */
    CBE_LENS_TOKEN_CHUNK = 32,   /* tokens taken at a time in products with d */
    CBE_LENS_VOCAB_BLOCK = 1024, /* vocabulary entries of one task in products with W~ */
    CBE_LENS_P_COLUMNS = 4096,   /* probabilities made together, for the product with W~ */
    CBE_LENS_EXACT_ROWS = 32,    /* cancelled rows recomputed together */
    CBE_LENS_COLUMN_ROWS = 16,   /* rows of Z that stay in a cache for all columns */
    CBE_LENS_LONG_SEQUENCE = 64, /* rows of a sequence that is a group by itself: core/groups.h */
    /* Rows of Z made together: with 64, BLAS puts W~ in order for its products twice as often. */
    CBE_LENS_BLOCK = 128,
    /* Floats between rows of V: without them, rows of 49,152 begin at the same place of every 4 KB,
     * and a batch's loads wait for stores to rows that look like theirs (0.0165 s a direction
     * instead of 0.0133). */
    CBE_LENS_PADDING = 80
};

/** Rough evaluations go over some entries of the vocabulary alone: docs/search.md. */
enum {
    CBE_LENS_LEAST_VOCABULARY = 16384, /* smaller vocabularies are always evaluated exactly */
    CBE_LENS_LIKELY_SHARE = 4, /* their entries are at most the vocabulary divided by this */
    /* Of a flat distribution: the likeliest entries, and as many that stand for all others. */
    CBE_LENS_FLAT_LIKELY = 4096,
    CBE_LENS_FLAT_OTHERS = 4096,
    CBE_LENS_RANKED_ROWS = 256 /* rows that choose the likely entries */
};

#endif
