/* extraction_options.c - see extraction_options.h. */
#include "extract/extraction_options.h"

#include "processes/processes.h"

void cbe_extraction_options_init(cbe_extraction_options *options)
{
    *options = (cbe_extraction_options){0};
    options->ridge = CBE_COVARIANCE_RIDGE;
    options->strength = 1;
    cbe_search_options_init(&options->search);
}

bool cbe_layer_is_own(const cbe_extraction_options *options, size_t i)
{
    const size_t size = cbe_processes_size(options->processes),
                 n_groups = cbe_processes_size(options->run) / size;
    return i % n_groups == cbe_processes_rank(options->run) / size;
}
