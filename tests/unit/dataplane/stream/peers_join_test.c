/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy meets a writer of a newer epoch: what is on its device, and when, before the writer may count it;
 * and that this holds after a power cut at every step.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/horizon.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/streams_internal.h"
#include "peers_pair.h"
#include "tests/unit/sanitized.h"

#define EPOCH 5

static const struct hg_group *group_of(const struct site *site)
{
    return hg_streams_group(site->node.streams, 0);
}

/* The writer's group is sealed and begins the epoch; its streams are opened anew. */
static void writer_begins(uint32_t slot)
{
    hg_log_close_write(a->node.log);
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    for (int i = 0; i < 100 && !hg_streams_group_sealed(a->node.streams, 0, EPOCH); i++)
        stream_node_turn(&a->node);
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_open(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    hg_log_close_write(a->node.log);
    for (int i = 0; i < 100 && !hg_streams_group_opened(a->node.streams, 0, EPOCH); i++)
        stream_node_turn(&a->node);
    CU_ASSERT_TRUE_FATAL(hg_streams_group_opened(a->node.streams, 0, EPOCH));
    b->node.now_ns = a->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    hg_peers_stream_epoch(a->peers, slot);
}

/* Power goes at b, which starts again with its configuration and new keys. */
static void b_power_cut(bool configured)
{
    hg_peers_free(b->peers);
    hg_disk_sim_crash(b->node.disk);
    stream_node_close(&b->node);
    stream_node_open(&b->node);
    site_peers_make(b, NODE_STREAMS_MAX);
    if (configured)
        (void)configure(b, "one", 11, KV, 1);
    keys();
}

static bool has_epoch(const struct site *site, uint32_t slot)
{
    struct hg_history history;
    hg_streams_history_durable(stream(site, slot), &history);
    return hg_history_last(&history).epoch == EPOCH;
}

static const struct hg_peer_join *join_of(const struct site *site, uint32_t slot)
{
    return &peer_of(site)->aliases[slot].join; /* the first stream's alias is its slot */
}

/* b has the first entries and is cut off; *told: as if a's log began where it ends. Returns the slot. */
static uint32_t cut_off_with_a_word(struct hg_wire_stream_horizon *told)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 4);
    a->cut = b->cut = true;
    append(a, slot, 20, 100);
    run(50 * HG_NS_PER_MS);
    *told = (struct hg_wire_stream_horizon){.stream = 11,
                                            .incarnation = stream(a, slot)->incarnation,
                                            .epoch = HG_EPOCH_FIRST,
                                            .lsn_begin = 1,
                                            .lsn = stream(a, slot)->lsn_durable};
    memcpy(told->chain, stream(a, slot)->chain_durable, sizeof(told->chain));
    return slot;
}

/* It is told that it lacks something, begins to join who has it after all, and is ordered to begin anew: no
 * cut and no batch may get between the record of that and what follows from it. */
static void test_order_to_begin_anew_ends_the_join(void)
{
    struct hg_wire_stream_horizon told;
    uint64_t sequence;
    uint32_t slot = cut_off_with_a_word(&told);
    writer_begins(slot);
    a->cut = b->cut = false;
    for (int i = 0; i < 5000 && join_of(b, slot)->state != HG_PEER_JOIN_COMPARING; i++) {
        site_turn(a);
        site_turn(b);
    }
    CU_ASSERT_EQUAL_FATAL(join_of(b, slot)->state, HG_PEER_JOIN_COMPARING);
    hg_streams_horizon_told(b->node.streams, slot, 0, 0, &told);
    CU_ASSERT_FALSE(hg_peers_is_taking(b->peers, slot));
    CU_ASSERT_EQUAL_FATAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), 0);
    hg_peers_stream_leave(b->peers, slot);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_sealed, 4);
    hg_peers_stream_anew(b->peers, slot);
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_TRUE(hg_peers_is_taking(b->peers, slot));
    CU_ASSERT_TRUE(has_epoch(b, slot));
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, told.lsn);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_not_cut], 0);
    b_power_cut(false);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, told.lsn);
    sites_free();
}

/* An epoch that was to begin further on, where the stream now begins anew under the one before it: the next
 * opening says again where it begins. */
static void test_order_to_begin_anew_ends_an_adoption(void)
{
    struct hg_wire_stream_horizon told;
    uint64_t sequence;
    uint32_t slot = cut_off_with_a_word(&told);
    hg_streams_adopt_epoch(b->node.streams, slot, EPOCH, told.lsn);
    CU_ASSERT_FALSE(hg_streams_is_adopting(stream(b, slot)));
    hg_streams_horizon_told(b->node.streams, slot, 0, 0, &told);
    CU_ASSERT_EQUAL_FATAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), 0);
    hg_peers_stream_leave(b->peers, slot);
    stream_node_settle(&b->node);
    hg_peers_stream_anew(b->peers, slot);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, told.lsn);
    CU_ASSERT_FALSE(hg_streams_is_adopting(stream(b, slot)));
    writer_begins(slot);
    a->cut = b->cut = false;
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_TRUE(has_epoch(b, slot));
    sites_free();
}

/* The one whose epoch was to be adopted is dead: what another one fills in up to there is not of that epoch.
 */
static void test_promise_ends_an_adoption(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, EPOCH), HG_GROUP_WOULD_BLOCK);
    stream_node_settle(&b->node);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, EPOCH), HG_GROUP_OK);
    hg_streams_adopt_epoch(b->node.streams, slot, EPOCH, 6);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, EPOCH + 2), HG_GROUP_WOULD_BLOCK);
    append(a, slot, 5, 100); /* to 9, as of the epoch before */
    run(50 * HG_NS_PER_MS);
    struct hg_stream_state *s = stream(b, slot);
    CU_ASSERT_FALSE(hg_streams_is_adopting(s));
    CU_ASSERT_EQUAL(s->adopt_epoch, 0);
    CU_ASSERT_EQUAL(hg_history_last(&s->history).epoch, HG_EPOCH_FIRST);
    sites_free();
}

/* `site` ends at 4 under the first epoch and adopts a newer one there, whose record is in the open write. */
static void adopts_in_the_open_write(struct site *site, uint32_t slot, uint64_t epoch)
{
    CU_ASSERT_EQUAL_FATAL(stream(site, slot)->lsn_durable, 4);
    CU_ASSERT_EQUAL(hg_streams_follow(site->node.streams, 0, epoch), HG_GROUP_WOULD_BLOCK);
    stream_node_settle(&site->node);
    CU_ASSERT_EQUAL(hg_streams_follow(site->node.streams, 0, epoch), HG_GROUP_OK);
    site->gathers = true;
    hg_streams_adopt_epoch(site->node.streams, slot, epoch, 4);
    CU_ASSERT_TRUE_FATAL(hg_streams_is_adopting(stream(site, slot)));
    CU_ASSERT_FATAL(stream(site, slot)->adopt_write != 0);
}

/* A newer writer, which knows nothing of that epoch, is joined when its record is on the device: it is taken
 * back then by another one. Passed over, it would claim that writer's older batches. */
static void test_join_waits_for_an_adoption(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = b->cut = true;
    append(a, slot, 3, 100); /* to 7, as of the epoch before */
    run(20 * HG_NS_PER_MS);
    writer_begins(slot);
    adopts_in_the_open_write(b, slot, EPOCH - 2);
    a->cut = b->cut = false;
    run(300 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(group_of(b)->epoch_promised, EPOCH);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_sealed, 4);
    CU_ASSERT_TRUE(hg_streams_is_adopting(stream(b, slot)));
    b->gathers = false;
    for (int i = 0; i < 5000 && stream(b, slot)->lsn_durable == 4; i++) {
        site_turn(a);
        site_turn(b);
    }
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 7);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    b_power_cut(false);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 7);
    CU_ASSERT_EQUAL(memcmp(&stream(b, 0)->history, &stream(a, slot)->history, sizeof(struct hg_history)), 0);
    sites_free();
}

/* A table that comes meanwhile tells of the epoch that was begun here since, not of the older one. */
static void test_table_behind_an_adoption(void)
{
    struct hg_local_record record;
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    adopts_in_the_open_write(a, slot, EPOCH - 2);
    hg_streams_record_of_stream(stream(a, slot), &record);
    CU_ASSERT_EQUAL(record.epoch, EPOCH - 2);
    CU_ASSERT_EQUAL(record.epoch_lsn, 4);
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    for (int i = 0; i < 100 && !hg_streams_group_sealed(a->node.streams, 0, EPOCH); i++)
        stream_node_turn(&a->node);
    CU_ASSERT_TRUE_FATAL(hg_streams_is_adopting(stream(a, slot)));
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_begin(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    hg_streams_record_of_stream(stream(a, slot), &record);
    CU_ASSERT_EQUAL(record.epoch, EPOCH);
    CU_ASSERT_EQUAL(record.epoch_lsn, 4);
    a->gathers = false;
    sites_free();
}

/* Nor does it say that the tail is unknown, when a batch of the adopted epoch is already behind its record:
 * the batches that come later are of the same epoch, and would not end that. */
static void test_table_behind_a_batch_of_an_adoption(void)
{
    struct hg_local_record record;
    const struct hg_batch_header *header;
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = b->cut = true;
    stream(b, slot)->tail_unknown = true;
    adopts_in_the_open_write(b, slot, EPOCH);
    writer_begins(slot);
    append(a, slot, 1, 100);
    stream_node_settle(&a->node);
    struct hg_cursor cursor = {.sequence = hg_streams_sequence_of(a->node.streams, slot, 4)};
    while (hg_cursor_peek(&cursor, a->node.log, &header) == 1 &&
           ((header->flags & HG_BATCH_LOCAL) != 0 || header->lsn_first != 4))
        hg_cursor_advance(&cursor, header);
    CU_ASSERT_EQUAL_FATAL(header->lsn_first, 4);
    CU_ASSERT_EQUAL_FATAL(hg_streams_append_sealed(b->node.streams, slot, EPOCH, (const uint8_t *)header,
                                                   hg_batch_bytes(header), b->node.now_ns),
                          HG_SEALED_OK);
    CU_ASSERT_TRUE_FATAL(hg_streams_is_adopting(stream(b, slot)));
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, slot)->history).epoch, EPOCH);
    hg_streams_record_of_stream(stream(b, slot), &record);
    CU_ASSERT_EQUAL(record.tail_unknown, 0);
    CU_ASSERT_EQUAL(record.epoch, EPOCH);
    CU_ASSERT_EQUAL(record.epoch_lsn, 4);
    CU_ASSERT_EQUAL(record.lsn, 5);
    b->gathers = false;
    sites_free();
}

static void test_adopts_at_the_tail(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 4);
    writer_begins(slot);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(hg_log_epoch_promised(b->node.log, 0), EPOCH);
    CU_ASSERT_TRUE(has_epoch(b, slot));
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, slot)->history).lsn, 4);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 4);
    CU_ASSERT_EQUAL(hg_streams_sealed_counts(b->node.streams)[HG_SEALED_OK], 3); /* no batch was needed */
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 6);
    b_power_cut(false);
    CU_ASSERT_EQUAL(group_of(b)->epoch_promised, EPOCH);
    CU_ASSERT_EQUAL(memcmp(&stream(b, 0)->history, &stream(a, slot)->history, sizeof(struct hg_history)), 0);
    /* Nobody older is taken, sealed or not. */
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, EPOCH - 1), HG_GROUP_batch_epoch);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, HG_EPOCH_FIRST), HG_GROUP_batch_epoch);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, EPOCH), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_streams_follow(b->node.streams, 0, (uint64_t)HG_EPOCH_MAX + 1), HG_GROUP_seal_limit);
    CU_ASSERT_EQUAL(hg_streams_group_counts(b->node.streams)[HG_GROUP_batch_epoch], 2);
    sites_free();
}

/* A copy that lacks some of what came before the epoch takes that first, and is of the old epoch until it
 * has all of it: else it would win the next choice of a tail with less than others have. */
static void test_fills_before_it_adopts(void)
{
    uint32_t slot = sites_joined();
    bool behind = false;
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = b->cut = true;
    append(a, slot, 40, 60000);
    run(50 * HG_NS_PER_MS);
    writer_begins(slot);
    append(a, slot, 3, 100);
    a->cut = b->cut = false;
    for (int i = 0; i < 5000 && stream(b, slot)->lsn_durable < 46; i++) {
        site_turn(a);
        site_turn(b);
        CU_ASSERT(sending(a, slot)->state != HG_PEER_STREAM_STREAMING ||
                  group_of(b)->epoch_promised == EPOCH);
        CU_ASSERT(stream(a, slot)->lsn_counted[0] < 43 || has_epoch(b, slot));
        CU_ASSERT(stream(b, slot)->lsn_durable >= 43 || !has_epoch(b, slot));
        behind |= sending(a, slot)->state == HG_PEER_STREAM_STREAMING && !has_epoch(b, slot);
    }
    CU_ASSERT_TRUE(behind);
    CU_ASSERT_TRUE(has_epoch(b, slot));
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, slot)->history).lsn, 43);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 46);
    sites_free();
}

/* Whatever the writer was told to count is there after a power cut, at every step; and the steps go on. */
static void test_power_cut_at_every_step(void)
{
    uint32_t unpromised = 0, promised = 0, adopted = 0, counted = 0;
    for (int steps = 0; steps < 500; steps += 500 / (int)HG_TEST_SEEDS(125)) {
        uint32_t slot = sites_joined();
        append(a, slot, 3, 100);
        run(30 * HG_NS_PER_MS);
        writer_begins(slot);
        for (int i = 0; i < steps; i++) {
            site_turn(a);
            site_turn(b);
        }
        bool was_open = sending(a, slot)->state == HG_PEER_STREAM_STREAMING;
        bool was_adopted = has_epoch(b, slot), was_promised = group_of(b)->epoch_promised == EPOCH;
        CU_ASSERT(!was_adopted || was_promised);
        CU_ASSERT(!was_open || was_adopted);
        b_power_cut(false);
        CU_ASSERT(!was_promised || group_of(b)->epoch_promised == EPOCH);
        CU_ASSERT(!was_adopted || hg_history_last(&stream(b, 0)->history).epoch == EPOCH);
        CU_ASSERT(hg_history_last(&stream(b, 0)->history).epoch != EPOCH ||
                  group_of(b)->epoch_promised == EPOCH);
        CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
        unpromised += !was_promised;
        promised += was_promised && !was_adopted;
        adopted += was_adopted && !was_open;
        counted += was_open;
        (void)configure(b, "one", 11, KV, 1);
        run(100 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
        CU_ASSERT_TRUE(has_epoch(b, slot));
        sites_free();
    }
    CU_ASSERT(unpromised > 0 && promised > 0 && adopted > 0 && counted > 0); /* every window was hit */
}

/* A group with another region's streams is not promised for that one's sake. */
static void test_mixed_group(void)
{
    uint32_t slot = sites_joined();
    uint32_t own = configure(b, "own", 12, KV, 2);
    append(a, slot, 3, 100);
    run(30 * HG_NS_PER_MS);
    writer_begins(slot);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(group_of(b)->epoch_wanted, 0);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_REFUSED);
    CU_ASSERT(hg_streams_group_counts(b->node.streams)[HG_GROUP_follow_mixed] > 0);
    append(b, own, 1, 100); /* its own go on */
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, own)->lsn_durable, 2);
    sites_free();
}

static struct stream_node third;

/* What `from` has of the stream from `lsn` on, as a writer under `epoch` sends it. */
static void batches_copy(struct stream_node *from, struct stream_node *to, uint64_t lsn, uint64_t epoch)
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    for (int waits = 0; waits < 200;) {
        if (hg_cursor_peek(&cursor, from->log, &header) != 1) {
            waits++;
            stream_node_turn(from);
            continue;
        }
        if ((header->flags & HG_BATCH_LOCAL) == 0 && header->lsn_first >= lsn)
            CU_ASSERT_EQUAL(hg_streams_append_sealed(to->streams, 0, epoch, (const uint8_t *)header,
                                                     hg_batch_bytes(header), to->now_ns),
                            HG_SEALED_OK);
        hg_cursor_advance(&cursor, header);
    }
    stream_node_settle(to);
}

/* A third node has what both have, is made the writer, and writes 2 more, which b takes. */
static void third_takes_over(void)
{
    stream_node_make(&third, 1);
    (void)stream_node_configure(&third, "one", 11, KV, 1, 0);
    batches_copy(&b->node, &third, 0, HG_EPOCH_FIRST);
    CU_ASSERT_EQUAL(hg_streams_group_seal(third.streams, 0, EPOCH), HG_GROUP_OK);
    stream_node_settle(&third);
    CU_ASSERT_EQUAL(hg_streams_group_open(third.streams, 0, EPOCH), HG_GROUP_OK);
    stream_node_settle(&third);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(stream_node_append(&third, 0, 100), HG_APPEND_OK);
    stream_node_settle(&third);
    for (int i = 0; i < 100 && hg_streams_follow(b->node.streams, 0, EPOCH) != HG_GROUP_OK; i++)
        stream_node_turn(&b->node);
    batches_copy(&third, &b->node, 4, EPOCH);
    stream_node_free(&third);
}

/* A writer that has not heard, and whose batches are lost on the way: what another one wrote at the copy is
 * no word about them. */
static void test_former_writer_is_told_nothing(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(a, slot)->lsn_counted[0], 4);
    a->cut = b->cut = true;
    append(a, slot, 5, 100);
    run(20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->lsn_next, 9);
    third_takes_over();
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 6);
    a->node.now_ns = b->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    b->cut = false;
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 4);
    a->cut = false;
    run(500 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 4);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_REFUSED);
    sites_free();
}

/* What the writer offers, as it would offer it again. */
static struct hg_wire_stream_open open_of(uint32_t slot, uint8_t opening)
{
    const struct hg_stream_state *s = stream(a, slot);
    struct hg_wire_stream_open open = {
        .control = {.type = HG_WIRE_STREAM_OPEN, .bytes = sizeof(open), .alias = slot, .opening = opening},
        .stream = s->stream,
        .incarnation = s->incarnation,
        .group = s->group,
        .epoch = EPOCH,
        .lsn_begin = s->lsn_begin,
        .lsn_durable = s->lsn_durable,
        .kind = s->kind,
        .region = s->region,
    };
    return open;
}

/* An OPEN that is repeated when the beginning is on the device finds nothing left to compare, and opens the
 * stream: what was compared before is over then, and cuts nothing that comes now. */
static void test_repeated_open_ends_the_join(void)
{
    uint32_t slot = sites_joined(), opened = 0;
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    writer_begins(slot);
    struct hg_peer_alias *alias = &peer_of(b)->aliases[slot];
    for (int i = 0; i < 400; i++) {
        site_turn(a);
        if (alias->join.state == HG_PEER_JOIN_CUTTING) {
            struct hg_wire_stream_open open = open_of(slot, alias->opening);
            stream_node_turn(&b->node);
            hg_peers_open_received(&peer_of(b)->sessions[peer_of(b)->current], &open);
            opened += alias->slot >= 0;
        }
        CU_ASSERT(alias->slot < 0 || alias->join.state == HG_PEER_JOIN_NONE);
        site_turn(b);
    }
    CU_ASSERT_EQUAL(opened, 1);
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 7);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 7);
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_join", NULL, NULL);
    CU_add_test(suite, "an epoch is adopted at the tail", test_adopts_at_the_tail);
    CU_add_test(suite, "a copy that lags fills up before it adopts", test_fills_before_it_adopts);
    CU_add_test(suite, "a power cut at every step", test_power_cut_at_every_step);
    CU_add_test(suite, "a group with streams of several regions", test_mixed_group);
    CU_add_test(suite, "a former writer is told nothing", test_former_writer_is_told_nothing);
    CU_add_test(suite, "an order to begin anew ends the join", test_order_to_begin_anew_ends_the_join);
    CU_add_test(suite, "and an adoption", test_order_to_begin_anew_ends_an_adoption);
    CU_add_test(suite, "a promise ends an adoption", test_promise_ends_an_adoption);
    CU_add_test(suite, "a join waits for an adoption", test_join_waits_for_an_adoption);
    CU_add_test(suite, "a table behind an adoption", test_table_behind_an_adoption);
    CU_add_test(suite, "and behind a batch of its epoch", test_table_behind_a_batch_of_an_adoption);
    CU_add_test(suite, "a repeated open ends the join", test_repeated_open_ends_the_join);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 12;
}
