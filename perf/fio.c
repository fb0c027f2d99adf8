/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/fio.h"
#include "drivers/platform/platform.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX  24
#define WORD_BYTES 512

struct words {
    char text[WORDS_MAX][WORD_BYTES];
    char *list[WORDS_MAX + 1];
    uint32_t count;
};

__attribute__((format(printf, 2, 3))) static void word_add(struct words *words, const char *format, ...)
{
    va_list arguments;
    hg_assert(words->count < WORDS_MAX);
    char *text = words->text[words->count];
    va_start(arguments, format);
    vsnprintf(text, WORD_BYTES, format, arguments);
    va_end(arguments);
    words->list[words->count++] = text;
    words->list[words->count] = NULL;
}

static void words_make(struct words *words, const struct hg_perf_fio *fio)
{
    words->count = 0;
    word_add(words, "fio");
    word_add(words, "--name=append");
    word_add(words, "--filename=%s", fio->path);
    word_add(words, "--size=%llu", (unsigned long long)fio->file_bytes);
    word_add(words, "--rw=write");
    word_add(words, "--bs=%u", fio->block_bytes);
    word_add(words, "--ioengine=io_uring");
    word_add(words, "--direct=1");
    word_add(words, "--iodepth=%u", fio->depth);
    word_add(words, "--fdatasync=%u", fio->flush_writes);
    word_add(words, "--fixedbufs=1");
    word_add(words, "--registerfiles=1");
    word_add(words, "--overwrite=1");
    word_add(words, "--thread");
    word_add(words, "--time_based");
    word_add(words, "--runtime=%ums", (unsigned)(fio->seconds * 1000));
    word_add(words, "--output-format=json");
}

/* Its standard output as JSON. NULL: it could not be started, or said something else. */
static json_t *output_read(struct words *words, int *status)
{
    int ends[2];
    json_error_t reason;
    if (pipe(ends) != 0)
        return NULL;
    pid_t child = fork();
    if (child == 0) {
        if (dup2(ends[1], STDOUT_FILENO) < 0)
            _exit(126);
        close(ends[0]);
        close(ends[1]);
        execvp(words->list[0], words->list);
        _exit(127);
    }
    close(ends[1]);
    FILE *file = fdopen(ends[0], "r");
    hg_assert(file != NULL);
    json_t *found = child < 0 ? NULL : json_loadf(file, JSON_DISABLE_EOF_CHECK, &reason);
    fclose(file);
    if (child > 0)
        waitpid(child, status, 0);
    return found;
}

int hg_perf_fio_run(const struct hg_perf_fio *fio, double *bytes_per_s, char *error, size_t error_bytes)
{
    struct words words;
    int status = -1;
    words_make(&words, fio);
    json_t *found = output_read(&words, &status);
    json_t *job = json_array_get(json_object_get(found, "jobs"), 0);
    json_t *rate = json_object_get(json_object_get(job, "write"), "bw_bytes");
    bool is_fine = WIFEXITED(status) && WEXITSTATUS(status) == 0 && json_is_number(rate);
    *bytes_per_s = is_fine ? json_number_value(rate) : 0;
    json_decref(found);
    if (is_fine)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        snprintf(error, error_bytes, "fio could not be started: tools/setup installs it");
    else
        snprintf(error, error_bytes, "fio over %s ended with status %d; its stderr says why", fio->path,
                 status);
    return -EIO;
}
