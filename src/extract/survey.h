/* survey.h - what is measured of a layer besides its vectors: how its states vary, and how much
 * information they carry to the output. */
#ifndef CBE_EXTRACT_SURVEY_H
#define CBE_EXTRACT_SURVEY_H

#include "covariance/covariance.h"
#include "extract/layer_objective.h"

/** Start with {0}. */
typedef struct {
    /* Borrowed until another layer is set: of the tokens searched, that are not skipped. */
    const cbe_covariance *covariance;
    const cbe_metric *metric; /* borrowed likewise: what the layer's directions read and write */
    double ceiling;           /* objective/ceiling.h, over the tokens searched; nats */
} cbe_survey;

/** Surveys the layer that is set; the objective's options ask for the covariance. Collective: rank
 * 0 of processes that divide the tokens gives CBE_ORDER_SURVEY before, and the others call this
 * too.
 * @return CBE_OK; CBE_ERR_NOMEM; CBE_ERR_NUMERIC */
cbe_status cbe_survey_make(cbe_survey *out, cbe_layer_objective *objective,
                           const cbe_decoder *decoder, cbe_error *err);

#endif
