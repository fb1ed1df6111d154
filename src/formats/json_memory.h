/* json_memory.h - yyjson's memory, which is that of core/memory.h. */
#ifndef CBE_FORMATS_JSON_MEMORY_H
#define CBE_FORMATS_JSON_MEMORY_H

#include <yyjson.h>

/** Allocates by cbe_alloc; what it gives is freed with cbe_free. */
extern const yyjson_alc cbe_json_memory;

#endif
