/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/sent.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static struct hg_sent sent;
static void *memory;

static void begin(uint32_t count)
{
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_sent_memory_bytes(count), 64));
    hg_sent_init(&sent, memory, count);
}

/* Returns how many packets had to be given up. */
static uint32_t send(uint64_t number, uint32_t bytes)
{
    uint32_t given_up = 0;
    struct hg_sent_packet *packet;
    while ((packet = hg_sent_in_way(&sent, number)) != NULL) {
        hg_sent_lost(&sent, packet);
        given_up++;
    }
    packet = hg_sent_draft(&sent, number);
    if (bytes == 0) {
        hg_sent_skip(&sent, number);
    } else {
        hg_sent_commit(&sent, packet, bytes, number * 10);
    }
    return given_up;
}

static void test_ring(void)
{
    begin(64);
    for (uint64_t n = 1; n <= 64; n++) {
        CU_ASSERT(hg_sent_has_room(&sent, n));
        CU_ASSERT(send(n, 100) == 0);
    }
    CU_ASSERT(sent.packets_in_flight == 64 && sent.bytes_in_flight == 6400);
    CU_ASSERT(!hg_sent_has_room(&sent, 65));
    hg_sent_acked(&sent, hg_sent_tracked(&sent, 1, 1));
    CU_ASSERT(hg_sent_has_room(&sent, 65));
    CU_ASSERT(!hg_sent_has_room(&sent, 66));
    CU_ASSERT(hg_sent_tracked(&sent, 1, 1) == NULL);
    CU_ASSERT(hg_sent_tracked(&sent, 0, UINT64_MAX)->number == 2);
    CU_ASSERT(send(65, 0) == 0); /* a pure ack */
    CU_ASSERT(sent.packets_in_flight == 63);
    CU_ASSERT(send(66, 100) == 1); /* 2 gives way */
    CU_ASSERT(hg_sent_tracked(&sent, 1, 2) == NULL);
    CU_ASSERT(hg_sent_tracked(&sent, 1, 66)->number == 3);
    CU_ASSERT(hg_sent_tracked(&sent, 65, 65) == NULL);
}

static void test_lost_is_remembered(void)
{
    begin(64);
    for (uint64_t n = 1; n <= 10; n++) {
        send(n, 10);
    }
    struct hg_sent_packet *packet = hg_sent_tracked(&sent, 4, 4);
    hg_sent_lost(&sent, packet);
    CU_ASSERT(sent.bytes_in_flight == 90);
    CU_ASSERT(hg_sent_in_flight(&sent, 3, 10)->number == 5);
    CU_ASSERT(hg_sent_tracked(&sent, 4, 4) == packet && packet->state == HG_SENT_LOST);
    hg_sent_acked(&sent, packet);
    CU_ASSERT(sent.bytes_in_flight == 90); /* it had left already */
    CU_ASSERT(hg_sent_tracked(&sent, 4, 4) == NULL);
    CU_ASSERT(hg_sent_in_flight(&sent, 0, 10)->number == 1);
    CU_ASSERT(hg_sent_in_flight(&sent, 0, 0) == NULL);
}

static void test_jumps(void)
{
    begin(64);
    for (uint64_t n = 1; n <= 32; n++) {
        send(n, 10);
    }
    CU_ASSERT(hg_sent_has_room(&sent, 64));
    CU_ASSERT(!hg_sent_has_room(&sent, 70));
    CU_ASSERT(send(70, 10) == 6);
    CU_ASSERT(hg_sent_in_flight(&sent, 0, 70)->number == 7);
    CU_ASSERT(send(UINT64_C(1) << 50, 10) == 27);
    CU_ASSERT(sent.packets_in_flight == 1 && sent.bytes_in_flight == 10);
    CU_ASSERT(hg_sent_in_flight(&sent, 0, UINT64_MAX)->number == UINT64_C(1) << 50);
    CU_ASSERT(hg_sent_tracked(&sent, 1, 70) == NULL);
}

static void test_random_against_a_list(void)
{
    static uint8_t state[5000];
    uint64_t random = 99;
    begin(128);
    memset(state, 0, sizeof(state));
    uint64_t last = 0;
    while (last < 4900) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t pick = random >> 33;
        if (pick % 2 == 0) {
            last += 1 + (pick % 64 == 0) * (pick / 64 % 50);
            struct hg_sent_packet *packet;
            while ((packet = hg_sent_in_way(&sent, last)) != NULL) {
                hg_sent_lost(&sent, packet);
            }
            for (uint64_t n = 1; n + 128 <= last; n++) {
                state[n] = HG_SENT_FREE;
            }
            packet = hg_sent_draft(&sent, last);
            hg_sent_commit(&sent, packet, 7, last);
            state[last] = HG_SENT_IN_FLIGHT;
        } else if (last > 0) {
            uint64_t n = last > 127 ? last - pick / 2 % 128 : 1 + pick / 2 % last;
            struct hg_sent_packet *packet = hg_sent_tracked(&sent, n, n);
            CU_ASSERT_FATAL((packet != NULL) == (state[n] != HG_SENT_FREE));
            if (packet != NULL && pick % 3 == 0 && packet->state == HG_SENT_IN_FLIGHT) {
                hg_sent_lost(&sent, packet);
                state[n] = HG_SENT_LOST;
            } else if (packet != NULL) {
                hg_sent_acked(&sent, packet);
                state[n] = HG_SENT_FREE;
            }
        }
        uint64_t oldest = 1;
        uint32_t in_flight = 0;
        for (uint64_t n = last; n > 0 && n + 128 > last; n--) {
            in_flight += state[n] == HG_SENT_IN_FLIGHT;
            oldest = state[n] == HG_SENT_IN_FLIGHT ? n : oldest;
        }
        CU_ASSERT_FATAL(in_flight == sent.packets_in_flight);
        struct hg_sent_packet *first = hg_sent_in_flight(&sent, 0, last);
        CU_ASSERT_FATAL((first == NULL) == (in_flight == 0));
        CU_ASSERT_FATAL(first == NULL || first->number == oldest);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("sent", NULL, NULL);
    CU_add_test(suite, "ring", test_ring);
    CU_add_test(suite, "lost is remembered", test_lost_is_remembered);
    CU_add_test(suite, "jumps", test_jumps);
    CU_add_test(suite, "random against a list", test_random_against_a_list);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
