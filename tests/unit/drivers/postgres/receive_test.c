/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/receive.h"

#include <CUnit/Basic.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)
#define MB        (UINT32_C(1) << 20)

static const struct hg_primary_facts primary_good = {.system_identifier = 77,
                                                     .lsn_flush = 0x5000100,
                                                     .slot_lsn = 0x4000028,
                                                     .timeline = 3,
                                                     .segment_bytes = 16 * MB};
static const struct hg_stream_facts stream_empty;
static const struct hg_stream_facts stream_used = {.system_identifier = 77,
                                                   .lsn_durable = 0x4800000,
                                                   .lsn_committed = 0x4800000,
                                                   .incarnation = 3,
                                                   .segment_bytes = 16 * MB};

static void put_be64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

static uint64_t get_be64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static enum hg_receive_outcome data(struct hg_receive *receive, uint64_t lsn, uint32_t bytes, uint64_t now_ns)
{
    static uint8_t message[4096] = {'w'};
    struct hg_replication_message parsed;
    put_be64(message + 1, lsn);
    put_be64(message + 9, lsn + bytes);
    return hg_receive_message(receive, message, 25 + bytes, now_ns, &parsed);
}

static enum hg_receive_outcome keepalive(struct hg_receive *receive, bool reply, uint64_t now_ns)
{
    uint8_t message[18] = {'k'};
    struct hg_replication_message parsed;
    put_be64(message + 1, 0x5000200);
    message[17] = reply;
    return hg_receive_message(receive, message, sizeof(message), now_ns, &parsed);
}

static void test_start_position(void)
{
    struct hg_receive receive;
    hg_receive_init(&receive, 10 * SECOND_NS);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream_empty, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4000000);
    struct hg_primary_facts primary = primary_good;
    primary.slot_lsn = 0;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary, &stream_empty, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x5000000);
    primary.segment_bytes = MB;
    primary.slot_lsn = 0x4123456;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary, &stream_empty, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4100000);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream_used, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4800000);
}

static void test_refusals(void)
{
    struct hg_receive receive, before;
    hg_receive_init(&receive, 10 * SECOND_NS);
    before = receive;
    struct hg_stream_facts stream = stream_used;
    stream.system_identifier = 78;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OTHER_SYSTEM);
    stream = stream_used;
    stream.segment_bytes = MB;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OTHER_SEGMENT_SIZE);
    stream = stream_used;
    stream.incarnation = 2;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_TIMELINE_SWITCH);
    stream = stream_used;
    stream.lsn_durable = 0x5000101;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_PRIMARY_BEHIND);
    CU_ASSERT_EQUAL(memcmp(&receive, &before, sizeof(receive)), 0);
    stream.lsn_durable = 0x5000100;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OK);
    /* An empty stream may have an owner already. */
    stream = stream_empty;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OK);
    stream.incarnation = 1;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_TIMELINE_SWITCH);
    stream.incarnation = 3;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OK);
    stream.system_identifier = 5;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OTHER_SYSTEM);
}

static void test_contiguity(void)
{
    struct hg_receive receive;
    hg_receive_init(&receive, 10 * SECOND_NS);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream_used, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(data(&receive, 0x4800000, 100, 2), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4800064);
    CU_ASSERT_EQUAL(data(&receive, 0x4800065, 100, 2), HG_RECEIVE_GAP);
    CU_ASSERT_EQUAL(data(&receive, 0x4800063, 100, 2), HG_RECEIVE_OVERLAP);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4800064);
    CU_ASSERT_EQUAL(data(&receive, 0x4800064, 0, 2), HG_RECEIVE_MALFORMED);
    CU_ASSERT_EQUAL(receive.defect, HG_PARSE_EMPTY);
    CU_ASSERT_EQUAL(data(&receive, 0x4800064, 1, 2), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.data_bytes, 101);
}

/* Another connection goes on where the ring ends; another dataplane where its log ends. */
static void test_resume(void)
{
    struct hg_receive receive;
    struct hg_stream_facts stream = stream_used;
    hg_receive_init(&receive, 10 * SECOND_NS);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(data(&receive, 0x4800000, 100, 2), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(data(&receive, 0x4800064, 100, 2), HG_RECEIVE_OK);
    hg_receive_appended(&receive, 0x4800064);
    stream.lsn_durable = 0x4800010;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 3), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4800064);
    CU_ASSERT_EQUAL(receive.lsn_durable, 0x4800010);
    hg_receive_dataplane_lost(&receive);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream, 4), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.lsn_next, 0x4800010);
    CU_ASSERT_TRUE(hg_receive_durable(&receive, 0x4800010));
    CU_ASSERT_TRUE(hg_receive_durable(&receive, 0x4800011));
    CU_ASSERT_FALSE(hg_receive_durable(&receive, 0x4800010));
}

static void test_status(void)
{
    struct hg_receive receive;
    uint8_t message[HG_REPLICATION_STATUS_BYTES];
    uint64_t now_ns = 100 * SECOND_NS;
    hg_receive_init(&receive, 10 * SECOND_NS);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream_used, now_ns), HG_RECEIVE_OK);
    /* The first one at once, with what is durable and nothing more. */
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_EQUAL(get_be64(message + 1), 0x4800000);
    CU_ASSERT_EQUAL(get_be64(message + 9), 0x4800000);
    CU_ASSERT_EQUAL(get_be64(message + 17), 0x4800000);
    CU_ASSERT_EQUAL(data(&receive, 0x4800000, 100, now_ns), HG_RECEIVE_OK);
    hg_receive_appended(&receive, 0x4800064);
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns, 5, true, message));
    /* Durable here is not yet what the region's quorum has. */
    hg_receive_durable(&receive, 0x4800064);
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns, 5, true, message));
    hg_receive_committed(&receive, 0x4800064);
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_EQUAL(get_be64(message + 9), 0x4800064);
    hg_receive_committed(&receive, 0x4800000); /* a dataplane that counts anew takes nothing back */
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_EQUAL(keepalive(&receive, false, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_EQUAL(keepalive(&receive, true, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(keepalive(&receive, false, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns, 5, true, message));
    /* What is received but not durable is neither reported nor taken for reported. */
    CU_ASSERT_EQUAL(data(&receive, 0x4800064, 100, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(keepalive(&receive, true, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_EQUAL(get_be64(message + 9), 0x4800064);
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns + 10 * SECOND_NS - 1, 5, true, message));
    CU_ASSERT_EQUAL(hg_receive_wake_ns(&receive, true), now_ns + 10 * SECOND_NS);
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns + 10 * SECOND_NS, 5, true, message));
    CU_ASSERT_EQUAL(message[33], 0);
}

static void test_interval_follows_sender_timeout(void)
{
    struct hg_receive receive;
    struct hg_primary_facts primary = primary_good;
    hg_receive_init(&receive, 10 * SECOND_NS);
    primary.sender_timeout_ns = 3 * SECOND_NS;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary, &stream_used, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.status_interval_ns, SECOND_NS);
    primary.sender_timeout_ns = 60 * SECOND_NS;
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary, &stream_used, 1), HG_RECEIVE_OK);
    CU_ASSERT_EQUAL(receive.status_interval_ns, 10 * SECOND_NS);
}

static void test_silence(void)
{
    struct hg_receive receive;
    uint8_t message[HG_REPLICATION_STATUS_BYTES];
    uint64_t now_ns = 100 * SECOND_NS;
    hg_receive_init(&receive, 600 * SECOND_NS);
    CU_ASSERT_EQUAL(hg_receive_start(&receive, &primary_good, &stream_used, now_ns), HG_RECEIVE_OK);
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns, 5, true, message));
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns + 30 * SECOND_NS - 1, 5, true, message));
    CU_ASSERT_TRUE(hg_receive_status(&receive, now_ns + 30 * SECOND_NS, 5, true, message));
    CU_ASSERT_EQUAL(message[33], 1);
    CU_ASSERT_FALSE(hg_receive_status(&receive, now_ns + 31 * SECOND_NS, 5, true, message));
    CU_ASSERT_FALSE(hg_receive_silent(&receive, now_ns + 60 * SECOND_NS - 1, true));
    CU_ASSERT_TRUE(hg_receive_silent(&receive, now_ns + 60 * SECOND_NS, true));
    CU_ASSERT_FALSE(hg_receive_silent(&receive, now_ns + 60 * SECOND_NS, false));
    /* Back-pressure: our own silence starts the count anew, and is never answered with a ping. */
    hg_receive_status(&receive, now_ns + 70 * SECOND_NS, 5, false, message);
    CU_ASSERT_FALSE(hg_receive_silent(&receive, now_ns + 71 * SECOND_NS, true));
    CU_ASSERT_EQUAL(keepalive(&receive, false, now_ns + 80 * SECOND_NS), HG_RECEIVE_OK);
    CU_ASSERT_FALSE(hg_receive_silent(&receive, now_ns + 139 * SECOND_NS, true));
}

static void test_classify_and_backoff(void)
{
    CU_ASSERT_EQUAL(hg_receive_classify("58P01", true), HG_RECEIVE_WAL_REMOVED);
    CU_ASSERT_EQUAL(hg_receive_classify("58P01", false), HG_RECEIVE_PRIMARY_ERROR);
    CU_ASSERT_EQUAL(hg_receive_classify("55006", true), HG_RECEIVE_SLOT_BUSY);
    CU_ASSERT_EQUAL(hg_receive_classify("0A000", false), HG_RECEIVE_SLOT_NOT_PHYSICAL);
    CU_ASSERT_EQUAL(hg_receive_classify("42501", false), HG_RECEIVE_PERMISSION);
    CU_ASSERT_EQUAL(hg_receive_classify("57P03", false), HG_RECEIVE_PRIMARY_ERROR);
    CU_ASSERT_EQUAL(hg_receive_classify(NULL, true), HG_RECEIVE_PRIMARY_ERROR);
    CU_ASSERT_STRING_EQUAL(hg_receive_outcome_name(HG_RECEIVE_WAL_REMOVED), "wal_removed");
    CU_ASSERT_EQUAL(hg_receive_outcome_exit(HG_RECEIVE_TIMELINE_SWITCH), 4);
    CU_ASSERT_EQUAL(hg_receive_outcome_exit(HG_RECEIVE_SLOT_BUSY), 0);

    static const unsigned expected_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    uint64_t backoff_ns = 0;
    for (size_t i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(hg_receive_backoff(&backoff_ns), expected_ms[i] * UINT64_C(1000000));
    }
}

static void test_remedy(void)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"FATAL:  password authentication failed for user \"helio\"", "passfile"},
        {"fe_sendauth: no password supplied", "0600"},
        {"FATAL:  pg_hba.conf rejects replication connection for host \"::1\"", "above that line"},
        {"FATAL:  no pg_hba.conf entry for replication connection from host", "hostssl replication"},
        {"root certificate file \"x\" does not exist", "sslrootcert="},
        {"SSL error: certificate verify failed", "sslrootcert="},
        {"server certificate for \"a\" does not match host name \"b\"", "host="},
        {"server does not support SSL, but SSL was required", "ssl = on"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(hg_receive_remedy(cases[i].text), cases[i].part));
    }
    CU_ASSERT_STRING_EQUAL(hg_receive_remedy("Connection refused"), "");
    CU_ASSERT_STRING_EQUAL(hg_receive_remedy(""), "");
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("postgres_receive", NULL, NULL);
    CU_add_test(suite, "start position", test_start_position);
    CU_add_test(suite, "refusals change nothing", test_refusals);
    CU_add_test(suite, "contiguity", test_contiguity);
    CU_add_test(suite, "resume", test_resume);
    CU_add_test(suite, "status", test_status);
    CU_add_test(suite, "status interval follows wal_sender_timeout", test_interval_follows_sender_timeout);
    CU_add_test(suite, "silence", test_silence);
    CU_add_test(suite, "errors and backoff", test_classify_and_backoff);
    CU_add_test(suite, "remedies", test_remedy);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
