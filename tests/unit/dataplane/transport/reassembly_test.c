/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/reassembly.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static struct hg_reassembly reassembly;
static void *memory;
static uint8_t source[HG_BATCH_BYTES_MAX + 64];

static void begin(void)
{
    uint64_t receive_bytes = hg_align_up(2 * HG_BATCH_BYTES_MAX, HG_WIRE_BLOCK_BYTES);
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_reassembly_memory_bytes(receive_bytes), 64));
    hg_reassembly_init(&reassembly, memory, receive_bytes);
    for (uint32_t i = 0; i < sizeof(source); i++) {
        source[i] = (uint8_t)(i * 31 + i / 251);
    }
    CU_ASSERT(hg_reassembly_open(&reassembly, 7, 100) == 0);
}

/* Adds bytes [offset, offset + bytes) of the batch [lsn_first, lsn_first + 10) of alias 7. */
static enum hg_reassembly_result add(uint64_t lsn_first, uint32_t batch_bytes, uint32_t offset,
                                     uint32_t bytes, uint32_t *bytes_new)
{
    uint64_t lsn_end = lsn_first + 10;
    memcpy(source + offsetof(struct hg_batch_header, lsn_first), &lsn_first, 8);
    memcpy(source + offsetof(struct hg_batch_header, lsn_end), &lsn_end, 8);
    struct hg_wire_data frame = hg_wire_data_make(7, lsn_first, batch_bytes, offset, bytes);
    CU_ASSERT_FATAL(hg_reassembly_valid(&frame));
    return hg_reassembly_add(&reassembly, &frame, source + offset, bytes_new);
}

static bool all_free(void)
{
    return reassembly.block_free_count == reassembly.block_count && reassembly.whole_bytes == 0;
}

static void test_valid(void)
{
    static const struct {
        uint32_t batch_bytes, offset, bytes;
        bool valid;
    } cases[] = {
        {1024, 0, 1024, true},
        {1024, 0, 64, true},
        {1024, 64, 960, true},
        {1024, 0, 0, false},
        {1024, 0, 65, false},
        {1024, 0, 1088, false},
        {1024, 1024, 64, false},
        {1024, 960, 128, false},
        {1040, 1024, 16, true},
        {1040, 1024, 8, false},
        {176, 0, 176, false},
        {192, 0, 192, true},
        {1024, UINT16_MAX * 64u, 128, false},
        {(2u << 20) - 16, 0, 64, false},
        {HG_BATCH_BYTES_MAX & ~15u, 0, 64, true},
        {(HG_BATCH_BYTES_MAX & ~15u) + 16, 0, 64, false},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_wire_data frame =
            hg_wire_data_make(7, 1, cases[i].batch_bytes, cases[i].offset, cases[i].bytes);
        CU_ASSERT(hg_wire_data_offset(&frame) == cases[i].offset);
        CU_ASSERT(hg_wire_data_batch_bytes(&frame) == cases[i].batch_bytes);
        CU_ASSERT(hg_reassembly_valid(&frame) == cases[i].valid);
        frame.batch_grains_high |= 2;
        CU_ASSERT(!hg_reassembly_valid(&frame));
    }
}

/* The 48 bits of an LSN on the wire, read near where an alias stands. */
static void test_lsn(void)
{
    static const struct {
        uint64_t lsn, near;
    } cases[] = {
        {100, 100},
        {0, 0},
        {0, (UINT64_C(1) << 47) - 1},
        {(UINT64_C(1) << 47) - 1, 0},
        {UINT64_C(1) << 48, (UINT64_C(1) << 48) - 1},
        {(UINT64_C(1) << 48) - 1, UINT64_C(1) << 48},
        {UINT64_C(0x123456789abcdef0), UINT64_C(0x123456789abcdef0) + (UINT64_C(1) << 47)},
        {UINT64_C(0x123456789abcdef0), UINT64_C(0x123456789abcdef0) - (UINT64_C(1) << 47) + 1},
        {UINT64_MAX - 1, UINT64_MAX - 5},
        {UINT64_MAX - (UINT64_C(1) << 40), UINT64_MAX},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_wire_data frame = hg_wire_data_make(7, cases[i].lsn, 1024, 0, 64);
        CU_ASSERT_EQUAL(hg_wire_data_lsn_first(&frame, cases[i].near), cases[i].lsn);
    }
}

static void test_overlap_and_order(void)
{
    uint32_t new = 0;
    begin();
    /* The later batch is whole first, out of overlapping pieces. */
    CU_ASSERT(add(110, 2000, 1024, 976, &new) == HG_REASSEMBLY_TAKEN && new == 976);
    CU_ASSERT(add(110, 2000, 1024, 976, &new) == HG_REASSEMBLY_TAKEN && new == 0);
    CU_ASSERT(add(110, 2000, 64, 1280, &new) == HG_REASSEMBLY_TAKEN && new == 960);
    CU_ASSERT(add(110, 2000, 0, 128, &new) == HG_REASSEMBLY_COMPLETED && new == 64);
    CU_ASSERT(add(110, 2000, 0, 128, &new) == HG_REASSEMBLY_TAKEN && new == 0);
    CU_ASSERT(reassembly.whole_bytes == 2048);
    struct hg_reassembly_offer offer;
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == -EAGAIN);
    CU_ASSERT(add(100, 208, 0, 208, &new) == HG_REASSEMBLY_COMPLETED && new == 208);
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == 0);
    CU_ASSERT(offer.lsn_first == 100 && offer.lsn_end == 110 && offer.bytes == 208);
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == 0); /* again, as long as it isn't taken */
    hg_reassembly_taken(&reassembly, &offer);
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == 0 && offer.lsn_first == 110 &&
              offer.bytes == 2000);
    add(110, 2000, 0, 64, &new); /* sets the header in `source` */
    CU_ASSERT(memcmp(offer.data, source, 2000) == 0);
    hg_reassembly_taken(&reassembly, &offer);
    CU_ASSERT(all_free());
    CU_ASSERT(add(100, 208, 0, 208, &new) == HG_REASSEMBLY_TAKEN && new == 0); /* late copies */
    CU_ASSERT(add(115, 208, 0, 208, &new) == HG_REASSEMBLY_TAKEN && new == 0);
    CU_ASSERT(all_free());
}

static void test_contradictions(void)
{
    uint32_t new = 0;
    begin();
    CU_ASSERT(add(100, 1024, 256, 256, &new) == HG_REASSEMBLY_TAKEN);
    CU_ASSERT(add(100, 2048, 0, 64, &new) == HG_REASSEMBLY_MISMATCH && new == 0);
    source[300] ^= 1;
    CU_ASSERT(add(100, 1024, 192, 256, &new) == HG_REASSEMBLY_MISMATCH && new == 64);
    source[300] ^= 1;
    CU_ASSERT(add(100, 1024, 0, 192, &new) == HG_REASSEMBLY_TAKEN);
    CU_ASSERT(add(100, 1024, 512, 512, &new) == HG_REASSEMBLY_COMPLETED);
    struct hg_reassembly_offer offer;
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == 0);
    CU_ASSERT(memcmp(offer.data, source, 1024) == 0); /* the first ones stayed */
    /* A header that isn't of this batch. */
    begin();
    struct hg_wire_data frame = hg_wire_data_make(7, 100, 208, 0, 208);
    memset(source, 0, 208);
    CU_ASSERT(hg_reassembly_add(&reassembly, &frame, source, &new) == HG_REASSEMBLY_COMPLETED);
    CU_ASSERT(hg_reassembly_offer(&reassembly, 7, &offer) == -EBADMSG);
    frame.alias = 8;
    CU_ASSERT(hg_reassembly_add(&reassembly, &frame, source, &new) == HG_REASSEMBLY_ALIAS);
}

/* Memory in pieces: a batch that finds no run is chained, and comes out whole. */
static void test_fragmented_memory(void)
{
    uint32_t new = 0;
    begin();
    uint32_t count = reassembly.block_count;
    for (uint32_t i = 0; i < count; i++) {
        CU_ASSERT_FATAL(add(1000 + i * 10, 1024, 0, 64, &new) == HG_REASSEMBLY_TAKEN);
    }
    CU_ASSERT(add(100, 1024, 0, 64, &new) == HG_REASSEMBLY_FULL);
    CU_ASSERT(reassembly.block_free_count == 0);
    /* Complete and take every other one, by hand. */
    for (uint32_t i = 0; i < count; i += 2) {
        CU_ASSERT_FATAL(hg_reassembly_open(&reassembly, 7, 0) == 0);
        CU_ASSERT_FATAL(add(1000 + i * 10, 1024, 64, 960, &new) == HG_REASSEMBLY_COMPLETED);
        reassembly.aliases[0].lsn_next = 1000 + i * 10;
        struct hg_reassembly_offer offer;
        CU_ASSERT_FATAL(hg_reassembly_offer(&reassembly, 7, &offer) == 0);
        hg_reassembly_taken(&reassembly, &offer);
    }
    CU_ASSERT(hg_reassembly_open(&reassembly, 7, 100) == 0);
    uint32_t large = (count / 2 - 1) * 1024 + 16;
    for (uint32_t offset = (large - 16) / 1344 * 1344;; offset -= 1344) {
        uint32_t bytes = large - offset < 1344 ? large - offset : 1344;
        CU_ASSERT_FATAL(add(100, large, offset, bytes, &new) ==
                        (offset == 0 ? HG_REASSEMBLY_COMPLETED : HG_REASSEMBLY_TAKEN));
        CU_ASSERT_FATAL(new == bytes);
        if (offset == 0) {
            break;
        }
    }
    struct hg_reassembly_offer offer;
    CU_ASSERT_FATAL(hg_reassembly_offer(&reassembly, 7, &offer) == 0);
    CU_ASSERT(offer.data == reassembly.gather);
    CU_ASSERT(offer.bytes == large && memcmp(offer.data, source, large) == 0);
    hg_reassembly_taken(&reassembly, &offer);
    CU_ASSERT(reassembly.block_free_count == (count + 1) / 2);
    hg_reassembly_close(&reassembly, 7);
    CU_ASSERT(all_free());
}

static void test_aliases(void)
{
    uint32_t new = 0;
    begin();
    for (uint32_t i = 0; i < HG_WIRE_ALIASES_MAX - 1; i++) {
        CU_ASSERT(hg_reassembly_open(&reassembly, 1000 + i * 77, 1) == 0);
    }
    CU_ASSERT(hg_reassembly_open(&reassembly, 5, 1) == -ENOSPC);
    CU_ASSERT(hg_reassembly_open(&reassembly, 7, 100) == 0); /* open already */
    hg_reassembly_close(&reassembly, 1077);
    hg_reassembly_close(&reassembly, 1077);
    CU_ASSERT(hg_reassembly_open(&reassembly, 5, 1) == 0);
    CU_ASSERT(add(110, 1024, 0, 1024, &new) == HG_REASSEMBLY_COMPLETED);
    CU_ASSERT(add(130, 1024, 0, 64, &new) == HG_REASSEMBLY_TAKEN);
    CU_ASSERT(hg_reassembly_open(&reassembly, 7, 120) == 0); /* the log has it already: dropped */
    CU_ASSERT(reassembly.whole_bytes == 0 && reassembly.block_free_count == reassembly.block_count - 1);
    hg_reassembly_wait(&reassembly, 7);
    CU_ASSERT(hg_reassembly_waits(&reassembly, 7) && !hg_reassembly_waits(&reassembly, 5));
    uint32_t index = 0;
    uint32_t alias = 0;
    CU_ASSERT(hg_reassembly_waiting(&reassembly, &index, &alias) && alias == 7);
    CU_ASSERT(!hg_reassembly_waiting(&reassembly, &index, &alias));
    hg_reassembly_close(&reassembly, 7);
    CU_ASSERT(all_free() && !hg_reassembly_waits(&reassembly, 7));
}

/* What no alias can take any more makes room when it's needed. */
/* Alias 7 waits for 100: a batch from there to `lsn_end`, past others that are here. */
static void take_up_to(uint64_t lsn_end)
{
    struct hg_reassembly_offer offer = {.alias = 7, .lsn_first = 100, .lsn_end = lsn_end};
    hg_reassembly_taken(&reassembly, &offer);
}

static void test_sweep(void)
{
    uint32_t new = 0;
    begin();
    for (uint32_t i = 0; i < reassembly.block_count; i++) {
        CU_ASSERT_FATAL(add(1000 + i * 10, 1024, 0, 64, &new) == HG_REASSEMBLY_TAKEN);
    }
    CU_ASSERT(add(90000000, 1024, 0, 64, &new) == HG_REASSEMBLY_FULL);
    take_up_to(1500);
    CU_ASSERT(add(90000000, 1024, 0, 64, &new) == HG_REASSEMBLY_TAKEN);
    CU_ASSERT(reassembly.block_free_count == 49);
}

/* What is beyond the credit costs no walk over all that is here, however often it comes. */
static void test_sweep_once(void)
{
    uint32_t new = 0;
    begin();
    for (uint32_t i = 0; i < reassembly.block_count; i++) {
        CU_ASSERT_FATAL(add(1000 + i * 10, 1024, 0, 64, &new) == HG_REASSEMBLY_TAKEN);
    }
    take_up_to(1000);
    CU_ASSERT(add(90000000, 1024, 0, 64, &new) == HG_REASSEMBLY_FULL);
    reassembly.aliases[0].lsn_next = 1500; /* behind its back: a walk would find something */
    CU_ASSERT(add(90000000, 1024, 0, 64, &new) == HG_REASSEMBLY_FULL);
    CU_ASSERT(reassembly.block_free_count == 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("reassembly", NULL, NULL);
    CU_add_test(suite, "valid", test_valid);
    CU_add_test(suite, "LSN", test_lsn);
    CU_add_test(suite, "overlap and order", test_overlap_and_order);
    CU_add_test(suite, "contradictions", test_contradictions);
    CU_add_test(suite, "fragmented memory", test_fragmented_memory);
    CU_add_test(suite, "aliases", test_aliases);
    CU_add_test(suite, "sweep", test_sweep);
    CU_add_test(suite, "no sweep in vain", test_sweep_once);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
