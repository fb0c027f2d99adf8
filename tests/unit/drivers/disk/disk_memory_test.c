/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/disk/disk.h"

#include <CUnit/Basic.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES (2u << 20)

static void test_map(void)
{
    static const uint64_t sizes[] = {1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + HG_DISK_BLOCK_BYTES};
    for (size_t i = 0; i < HG_COUNT(sizes); i++) {
        uint8_t *memory = hg_disk_memory_map(sizes[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
        CU_ASSERT_EQUAL((uintptr_t)memory % HUGE_PAGE_BYTES, 0);
        uint64_t set = 0;
        for (uint64_t at = 0; at < sizes[i]; at++)
            set += memory[at];
        CU_ASSERT_EQUAL(set, 0);
        memset(memory, 0xff, sizes[i]);
        hg_disk_memory_unmap(memory, sizes[i]);
    }
    hg_disk_memory_unmap(NULL, 1);
}

/* A child that touches it dies, and the parent's pages are not copied. */
static void test_not_in_a_child(void)
{
    volatile uint8_t *memory = hg_disk_memory_map(1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(memory[0]);
    }
    int status = 0;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    hg_disk_memory_unmap((void *)memory, 1);
}

static void test_too_much(void)
{
    CU_ASSERT_PTR_NULL(hg_disk_memory_map(UINT64_C(1) << 60));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("disk_memory", NULL, NULL);
    CU_ADD_TEST(suite, test_map);
    CU_ADD_TEST(suite, test_not_in_a_child);
    CU_ADD_TEST(suite, test_too_much);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
