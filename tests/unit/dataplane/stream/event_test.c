/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/event.h"
#include "drivers/ipc/control_state.h"

#include <CUnit/Basic.h>

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
    hg_event_put(&sink, HG_EVENT_peer_down, "a-name-that-is-longer-than-its-field-can-hold", 3000, 0);
    CU_ASSERT_EQUAL(strlen(last.subject), HG_NAME_BYTES - 1);
    hg_event_format(&last, whole, sizeof(whole));
    for (size_t bytes = 1; bytes <= strlen(whole) + 1; bytes++) {
        memset(cut, '#', sizeof(cut));
        hg_event_format(&last, cut, bytes);
        CU_ASSERT_EQUAL(strlen(cut), bytes - 1);
        CU_ASSERT_EQUAL(memcmp(cut, whole, bytes - 1), 0);
        CU_ASSERT_EQUAL(cut[bytes], '#');
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

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("event", NULL, NULL);
    CU_add_test(suite, "subject, numbers and LSNs in the sentence", test_sentence);
    CU_add_test(suite, "cut to any buffer", test_cut);
    CU_add_test(suite, "of a newer build", test_unknown);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
