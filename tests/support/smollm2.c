/* smollm2.c - see smollm2.h. */
#include "support/smollm2.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char file_name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

const char *cbe_test_smollm2_path(void)
{
    static char path[4096];
    const char *given = getenv("CBE_SMOLLM2"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (given)
        snprintf(path, sizeof path, "%s", given);
    else if (cache && *cache)
        snprintf(path, sizeof path, "%s/cbe/%s", cache, file_name);
    else if (home)
        snprintf(path, sizeof path, "%s/.cache/cbe/%s", home, file_name);
    else
        return NULL;
    return access(path, R_OK) == 0 ? path : NULL;
}
