/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/run.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRINTED_MAX 5u /* violations told at length */

static uint32_t printed;
static uint64_t seed_now; /* for a signal */
static uint32_t scenario_now;

static void replay_print(FILE *out, const struct sim_options *options, uint32_t scenario, uint64_t seed)
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

void hg_sim_signals_take(void)
{
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGFPE, on_signal);
}

static void violation_print(struct sim_world *world, const struct sim_options *options, FILE *out)
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

static uint64_t hash_add(uint64_t hash, uint64_t value, uint64_t seed)
{
    return (hash ^ value) * UINT64_C(0x100000001b3) + seed;
}

static void plan_run(const struct sim_options *options, const struct sim_plan *plan,
                     struct sim_result *result)
{
    uint64_t seed = plan->seed;
    seed_now = seed;
    scenario_now = plan->scenario;
    FILE *out = options->json ? stderr : stdout;
    if (options->plan)
        hg_sim_plan_print(plan, out);
    struct sim_world *world = hg_sim_world_make(plan, options->trace);
    bool clean = hg_sim_world_run(world);
    if (!clean) {
        if (result->violations == 0)
            result->seed_violated = seed;
        result->violations++;
        if (printed++ < PRINTED_MAX)
            violation_print(world, options, out);
    }
    result->commits_timed += world->commits_timed;
    result->commits_stalled[plan->nodes[0].fec == HG_CONFIG_FEC_OFF] += world->commits_stalled;
    result->events += world->events_count;
    result->hash = hash_add(result->hash, world->hash, seed);
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

void hg_sim_seed_plan(const struct sim_options *options, uint64_t seed, struct sim_plan *plan)
{
    hg_sim_plan_make(plan, options->scenario, seed);
    for (uint32_t i = 0; i < plan->fault_count; i++)
        plan->faults[i].left_out = options->left_out[i];
}

static void seed_run(const struct sim_options *options, uint64_t seed, struct sim_result *result)
{
    static struct sim_plan plan;
    hg_sim_seed_plan(options, seed, &plan);
    result->seeds = 1;
    plan_run(options, &plan, result);
    if (!hg_sim_scenario_has(options->scenario, SIM_SCENARIO_FEC))
        return;
    for (uint32_t i = 0; i < plan.node_count; i++)
        plan.nodes[i].fec = HG_CONFIG_FEC_OFF;
    plan_run(options, &plan, result);
}

/* What one seed adds. */
static void result_add(struct sim_result *result, const struct sim_result *one, uint64_t seed)
{
    if (result->violations == 0 && one->violations > 0)
        result->seed_violated = seed;
    result->seeds += one->seeds;
    result->violations += one->violations;
    result->hash = hash_add(result->hash, one->hash, seed);
    result->events += one->events;
    result->liveness_ns_max = hg_max_u64(result->liveness_ns_max, one->liveness_ns_max);
    result->commits_timed += one->commits_timed;
    for (uint32_t i = 0; i < HG_COUNT(result->commits_stalled); i++)
        result->commits_stalled[i] += one->commits_stalled[i];
    for (uint32_t i = 0; i < SIM_SOMETIMES_COUNT; i++) {
        result->sometimes[i] += one->sometimes[i];
        result->seeds_with[i] += one->seeds_with[i];
    }
}

void hg_sim_plan_run(const struct sim_options *options, const struct sim_plan *plan,
                     struct sim_result *result)
{
    static struct sim_result one;
    memset(&one, 0, sizeof(one));
    one.seeds = 1;
    plan_run(options, plan, &one);
    result_add(result, &one, plan->seed);
}

/* ---- several processes ---- */

struct job {
    pid_t pid;
    FILE *from;
};

/* Seeds first, first + step, ... */
static _Noreturn void job_work(const struct sim_options *options, uint64_t first, int to)
{
    static struct sim_result one;
    FILE *out = fdopen(to, "w");
    for (uint64_t seed = first; out != NULL && seed <= options->last && seed >= first;
         seed += options->jobs) {
        memset(&one, 0, sizeof(one));
        seed_run(options, seed, &one);
        if (fwrite(&one, sizeof(one), 1, out) != 1 || fflush(out) != 0)
            break;
    }
    fflush(stdout);
    _exit(0);
}

static bool job_start(const struct sim_options *options, struct job *jobs, uint32_t index)
{
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        return false;
    jobs[index].pid = fork();
    if (jobs[index].pid == 0) {
        for (uint32_t i = 0; i < index; i++)
            fclose(jobs[i].from);
        close(ends[0]);
        job_work(options, options->first + index, ends[1]);
    }
    close(ends[1]);
    jobs[index].from = fdopen(ends[0], "r");
    return jobs[index].pid > 0 && jobs[index].from != NULL;
}

static bool jobs_run(const struct sim_options *options, struct sim_result *result)
{
    static struct sim_result one;
    struct job jobs[SIM_JOBS_MAX];
    uint32_t started = 0;
    while (started < options->jobs && job_start(options, jobs, started))
        started++;
    bool whole = started == options->jobs;
    for (uint64_t seed = options->first; whole; seed++) {
        whole = fread(&one, sizeof(one), 1, jobs[(seed - options->first) % options->jobs].from) == 1;
        if (whole)
            result_add(result, &one, seed);
        if (seed == options->last || (result->violations > 0 && options->until_violation))
            break;
    }
    for (uint32_t i = 0; i < started; i++) {
        fclose(jobs[i].from);
        (void)kill(jobs[i].pid, SIGTERM);
        (void)waitpid(jobs[i].pid, NULL, 0);
    }
    return whole;
}

bool hg_sim_seeds_run(const struct sim_options *options, struct sim_result *result)
{
    static struct sim_result one;
    if (options->jobs > 1)
        return jobs_run(options, result);
    for (uint64_t seed = options->first;; seed++) {
        memset(&one, 0, sizeof(one));
        seed_run(options, seed, &one);
        result_add(result, &one, seed);
        if (seed == options->last || (result->violations > 0 && options->until_violation))
            return true;
    }
}
