/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoder and decoder against each other, against a plain matrix inversion, and the decoder against what a
 * peer with valid keys may say.
 */
#include "dataplane/transport/fec_decode.h"
#include "dataplane/transport/fec_encode.h"
#include "drivers/platform/random.h"
#include "tests/unit/dataplane/transport/fec_oracle.h"
#include <CUnit/Basic.h>
#include <stdlib.h>

#define INNER_BYTES 1438u
#define FRAMES_MAX  (INNER_BYTES - sizeof(struct hg_wire_header) - HG_WIRE_FEC_BYTES)
#define SYMBOLS     (HG_WIRE_FEC_SOURCES_MAX + HG_WIRE_FEC_PARITY_MAX)

struct symbol { /* a packet as it crosses the link */
    struct hg_wire_fec place;
    uint64_t number;
    uint32_t bytes;
    uint8_t data[INNER_BYTES];
};

static struct hg_fec_code code;
static struct hg_fec_encode encode;
static struct hg_fec_decode decode;
static void *encode_memory, *decode_memory;

static void *memory_new(uint64_t bytes)
{
    void *memory = aligned_alloc(64, hg_align_up(bytes, 64));
    memset(memory, 0xa5, bytes); /* nothing may depend on it being zero */
    return memory;
}

static void begin(void)
{
    free(encode_memory);
    free(decode_memory);
    hg_fec_code_init(&code);
    encode_memory = memory_new(hg_fec_encode_memory_bytes(INNER_BYTES));
    decode_memory = memory_new(hg_fec_decode_memory_bytes(INNER_BYTES));
    hg_fec_encode_init(&encode, encode_memory, &code, INNER_BYTES);
    hg_fec_decode_init(&decode, decode_memory, &code, INNER_BYTES);
}

/* A group of k packets and m parities: the symbols in the order of sending. */
static void group_make(struct hg_random *random, uint32_t k, uint32_t m, uint64_t number,
                       struct symbol *symbols)
{
    for (uint32_t i = 0; i < k; i++) {
        struct symbol *s = &symbols[i];
        memset(&s->place, 0, sizeof(s->place));
        s->bytes = (uint32_t)hg_random_between(random, 1, hg_random_chance(random, 1, 2) ? FRAMES_MAX : 200);
        s->number = number + 2ull * i;
        hg_random_fill(random, s->data, s->bytes);
        struct iovec pieces[2] = {{s->data, s->bytes / 3}, {s->data + s->bytes / 3, s->bytes - s->bytes / 3}};
        CU_ASSERT_FATAL(hg_fec_encode_place(&encode, m, 1, 0, &s->place));
        hg_fec_encode_add(&encode, pieces, 2, s->bytes, s->number);
        CU_ASSERT(hg_fec_place_valid(&s->place) && s->place.index == i);
    }
    CU_ASSERT((hg_fec_encode_full(&encode) != NULL) == (k == HG_WIRE_FEC_SOURCES_MAX));
    hg_fec_encode_close(&encode, hg_fec_encode_open(&encode, NULL), m);
    for (uint32_t i = 0; i < m; i++) {
        struct symbol *s = &symbols[k + i];
        struct hg_fec_parity parity;
        CU_ASSERT_FATAL(hg_fec_encode_take(&encode, &parity));
        s->place = parity.place;
        s->bytes = parity.bytes;
        s->number = number + 2ull * (k + i);
        memcpy(s->data, parity.symbol, parity.bytes);
        CU_ASSERT(hg_fec_place_valid(&s->place) && hg_fec_place_is_parity(&s->place));
        CU_ASSERT(s->place.k == k && s->place.m == m);
    }
    CU_ASSERT(!hg_fec_encode_due(&encode));
}

static enum hg_fec_decode_result symbol_in(const struct symbol *s)
{
    if (hg_fec_place_is_parity(&s->place))
        return hg_fec_decode_parity(&decode, &s->place, s->number, s->data, s->bytes);
    return hg_fec_decode_source(&decode, &s->place, s->number, s->data, s->bytes);
}

/* A byte of a source symbol. */
static uint8_t symbol_byte(const struct symbol *s, uint32_t at)
{
    struct hg_wire_fec_symbol head = {.frames_bytes = (uint16_t)s->bytes, .number_low = (uint32_t)s->number};
    uint8_t bytes[sizeof(head)];
    memcpy(bytes, &head, sizeof(head));
    if (at < sizeof(head))
        return bytes[at];
    return at - sizeof(head) < s->bytes ? s->data[at - sizeof(head)] : 0;
}

static void parity_check(const struct symbol *symbols, uint32_t k, uint32_t m, uint32_t at)
{
    uint8_t sources[HG_WIRE_FEC_SOURCES_MAX];
    for (uint32_t j = 0; j < k; j++)
        sources[j] = symbol_byte(&symbols[j], at);
    for (uint32_t i = 0; i < m; i++)
        CU_ASSERT(at >= symbols[k + i].bytes || symbols[k + i].data[at] == fec_oracle_parity(k, i, sources));
}

/* Gives the symbols of `here` (a bit each) in the given order; what is recovered must be what was left out,
 * and the oracle must find the same byte at `at`. */
static void group_take(const struct symbol *symbols, uint32_t k, uint32_t m, uint64_t here,
                       const uint32_t *order, uint32_t at)
{
    uint64_t recovered = 0;
    uint64_t given = 0;
    uint32_t count = 0;
    uint32_t names[HG_WIRE_FEC_SOURCES_MAX];
    uint8_t bytes[HG_WIRE_FEC_SOURCES_MAX];
    for (uint32_t i = 0; i < k + m; i++) {
        uint32_t s = order[i];
        if ((here >> s & 1) == 0)
            continue;
        given |= 1ull << s;
        if (count < k) {
            names[count] = s < k ? s : 32 + s - k;
            bytes[count++] = s < k                   ? symbol_byte(&symbols[s], at)
                             : at < symbols[s].bytes ? symbols[s].data[at]
                                                     : 0;
        }
        CU_ASSERT(symbol_in(&symbols[s]) == HG_FEC_KEPT);
        struct hg_fec_recovered packet;
        while (hg_fec_decode_next(&decode, &packet)) {
            CU_ASSERT_FATAL(packet.number >= symbols[0].number);
            uint64_t index = (packet.number - symbols[0].number) / 2;
            CU_ASSERT_FATAL(index < k && (given >> index & 1) == 0 && (recovered >> index & 1) == 0);
            recovered |= 1ull << index;
            CU_ASSERT(packet.number == symbols[index].number && packet.frames_bytes == symbols[index].bytes);
            CU_ASSERT(memcmp(packet.frames, symbols[index].data, symbols[index].bytes) == 0);
        }
    }
    bool enough = (uint32_t)__builtin_popcountll(here) >= k;
    uint64_t missing = ~given & ((1ull << k) - 1);
    CU_ASSERT((recovered & ~here & ((1ull << k) - 1)) == (enough ? missing : 0));
    uint8_t sources[HG_WIRE_FEC_SOURCES_MAX];
    if (enough) {
        CU_ASSERT_FATAL(fec_oracle_sources(k, names, bytes, sources));
        for (uint32_t j = 0; j < k; j++)
            CU_ASSERT(sources[j] == symbol_byte(&symbols[j], at));
    }
}

static void test_every_pattern_of_small_groups(void)
{
    static struct symbol symbols[SYMBOLS];
    static const uint32_t order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    struct hg_random random;
    hg_random_init(&random, 1);
    begin();
    uint64_t number = 1;
    for (uint32_t k = 1; k <= 6; k++) {
        for (uint32_t m = 1; m <= 4; m++) {
            for (uint64_t here = 0; here < 1ull << (k + m); here++) {
                group_make(&random, k, m, number, symbols);
                group_take(symbols, k, m, here, order, (uint32_t)hg_random_below(&random, 300));
                number += 100;
            }
        }
    }
    CU_ASSERT(decode.groups_crowded == 0);
}

static void test_random_patterns_of_all_groups(void)
{
    static struct symbol symbols[SYMBOLS];
    struct hg_random random;
    hg_random_init(&random, 2);
    begin();
    uint64_t number = 1ull << 32; /* low halves wrap in the middle of some groups */
    number -= 4000;
    for (uint32_t run = 0; run < 1500; run++) {
        uint32_t k = (uint32_t)hg_random_between(&random, 1, HG_WIRE_FEC_SOURCES_MAX);
        uint32_t m = (uint32_t)hg_random_between(&random, 1, HG_WIRE_FEC_PARITY_MAX);
        group_make(&random, k, m, number, symbols);
        uint32_t at = (uint32_t)hg_random_below(&random, INNER_BYTES);
        parity_check(symbols, k, m, at);
        uint32_t order[SYMBOLS];
        for (uint32_t i = 0; i < k + m; i++)
            order[i] = i;
        for (uint32_t i = k + m - 1; i > 0 && run % 2 != 0; i--) {
            uint32_t j = (uint32_t)hg_random_below(&random, i + 1), swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
        uint64_t here = ~0ull;
        uint32_t lost = (uint32_t)hg_random_below(&random, m + 2);
        for (uint32_t i = 0; i < lost; i++)
            here &= ~(1ull << hg_random_below(&random, k + m));
        group_take(symbols, k, m, here & ((1ull << (k + m)) - 1), order, at);
        number += 2 * (k + m) + hg_random_below(&random, 3);
    }
}

static void test_depth_deals_packets_in_turn(void)
{
    begin();
    static uint8_t frame[100];
    struct iovec piece = {frame, sizeof(frame)};
    uint32_t full = 0;
    for (uint32_t i = 0; i < 4 * HG_WIRE_FEC_SOURCES_MAX; i++) {
        struct hg_wire_fec place = {0};
        CU_ASSERT_FATAL(hg_fec_encode_place(&encode, 2, 4, 5, &place));
        CU_ASSERT(place.group == 1 + i % 4 && place.index == i / 4 && place.depth == 4);
        hg_fec_encode_add(&encode, &piece, 1, sizeof(frame), i + 1);
        struct hg_fec_encode_group *group = hg_fec_encode_full(&encode);
        if (group != NULL) {
            full++;
            hg_fec_encode_close(&encode, group, 2);
        }
    }
    CU_ASSERT(full == 4 && encode.closed_count == 4 && encode.open_count == 0);
    struct hg_wire_fec place = {0};
    CU_ASSERT(!hg_fec_encode_place(&encode, 2, 4, 5, &place)); /* its parity isn't sent yet */
    struct hg_fec_parity parity;
    for (uint32_t i = 0; i < 8; i++) {
        CU_ASSERT(hg_fec_encode_take(&encode, &parity));
        CU_ASSERT(parity.place.group == 1 + i / 2 && parity.place.index == 32 + i % 2);
        CU_ASSERT(parity.bytes == sizeof(frame) + 8);
    }
    CU_ASSERT(!hg_fec_encode_take(&encode, &parity));
    CU_ASSERT(hg_fec_encode_opened_ns(&encode) == HG_TIME_NEVER);
    CU_ASSERT(hg_fec_encode_place(&encode, 2, 1, 7, &place) && place.group == 5);
    CU_ASSERT(hg_fec_encode_opened_ns(&encode) == 7);
    hg_fec_encode_drop(&encode);
    CU_ASSERT(hg_fec_encode_open(&encode, NULL) == NULL);
}

static void test_places(void)
{
    static const struct {
        struct hg_wire_fec place;
        bool valid;
    } cases[] = {
        {{0}, false},
        {{.group = 1}, false},
        {{.index = 1}, false},
        {{.m = 1}, false},
        {{.depth = 1}, false},
        {{.k = 1, .m = 1, .depth = 1}, true},
        {{.k = 1, .m = 0, .depth = 1}, false},
        {{.k = 1, .m = 1, .depth = 0}, false},
        {{.k = 32, .m = 8, .depth = 16, .index = 31}, true},
        {{.k = 33, .m = 8, .depth = 16}, false},
        {{.k = 32, .m = 9, .depth = 16}, false},
        {{.k = 32, .m = 8, .depth = 17}, false},
        {{.k = 5, .m = 2, .depth = 1, .index = 5}, false},
        {{.k = 5, .m = 2, .depth = 1, .index = 33}, true},
        {{.k = 5, .m = 2, .depth = 1, .index = 34}, false},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++)
        CU_ASSERT(hg_fec_place_valid(&cases[i].place) == cases[i].valid);
}

static void group_refused(struct symbol *symbols, uint32_t first, uint32_t then)
{
    CU_ASSERT(symbol_in(&symbols[first]) == HG_FEC_KEPT);
    CU_ASSERT(symbol_in(&symbols[then]) == HG_FEC_MISMATCH);
    struct hg_fec_recovered packet;
    for (uint32_t i = 0; i < 5; i++) { /* and that was all of it */
        CU_ASSERT(symbol_in(&symbols[i]) == HG_FEC_KEPT);
        CU_ASSERT(!hg_fec_decode_next(&decode, &packet));
    }
}

/* 3 sources, 2 parities, and one thing changed after ESP would have let it through. */
static void test_contradictions(void)
{
    static struct symbol symbols[SYMBOLS];
    struct hg_random random;
    hg_random_init(&random, 3);
    for (uint32_t which = 0; which < 7; which++) {
        begin();
        group_make(&random, 3, 2, 1000, symbols);
        struct symbol *parity = &symbols[4];
        uint32_t first = 3, then = 4;
        switch (which) {
        case 0: /* another number of sources */
            parity->place.k = 2;
            break;
        case 1: /* or of parities */
            parity->place.m = 3;
            break;
        case 2: /* or another size */
            parity->bytes--;
            break;
        case 3: /* the same place twice */
            then = 3;
            break;
        case 4: /* a source larger than what the parity covers */
            symbols[3].bytes = 9;
            symbols[0].bytes = FRAMES_MAX;
            then = 0;
            break;
        case 5: /* a source beyond those there are */
            symbols[0].place.index = 7;
            then = 0;
            break;
        default: /* a parity without any frames in it */
            first = 0;
            symbols[3].bytes = 8;
            then = 3;
            break;
        }
        group_refused(symbols, first, then);
    }
}

/* A recovered packet has the number that its symbol says: one that can't be is refused. */
static void test_numbers_that_never_passed_the_replay_window(void)
{
    static const struct {
        uint64_t claimed, parity_number;
        bool believed;
    } cases[] = {
        {999, 1000, true},      {1000, 1000, false},
        {1001, 1000, false},    {1, 1000, true},
        {0, 1000, false},       {1, 8192, true},
        {1, 8193, false},       {1ull << 31, 1000, false},
        {0, 1ull << 32, false}, {(1ull << 32) - 1, 1ull << 32, true},
        {UINT32_MAX, 5, false},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        begin();
        struct hg_wire_fec place = {0};
        uint8_t frame[] = {1, 2, 3};
        struct iovec piece = {frame, sizeof(frame)};
        CU_ASSERT_FATAL(hg_fec_encode_place(&encode, 1, 1, 0, &place));
        hg_fec_encode_add(&encode, &piece, 1, sizeof(frame), cases[i].claimed);
        hg_fec_encode_close(&encode, hg_fec_encode_open(&encode, NULL), 1);
        struct hg_fec_parity parity;
        CU_ASSERT_FATAL(hg_fec_encode_take(&encode, &parity));
        enum hg_fec_decode_result result =
            hg_fec_decode_parity(&decode, &parity.place, cases[i].parity_number, parity.symbol, parity.bytes);
        struct hg_fec_recovered packet;
        CU_ASSERT(result == (cases[i].believed ? HG_FEC_KEPT : HG_FEC_MISMATCH));
        CU_ASSERT(hg_fec_decode_next(&decode, &packet) == cases[i].believed);
        CU_ASSERT(!cases[i].believed || (packet.number == cases[i].claimed && packet.frames_bytes == 3));
    }
}

/* Sources of ever new groups and no parity: memory stays what it is, and a group begun after can be had. */
static void test_crowds(void)
{
    static struct symbol symbols[SYMBOLS];
    struct hg_random random;
    hg_random_init(&random, 4);
    begin();
    struct hg_wire_fec place = {.k = 32, .m = 1, .depth = 1};
    uint8_t frame[FRAMES_MAX] = {1};
    for (uint32_t i = 0; i < 40000; i++) {
        place.index = (uint8_t)(i % 32);
        place.group = 500 + i / 32;
        CU_ASSERT(hg_fec_decode_source(&decode, &place, i + 1, frame, sizeof(frame)) == HG_FEC_KEPT);
    }
    CU_ASSERT(decode.groups_crowded > 0);
    place.group = 500;
    CU_ASSERT(hg_fec_decode_source(&decode, &place, 1, frame, sizeof(frame)) == HG_FEC_OLD);
    static uint8_t large[INNER_BYTES + 100];
    place.group = 5000;
    CU_ASSERT(hg_fec_decode_source(&decode, &place, 1, large, sizeof(large)) == HG_FEC_LARGE);
    encode.group_next = 6000;
    static const uint32_t order[] = {0, 1, 2, 3, 4};
    group_make(&random, 3, 2, 50000, symbols);
    group_take(symbols, 3, 2, 0x1c, order, 5);
}

/* Groups that newer ones push out with too little parity are counted. */
static void test_lost_groups(void)
{
    static struct symbol symbols[SYMBOLS];
    struct hg_random random;
    hg_random_init(&random, 5);
    begin();
    static const uint32_t order[] = {0, 1, 2, 3};
    for (uint32_t i = 0; i < HG_FEC_GROUPS + 10; i++) {
        group_make(&random, 3, 1, 1000 + 100ull * i, symbols);
        group_take(symbols, 3, 1, 0x9, order, 1); /* two of three sources lost */
    }
    CU_ASSERT(decode.groups_lost == 10);
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"every pattern of small groups", test_every_pattern_of_small_groups},
        {"random patterns of all groups", test_random_patterns_of_all_groups},
        {"depth deals packets in turn", test_depth_deals_packets_in_turn},
        {"places", test_places},
        {"contradictions", test_contradictions},
        {"numbers that never passed the replay window", test_numbers_that_never_passed_the_replay_window},
        {"crowds", test_crowds},
        {"lost groups", test_lost_groups},
        CU_TEST_INFO_NULL};
    CU_SuiteInfo suites[] = {{"fec", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_run_tests();
    uint32_t failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    free(encode_memory);
    free(decode_memory);
    return failures != 0;
}
