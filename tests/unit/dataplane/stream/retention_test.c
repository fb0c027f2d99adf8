/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds the log, how much of it is kept, who is let go of, and who is told.
 */
#define NODE_SEGMENTS 16u
#include "dataplane/wal/log_internal.h"
#include "stream_node.h"

#define KV    HG_STREAM_KEY_VALUE
#define ENTRY 500000u
#define MB    (UINT64_C(1) << 20)

static struct stream_node node;

static void retain(void)
{
    stream_node_settle(&node);
    hg_streams_retain(node.streams, node.now_ns);
    stream_node_settle(&node);
}

static uint32_t configure(const char *name, uint64_t id, uint64_t peers)
{
    uint32_t slot = stream_node_configure(&node, name, id, KV, 1, peers);
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    return slot;
}

/* Appends until the log pushes back, or `most` entries. Returns how many were taken. */
static uint32_t fill(uint32_t slot, uint32_t most)
{
    uint32_t taken = 0;
    for (; taken < most && stream_node_append(&node, slot, ENTRY) == HG_APPEND_OK; taken++)
        retain();
    return taken;
}

/* As a control plane does: all that is wanted, at once. */
static void configuration_whole(void)
{
    hg_streams_configure_begin(node.streams);
    hg_streams_configure_end(node.streams);
}

static const struct hg_retention *retention(void)
{
    return hg_streams_retention(node.streams);
}

static void test_budget(void)
{
    struct hg_budget budget;
    memset(&budget, 0, sizeof(budget));
    CU_ASSERT_EQUAL(hg_budget_full_ns(&budget, 0, 100), HG_TIME_NEVER);
    for (uint64_t i = 0; i <= 40; i++)
        hg_budget_sample(&budget, i * HG_NS_PER_S / 2, i * 5 * MB); /* 10 MB/s, every other one is taken */
    CU_ASSERT_EQUAL(hg_budget_bytes_per_s(&budget), 10 * MB);
    CU_ASSERT_EQUAL(hg_budget_full_ns(&budget, 400 * MB, 1000 * MB), 60 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(hg_budget_full_ns(&budget, 1000 * MB, 1000 * MB), 0);
    for (uint64_t i = 21; i < 40; i++)
        hg_budget_sample(&budget, i * HG_NS_PER_S, 200 * MB); /* nothing comes any more */
    CU_ASSERT_EQUAL(hg_budget_full_ns(&budget, 400 * MB, 1000 * MB), HG_TIME_NEVER);
    CU_ASSERT_EQUAL(hg_budget_level(0, 4999, 10000), 0);
    CU_ASSERT_EQUAL(hg_budget_level(0, 5000, 10000), 50);
    CU_ASSERT_EQUAL(hg_budget_level(50, 4600, 10000), 50); /* not to and fro */
    CU_ASSERT_EQUAL(hg_budget_level(50, 4400, 10000), 0);
    CU_ASSERT_EQUAL(hg_budget_level(50, 9100, 10000), 90);
    CU_ASSERT_EQUAL(hg_budget_level(90, 8600, 10000), 90);
    CU_ASSERT_EQUAL(hg_budget_level(90, 8000, 10000), 75);
}

/* Who holds the log is named, with how much and since when, before it is full. */
static void test_alarm(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = configure("orders", 11, 0x2);
    struct hg_retention_limit none = {0};
    hg_streams_peer_limit(node.streams, 1, "berlin", &none);
    configuration_whole();
    slot = configure("orders", 11, 0x2);
    node.now_ns += 10 * HG_NS_PER_S;
    CU_ASSERT_EQUAL(fill(slot, 20), 20); /* 10 of 48 MB */
    CU_ASSERT_EQUAL(node.events[HG_EVENT_log_held], 0);
    node.now_ns += 10 * HG_NS_PER_S;
    uint32_t more = fill(slot, 1000);
    CU_ASSERT(more > 60 && more < 100);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_log_held], 3); /* at a half, three quarters, nine tenths */
    CU_ASSERT_EQUAL(node.event_last[HG_EVENT_log_held].a, 90);
    CU_ASSERT_STRING_EQUAL(node.event_last[HG_EVENT_log_held].subject, "log 0: peer berlin");
    CU_ASSERT_EQUAL(retention()->capacity_bytes, 12 * NODE_SEGMENT_BYTES);
    CU_ASSERT_EQUAL_FATAL(retention()->holder_count, 1);
    CU_ASSERT_EQUAL(retention()->holders[0].kind, HG_HOLDER_PEER);
    CU_ASSERT(retention()->holders[0].age_ns >= 10 * HG_NS_PER_S);
    CU_ASSERT(retention()->holders[0].bytes > 40 * MB);
    CU_ASSERT(hg_budget_bytes_per_s(&retention()->budget) > 0 && retention()->full_ns < HG_NS_PER_S);
    CU_ASSERT_EQUAL(hg_log_tail_sequence(node.log), 1);
    /* It comes back and takes all. */
    hg_streams_peer_durable(node.streams, slot, 1, hg_streams_at(node.streams, slot)->lsn_durable);
    retain();
    CU_ASSERT_EQUAL(node.events[HG_EVENT_log_held_over], 1);
    CU_ASSERT_EQUAL(retention()->holder_count, 0);
    CU_ASSERT_EQUAL(fill(slot, 4), 4);
    stream_node_free(&node);
}

/* A peer that may hold 8 MB holds no more: appends go on, it is said once, and what it may hold is there. */
static void test_peer_let_go(void)
{
    stream_node_make(&node, 1);
    struct hg_retention_limit limit = {.bytes = 8 * MB};
    hg_streams_peer_limit(node.streams, 1, "berlin", &limit);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0x3);
    for (uint32_t i = 0; i < 200; i++) {
        CU_ASSERT_EQUAL_FATAL(fill(slot, 1), 1);
        hg_streams_peer_durable(node.streams, slot, 0, hg_streams_at(node.streams, slot)->lsn_durable);
    }
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_let_go], 1);
    CU_ASSERT_STRING_EQUAL(node.event_last[HG_EVENT_holder_let_go].subject, "log 0: peer berlin");
    CU_ASSERT_EQUAL(retention()->let_go_count, 1);
    uint64_t lsn_oldest = hg_streams_lsn_oldest(node.streams, slot);
    uint64_t lsn_end = hg_streams_at(node.streams, slot)->lsn_durable;
    CU_ASSERT(lsn_oldest > 1);
    CU_ASSERT((lsn_end - lsn_oldest) * ENTRY >= 8 * MB);
    CU_ASSERT_EQUAL_FATAL(retention()->holder_count, 2);
    CU_ASSERT_EQUAL(retention()->holders[0].index, 1);
    CU_ASSERT_TRUE(retention()->holders[0].let_go);
    CU_ASSERT(node.events[HG_EVENT_log_held] == 0); /* it is no reason for an alarm any more */
    hg_streams_peer_durable(node.streams, slot, 1, lsn_end - 1);
    retain();
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_back], 1);
    CU_ASSERT_FALSE(retention()->holders[0].let_go);
    stream_node_free(&node);
}

/* Without drop-behind the log waits for ever. */
static void test_peer_holds(void)
{
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0x2);
    uint32_t taken = fill(slot, 200);
    CU_ASSERT(taken < 100);
    node.now_ns += 86400 * HG_NS_PER_S;
    retain();
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, ENTRY), HG_APPEND_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_log_tail_sequence(node.log), 1);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_let_go], 0);
    stream_node_free(&node);
}

/* By time: what is older than 60 s may go; what was found at the start counts from then. */
static void test_peer_let_go_by_time(void)
{
    stream_node_make(&node, 1);
    struct hg_retention_limit limit = {.ns = 60 * HG_NS_PER_S};
    hg_streams_peer_limit(node.streams, 1, "berlin", &limit);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0x2);
    uint32_t taken = fill(slot, 200);
    CU_ASSERT(taken < 100);
    node.now_ns += 30 * HG_NS_PER_S;
    retain();
    CU_ASSERT_EQUAL(fill(slot, 1), 0);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_let_go], 0);
    node.now_ns += 31 * HG_NS_PER_S;
    retain();
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_let_go], 1);
    CU_ASSERT_EQUAL(fill(slot, 10), 10);
    CU_ASSERT(hg_streams_lsn_oldest(node.streams, slot) > 1);
    stream_node_free(&node);
}

static void restart(void)
{
    stream_node_close(&node);
    hg_disk_sim_crash(node.disk);
    stream_node_open(&node);
}

/* A consumer that was let go of keeps its position over a crash: it is told of the gap, and skips nothing. */
static void test_consumer_let_go(void)
{
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0);
    CU_ASSERT_EQUAL(fill(slot, 3), 3);
    uint32_t out = (uint32_t)hg_streams_consumer_add(node.streams, "out", slot);
    hg_streams_consumer_advance(node.streams, out, 3);
    node.now_ns += 2 * HG_STREAMS_CONSUMER_SAVE_NS;
    retain();
    struct hg_retention_limit limit = {.bytes = 8 * MB};
    hg_streams_consumer_limit(node.streams, "out", &limit);
    CU_ASSERT_EQUAL(fill(slot, 200), 200);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_let_go], 1);
    CU_ASSERT(hg_streams_lsn_oldest(node.streams, slot) > 3);
    restart();
    out = (uint32_t)hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, out)->lsn, 3);
    CU_ASSERT_TRUE(hg_streams_consumer_at(node.streams, out)->let_go);
    configuration_whole();
    slot = configure("orders", 11, 0);
    CU_ASSERT_EQUAL(fill(slot, 200), 200); /* it holds nothing of what is left */
    /* It has a snapshot and goes on behind that: the log keeps what it lacks again, also after a crash. */
    uint64_t lsn = hg_streams_at(node.streams, slot)->lsn_durable - 1;
    hg_streams_consumer_advance(node.streams, out, lsn);
    node.now_ns += 2 * HG_STREAMS_CONSUMER_SAVE_NS;
    retain();
    CU_ASSERT_FALSE(hg_streams_consumer_at(node.streams, out)->let_go);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_holder_back], 1);
    restart();
    out = (uint32_t)hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_FALSE(hg_streams_consumer_at(node.streams, out)->let_go);
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, out)->lsn, lsn);
    stream_node_free(&node);
}

/* Nothing goes before the device has it that the consumer was let go of. */
static void test_let_go_is_recorded_first(void)
{
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0);
    uint32_t out = (uint32_t)hg_streams_consumer_add(node.streams, "out", slot);
    CU_ASSERT_EQUAL(fill(slot, 20), 20);
    hg_streams_consumer_advance(node.streams, out, 2);
    struct hg_retention_limit limit = {.bytes = 1};
    hg_streams_consumer_limit(node.streams, "out", &limit);
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_TRUE(hg_streams_consumer_at(node.streams, out)->let_go);
    CU_ASSERT_FALSE(retention()->holders[0].let_go); /* it holds until that is durable */
    CU_ASSERT(retention()->held_bytes > 8 * MB);
    stream_node_settle(&node);
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_TRUE(retention()->holders[0].let_go);
    stream_node_free(&node);
}

/* What a removed consumer held goes when the device has the removal, and not before. */
static void test_removal_is_recorded_first(void)
{
    uint64_t sequence;
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0);
    CU_ASSERT(hg_streams_consumer_add(node.streams, "out", slot) >= 0);
    CU_ASSERT_EQUAL(fill(slot, 20), 20);
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(node.streams, "out", &sequence), 0);
    CU_ASSERT(sequence > hg_log_durable_sequence(node.log));
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(node.log->release_sequence, 1);
    stream_node_settle(&node);
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT(node.log->release_sequence > 20);
    stream_node_free(&node);
}

/* Meanwhile what somebody else needs is held at once, though nothing more is let go of. */
static void test_needed_beside_a_removal(void)
{
    uint64_t sequence;
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("orders", 11, 0);
    uint32_t out = (uint32_t)hg_streams_consumer_add(node.streams, "out", slot);
    CU_ASSERT_EQUAL(fill(slot, 20), 20);
    hg_streams_consumer_advance(node.streams, out, hg_streams_at(node.streams, slot)->lsn_durable);
    retain();
    uint64_t released = node.log->release_sequence;
    CU_ASSERT(released > 20);
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(node.streams, "out", &sequence), 0);
    CU_ASSERT(hg_streams_consumer_add(node.streams, "in", slot) >= 0); /* from the beginning */
    CU_ASSERT(sequence > hg_log_durable_sequence(node.log));
    hg_streams_retain(node.streams, node.now_ns);
    uint64_t needed = node.log->release_sequence;
    CU_ASSERT(needed < released);
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(node.log->release_sequence, needed);
    retain();
    CU_ASSERT_EQUAL(node.log->release_sequence, needed);
    stream_node_free(&node);
}

static uint64_t kept_from(void)
{
    retain();
    return node.log->keep_sequence;
}

/* What is kept though nobody needs it: of the log, of a stream, by bytes and by time. */
static void test_keep(void)
{
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t few = configure("few", 11, 0), busy = configure("busy", 12, 0);
    CU_ASSERT_EQUAL(fill(few, 20), 20);
    node.now_ns += 100 * HG_NS_PER_S;
    retain();
    uint64_t sequence = hg_log_append_sequence(node.log);
    CU_ASSERT_EQUAL(fill(busy, 40), 40);
    CU_ASSERT_EQUAL(kept_from(), UINT64_MAX);
    struct hg_retention_limit keep = {.bytes = 8 * MB};
    hg_streams_log_keep(node.streams, &keep);
    uint64_t bytes = hg_log_bytes_from(node.log, kept_from());
    CU_ASSERT(bytes >= 8 * MB && bytes < 8 * MB + 2 * NODE_SEGMENT_BYTES);
    keep = (struct hg_retention_limit){.ns = 3600 * HG_NS_PER_S};
    hg_streams_log_keep(node.streams, &keep);
    CU_ASSERT_EQUAL(kept_from(), 0); /* it was not there for so long yet: all may be younger */
    keep.ns = 60 * HG_NS_PER_S;
    hg_streams_log_keep(node.streams, &keep);
    node.now_ns += 30 * HG_NS_PER_S;
    CU_ASSERT(kept_from() <= sequence && kept_from() + 4 > sequence);
    keep.ns = 0;
    hg_streams_log_keep(node.streams, &keep);
    /* Of a stream: its own bytes count, whatever came between. */
    hg_streams_at(node.streams, few)->keep.bytes = 4 * MB;
    CU_ASSERT_EQUAL(kept_from(), hg_streams_sequence_of(node.streams, few, 21 - 4 * MB / ENTRY - 1));
    hg_streams_at(node.streams, few)->keep.bytes = 0;
    hg_streams_at(node.streams, busy)->keep.ns = 60 * HG_NS_PER_S;
    CU_ASSERT_EQUAL(kept_from(), hg_streams_sequence_of(node.streams, busy, 1));
    stream_node_free(&node);
}

/* A node whose own consumer holds its log says why it refuses a peer's batches. */
static void test_refuses_peers(void)
{
    static struct stream_node origin;
    const struct hg_batch_header *header;
    stream_node_make(&origin, 2);
    uint32_t there = stream_node_configure(&origin, "theirs", 21, KV, 2, 0);
    CU_ASSERT_EQUAL(stream_node_append(&origin, there, 100), HG_APPEND_OK);
    stream_node_settle(&origin);
    struct hg_cursor cursor = {.sequence = 1};
    while (hg_cursor_peek(&cursor, origin.log, &header) == 1 && (header->flags & HG_BATCH_LOCAL) != 0)
        hg_cursor_advance(&cursor, header);
    stream_node_make(&node, 1);
    configuration_whole();
    uint32_t slot = configure("ours", 11, 0), theirs = stream_node_configure(&node, "theirs", 21, KV, 2, 0);
    CU_ASSERT(hg_streams_consumer_add(node.streams, "archive", slot) >= 0);
    CU_ASSERT(fill(slot, 200) < 200);
    for (uint32_t i = 0; i < 13; i++) {
        CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, theirs, 1, (const uint8_t *)header,
                                                 hg_batch_bytes(header), node.now_ns),
                        HG_SEALED_WOULD_BLOCK);
        node.now_ns += 100 * HG_NS_PER_MS;
        hg_streams_retain(node.streams, node.now_ns);
        CU_ASSERT_EQUAL(node.events[HG_EVENT_log_refuses_peers], i >= 10);
    }
    CU_ASSERT_STRING_EQUAL(node.event_last[HG_EVENT_log_refuses_peers].subject, "log 0: consumer archive");
    hg_streams_consumer_advance(node.streams, 0, hg_streams_at(node.streams, slot)->lsn_durable);
    node.now_ns += 2 * HG_RETENTION_REFUSED_NS;
    retain();
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, theirs, 1, (const uint8_t *)header,
                                             hg_batch_bytes(header), node.now_ns),
                    HG_SEALED_OK);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_log_takes_peers], 1);
    stream_node_free(&node);
    stream_node_free(&origin);
}

/* Before the first configuration nobody is known to want nothing. */
static void test_unconfigured(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = configure("orders", 11, 0);
    CU_ASSERT_EQUAL(fill(slot, 30), 30);
    restart();
    retain();
    CU_ASSERT_EQUAL_FATAL(retention()->holder_count, 1);
    CU_ASSERT_EQUAL(retention()->holders[0].kind, HG_HOLDER_UNCONFIGURED);
    char who[64];
    hg_streams_holder_text(node.streams, &retention()->holders[0], who, sizeof(who));
    CU_ASSERT_STRING_EQUAL(who, "unconfigured stream orders");
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("retention", NULL, NULL);
    CU_add_test(suite, "rate, time left and levels", test_budget);
    CU_add_test(suite, "who holds the log is named before it is full", test_alarm);
    CU_add_test(suite, "a peer behind its limit is let go of", test_peer_let_go);
    CU_add_test(suite, "a peer without one holds the log", test_peer_holds);
    CU_add_test(suite, "by time", test_peer_let_go_by_time);
    CU_add_test(suite, "a consumer that was let go of skips nothing", test_consumer_let_go);
    CU_add_test(suite, "recorded before anything goes", test_let_go_is_recorded_first);
    CU_add_test(suite, "a removal is recorded before anything goes", test_removal_is_recorded_first);
    CU_add_test(suite, "what is needed beside a removal", test_needed_beside_a_removal);
    CU_add_test(suite, "kept for readers that may come", test_keep);
    CU_add_test(suite, "why peers' batches are refused", test_refuses_peers);
    CU_add_test(suite, "streams that nobody has configured yet", test_unconfigured);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
