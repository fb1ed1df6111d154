/* memory.c - see memory.h. Linux: /proc and control groups; elsewhere nothing is known. */
#include "run/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind a name at the start of a line, in kB; 0 when it is not there. */
static size_t read_kilobytes(const char *path, const char *name)
{
    char line[256];
    size_t found = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            found = (size_t)strtoull(line + strlen(name), NULL, 10);
    fclose(file);
    return found * 1024;
}

/* A file with one number; "max" and what is missing give SIZE_MAX. */
static size_t read_bytes(const char *path)
{
    char line[64];
    FILE *file = fopen(path, "r");
    if (!file) return SIZE_MAX;
    const char *text = fgets(line, sizeof line, file);
    fclose(file);
    return text && text[0] >= '0' && text[0] <= '9' ? (size_t)strtoull(text, NULL, 10) : SIZE_MAX;
}

size_t cbe_memory_available(void)
{
    static const char *const groups[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
         "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    size_t available = read_kilobytes("/proc/meminfo", "MemAvailable:");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        const size_t limit = read_bytes(groups[i][0]), used = read_bytes(groups[i][1]);
        if (limit == SIZE_MAX || used == SIZE_MAX || used > limit) continue;
        if (limit - used < available) available = limit - used;
    }
    return available;
}

size_t cbe_memory_in_use(void)
{
    return read_kilobytes("/proc/self/status", "VmRSS:");
}
