/* within.h - how many principal components of a layer's states a search keeps to. */
#ifndef CBE_EXTRACT_WITHIN_H
#define CBE_EXTRACT_WITHIN_H

#include <stddef.h>
#include <stdint.h>

/** In place of a number of components: the default search chooses it for each layer. */
#define CBE_WITHIN_AUTO SIZE_MAX

/** Components that CBE_WITHIN_AUTO stands for: 64, but at most a half of those along which states
 * vary, since few tokens or a small model say little of the rest.
 * @param n_vectors  k; 0: as many as there can be
 * @param rank       dimensions in which the layer's states vary
 * @return 0 (all directions) if there would be fewer than two dimensions for each vector */
size_t cbe_within_auto(size_t n_vectors, size_t rank);

#endif
