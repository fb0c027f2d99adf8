/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-sim: options, the loop over seeds, what is printed.
 */
#include "tests/sim/minimise.h"
#include "tests/sim/plan_file.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PRINTED_MAX 5u /* violations told at length */

struct options {
    uint64_t first, last;
    uint32_t scenario;
    bool list, json, trace, plan, promises, until_violation, verbose, minimise, has_seeds;
    const char *plan_path; /* what is run is in this file */
    const char *out_path;  /* of a minimised plan; NULL = stdout */
    bool left_out[SIM_FAULTS_MAX];
    const char *left_out_text;
};

struct result {
    uint64_t seeds;
    uint64_t violations;
    uint64_t seed_violated; /* the first */
    uint64_t hash;
    uint64_t events;
    uint64_t liveness_ns_max;
    uint64_t commits_timed;      /* of scenarios that run each seed without parity as well: */
    uint64_t commits_stalled[2]; /* with it, without */
    uint64_t sometimes[SIM_SOMETIMES_COUNT];
    uint64_t seeds_with[SIM_SOMETIMES_COUNT];
};

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
            "  --list            scenarios and what they are for, as an array with --json\n"
            "  --json            one object: seeds, violations, trace_hash, seconds, and how often rare "
            "things happened\n"
            "  --plan            print the plan (options and faults) of each seed before it runs\n"
            "  --trace           print every event of a run to stderr\n"
            "  --without N[,N]   leave these faults of the plan out: to find those that matter\n"
            "  --promises        exit 1 also when a rare thing that the scenario promises never happened\n"
            "  --until-violation stop at the first violation\n"
            "  --minimise        make the plan of the first violation small and write it as a plan file\n"
            "  --out FILE        ... here\n"
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

static bool seeds_parse(struct options *options, const char *text)
{
    const char *end;
    if (!number_parse(text, &options->first, &end))
        return false;
    options->last = options->first;
    if (*end == '-' && !number_parse(end + 1, &options->last, &end))
        return false;
    return *end == '\0' && options->first <= options->last;
}

static bool without_parse(struct options *options, const char *text)
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

static void scenarios_print(bool json)
{
    const char *between = "[";
    for (uint32_t i = 0; i < hg_sim_scenario_count(); i++) {
        const struct sim_scenario *scenario = hg_sim_scenario_at(i);
        if (json)
            printf("%s{\"name\": \"%s\", \"purpose\": \"%s\"}", between, scenario->name, scenario->purpose);
        else
            printf("%-10s %s\n", scenario->name, scenario->purpose);
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
    {"out", required_argument, NULL, 'o'},
    {"plan-file", required_argument, NULL, 'f'},
    {NULL, 0, NULL, 0},
};

static bool flag_parse(struct options *options, int option)
{
    static const struct {
        int option;
        size_t at;
    } flags[] = {
        {'l', offsetof(struct options, list)},     {'j', offsetof(struct options, json)},
        {'p', offsetof(struct options, plan)},     {'t', offsetof(struct options, trace)},
        {'r', offsetof(struct options, promises)}, {'u', offsetof(struct options, until_violation)},
        {'v', offsetof(struct options, verbose)},  {'m', offsetof(struct options, minimise)},
    };
    for (uint32_t i = 0; i < HG_COUNT(flags); i++)
        if (flags[i].option == option)
            return *(bool *)((char *)options + flags[i].at) = true;
    return false;
}

/* What takes a value. Returns -1 to go on, else the exit code. */
static int value_parse(struct options *options, int option, const char *value)
{
    int32_t scenario;
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
    case 'o':
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
static int options_parse(int argc, char **argv, struct options *options)
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

/* ---- a seed ---- */

static uint64_t seed_now;
static uint32_t scenario_now;

static void replay_print(FILE *out, const struct options *options, uint32_t scenario, uint64_t seed)
{
    const char *without = options->left_out_text;
    if (options->plan_path != NULL) {
        fprintf(out, "replay: helio-sim --plan-file %s --trace\n", options->plan_path);
        return;
    }
    fprintf(out, "replay: helio-sim --scenario %s --seeds %llu --trace%s%s\n",
            hg_sim_scenario_at(scenario)->name, (unsigned long long)seed,
            without == NULL ? "" : " --without ", without == NULL ? "" : without);
}

static void on_signal(int signal_number)
{
    char text[160];
    int bytes = snprintf(text, sizeof(text),
                         "helio-sim: signal %d\nreplay: helio-sim --scenario %s --seeds %llu --trace\n",
                         signal_number, hg_sim_scenario_at(scenario_now)->name, (unsigned long long)seed_now);
    if (write(2, text, (size_t)bytes) < 0)
        _exit(3);
    _exit(1);
}

static void violation_print(struct sim_world *world, const struct options *options, FILE *out)
{
    fprintf(out, "VIOLATION %s: scenario %s seed %llu at %.9f s of virtual time\n  %s\n",
            world->violation_name, hg_sim_scenario_at(world->plan->scenario)->name,
            (unsigned long long)world->plan->seed, (double)world->now_ns / 1e9, world->violation_text);
    hg_sim_plan_print(world->plan, out);
    fprintf(out, "state of the nodes:\n");
    hg_sim_world_state_print(world, out);
    replay_print(out, options, world->plan->scenario, world->plan->seed);
    fflush(out);
}

static void plan_run(const struct options *options, const struct sim_plan *plan, struct result *result)
{
    uint64_t seed = plan->seed;
    FILE *out = options->json ? stderr : stdout;
    if (options->plan)
        hg_sim_plan_print(plan, out);
    struct sim_world *world = hg_sim_world_make(plan, options->trace);
    bool clean = hg_sim_world_run(world);
    if (!clean) {
        if (result->violations == 0)
            result->seed_violated = seed;
        if (result->violations++ < PRINTED_MAX)
            violation_print(world, options, out);
    }
    result->commits_timed += world->commits_timed;
    result->commits_stalled[plan->nodes[0].fec == HG_CONFIG_FEC_OFF] += world->commits_stalled;
    result->events += world->events_count;
    result->hash = (result->hash ^ world->hash) * UINT64_C(0x100000001b3) + seed;
    result->liveness_ns_max = hg_max_u64(result->liveness_ns_max, world->liveness_ns);
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT; i++) {
        result->sometimes[i] += world->sometimes[i];
        result->seeds_with[i] += world->sometimes[i] > 0;
    }
    if (options->verbose)
        fprintf(out, "seed %llu hash %016llx events %llu packets %llu virtual %.3f s liveness %.3f s\n",
                (unsigned long long)seed, (unsigned long long)world->hash,
                (unsigned long long)world->events_count, (unsigned long long)world->packets_sealed,
                (double)world->now_ns / 1e9, (double)world->liveness_ns / 1e9);
    hg_sim_world_free(world);
}

static void seed_plan(const struct options *options, uint64_t seed, struct sim_plan *plan)
{
    seed_now = seed;
    scenario_now = options->scenario;
    hg_sim_plan_make(plan, options->scenario, seed);
    for (uint32_t i = 0; i < plan->fault_count; i++)
        plan->faults[i].left_out = options->left_out[i];
}

static void seed_run(const struct options *options, uint64_t seed, struct result *result)
{
    static struct sim_plan plan;
    seed_plan(options, seed, &plan);
    result->seeds++;
    plan_run(options, &plan, result);
    if (!hg_sim_scenario_has(options->scenario, SIM_SCENARIO_FEC))
        return;
    for (uint32_t i = 0; i < plan.node_count; i++)
        plan.nodes[i].fec = HG_CONFIG_FEC_OFF;
    plan_run(options, &plan, result);
}

/* Returns the exit code. */
static int plan_file_run(struct options *options, struct result *result)
{
    static struct sim_plan plan;
    char error[SIM_TEXT_BYTES];
    if (!hg_sim_plan_read(&plan, options->plan_path, error, sizeof(error))) {
        fprintf(stderr, "helio-sim: %s\n", error);
        return 2;
    }
    seed_now = plan.seed;
    options->scenario = scenario_now = plan.scenario;
    result->seeds = 1;
    plan_run(options, &plan, result);
    return result->violations == 0 ? 0 : 1;
}

/* Of the first of the seeds that breaks something. Returns the exit code. */
static int minimise_run(const struct options *options)
{
    static struct sim_plan plan;
    struct sim_minimised m;
    bool found = false;
    for (uint64_t seed = options->first; !found; seed++) {
        seed_plan(options, seed, &plan);
        found = hg_sim_minimise(&plan, &m);
        if (seed == options->last && !found) {
            fprintf(stderr, "helio-sim: none of these seeds of %s breaks anything\n",
                    hg_sim_scenario_at(options->scenario)->name);
            return 0;
        }
    }
    FILE *out = options->out_path == NULL ? stdout : fopen(options->out_path, "w");
    if (out == NULL) {
        fprintf(stderr, "helio-sim: %s: %s\n", options->out_path, strerror(errno));
        return 2;
    }
    fprintf(out,
            "# Violation %s of scenario %s seed %llu.\n# Faults %u -> %u, streams %u -> %u, nodes %u -> %u, "
            "bytes "
            "%llu -> %llu; %u runs.\n",
            m.violation, hg_sim_scenario_at(plan.scenario)->name, (unsigned long long)plan.seed,
            m.faults_before, m.faults_after, m.streams_before, m.streams_after, m.nodes_before, m.nodes_after,
            (unsigned long long)m.bytes_before, (unsigned long long)m.bytes_after, m.runs);
    hg_sim_plan_write(&plan, out);
    if (out != stdout && fclose(out) != 0) {
        fprintf(stderr, "helio-sim: %s: %s\n", options->out_path, strerror(errno));
        return 2;
    }
    return 1;
}

static void result_print(const struct options *options, const struct result *result, double seconds)
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

static bool promises_kept(const struct options *options, const struct result *result)
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
    static struct options options;
    static struct result result;
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
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGFPE, on_signal);
    if (options.minimise)
        return minimise_run(&options);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (options.plan_path != NULL && (code = plan_file_run(&options, &result)) == 2)
        return code;
    for (uint64_t seed = options.first; options.plan_path == NULL; seed++) {
        seed_run(&options, seed, &result);
        if (seed == options.last || (result.violations > 0 && options.until_violation))
            break;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    result_print(&options, &result, seconds);
    return result.violations == 0 && promises_kept(&options, &result) ? 0 : 1;
}
