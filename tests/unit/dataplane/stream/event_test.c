/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/event.h"
#include "dataplane/transport/wire.h"
#include "drivers/ipc/control_state.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

static struct hg_event last;

static void put(struct hg_event_sink *sink, const struct hg_event *event)
{
    (void)sink;
    last = *event;
}

static struct hg_event_sink sink = {put};

static void test_sentence(void)
{
    char text[256];
    hg_event_put(&sink, HG_EVENT_stream_diverged, "pgmain", 0x1000000ffULL, 0x2ab);
    hg_event_format(&last, text, sizeof(text));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "stream pgmain has other bytes on a peer at 1/FF than here at 0/2AB"));
    CU_ASSERT_STRING_EQUAL(hg_event_name(last.type), "stream_diverged");
    CU_ASSERT_EQUAL(hg_event_severity(last.type), HG_SEVERITY_CRITICAL);
    hg_event_put(&sink, HG_EVENT_log_ready, "0", 17, 3);
    hg_event_format(&last, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "log 0 is recovered: 17 writes kept, 3 of a torn tail discarded");
}

/* Any buffer size ends in a terminated prefix of the sentence. */
static void test_cut(void)
{
    char whole[256], cut[256];
    hg_event_put(&sink, HG_EVENT_peer_down,
                 "a-name-that-is-even-longer-than-the-longest-address-and-its-field", 3000, 0);
    CU_ASSERT_EQUAL(strlen(last.subject), HG_EVENT_SUBJECT_BYTES - 1);
    hg_event_format(&last, whole, sizeof(whole));
    for (size_t bytes = 1; bytes <= strlen(whole) + 1; bytes++) {
        memset(cut, '#', sizeof(cut));
        hg_event_format(&last, cut, bytes);
        CU_ASSERT_EQUAL(strlen(cut), bytes - 1);
        CU_ASSERT_EQUAL(memcmp(cut, whole, bytes - 1), 0);
        CU_ASSERT_EQUAL(cut[bytes], '#');
    }
}

static void test_mac(void)
{
    char text[256];
    hg_event_put(&sink, HG_EVENT_neighbour_changed, "2001:db8:1111:2222:3333:4444:5555:6666", 0x0b0000000002,
                 0xfe0000000002);
    hg_event_format(&last, text, sizeof(text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "2001:db8:1111:2222:3333:4444:5555:6666 is at 02:00:00:00:00:0b now, "
                                        "it was at 02:00:00:00:00:fe"));
}

/* What to do stands at the end of a sentence: none is cut for a name as long as they get. */
static void test_fits(void)
{
    char text[512];
    struct hg_event event = {.a = 1234567, .b = 7654321};
    memset(event.subject, 'x', HG_NAME_BYTES - 1);
    for (event.type = 0; event.type < HG_EVENT_COUNT; event.type++) {
        hg_event_format(&event, text, sizeof(text));
        CU_ASSERT(strlen(text) < HG_CONTROL_TEXT_BYTES);
        if (strlen(text) >= HG_CONTROL_TEXT_BYTES)
            printf("\n  %s: %zu\n", hg_event_name(event.type), strlen(text));
    }
}

static void test_status_in_words(void)
{
    char text[256];
    hg_event_put(&sink, HG_EVENT_stream_refused, "one", HG_WIRE_REFUSED_EPOCH, 0);
    hg_event_format(&last, text, sizeof(text));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "promised a newer epoch"));
    for (uint64_t status = 0; status < 32; status++) {
        hg_event_put(&sink, HG_EVENT_stream_closed, "one", status, 0);
        hg_event_format(&last, text, sizeof(text));
        CU_ASSERT_PTR_NULL(strstr(text, "$"));
    }
}

static void test_unknown(void)
{
    char text[64];
    struct hg_event event = {.type = HG_EVENT_COUNT};
    hg_event_format(&event, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(hg_event_name(event.type), "unknown");
    CU_ASSERT(strlen(text) > 0);
}

/* A burst, then one each gap; the next one that is said tells how many were not. */
static void test_limit(void)
{
    struct hg_event_limit limit = {0};
    uint64_t now_ns = 1000 * HG_NS_PER_S;
    uint32_t said = 0, suppressed = 77;
    char text[256];
    for (uint32_t i = 0; i < 1000; i++)
        said += hg_event_limit_take(&limit, now_ns, &suppressed);
    CU_ASSERT_EQUAL(said, HG_EVENT_BURST);
    CU_ASSERT_EQUAL(suppressed, 0);
    CU_ASSERT_FALSE(hg_event_limit_take(&limit, now_ns + HG_EVENT_GAP_NS - 1, &suppressed));
    CU_ASSERT_TRUE(hg_event_limit_take(&limit, now_ns + HG_EVENT_GAP_NS, &suppressed));
    CU_ASSERT_EQUAL(suppressed, 1000 - HG_EVENT_BURST + 1);
    CU_ASSERT_FALSE(hg_event_limit_take(&limit, now_ns + HG_EVENT_GAP_NS, &suppressed));
    now_ns += 3600 * HG_NS_PER_S; /* the burst is whole again, and no more than that */
    for (said = 0; hg_event_limit_take(&limit, now_ns, &suppressed); said++)
        ;
    CU_ASSERT_EQUAL(said, HG_EVENT_BURST);
    last = (struct hg_event){.type = HG_EVENT_peer_keys, .suppressed = 12, .a = 4, .subject = "b"};
    hg_event_format(&last, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text,
                           "peer b agreed on new keys, generation 4 (and 12 more like it were not shown)");
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("event", NULL, NULL);
    CU_add_test(suite, "subject, numbers and LSNs in the sentence", test_sentence);
    CU_add_test(suite, "cut to any buffer", test_cut);
    CU_add_test(suite, "mac", test_mac);
    CU_add_test(suite, "none is cut", test_fits);
    CU_add_test(suite, "a status in words", test_status_in_words);
    CU_add_test(suite, "of a newer build", test_unknown);
    CU_add_test(suite, "a flood", test_limit);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
