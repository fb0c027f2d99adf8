/* SPDX-License-Identifier: Apache-2.0
 *
 * Which CPUs lcores get, on machines that hwloc makes up: 2 packages of 4 cores of 2 CPUs each.
 */
#include "dataplane/cores.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static char error[256], text[512];
static struct hg_node_lcore lcores[HG_NODE_LCORES_MAX];
static cpu_set_t allowed;

static void cpus(int first, int last)
{
    CPU_ZERO(&allowed);
    for (int cpu = first; cpu <= last; cpu++)
        CPU_SET(cpu, &allowed);
}

static int choose(const char *wanted)
{
    memset(lcores, 0, sizeof(lcores));
    error[0] = '\0';
    return hg_cores_choose(wanted, &allowed, lcores, error, sizeof(error));
}

static bool refused(const char *wanted, const char *why)
{
    return choose(wanted) == -EINVAL && strstr(error, why) != NULL && strstr(error, "--lcores") != NULL;
}

static void test_list(void)
{
    cpus(0, 15);
    CU_ASSERT_EQUAL(choose("5,2"), 2);
    CU_ASSERT(lcores[0].cpu == 5 && lcores[0].core == 2 && lcores[0].numa_node == 0);
    CU_ASSERT(lcores[1].cpu == 2 && lcores[1].core == 1);
    CU_ASSERT_EQUAL(choose("13"), 1);
    CU_ASSERT(lcores[0].core == 6 && lcores[0].numa_node == 1);
    CU_ASSERT_TRUE(hg_cores_eal_text(&allowed, lcores, 1, text, sizeof(text)));
    CU_ASSERT_STRING_EQUAL(text, "0@13");
    cpus(0, 3);
    CU_ASSERT_TRUE(refused("4", "may run on"));
    CU_ASSERT_TRUE(refused("1,1", "named twice"));
    CU_ASSERT_TRUE(refused("1,", "give CPUs"));
    CU_ASSERT_TRUE(refused("", "give CPUs"));
    CU_ASSERT_TRUE(refused("-1", "give CPUs"));
    CU_ASSERT_TRUE(refused("99999999999999999999", "give CPUs"));
    CU_ASSERT_TRUE(refused("0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "too many"));
}

static void test_auto(void)
{
    cpus(0, 15);
    CU_ASSERT_EQUAL(choose("auto"), 1);
    CU_ASSERT(lcores[0].cpu == 14 && lcores[0].core == 7 && lcores[0].numa_node == 1);
    CU_ASSERT_EQUAL(choose("auto/3"), 3);
    CU_ASSERT(lcores[0].cpu == 14 && lcores[1].cpu == 12 && lcores[2].cpu == 10); /* one a core */
    CU_ASSERT_TRUE(hg_cores_eal_text(&allowed, lcores, 3, text, sizeof(text)));
    CU_ASSERT_STRING_EQUAL(text, "0@14,1@12,2@10");
    CU_ASSERT_EQUAL(choose("auto/7"), 7);
    CU_ASSERT_EQUAL(lcores[6].cpu, 2);
    CU_ASSERT_TRUE(refused("auto/8", "7 whole cores besides CPU 0's"));
    CPU_CLR(14, &allowed); /* its core's other CPU does as well */
    CU_ASSERT_EQUAL(choose("auto"), 1);
    CU_ASSERT_EQUAL(lcores[0].cpu, 15);
    CU_ASSERT_TRUE(refused("auto/0", "1 to 16"));
    CU_ASSERT_TRUE(refused("auto/17", "1 to 16"));
    CU_ASSERT_TRUE(refused("auto/2x", "auto may be followed"));
    CU_ASSERT_TRUE(refused("auto:", "no device"));
    CU_ASSERT_TRUE(refused("auto:eth99/2", "eth99"));
    CU_ASSERT_TRUE(refused("automatic", "auto may be followed"));
}

/* On a laptop's two CPUs a pinned lcore would stand in everybody's way. */
static void test_few(void)
{
    cpus(1, 3);
    CU_ASSERT_EQUAL(choose("auto/2"), 2);
    CU_ASSERT(lcores[0].cpu == -1 && lcores[0].core == -1 && lcores[1].numa_node == -1);
    CU_ASSERT_TRUE(hg_cores_eal_text(&allowed, lcores, 2, text, sizeof(text)));
    CU_ASSERT_STRING_EQUAL(text, "0@(1,2,3),1@(1,2,3)");
    CU_ASSERT_FALSE(hg_cores_eal_text(&allowed, lcores, 2, text, 12));
}

static void test_others(void)
{
    cpu_set_t others;
    cpus(0, 3);
    CU_ASSERT_EQUAL(choose("1,3"), 2);
    hg_cores_others(&allowed, lcores, 2, &others);
    CU_ASSERT(CPU_COUNT(&others) == 2 && CPU_ISSET(0, &others) && CPU_ISSET(2, &others));
    CU_ASSERT_EQUAL(choose("0,1,2,3"), 4);
    hg_cores_others(&allowed, lcores, 4, &others);
    CU_ASSERT_EQUAL(CPU_COUNT(&others), 4); /* nothing is left: they share */
}

int main(void)
{
    setenv("HWLOC_SYNTHETIC", "pack:2 [numa] core:4 pu:2", 1);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cores", NULL, NULL);
    CU_add_test(suite, "a list", test_list);
    CU_add_test(suite, "auto", test_auto);
    CU_add_test(suite, "few CPUs", test_few);
    CU_add_test(suite, "the others", test_others);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
