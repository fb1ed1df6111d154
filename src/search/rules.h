/*
 * rules.h - the constants of the searches, a table for each part: what each one is, then its value
 * and the reason.
 *
 * docs/search.md tells what the searches do with them. Whoever needs one of them (the plan of an
 * extraction, the texts of options) reads it here.
 */
#ifndef CBE_SEARCH_RULES_H
#define CBE_SEARCH_RULES_H

#include <float.h>
#include <stddef.h>

/* Numbers that texts of the command line quote. */

/* Iterations of one start, if the caller does not say: the limit of the PyTorch search that the
 * preset seed follows. */
#define CBE_MAX_ITERATIONS 100
/* Starts of the first vector, at least: two batches of an objective through a lens. */
#define CBE_FIRST_STARTS 16
/* Starts of a vector in the whole model: an evaluation takes seconds, and each start leaps
 * twice. */
#define CBE_LEAP_STARTS 6

/* Rounding of an energy, relative: float32 logits leave about this much. */
#define CBE_ENERGY_NOISE 1e-7
/* Rounding of an energy in nats, however small the energy is: line searches that took less for
 * noise spent twenty evaluations on steps of 1e-7. */
#define CBE_ENERGY_NOISE_FLOOR 3e-7

/* tau of the sphere (sphere.h) in the presets: both programs add float32's epsilon to a length. */
#define CBE_PRESET_TAU ((double)FLT_EPSILON)

/* Sizes of arrays. */
enum {
    /* Maxima polished, at most, whatever the caller asks for. */
    CBE_POLISHED_MOST = 32
};

/** Options, if the caller does not say. */
static const struct {
    size_t max_iterations; /* L-BFGS iterations of one start */
    size_t polished;       /* maxima polished on all tokens, at most */
    size_t sample;         /* tokens of the sample */
    size_t spare;          /* an optimiser may evaluate once more for each `spare` iterations */
} cbe_option_rules = {
    .max_iterations = CBE_MAX_ITERATIONS, /* Told where it is defined. */
    .polished = 4, /* The highest maximum of the sample need not be the highest of all tokens. */
    .sample = 256, /* Its maxima lie close to those of all tokens, at a fraction of the time. */
    .spare = 4,    /* PyTorch's L-BFGS grants 5/4 as many evaluations as iterations. */
};

/** What all searches share. */
static const struct {
    double same_start;   /* |cosine| above which two candidates share a start */
    double none_left;    /* share left after projection below which a candidate is dropped */
    double vector_gone;  /* share left of a found vector below which a random one replaces it */
    double same_maximum; /* |cosine| above which two directions are one maximum */
    double patience;     /* iterations like its last that a climb gets to come near the highest */
} cbe_common_rules = {
    .same_start = 0.95,   /* Starts this close mostly end in the same maximum. */
    .none_left = 1e-3,    /* Such a candidate lies in the span of the vectors found. */
    .vector_gone = 1e-3,  /* It was one of the vectors before it, or rounding. */
    .same_maximum = 0.99, /* Coarse climbs end near their maximum, not at it. */
    .patience = 3,        /* Gains mostly shrink from one iteration to the next. */
};

/** When a climb ends: members of cbe_lbfgs_options of the same name. 0 switches one off. */
typedef struct {
    size_t history;
    double change_stop, gradient_stop, relative_stop, relative_gradient_stop;
    double noise, noise_floor, first_length;
} cbe_climb_rules;

/** The default search: all of its climbs, whose relative stops are told with each kind of climb. */
static const cbe_climb_rules cbe_default_climb = {
    .history = 40,                         /* A climb takes tens of iterations. */
    .change_stop = 1e-12,                  /* Off, in effect: the relative stops decide. */
    .gradient_stop = 1e-10,                /* Off, in effect. */
    .relative_gradient_stop = 2e-5,        /* Then energies agree to 1e-6 in any order of sums. */
    .noise = CBE_ENERGY_NOISE,             /* A line search must not be led by rounding. */
    .noise_floor = CBE_ENERGY_NOISE_FLOOR, /* A line search must not be led by rounding. */
};

/** The default search: which starts. */
static const struct {
    size_t first;        /* starts of the first vector, at least */
    size_t later;        /* starts of each later vector, at least */
    size_t most;         /* starts of a vector, at most */
    size_t random;       /* random candidates */
    size_t score_sample; /* tokens on which candidates are compared */
    size_t runner_ups;   /* maxima of one list that are candidates again */
    double unseen; /* probability of an unknown maximum at which starts of the first vector end */
    double unseen_later; /* the same for later vectors */
    double effort;       /* multiplications on a vector after which no further starts are made */
} cbe_start_rules = {
    .first = CBE_FIRST_STARTS, /* Two batches, as told where it is defined. */
    .later = 10,               /* Later vectors have the runner-ups besides. */
    .most = 1024,              /* Bounds the search if every start finds another maximum. */
    .random = 8,               /* Directions that no family of candidates leads to. */
    .score_sample = 128,       /* A score tells starts apart only roughly, so few tokens do. */
    .runner_ups = 8, /* Each is scored on all tokens, exactly if there are no rough energies. */
    .unseen = 2e-4,  /* Eight random starts missed 2 of 42 highest maxima; this, none. */
    .unseen_later = 1e-3, /* Later vectors have the runner-ups besides. */
    .effort = 3e8,        /* Some six evaluations of 512 tokens through SmolLM2's lens. */
};

/** The default search: climbs on the sample. */
static const struct {
    double stop;       /* relative change of the energy at which a climb ends */
    double whole_stop; /* the same without a sample: on all tokens */
    size_t iterations; /* of a climb on the sample, at most */
    size_t fewest;     /* climbs left below which all end, if more than twice as many began */
    double near;       /* |cosine| to a higher point within which a climb ends */
    double whole_near; /* the same on all tokens */
} cbe_sample_rules = {
    .stop = 1e-3,        /* A maximum of the sample need only be told from another one. */
    .whole_stop = 1e-5,  /* Such a maximum is the result but for the last steps of a polish. */
    .iterations = 30,    /* A maximum of the sample is only a start for a polish. */
    .fewest = 4,         /* Evaluated alone they cost more than in a batch; a polish goes on. */
    .near = 0.9,         /* Coarse maxima of a sample this close are one on all tokens. */
    .whole_near = 0.999, /* Two maxima can lie close, and a way to the higher pass by the other. */
};

/** The default search with rough energies (cbe_objective_set_rough). */
static const struct {
    size_t larger;  /* tokens of the larger sample, in samples */
    double trusted; /* relative error within which rough energies lead a climb */
} cbe_rough_rules = {
    .larger = 2,     /* A direction of few tokens stands out in a small sample, and fades here. */
    .trusted = 0.01, /* Most maxima agree to 0.3%; a rough climb misled at 4% (layer 4). */
};

/** The default search: the best maxima climb on all tokens, and one becomes the vector. */
static const struct {
    double stop;        /* relative change of the energy at which a climb ends */
    double contender;   /* share of the highest energy below which a maximum is not polished */
    double close;       /* share of the highest energy above which a maximum may be taken for it */
    size_t ahead;       /* maxima compared by what they leave to the next vector */
    double left_stop;   /* relative change at which climbs end that tell what a maximum leaves */
    size_t left_starts; /* number of such climbs for each maximum, at most */
} cbe_polish_rules = {
    .stop = 1e-7,      /* The rounding of an energy. */
    .contender = 0.6,  /* One that was so much lower when it was scored is not worth a polish. */
    .close = 0.95,     /* In layer 25 of SmolLM2 a maximum 4% lower left more to the next vector. */
    .ahead = 2,        /* Each costs `left_starts` climbs. */
    .left_stop = 1e-3, /* Two sums need only be told apart. */
    .left_starts = 3,  /* The highest maxima that are left lead to the highest energies. */
};

/** Leaps: the default search where an evaluation takes seconds. */
static const struct {
    size_t starts;            /* of each vector */
    size_t random;            /* one start of `random` is random */
    size_t round;             /* leaps of a scout before the lower half stays behind */
    size_t runner_ups;        /* scouts of the vector before that start again */
    size_t most;              /* leaps of the leader without a sample, at most */
    double given_left;        /* share of a caller's vector that projection must leave */
    double pays;              /* share that a leap must add to the energy for another to follow */
    cbe_climb_rules climb;    /* on f = -1 - log E / E_start */
    double sample_stop;       /* relative_stop of the climb on the sample */
    size_t sample_iterations; /* of the climb on the sample, at most */
    size_t sample_share; /* iterations on the sample for each that all tokens may take, at most */
} cbe_leap_rules = {
    .starts = CBE_LEAP_STARTS, /* Each start costs two evaluations at least. */
    .random = 3,               /* Two thirds of the starts come from what is known of the model. */
    .round = 2,                /* After a single leap energies say little yet. */
    .runner_ups = 2,           /* They take the places of other starts, of which there are few. */
    .most = 8,                 /* Farther up leaps overshoot, and L-BFGS is better. */
    .given_left = 0.5, /* Each of the caller's vectors is meant for one vector of the basis. */
    .pays = 0.1,       /* With less the energy saturates, and L-BFGS is better. */
    .climb =
        {
            .history = 40,             /* A climb in the whole model takes fewer iterations. */
            .change_stop = 1e-9,       /* Off, in effect: the relative stop decides. */
            .gradient_stop = 8e-5,     /* Of the logarithm, so a share of the energy. */
            .relative_stop = 1e-2,     /* 1 to 5% of the energy: the way on is long. */
            .noise = CBE_ENERGY_NOISE, /* A line search must not be led by rounding. */
            .first_length = 0.15, /* Of the first step: shorter than a leap, which led too far. */
        },
    .sample_stop = 2e-3,     /* A step on the sample is the cheaper one. */
    .sample_iterations = 30, /* The sample's maximum is only near that of all tokens. */
    .sample_share = 4,       /* An iteration on the sample costs an eighth of one on all tokens. */
};

/** The guided search: the default in the whole model. */
static const struct {
    size_t dimensions;    /* first principal components that the guide spans */
    size_t tokens;        /* searched tokens that labels are drawn for, about, in whole sequences */
    size_t draws;         /* of labels for each token */
    size_t components;    /* starts of the guide's climbs: first principal components */
    size_t random;        /* the same: random directions in its span */
    size_t climb;         /* steps of a climb of the guide */
    size_t sample;        /* tokens of an evaluation, about, in whole sequences */
    size_t least, most;   /* rounds of a layer */
    double effort;        /* multiplications of a layer's rounds, about */
    double amplification; /* energy, in second-order energies, above which thresholds are passed */
    double kept;          /* weight of where a vector stands beside its unit gradients' mean */
} cbe_guided_rules = {
    .dimensions = 64,   /* Behind them lie chimeras: parts that the model never sees together. */
    .tokens = 2048,     /* One backward pass of all layers takes seconds for them. */
    .draws = 8,         /* With 2,048 tokens far more samples than dimensions. */
    .components = 16,   /* The guide's maxima lie near the first ones. */
    .random = 16,       /* Directions between components. */
    .climb = 25,        /* Energies settle to a few percent. */
    .sample = 256,      /* Many leaps on few tokens lead farther than few leaps on many. */
    .least = 4,         /* SmolLM2's layer 25: 0.84 nats of 8 vectors, and 0.99 by 8 rounds. */
    .most = 16,         /* More did not raise energies of tokens that were held out. */
    .effort = 1.3e12,   /* Some 12 seconds of two cores. */
    .amplification = 6, /* Components have 1.4 to 5, what breaks SmolLM2's layer 4 has 25. */
    .kept = 2,          /* A vector is then a mean over the tokens of three rounds. */
};

/** Presets: searches of older programs. */
static const struct {
    cbe_climb_rules seed;
    cbe_climb_rules tuned_lens;
    double restart_stop;  /* relative difference of two ends at which tuned-lens stops restarting */
    size_t finish_rounds; /* passes of the preset seed over the vectors at the end, at most */
    cbe_climb_rules finish; /* climbs of such a pass */
} cbe_preset_rules = {
    .seed =
        {
            .history = 100,                     /* PyTorch's. */
            .change_stop = (double)FLT_EPSILON, /* The original's float32. */
            .gradient_stop = 1e-7,              /* PyTorch's. */
        },
    .tuned_lens =
        {
            .history = 100,        /* PyTorch's. */
            .change_stop = 1e-9,   /* PyTorch's default. */
            .gradient_stop = 1e-7, /* PyTorch's. */
        },
    .restart_stop = 1e-4, /* The original's. */
    .finish_rounds = 5,   /* Where one vector goes may open a direction to another. */
    .finish =
        {
            .history = 100,                 /* The optimiser's own. */
            .change_stop = 1e-12,           /* Off, in effect: the relative stop decides. */
            .gradient_stop = 1e-10,         /* Likewise. */
            .relative_gradient_stop = 8e-5, /* Vectors within 1e-4 of a maximum stay as they are. */
            .noise = CBE_ENERGY_NOISE,      /* A line search must not be led by rounding. */
        },
};

/** Directions that an extraction gives a search to start from. */
static const struct {
    size_t each;            /* candidates of each family */
    size_t model_each;      /* the same in the whole model */
    size_t lens_vectors;    /* vectors of the lens's basis, in the whole model */
    size_t lens_tokens;     /* tokens that the lens is searched on for them */
    size_t lens_starts;     /* starts of that search for each vector */
    size_t lens_iterations; /* iterations of each of its climbs */
    size_t lens_batch;      /* directions that it evaluates together */
} cbe_candidate_rules = {
    .each = 10,         /* Of five families, with the random ones: 58 candidates are scored. */
    .model_each = 2,    /* The whole model tries few starts. */
    .lens_vectors = 2,  /* One comes before the other kinds of starts and one behind them. */
    .lens_tokens = 256, /* The sample of a search through a lens. */
    .lens_starts =
        4, /* A second or two in all; evaluations of the whole model take seconds each. */
    .lens_iterations = 20, /* Coarse: the whole model's maximum lies elsewhere. */
    .lens_batch = 4,       /* As many as there are starts. */
};

/** Principal components that the default search keeps to, unless told otherwise. */
static const struct {
    size_t components; /* of a layer */
    size_t rank_share; /* they are at most one of `rank_share` dimensions in which states vary */
    size_t for_each;   /* dimensions for each vector, at least; else all directions are searched */
} cbe_within_rules = {
    .components = 64, /* docs/search.md has what 32 to 128 and all find in the model. */
    .rank_share = 2,  /* The last ones of few tokens or dimensions are noise, or all there are. */
    .for_each = 2,    /* As many vectors as dimensions span the components, whatever is found. */
};

/** Searches of an extraction, by what an evaluation costs. */
static const struct {
    size_t model_sample;   /* one of `model_sample` sequences is in the whole model's sample */
    size_t report_tokens;  /* searched tokens, about, of energies that are reported in the model */
    size_t report_few;     /* the same of numbers that take several evaluations */
    double optimal_passes; /* passes over the tokens of an evaluation under optimal ablation */
    double optimal_least;  /* multiplications that such a pass takes as long as, at least */
} cbe_cost_rules = {
    .model_sample = 8,    /* Samples are whole sequences there, and an eighth tells scouts apart. */
    .report_tokens = 512, /* Energies of all vectors may not take longer than the search. */
    .report_few = 256,    /* Shares of an energy vary less from token to token than energies. */
    .optimal_passes = 12, /* About a dozen were counted. */
    .optimal_least = 1e4, /* A pass over few tokens takes as long, however few they are. */
};

#endif
