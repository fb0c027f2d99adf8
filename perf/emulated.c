/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/emulated.h"
#include "drivers/clock/clock.h"
#include "perf/pair.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_NS (20 * HG_NS_PER_S)
#define SLICE_NS  (100 * HG_NS_PER_US)

/* helio-wan lies beside this program in bin/, or where the build put it. */
static bool program_find(struct hg_perf_emulated *wan)
{
    static const char *const places[] = {"helio-wan", "../tools/wan/helio-wan", "../bin/helio-wan"};
    char self[PATH_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
        return false;
    const char *directory = dirname(self);
    for (size_t i = 0; i < HG_COUNT(places); i++) {
        int length = snprintf(wan->program, sizeof(wan->program), "%s/%s", directory, places[i]);
        if (length < (int)sizeof(wan->program) && access(wan->program, X_OK) == 0)
            return true;
    }
    fprintf(stderr, "helio-perf: no helio-wan near %s: build it (tools/build)\n", directory);
    return false;
}

/* *out: what it prints, or NULL: nobody reads it. */
static pid_t program_start(const struct hg_perf_emulated *wan, const char *const arguments[], FILE **out)
{
    int ends[2] = {-1, -1};
    if (out != NULL && pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (out != NULL ? dup2(ends[1], STDOUT_FILENO) >= 0 : freopen("/dev/null", "w", stdout) != NULL)
            execv(wan->program, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    if (out != NULL) {
        close(ends[1]);
        *out = fdopen(ends[0], "r");
    }
    return child;
}

static bool config_write(const struct hg_perf_emulated *wan, const char *text, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/wan.conf", wan->run);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return false;
    fputs(text, file);
    return fclose(file) == 0;
}

/* The kernel's struct sched_attr, first version: its header and glibc's define the same names. */
struct slice_attributes {
    uint32_t bytes;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of SCHED_OTHER: the slice */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

/* Ahead of whatever else wants its CPU, where that is allowed: a late emulator is a wrong line. A short slice
 * lets it in as soon as it wakes (Linux 6.12). With SCHED_FIFO 4 to 8 % of the frames were late: we think
 * that the kernel's reserve for others, 50 ms of each second, came in one piece. */
static void come_first(pid_t process)
{
    const struct slice_attributes attributes = {
        .bytes = sizeof(attributes), .policy = SCHED_OTHER, .nice = -20, .runtime_ns = SLICE_NS};
    if (syscall(SYS_sched_setattr, process, &attributes, 0) != 0)
        (void)setpriority(PRIO_PROCESS, (id_t)process, -20);
}

/* Ready = it answers a command. */
static bool answers(struct hg_perf_emulated *wan)
{
    struct hg_clock *clock = hg_clock_tsc();
    struct timespec wait = {.tv_nsec = 20 * (long)HG_NS_PER_MS};
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/wan.sock", wan->run);
    for (uint64_t until_ns = clock->now_ns(clock) + ANSWER_NS; clock->now_ns(clock) < until_ns;) {
        if (waitpid(wan->child, NULL, WNOHANG) > 0) {
            wan->child = 0;
            return false;
        }
        if (access(path, F_OK) == 0 && hg_perf_emulated_command(wan, "show ports"))
            return true;
        nanosleep(&wait, NULL);
    }
    return false;
}

int hg_perf_emulated_start(struct hg_perf_emulated *wan, const char *directory, const char *config, int cpu,
                           uint32_t memory_mb, uint32_t nap_us)
{
    char path[PATH_MAX + 16], cpu_text[16], memory_text[16], nap_text[16];
    memset(wan, 0, sizeof(*wan));
    if (!program_find(wan))
        return -ENOENT;
    snprintf(wan->run, sizeof(wan->run), "%s/helio-perf-wan-XXXXXX", directory);
    if (mkdtemp(wan->run) == NULL || !config_write(wan, config, path, sizeof(path))) {
        fprintf(stderr, "helio-perf: can't make a directory in %s: %s\n", directory, strerror(errno));
        return -EIO;
    }
    snprintf(cpu_text, sizeof(cpu_text), "%d", cpu);
    snprintf(memory_text, sizeof(memory_text), "%u", memory_mb);
    snprintf(nap_text, sizeof(nap_text), "%u", nap_us);
    const char *const arguments[] = {
        wan->program, "--run",  wan->run, "--config",  path,
        "--lcore",    cpu_text, "--mem",  memory_text, nap_us != 0 ? "--nap" : NULL,
        nap_text,     NULL};
    wan->child = program_start(wan, arguments, NULL);
    if (wan->child > 0)
        come_first(wan->child);
    if (wan->child > 0 && answers(wan))
        return 0;
    fprintf(stderr, "helio-perf: helio-wan does not start: see above\n");
    hg_perf_emulated_stop(wan);
    return -EIO;
}

bool hg_perf_emulated_command(const struct hg_perf_emulated *wan, const char *command)
{
    const char *const arguments[] = {wan->program, "--run", wan->run, "--command", command, NULL};
    int status = 0;
    pid_t child = program_start(wan, arguments, NULL);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static const json_t *link_of(const json_t *links, const char *from, const char *to)
{
    size_t index;
    const json_t *link;
    json_array_foreach(links, index, link)
    {
        const char *a = json_string_value(json_object_get(link, "from"));
        const char *b = json_string_value(json_object_get(link, "to"));
        if (a != NULL && b != NULL && strcmp(a, from) == 0 && strcmp(b, to) == 0)
            return link;
    }
    return NULL;
}

bool hg_perf_emulated_counters(const struct hg_perf_emulated *wan, const char *from, const char *to,
                               const char *const names[], uint64_t values[], uint32_t count)
{
    const char *const arguments[] = {wan->program, "--run",      wan->run, "--json",
                                     "--command",  "show links", NULL};
    FILE *out = NULL;
    pid_t child = program_start(wan, arguments, &out);
    if (child < 0 || out == NULL)
        return false;
    json_t *answer = json_loadf(out, JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *link = link_of(json_object_get(answer, "links"), from, to);
    bool found = link != NULL;
    for (uint32_t i = 0; i < count && found; i++) {
        const json_t *value = json_object_get(link, names[i]);
        if (value == NULL)
            value = json_object_get(answer, names[i]);
        found = json_is_integer(value);
        values[i] = found ? (uint64_t)json_integer_value(value) : 0;
    }
    json_decref(answer);
    fclose(out);
    (void)waitpid(child, NULL, 0);
    return found;
}

void hg_perf_emulated_stop(struct hg_perf_emulated *wan)
{
    if (wan->child > 0) {
        kill(wan->child, SIGTERM);
        (void)waitpid(wan->child, NULL, 0);
    }
    wan->child = 0;
    if (wan->run[0] != '\0')
        hg_perf_directory_remove(wan->run);
}
