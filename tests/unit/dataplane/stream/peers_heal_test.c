/* SPDX-License-Identifier: Apache-2.0
 *
 * A write rots in the log of one of two nodes: it is asked for, comes in windows, is proved, and goes on to
 * who waited for it; who has no right to a stream gets nothing of it.
 */
#include "dataplane/stream/peers_internal.h"
#include "dataplane/wal/log_block.h"
#include "peers_pair.h"

static uint64_t counted(const struct site *site, enum hg_peers_heal_reason reason)
{
    return hg_peers_heal_of(site->peers)->counts[reason];
}

/* The write with the batch of the stream that ends at lsn_end, as the disk has it, and where in it that is.
 */
static uint8_t *batch_of(const struct site *site, uint64_t id, uint64_t lsn_end, uint64_t *sequence)
{
    uint8_t *bytes = hg_disk_sim_bytes(site->node.disk);
    for (uint64_t at = HG_LOG_SEGMENTS_OFFSET; at < site->node.disk->size_bytes; at += HG_LOG_BLOCK_BYTES) {
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)(bytes + at);
        if (!hg_log_write_header_is_valid(header, hg_log_uuid(site->node.log)))
            continue;
        for (uint32_t offset = 0; offset < header->payload_bytes;) {
            struct hg_batch_header *batch =
                (struct hg_batch_header *)(bytes + at + HG_LOG_BLOCK_BYTES + offset);
            if ((batch->flags & HG_BATCH_LOCAL) == 0 && batch->stream == id && batch->lsn_end == lsn_end &&
                header->flags == 0) {
                *sequence = header->sequence;
                return (uint8_t *)batch;
            }
            offset += hg_batch_bytes(batch);
        }
    }
    CU_FAIL_FATAL("no such batch");
    return NULL;
}

static uint8_t *batch_on_disk(const struct site *site, uint64_t lsn_end, uint64_t *sequence)
{
    return batch_of(site, 11, lsn_end, sequence);
}

static uint64_t rot(struct site *site, uint64_t lsn_end)
{
    uint64_t sequence;
    batch_on_disk(site, lsn_end, &sequence)[300] ^= 1;
    hg_disk_sim_settle(site->node.disk);
    return sequence;
}

static int read_write(struct site *site, uint64_t sequence)
{
    const uint8_t *payload;
    uint32_t bytes;
    int rc;
    while ((rc = hg_log_at(site->node.log, sequence, &payload, &bytes)) == 0)
        run(HG_NS_PER_MS);
    return rc;
}

/* The site's process starts again: nothing of the log is in memory. */
static void restart(struct site *site)
{
    hg_peers_free(site->peers);
    hg_disk_sim_crash(site->node.disk);
    stream_node_close(&site->node);
    stream_node_open(&site->node);
    site_peers_make(site, NODE_STREAMS_MAX);
    (void)configure(site, "one", 11, KV, 1);
    keys();
    run(2 * HG_NS_PER_S);
}

/* Entries [1, 7): the third one is large. */
static uint32_t joined_with_entries(void)
{
    uint32_t slot = sites_joined();
    for (uint32_t i = 0; i < 6; i++) {
        append(a, slot, 1, i == 2 ? 90000 : 500);
        run(20 * HG_NS_PER_MS);
    }
    CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 7);
    return slot;
}

static void repaired_at(struct site *site, uint64_t sequence)
{
    CU_ASSERT_EQUAL(read_write(site, sequence), -EBADMSG);
    for (uint32_t i = 0; i < 3000 && site->node.events[HG_EVENT_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(site->node.events[HG_EVENT_repaired], 1);
    CU_ASSERT_EQUAL(site->node.event_last[HG_EVENT_repaired].a, sequence);
    CU_ASSERT_EQUAL(counted(site, HG_PEERS_HEAL_taken), 1);
    CU_ASSERT_EQUAL(hg_log_heal_left(site->node.log), 0);
    CU_ASSERT_EQUAL(read_write(site, sequence), 1);
}

/* At who takes the stream, and at its writer: each asks the other. */
static void test_both_ways(void)
{
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t slot = joined_with_entries();
        struct site *site = side == 0 ? b : a;
        restart(site);
        uint64_t sequence = rot(site, 4); /* 90,000 bytes: some windows */
        repaired_at(site, sequence);
        CU_ASSERT(counted(site, HG_PEERS_HEAL_asked) >= 7);
        CU_ASSERT(counted(site->other, HG_PEERS_HEAL_given) >= 7);
        CU_ASSERT_EQUAL(stream(site, slot)->lsn_durable, 7);
        sites_free();
    }
}

/* Packets are lost in between: it is asked again. */
static void test_lost_packets(void)
{
    (void)joined_with_entries();
    restart(b);
    uint64_t sequence = rot(b, 4);
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    while (counted(b, HG_PEERS_HEAL_asked) < 3)
        run(HG_NS_PER_MS);
    a->cut = true;
    run(HG_PEERS_HEAL_WAIT_NS + 100 * HG_NS_PER_MS);
    a->cut = false;
    CU_ASSERT(counted(b, HG_PEERS_HEAL_timeout) > 0);
    for (uint32_t i = 0; i < 3000 && b->node.events[HG_EVENT_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_repaired], 1);
    sites_free();
}

/* A lane that stopped at the rotten write goes on behind the repair: the other side gets all. */
static void test_lane_goes_on(void)
{
    uint32_t slot = joined_with_entries();
    (void)slot;
    uint64_t sequence;
    restart(a);
    sequence = rot(a, 4);
    /* A peer that begins anew at the start needs it: b's cursor for a is rewound by hand, as for a third. */
    struct hg_peer *peer = peer_of(a);
    peer->cursor.sequence = sequence;
    peer->cursor.offset = 0;
    for (uint32_t i = 0; i < 3000 && a->node.events[HG_EVENT_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT(a->node.events[HG_EVENT_read_corrupt] > 0);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_repaired], 1);
    append(a, slot, 2, 100);
    run(200 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 9);
    sites_free();
}

/* What the lane was promised rots before it is read: the other side is told of no gap and of no horizon, gets
 * nothing across it, and all behind the repair. */
static void test_promised(void)
{
    uint32_t slot = joined_with_entries();
    restart(a);
    uint64_t sequence = rot(a, 4);
    struct hg_peer *peer = peer_of(a);
    struct hg_lane_batch promised = {
        .alias = slot, .sequence = sequence, .lsn_first = 3, .lsn_end = 4, .bytes = 1000};
    uint32_t opened = a->node.events[HG_EVENT_stream_streaming];
    CU_ASSERT_EQUAL(read_write(a, sequence), -EBADMSG);
    CU_ASSERT_EQUAL_FATAL(peer->streams[slot].state, HG_PEER_STREAM_STREAMING);
    a->cut = true; /* not mended yet */
    for (uint32_t i = 0; i < 3000 && peer->streams[slot].state == HG_PEER_STREAM_STREAMING; i++) {
        run(HG_NS_PER_MS);
        CU_ASSERT_PTR_NULL(hg_peers_batch_bytes(&peer->sessions[peer->current], &promised));
    }
    CU_ASSERT_EQUAL(peer->streams[slot].state, HG_PEER_STREAM_CLOSED);
    CU_ASSERT_FALSE(peer->streams[slot].horizon_due);
    a->cut = false;
    for (uint32_t i = 0; i < 3000 && a->node.events[HG_EVENT_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_repaired], 1);
    append(a, slot, 2, 100);
    run(200 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 9);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_streaming], opened + 1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap] + b->node.events[HG_EVENT_stream_closed], 0);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_behind], 0);
    sites_free();
}

/* The same batch rots at both: named, not repaired, not served; when one is mended by hand, it is. */
static void test_both_rot(void)
{
    (void)joined_with_entries();
    restart(b);
    restart(a);
    uint64_t there = rot(a, 4), sequence = rot(b, 4);
    (void)there;
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    for (uint32_t i = 0; i < 3000 && b->node.events[HG_EVENT_not_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT(counted(b, HG_PEERS_HEAL_corrupt_there) > 0);
    CU_ASSERT_EQUAL(b->node.event_last[HG_EVENT_not_repaired].b, HG_LOG_HEAL_nobody);
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    CU_ASSERT(hg_log_heal_left(b->node.log) == 1);
    (void)rot(a, 4); /* the bit turned back */
    for (uint32_t i = 0; i < 60 && b->node.events[HG_EVENT_repaired] == 0; i++)
        idle(HG_NS_PER_S);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_repaired], 1);
    CU_ASSERT_EQUAL(read_write(b, sequence), 1);
    sites_free();
}

/* The write with the batches of "one" up to `first` and of "two" up to `second`. */
static uint64_t write_of_both(struct site *site, uint64_t first, uint64_t second)
{
    uint64_t one, two;
    (void)batch_of(site, 11, first, &one);
    (void)batch_of(site, 12, second, &two);
    CU_ASSERT_EQUAL_FATAL(one, two);
    return one;
}

/* Turns of both until each has mended its write. */
static void run_until_both_repaired(void)
{
    for (uint32_t i = 0;
         i < 60 && (a->node.events[HG_EVENT_repaired] == 0 || b->node.events[HG_EVENT_repaired] == 0); i++)
        idle(HG_NS_PER_S);
}

/* What the site's disk has of the batch, in its second block or third: a bit of it, a block that can't be
 * read, or a bit while the write's header block is bad too and the ring alone has that. */
enum damage { DAMAGE_ROT, DAMAGE_UNREADABLE, DAMAGE_UNREADABLE_ZEROS, DAMAGE_HEADER_TOO, DAMAGE_KINDS };
static uint64_t batch_damage(struct site *site, uint64_t id, uint64_t lsn_end, enum damage kind)
{
    uint64_t sequence;
    uint8_t *batch = batch_of(site, id, lsn_end, &sequence), *bytes = hg_disk_sim_bytes(site->node.disk);
    if (kind == DAMAGE_UNREADABLE || kind == DAMAGE_UNREADABLE_ZEROS) {
        uint64_t block = (uint64_t)(batch + 5000 - bytes) / HG_LOG_BLOCK_BYTES * HG_LOG_BLOCK_BYTES;
        hg_disk_sim_bad_block(site->node.disk, block);
        return sequence;
    }
    batch[5000] ^= 1;
    for (uint8_t *at = batch; kind == DAMAGE_HEADER_TOO; at -= HG_BATCH_ALIGN_BYTES) {
        struct hg_log_write_header *header = (struct hg_log_write_header *)at;
        if ((uint64_t)(at - bytes) % HG_LOG_BLOCK_BYTES == 0 &&
            hg_log_write_header_is_valid(header, hg_log_uuid(site->node.log))) {
            at[2048] ^= 1;
            break;
        }
    }
    hg_disk_sim_settle(site->node.disk);
    return sequence;
}

/* An entry of 9,000 bytes: zeros, or none of them zero. */
static void append_large(struct site *site, uint32_t slot, bool is_zeros)
{
    uint8_t data[9000] = {0};
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .data_bytes = sizeof(data), .data = data};
    for (uint32_t i = 0; i < sizeof(data) && !is_zeros; i++)
        data[i] = (uint8_t)(1 + i % 251);
    CU_ASSERT_EQUAL(hg_streams_append(site->node.streams, slot, &frame, site->node.now_ns), HG_APPEND_OK);
}

/* Packets reach b, whose own turns stand still: it closes no write meanwhile. */
static void run_b_takes_only(uint64_t ns)
{
    for (uint64_t end_ns = a->node.now_ns + ns; a->node.now_ns < end_ns;) {
        site_turn(a);
        b->node.now_ns = a->node.now_ns;
        packets_pass(b);
    }
}

/* Of a write of two batches each site has another one whole: each mends the other, and readers get nothing of
 * it before. Zeros that can't be read are proved by their checksum, so nobody is asked for them. */
static void test_each_has_another_batch(void)
{
    for (uint32_t kind = 0; kind < DAMAGE_KINDS; kind++) {
        uint32_t slot = joined_with_entries();
        uint32_t other = configure(a, "two", 12, KV, 1);
        CU_ASSERT_EQUAL_FATAL(configure(b, "two", 12, KV, 1), other);
        run(200 * HG_NS_PER_MS);
        append(a, other, 9, 100);
        run(100 * HG_NS_PER_MS);
        append_large(a, slot, kind == DAMAGE_UNREADABLE_ZEROS);
        append_large(a, other, kind == DAMAGE_UNREADABLE_ZEROS);
        /* Both come before b closes its write. */
        run_b_takes_only(50 * HG_NS_PER_MS);
        run(200 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 8);
        CU_ASSERT_EQUAL_FATAL(stream(b, other)->lsn_durable, 11);
        for (uint32_t i = 0; i < 2; i++) {
            struct site *site = i == 0 ? b : a;
            restart(site);
            (void)configure(site, "two", 12, KV, 1);
            run(200 * HG_NS_PER_MS);
            (void)write_of_both(site, 8, 11);
        }
        uint64_t at_a = batch_damage(a, 11, 8, (enum damage)kind),
                 at_b = batch_damage(b, 12, 11, (enum damage)kind);
        CU_ASSERT_EQUAL(read_write(a, at_a), -EBADMSG);
        CU_ASSERT_EQUAL(read_write(b, at_b), -EBADMSG);
        run_until_both_repaired();
        CU_ASSERT_EQUAL(a->node.events[HG_EVENT_repaired], 1);
        CU_ASSERT_EQUAL(b->node.events[HG_EVENT_repaired], 1);
        bool asked = counted(a, HG_PEERS_HEAL_salvaged) + counted(b, HG_PEERS_HEAL_salvaged) > 0;
        CU_ASSERT_EQUAL(asked, kind != DAMAGE_UNREADABLE_ZEROS);
        CU_ASSERT_EQUAL(read_write(a, at_a), 1);
        CU_ASSERT_EQUAL(read_write(b, at_b), 1);
        CU_ASSERT_EQUAL(hg_log_heal_left(a->node.log) + hg_log_heal_left(b->node.log), 0);
        sites_free();
    }
}

/* Three batches of one write lose their headers, and one of them more: the headers are asked for one after
 * the other, and then that batch. */
static void test_headers_side_by_side(void)
{
    uint32_t slot = joined_with_entries();
    uint64_t sequence, first;
    for (uint32_t i = 0; i < 4; i++) { /* all come before b closes its write */
        append(a, slot, 1, 500);
        run_b_takes_only(20 * HG_NS_PER_MS);
    }
    run(200 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 11);
    restart(b);
    (void)batch_on_disk(b, 8, &first);
    (void)batch_on_disk(b, 11, &sequence);
    CU_ASSERT_EQUAL_FATAL(first, sequence);
    for (uint64_t lsn_end = 10; lsn_end >= 8; lsn_end--)
        memset(batch_on_disk(b, lsn_end, &sequence), 0,
               sizeof(struct hg_batch_header) + (lsn_end == 9 ? 100 : 0));
    hg_disk_sim_settle(b->node.disk);
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    for (uint32_t i = 0; i < 3000 && b->node.events[HG_EVENT_repaired] == 0; i++)
        run(10 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(b->node.events[HG_EVENT_repaired], 1);
    CU_ASSERT_EQUAL(counted(b, HG_PEERS_HEAL_taken), 4);
    CU_ASSERT_EQUAL(read_write(b, sequence), 1);
    CU_ASSERT_EQUAL(hg_log_heal_left(b->node.log), 0);
    sites_free();
}

static struct hg_wire_log_repair_ask ask_for(uint64_t lsn_end)
{
    uint64_t sequence;
    const struct hg_batch_header *batch =
        (const struct hg_batch_header *)batch_on_disk(a, lsn_end, &sequence);
    struct hg_wire_log_repair_ask ask = {.stream = 11,
                                         .epoch = batch->epoch,
                                         .lsn_end = lsn_end,
                                         .incarnation = batch->incarnation,
                                         .batch_bytes = hg_batch_bytes(batch),
                                         .bytes = HG_WIRE_REPAIR_BYTES};
    ask.control.type = HG_WIRE_LOG_REPAIR_ASK;
    ask.control.bytes = sizeof(ask);
    memcpy(ask.chain, batch->chain, sizeof(ask.chain));
    return ask;
}

/* Who does not get the stream gets nothing of it; nor who does not know the chain; sizes out of limits are
 * refused; bytes that nobody asked for are counted and change nothing. */
static void test_hostile(void)
{
    uint32_t slot = joined_with_entries();
    struct hg_peer_session *session = &peer_of(a)->sessions[peer_of(a)->current];
    struct hg_wire_log_repair_ask good = ask_for(2), ask = good;
    hg_peers_control_received(session, &ask.control);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_given), 1);
    CU_ASSERT_EQUAL(counted(b, HG_PEERS_HEAL_stray), 1); /* it did not ask */
    ask.chain[0] ^= 1;
    hg_peers_control_received(session, &ask.control);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_given), 1);
    CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_refused), 1);
    uint64_t refused = 0;
#define REFUSED(field, value)                                                                                \
    do {                                                                                                     \
        ask = good;                                                                                          \
        ask.field = (value);                                                                                 \
        hg_peers_control_received(session, &ask.control);                                                    \
        CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_ask_limit), ++refused);                                     \
        CU_ASSERT_FALSE(peer_of(a)->repair_due);                                                             \
    } while (0)
    REFUSED(lsn_end, 0);
    REFUSED(bytes, 0);
    REFUSED(bytes, UINT32_MAX);
    REFUSED(bytes, HG_WIRE_REPAIR_BYTES * HG_WIRE_REPAIR_CHUNKS + 1);
    REFUSED(offset, UINT32_MAX);
    REFUSED(offset, 1);
    REFUSED(offset, good.batch_bytes / HG_WIRE_REPAIR_BYTES * HG_WIRE_REPAIR_BYTES);
    REFUSED(batch_bytes, UINT32_MAX);
    REFUSED(batch_bytes, 0);
    stream(a, slot)->peers_mask = 0;
    ask = good;
    hg_peers_control_received(session, &ask.control);
    CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_stranger), 1);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(counted(a, HG_PEERS_HEAL_given), 1);
    sites_free();
}

/* A peer that answers with other bytes: not taken, nobody else has it, and it stays as it is. */
static void test_liar(void)
{
    (void)joined_with_entries();
    restart(b);
    uint64_t sequence = rot(b, 2);
    a->cut = true;
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    while (counted(b, HG_PEERS_HEAL_asked) == 0)
        run(HG_NS_PER_MS);
    const struct hg_log_heal_want *want = &hg_peers_heal_of(b->peers)->want;
    struct hg_wire_log_repair_data data = {.stream = want->stream, .lsn_end = want->lsn_end};
    data.control.type = HG_WIRE_LOG_REPAIR_DATA;
    data.control.bytes = sizeof(data);
    memcpy(data.chain, want->chain, sizeof(data.chain));
    struct hg_peer_session *session = &peer_of(b)->sessions[peer_of(b)->current];
    uint32_t bytes = want->bytes;
    for (data.offset = 0; data.offset < bytes; data.offset += HG_WIRE_REPAIR_BYTES) {
        data.bytes = (uint16_t)hg_min_u64(bytes - data.offset, HG_WIRE_REPAIR_BYTES);
        hg_peers_control_received(session, &data.control);
    }
    CU_ASSERT_EQUAL(counted(b, HG_PEERS_HEAL_not_verified), 1);
    CU_ASSERT_EQUAL(counted(b, HG_PEERS_HEAL_taken), 0);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_not_repaired], 1);
    CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
    a->cut = false;
    for (uint32_t i = 0; i < 60 && b->node.events[HG_EVENT_repaired] == 0; i++)
        idle(HG_NS_PER_S);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_repaired], 1);
    sites_free();
}

/* What a site says of its own copy, sealed. */
static struct hg_control_tail tail_of(struct site *site, uint64_t stream)
{
    struct hg_control_tail tail = {0};
    while (hg_peers_group_answer(site->peers, &tail))
        tail.stream = 0; /* of an earlier question */
    CU_ASSERT_EQUAL(hg_peers_group_ask(site->peers, 0, 0, 5), 0);
    for (uint32_t i = 0; i < 2000 && tail.stream != stream; i++) {
        run(HG_NS_PER_MS);
        hg_peers_groups_turn(site->peers);
        (void)hg_peers_group_answer(site->peers, &tail);
    }
    CU_ASSERT_EQUAL_FATAL(tail.stream, stream);
    return tail;
}

/* A seal is answered with what can't be read, of the stream that it is of, and of no other: with the rot in
 * the header of its batch and behind it. Of a write that is not tracked any stream may be. */
static void test_tail_names_what_is_corrupt(void)
{
    for (uint32_t deep = 0; deep < 2; deep++) {
        uint32_t slot = joined_with_entries();
        uint32_t other = configure(a, "two", 12, KV, 1);
        CU_ASSERT_EQUAL_FATAL(configure(b, "two", 12, KV, 1), other);
        run(100 * HG_NS_PER_MS);
        append(a, other, 3, 200);
        append(a, slot, 1, 200);
        run(100 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL_FATAL(stream(b, other)->lsn_durable, 4);
        restart(b);
        (void)configure(b, "two", 12, KV, 1);
        run(200 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(tail_of(b, 11).corrupt, 0);
        uint64_t sequence;
        batch_on_disk(b, 4, &sequence)[deep ? 40000 : 300] ^= 1;
        hg_disk_sim_settle(b->node.disk);
        a->cut = true;
        CU_ASSERT_EQUAL(read_write(b, sequence), -EBADMSG);
        run(100 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(hg_log_heal_of(b->node.log)->writes[0].is_ranged, deep);
        struct hg_control_tail tail = tail_of(b, 11);
        CU_ASSERT_EQUAL(tail.corrupt, 1);
        CU_ASSERT_EQUAL(tail.corrupt_first, 3);
        CU_ASSERT_EQUAL(tail.corrupt_end, 4);
        CU_ASSERT_EQUAL(tail_of(b, 12).corrupt, 0);
        ((struct hg_log_heal *)(uintptr_t)hg_log_heal_of(b->node.log))->untracked++;
        tail = tail_of(b, 12);
        CU_ASSERT_EQUAL(tail.corrupt, 1);
        CU_ASSERT_EQUAL(tail.corrupt_first, 1);
        CU_ASSERT_EQUAL(tail.corrupt_end, 4);
        sites_free();
    }
}

/* It rots while the node is down: the log opens with the write marked, its stream is all that it was, a seal
 * is told what can't be read, readers are refused; and the peer mends it. The header of a batch that is not
 * the one that follows is not believed. */
static void test_opened_with_a_mark(void)
{
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t slot = joined_with_entries();
        struct site *site = side == 0 ? b : a;
        uint64_t sequence;
        for (uint32_t i = 0; i < 20; i++) {
            append(a, slot, 1, 100);
            run(20 * HG_NS_PER_MS);
        }
        CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 27);
        struct hg_batch_header header = *(const struct hg_batch_header *)batch_on_disk(site, 4, &sequence);
        site->other->cut = true;
        batch_on_disk(site, 4, &sequence)[300] ^= 1;
        restart(site);
        struct hg_log_stats stats;
        hg_log_stats_get(site->node.log, &stats);
        CU_ASSERT_EQUAL_FATAL(stats.marked_writes, 1);
        CU_ASSERT_EQUAL(stream(site, slot)->lsn_durable, 27);
        struct hg_control_tail tail = tail_of(site, 11);
        CU_ASSERT_EQUAL(tail.lsn_end, 27);
        CU_ASSERT_EQUAL(tail.corrupt, 1);
        CU_ASSERT_EQUAL(tail.corrupt_first, 3);
        CU_ASSERT_EQUAL(tail.corrupt_end, 4);
        header.stream = 12; /* never heard of; known, but elsewhere */
        CU_ASSERT_FALSE(hg_streams_log_ops.recovered_rotten(site->node.streams, sequence, &header));
        header.stream = 11;
        CU_ASSERT_FALSE(hg_streams_log_ops.recovered_rotten(site->node.streams, sequence, &header));
        CU_ASSERT_EQUAL(stream(site, slot)->lsn_sealed, 27);
        CU_ASSERT_EQUAL(read_write(site, sequence), -EBADMSG);
        site->other->cut = false;
        for (uint32_t i = 0; i < 60 && site->node.events[HG_EVENT_repaired] == 0; i++)
            idle(HG_NS_PER_S);
        CU_ASSERT_EQUAL_FATAL(site->node.events[HG_EVENT_repaired], 1);
        CU_ASSERT_EQUAL(hg_log_heal_left(site->node.log), 0);
        CU_ASSERT_EQUAL(read_write(site, sequence), 1);
        CU_ASSERT_EQUAL(tail_of(site, 11).corrupt, 0);
        sites_free();
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_heal", NULL, NULL);
    CU_add_test(suite, "both ways", test_both_ways);
    CU_add_test(suite, "lost packets", test_lost_packets);
    CU_add_test(suite, "a lane goes on", test_lane_goes_on);
    CU_add_test(suite, "promised to a lane", test_promised);
    CU_add_test(suite, "both rot", test_both_rot);
    CU_add_test(suite, "each has another batch", test_each_has_another_batch);
    CU_add_test(suite, "headers side by side", test_headers_side_by_side);
    CU_add_test(suite, "hostile", test_hostile);
    CU_add_test(suite, "a liar", test_liar);
    CU_add_test(suite, "opened with a mark", test_opened_with_a_mark);
    CU_add_test(suite, "a tail names what is corrupt", test_tail_names_what_is_corrupt);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
