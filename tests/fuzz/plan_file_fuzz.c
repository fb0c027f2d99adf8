/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulator's plan from a file with anything in it. What is taken has nothing of nodes or streams that are
 * not there, and is the same when it was written and read again.
 */
#include "tests/sim/plan_file.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static char path[64];

static void check(const struct sim_plan *plan)
{
    hg_assert(plan->node_count >= 2 && plan->node_count <= SIM_NODES_MAX);
    hg_assert(plan->flow_count <= SIM_FLOWS_MAX && plan->fault_count <= SIM_FAULTS_MAX);
    hg_assert(plan->order_count <= SIM_ORDERS_MAX);
    for (uint32_t i = 0; i < plan->fault_count; i++)
        hg_assert(plan->faults[i].node < plan->node_count && plan->faults[i].other < plan->node_count);
    for (uint32_t i = 0; i < plan->flow_count; i++)
        hg_assert(plan->flows[i].origin < plan->node_count);
}

static char *text_of(const struct sim_plan *plan, size_t *bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes);
    hg_assert(out != NULL);
    hg_sim_plan_write(plan, out);
    hg_assert(fclose(out) == 0);
    return text;
}

static void file_set(int fd, const void *bytes, size_t count)
{
    hg_assert(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, count, 0) == (ssize_t)count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim_plan plan, again;
    static int fd = -1;
    char error[512];
    if (fd < 0) {
        fd = memfd_create("plan", MFD_CLOEXEC);
        hg_assert(fd >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    file_set(fd, data, size);
    if (!hg_sim_plan_read(&plan, path, error, sizeof(error))) {
        hg_assert(error[0] != '\0');
        return 0;
    }
    check(&plan);
    size_t bytes, again_bytes;
    char *text = text_of(&plan, &bytes);
    file_set(fd, text, bytes);
    hg_assert(hg_sim_plan_read(&again, path, error, sizeof(error)));
    char *again_text = text_of(&again, &again_bytes);
    hg_assert(bytes == again_bytes && memcmp(text, again_text, bytes) == 0);
    free(text);
    free(again_text);
    return 0;
}
