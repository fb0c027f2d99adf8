/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/cores.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>

#define CPUS_TO_PIN_MIN 4 /* with fewer, a pinned lcore would take from everything else */

/* ---- what the operator wrote ---- */

struct wish {
    bool automatic;
    char device[64]; /* empty = none */
    uint32_t count;
    int cpus[HG_NODE_LCORES_MAX];
};

static int refused(char *error, size_t error_bytes, const char *wanted, const char *what)
{
    snprintf(error, error_bytes, "--lcores %.100s: %s", wanted, what);
    return -EINVAL;
}

static bool number_read(const char **text, unsigned long *number)
{
    char *end;
    errno = 0;
    if (**text < '0' || **text > '9')
        return false;
    *number = strtoul(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static int list_parse(const char *wanted, struct wish *wish, char *error, size_t error_bytes)
{
    const char *at = wanted;
    for (;;) {
        unsigned long cpu;
        if (!number_read(&at, &cpu) || cpu >= CPU_SETSIZE || (*at != ',' && *at != '\0'))
            return refused(error, error_bytes, wanted,
                           "give CPUs as 1,2,3, or auto[:DEVICE][/N], DEVICE a PCI address or an interface");
        if (wish->count == HG_NODE_LCORES_MAX)
            return refused(error, error_bytes, wanted, "too many: a node has 16 lcores at most");
        for (uint32_t i = 0; i < wish->count; i++)
            if (wish->cpus[i] == (int)cpu)
                return refused(error, error_bytes, wanted, "a CPU is named twice");
        wish->cpus[wish->count++] = (int)cpu;
        if (*at++ == '\0')
            return 0;
    }
}

static int auto_parse(const char *wanted, struct wish *wish, char *error, size_t error_bytes)
{
    const char *at = wanted + strlen("auto");
    wish->automatic = true;
    wish->count = 1;
    if (*at == ':') {
        size_t length = strcspn(++at, "/");
        if (length == 0 || length >= sizeof(wish->device))
            return refused(error, error_bytes, wanted, "no device is named after the colon");
        memcpy(wish->device, at, length);
        at += length;
    }
    if (*at == '/') {
        unsigned long count;
        at++;
        if (!number_read(&at, &count) || count == 0 || count > HG_NODE_LCORES_MAX)
            return refused(error, error_bytes, wanted, "give 1 to 16 lcores after the slash");
        wish->count = (uint32_t)count;
    }
    return *at == '\0'
               ? 0
               : refused(error, error_bytes, wanted, "auto may be followed by :DEVICE and by /N only");
}

/* ---- the machine ---- */

static hwloc_topology_t topology_load(void)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return NULL;
    (void)hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(topology) == 0)
        return topology;
    hwloc_topology_destroy(topology);
    return NULL;
}

/* Where a device is; NULL = not known. */
static hwloc_const_cpuset_t device_cpus(hwloc_topology_t topology, const char *device)
{
    hwloc_obj_t object = hwloc_get_pcidev_by_busidstring(topology, device);
    for (hwloc_obj_t os = hwloc_get_next_osdev(topology, NULL); object == NULL && os != NULL;
         os = hwloc_get_next_osdev(topology, os))
        if (os->name != NULL && strcmp(os->name, device) == 0)
            object = os;
    hwloc_obj_t near = object == NULL ? NULL : hwloc_get_non_io_ancestor_obj(topology, object);
    return near == NULL ? NULL : near->cpuset;
}

static void lcore_describe(hwloc_topology_t topology, int cpu, struct hg_node_lcore *lcore)
{
    hwloc_obj_t pu =
        cpu < 0 || topology == NULL ? NULL : hwloc_get_pu_obj_by_os_index(topology, (unsigned)cpu);
    hwloc_obj_t core = pu == NULL ? NULL : hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
    int numa_node = pu == NULL ? -1 : hwloc_bitmap_first(pu->nodeset);
    lcore->cpu = cpu;
    lcore->core = core == NULL ? -1 : (int)core->logical_index;
    lcore->numa_node = numa_node;
}

/* The first CPU of a core that we may use; -1 = none, or it is the core of CPU 0, which the kernel likes. */
static int core_cpu(hwloc_obj_t core, const cpu_set_t *allowed)
{
    if (hwloc_bitmap_isset(core->cpuset, 0))
        return -1;
    for (int cpu = hwloc_bitmap_first(core->cpuset); cpu >= 0; cpu = hwloc_bitmap_next(core->cpuset, cpu))
        if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, allowed))
            return cpu;
    return -1;
}

/* Those near the device first, then the rest. Returns how many there are of the wanted. */
static uint32_t cores_take(hwloc_topology_t topology, hwloc_const_cpuset_t near, const cpu_set_t *allowed,
                           uint32_t count, int *cpus)
{
    uint32_t taken = 0;
    int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    for (int pass = near == NULL ? 1 : 0; pass < 2; pass++)
        for (int i = cores - 1; i >= 0 && taken < count; i--) {
            hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i);
            bool is_near = near != NULL && hwloc_bitmap_isincluded(core->cpuset, near);
            int cpu = core_cpu(core, allowed);
            if (cpu >= 0 && is_near == (pass == 0))
                cpus[taken++] = cpu;
        }
    return taken;
}

static int auto_choose(hwloc_topology_t topology, const char *wanted, struct wish *wish,
                       const cpu_set_t *allowed, char *error, size_t error_bytes)
{
    hwloc_const_cpuset_t near = NULL;
    char text[160];
    if (topology == NULL)
        return refused(error, error_bytes, wanted, "hwloc can't read this machine: give CPUs by number");
    if (wish->device[0] != '\0') {
        near = device_cpus(topology, wish->device);
        if (near == NULL) {
            snprintf(
                text, sizeof(text),
                "no PCI device or interface %s has a place in this machine (lstopo shows them): give CPUs by "
                "number",
                wish->device);
            return refused(error, error_bytes, wanted, text);
        }
    }
    if (CPU_COUNT(allowed) < CPUS_TO_PIN_MIN) {
        for (uint32_t i = 0; i < wish->count; i++)
            wish->cpus[i] = -1;
        return 0;
    }
    uint32_t taken = cores_take(topology, near, allowed, wish->count, wish->cpus);
    if (taken == wish->count)
        return 0;
    snprintf(text, sizeof(text), "this process may use %u whole cores besides CPU 0's: ask for no more",
             taken);
    return refused(error, error_bytes, wanted, text);
}

/* ---- choosing ---- */

int hg_cores_choose(const char *wanted, const cpu_set_t *allowed, struct hg_node_lcore *lcores, char *error,
                    size_t error_bytes)
{
    struct wish wish;
    memset(&wish, 0, sizeof(wish));
    bool is_auto = strncmp(wanted, "auto", strlen("auto")) == 0;
    int rc = is_auto ? auto_parse(wanted, &wish, error, error_bytes)
                     : list_parse(wanted, &wish, error, error_bytes);
    if (rc != 0)
        return rc;
    hwloc_topology_t topology = topology_load();
    for (uint32_t i = 0; !is_auto && rc == 0 && i < wish.count; i++)
        if (!CPU_ISSET(wish.cpus[i], allowed))
            rc = refused(error, error_bytes, wanted,
                         "give CPUs that this process may run on (taskset -cp $$)");
    if (is_auto)
        rc = auto_choose(topology, wanted, &wish, allowed, error, error_bytes);
    for (uint32_t i = 0; rc == 0 && i < wish.count; i++)
        lcore_describe(topology, wish.cpus[i], &lcores[i]);
    if (topology != NULL)
        hwloc_topology_destroy(topology);
    return rc == 0 ? (int)wish.count : rc;
}

void hg_cores_others(const cpu_set_t *allowed, const struct hg_node_lcore *lcores, uint32_t lcore_count,
                     cpu_set_t *others)
{
    *others = *allowed;
    for (uint32_t i = 0; i < lcore_count; i++)
        if (lcores[i].cpu >= 0)
            CPU_CLR(lcores[i].cpu, others);
    if (CPU_COUNT(others) == 0)
        *others = *allowed;
}

static size_t set_text(const cpu_set_t *set, char *text, size_t text_bytes)
{
    size_t used = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && used < text_bytes; cpu++)
        if (CPU_ISSET(cpu, set))
            used += (size_t)snprintf(text + used, text_bytes - used, "%s%d", used > 0 ? "," : "", cpu);
    return used;
}

bool hg_cores_eal_text(const cpu_set_t *allowed, const struct hg_node_lcore *lcores, uint32_t lcore_count,
                       char *text, size_t text_bytes)
{
    char all[512];
    size_t used = 0;
    if (set_text(allowed, all, sizeof(all)) >= sizeof(all))
        return false;
    for (uint32_t i = 0; i < lcore_count && used < text_bytes; i++) {
        if (lcores[i].cpu >= 0)
            used += (size_t)snprintf(text + used, text_bytes - used, "%s%u@%d", i > 0 ? "," : "", i,
                                     lcores[i].cpu);
        else
            used += (size_t)snprintf(text + used, text_bytes - used, "%s%u@(%s)", i > 0 ? "," : "", i, all);
    }
    return used < text_bytes;
}
