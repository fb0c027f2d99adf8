/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-sim: options, the loop over seeds, what is printed.
 */
#include "tests/sim/minimise.h"
#include "tests/sim/plan_file.h"
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

static const char *const sometimes_names[] = {
#define HG_X(name) #name,
    SIM_SOMETIMES(HG_X)
#undef HG_X
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: helio-sim --seeds A-B [--scenario NAME] [options]\n"
            "Runs dataplanes against each other in virtual time, one world a seed, and checks that nothing "
            "that was\n"
            "acknowledged is lost, order is kept, bytes are equal and nobody waits for ever.\n\n"
            "  --seeds A-B       seeds to run, or one seed A\n"
            "  --scenario NAME   default pair; see --list\n"
            "  --list            scenarios and what they are for; with --json an array, with what each "
            "promises\n"
            "  --json            one object: seeds, violations, trace_hash, seconds, and how often rare "
            "things happened\n"
            "  --plan            print the plan (options and faults) of each seed before it runs\n"
            "  --trace           print every event of a run to stderr\n"
            "  --without N[,N]   leave these faults of the plan out: to find those that matter\n"
            "  --promises        exit 1 also when a rare thing that the scenario promises never happened\n"
            "  --until-violation stop at the first violation\n"
            "  --jobs N          share the seeds between N processes; what is printed is the same\n"
            "  --minimise        make the plan of the first violation small and write it as a plan file\n"
            "  --out FILE        ... here\n"
            "  --plan-write FILE only write the plan of the first seed\n"
            "  --plan-file FILE  run the plan in this file instead of seeds\n"
            "  --help            this text\n\n"
            "exit: 0 clean, 1 violation, 2 usage\n"
            "example: helio-sim --seeds 1-200 --scenario power\n"
            "a violation prints the command that replays it; see docs/simulator.md\n");
}

static bool number_parse(const char *text, uint64_t *value, const char **end)
{
    char *stop;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *value = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

static bool seeds_parse(struct sim_options *options, const char *text)
{
    const char *end;
    if (!number_parse(text, &options->first, &end))
        return false;
    options->last = options->first;
    if (*end == '-' && !number_parse(end + 1, &options->last, &end))
        return false;
    return *end == '\0' && options->first <= options->last;
}

static bool without_parse(struct sim_options *options, const char *text)
{
    options->left_out_text = text;
    for (;;) {
        uint64_t value;
        const char *end;
        if (!number_parse(text, &value, &end) || value >= SIM_FAULTS_MAX)
            return false;
        options->left_out[value] = true;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
}

static int refuse(const char *what, const char *value)
{
    fprintf(stderr, "helio-sim: %s%s: see helio-sim --help\n", what, value);
    return 2;
}

static void promises_print(uint32_t scenario)
{
    const char *between = "";
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT; i++) {
        if (!hg_sim_scenario_promises(scenario, i))
            continue;
        printf("%s\"%s\"", between, sometimes_names[i]);
        between = ", ";
    }
}

static void scenarios_print(bool json)
{
    const char *between = "[";
    for (uint32_t i = 0; i < hg_sim_scenario_count(); i++) {
        const struct sim_scenario *scenario = hg_sim_scenario_at(i);
        if (!json) {
            printf("%-10s %s\n", scenario->name, scenario->purpose);
            continue;
        }
        printf("%s{\"name\": \"%s\", \"purpose\": \"%s\", \"promises\": [", between, scenario->name,
               scenario->purpose);
        promises_print(i);
        printf("]}");
        between = ",\n ";
    }
    if (json)
        printf("]\n");
}

static const struct option options_long[] = {
    {"seeds", required_argument, NULL, 's'},
    {"scenario", required_argument, NULL, 'c'},
    {"list", no_argument, NULL, 'l'},
    {"json", no_argument, NULL, 'j'},
    {"plan", no_argument, NULL, 'p'},
    {"trace", no_argument, NULL, 't'},
    {"without", required_argument, NULL, 'w'},
    {"promises", no_argument, NULL, 'r'},
    {"help", no_argument, NULL, 'h'},
    {"until-violation", no_argument, NULL, 'u'},
    {"verbose", no_argument, NULL, 'v'},
    {"minimise", no_argument, NULL, 'm'},
    {"jobs", required_argument, NULL, 'n'},
    {"out", required_argument, NULL, 'o'},
    {"plan-file", required_argument, NULL, 'f'},
    {"plan-write", required_argument, NULL, 'k'},
    {NULL, 0, NULL, 0},
};

static bool flag_parse(struct sim_options *options, int option)
{
    static const struct {
        int option;
        size_t at;
    } flags[] = {
        {'l', offsetof(struct sim_options, list)},     {'j', offsetof(struct sim_options, json)},
        {'p', offsetof(struct sim_options, plan)},     {'t', offsetof(struct sim_options, trace)},
        {'r', offsetof(struct sim_options, promises)}, {'u', offsetof(struct sim_options, until_violation)},
        {'v', offsetof(struct sim_options, verbose)},  {'m', offsetof(struct sim_options, minimise)},
    };
    for (uint32_t i = 0; i < HG_COUNT(flags); i++)
        if (flags[i].option == option)
            return *(bool *)((char *)options + flags[i].at) = true;
    return false;
}

/* What takes a value. Returns -1 to go on, else the exit code. */
static int value_parse(struct sim_options *options, int option, const char *value)
{
    int32_t scenario;
    uint64_t jobs;
    const char *end;
    switch (option) {
    case 's':
        if (!seeds_parse(options, value))
            return refuse("seeds are a number or A-B with A <= B, not ", value);
        options->has_seeds = true;
        return -1;
    case 'c':
        scenario = hg_sim_scenario_find(value);
        if (scenario < 0)
            return refuse("no such scenario (--list has them): ", value);
        options->scenario = (uint32_t)scenario;
        return -1;
    case 'w':
        return without_parse(options, value) ? -1
                                             : refuse("faults are numbers of the plan, N[,N], not ", value);
    case 'n':
        if (!number_parse(value, &jobs, &end) || *end != '\0' || jobs < 1 || jobs > SIM_JOBS_MAX)
            return refuse("--jobs takes a number up to 64, not ", value);
        options->jobs = (uint32_t)jobs;
        return -1;
    case 'o':
        options->out_path = value;
        return -1;
    case 'k':
        options->plan_only = true;
        options->out_path = value;
        return -1;
    case 'f':
        options->plan_path = value;
        return -1;
    default:
        return 2;
    }
}

/* Returns -1 to go on, else the exit code. */
static int options_parse(int argc, char **argv, struct sim_options *options)
{
    int option, code = -1;
    while (code < 0 && (option = getopt_long(argc, argv, "", options_long, NULL)) != -1) {
        if (option == 'h') {
            usage(stdout);
            return 0;
        }
        if (!flag_parse(options, option))
            code = value_parse(options, option, optarg);
    }
    if (code >= 0)
        return code;
    if (optind < argc)
        return refuse("an argument too many: ", argv[optind]);
    if (options->list) {
        scenarios_print(options->json);
        return 0;
    }
    if (options->plan_path != NULL && (options->has_seeds || options->minimise))
        return refuse("--plan-file runs what the file says: neither --seeds nor --minimise goes with it", "");
    return options->has_seeds || options->plan_path != NULL ? -1 : refuse("--seeds is missing", "");
}

/* ---- runs ---- */

/* Returns the exit code. */
static int plan_file_run(struct sim_options *options, struct sim_result *result)
{
    static struct sim_plan plan;
    char error[SIM_TEXT_BYTES];
    if (!hg_sim_plan_read(&plan, options->plan_path, error, sizeof(error))) {
        fprintf(stderr, "helio-sim: %s\n", error);
        return 2;
    }
    options->scenario = plan.scenario;
    hg_sim_plan_run(options, &plan, result);
    return result->violations == 0 ? 0 : 1;
}

/* To the file of the options, or stdout; `made` tells how it came about, NULL = expanded from its seed.
 * Returns the exit code. */
static int plan_put(const struct sim_options *options, const struct sim_plan *plan,
                    const struct sim_minimised *made)
{
    FILE *out = options->out_path == NULL ? stdout : fopen(options->out_path, "w");
    if (out != NULL && made != NULL)
        fprintf(
            out,
            "# Violation %s of scenario %s seed %llu.\n# Faults %u -> %u, streams %u -> %u, nodes %u -> %u, "
            "bytes %llu -> %llu; %u runs.\n",
            made->violation, hg_sim_scenario_at(plan->scenario)->name, (unsigned long long)plan->seed,
            made->faults_before, made->faults_after, made->streams_before, made->streams_after,
            made->nodes_before, made->nodes_after, (unsigned long long)made->bytes_before,
            (unsigned long long)made->bytes_after, made->runs);
    if (out != NULL)
        hg_sim_plan_write(plan, out);
    if (out == NULL || (out != stdout && fclose(out) != 0)) {
        fprintf(stderr, "helio-sim: %s: %s\n", options->out_path, strerror(errno));
        return 2;
    }
    return made == NULL ? 0 : 1;
}

/* Of the first of the seeds that breaks something. Returns the exit code. */
static int minimise_run(const struct sim_options *options)
{
    static struct sim_plan plan;
    struct sim_minimised made;
    for (uint64_t seed = options->first;; seed++) {
        hg_sim_seed_plan(options, seed, &plan);
        if (hg_sim_minimise(&plan, &made))
            return plan_put(options, &plan, &made);
        if (seed == options->last)
            break;
    }
    fprintf(stderr, "helio-sim: none of these seeds of %s breaks anything\n",
            hg_sim_scenario_at(options->scenario)->name);
    return 0;
}

static int plan_only(const struct sim_options *options)
{
    static struct sim_plan plan;
    hg_sim_seed_plan(options, options->first, &plan);
    return plan_put(options, &plan, NULL);
}

static void result_print(const struct sim_options *options, const struct sim_result *result, double seconds)
{
    if (!options->json) {
        printf("%llu seeds of %s, %llu violations, trace hash %016llx, %llu events, longest liveness phase "
               "%.3f s, "
               "%.2f s\n",
               (unsigned long long)result->seeds, hg_sim_scenario_at(options->scenario)->name,
               (unsigned long long)result->violations, (unsigned long long)result->hash,
               (unsigned long long)result->events, (double)result->liveness_ns_max / 1e9, seconds);
        if (result->commits_timed > 0)
            printf("of %llu commits %llu stalled with parity, %llu without\n",
                   (unsigned long long)result->commits_timed / 2,
                   (unsigned long long)result->commits_stalled[0],
                   (unsigned long long)result->commits_stalled[1]);
        return;
    }
    printf("{\"scenario\": \"%s\", \"seeds\": %llu, \"violations\": %llu, \"trace_hash\": \"%016llx\", "
           "\"seconds\": %.3f, \"events\": %llu, \"liveness_ns_max\": %llu, \"seed_violated\": %llu, "
           "\"sometimes\": {",
           hg_sim_scenario_at(options->scenario)->name, (unsigned long long)result->seeds,
           (unsigned long long)result->violations, (unsigned long long)result->hash, seconds,
           (unsigned long long)result->events, (unsigned long long)result->liveness_ns_max,
           (unsigned long long)result->seed_violated);
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT; i++)
        printf("%s\"%s\": %llu", i == 0 ? "" : ", ", sometimes_names[i],
               (unsigned long long)result->sometimes[i]);
    printf("}, \"seeds_with\": {");
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT; i++)
        printf("%s\"%s\": %llu", i == 0 ? "" : ", ", sometimes_names[i],
               (unsigned long long)result->seeds_with[i]);
    printf("}}\n");
}

static bool promises_kept(const struct sim_options *options, const struct sim_result *result)
{
    bool kept = true;
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT && options->promises; i++)
        if (result->sometimes[i] == 0 && hg_sim_scenario_promises(options->scenario, i)) {
            fprintf(stderr, "helio-sim: %s never happened: the seeds of scenario %s no longer reach it\n",
                    sometimes_names[i], hg_sim_scenario_at(options->scenario)->name);
            kept = false;
        }
    /* Over the seeds and not in each: what parity covers is a matter of chance. */
    if (options->promises && hg_sim_scenario_has(options->scenario, SIM_SCENARIO_FEC) &&
        (result->commits_stalled[1] == 0 || 3 * result->commits_stalled[0] > result->commits_stalled[1])) {
        fprintf(stderr, "helio-sim: %llu commits stalled with parity, %llu without: not at most a third\n",
                (unsigned long long)result->commits_stalled[0],
                (unsigned long long)result->commits_stalled[1]);
        kept = false;
    }
    return kept;
}

int main(int argc, char **argv)
{
    static struct sim_options options;
    static struct sim_result result;
    struct timespec begin, end;
    char error[256];
    int code = options_parse(argc, argv, &options);
    if (code >= 0)
        return code;
    if (hg_esp_start(error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-sim: %s\n", error);
        return 1;
    }
    /* Worlds take and give back the same blocks: none goes back to the kernel, which would clear it again. */
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_TOP_PAD, 64 << 20);
    hg_sim_signals_take();
    if (options.minimise || options.plan_only)
        return options.minimise ? minimise_run(&options) : plan_only(&options);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (options.plan_path != NULL && (code = plan_file_run(&options, &result)) == 2)
        return code;
    if (options.plan_path == NULL && !hg_sim_seeds_run(&options, &result)) {
        fprintf(stderr, "helio-sim: a process of %u ended before its seeds did: see above\n", options.jobs);
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    result_print(&options, &result, seconds);
    return result.violations == 0 && promises_kept(&options, &result) ? 0 : 1;
}
