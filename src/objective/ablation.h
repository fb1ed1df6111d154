/* ablation.h - what a direction's component c_n = D_n . v of a hidden state is replaced with. */
#ifndef CBE_OBJECTIVE_ABLATION_H
#define CBE_OBJECTIVE_ABLATION_H

typedef enum {
    CBE_ABLATE_MEAN = 0, /* D_n = h_n - mean of h over all tokens */
    CBE_ABLATE_RESAMPLE, /* D_n = h_n - h_derangement(n) */
    CBE_ABLATE_ZERO,     /* D_n = h_n */
    /* c_n = h_n . v - a, where a is the constant of least energy (Li and Janson 2024) */
    CBE_ABLATE_OPTIMAL,
    CBE_N_ABLATIONS
} cbe_ablation;

/** Name as on the command line: "mean", "resample", "zero", "optimal". */
const char *cbe_ablation_name(cbe_ablation ablation);

#endif
