/* SPDX-License-Identifier: Apache-2.0
 *
 * A former writer comes back with a tail that the new one does not have: it is cut to the highest common
 * point, and what it had behind that is in an orphan file, byte for byte, after a power cut at every step
 * too.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/wal/log_audit.h"
#include "orphan_directory.h"
#include "tests/unit/sanitized.h"

#define EPOCH     5
#define COMMON    5u  /* LSN up to which both have the same */
#define END_OLD   41u /* of the former writer */
#define OLD_BYTES 90000u

static struct orphan_directory directory;

static void turn(void)
{
    site_turn(a);
    site_turn(b);
    orphan_directory_turn(&directory, b);
}

static void turns(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        turn();
}

/* ---- the fail-over ---- */

static void origin_is(struct site *site, bool here)
{
    struct hg_config_stream config = config_of_one(site, here);
    CU_ASSERT_EQUAL(hg_streams_configure(site->node.streams, &config), 0);
    hg_streams_quorum_set(site->node.streams, 1, 2);
}

/* What b wrote, batch by batch: they are compared with its orphan. */
static uint8_t *old_bytes;
static uint32_t old_count;

static void old_tail_keep(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    old_count = 0;
    for (int waits = 0; waits < 200;) {
        if (hg_cursor_peek(&cursor, b->node.log, &header) != 1) {
            waits++;
            stream_node_turn(&b->node);
            continue;
        }
        if ((header->flags & HG_BATCH_LOCAL) == 0 && header->lsn_first >= COMMON) {
            memcpy(old_bytes + old_count, header, hg_batch_bytes(header));
            old_count += hg_batch_bytes(header);
        }
        hg_cursor_advance(&cursor, header);
    }
}

static void batches_random(struct site *site, uint32_t count, uint32_t bytes)
{
    hg_streams_at(site->node.streams, 0)->codec = HG_CODEC_NONE;
    append(site, 0, count, bytes);
}

static void epoch_released(struct site *site, uint64_t epoch)
{
    CU_ASSERT_EQUAL(hg_streams_group_release(site->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&site->node);
    CU_ASSERT_TRUE_FATAL(hg_streams_group_opened(site->node.streams, 0, epoch));
}

static bool is_unreleased; /* what begins is not released, and nothing is appended */

static void epoch_begins(struct site *site, uint64_t epoch)
{
    CU_ASSERT_EQUAL(hg_streams_group_seal(site->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&site->node);
    CU_ASSERT_EQUAL(hg_streams_group_begin(site->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&site->node);
    if (!is_unreleased)
        epoch_released(site, epoch);
}

/* b wrote COMMON - 1 entries that both have and more that it alone has; a takes over with epoch 5 at COMMON.
 */
static void fail_over(void)
{
    one_region = true;
    sites_make();
    keys();
    origin_is(b, true);
    origin_is(a, false);
    batches_random(b, COMMON - 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(a, 0)->lsn_durable, COMMON);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_committed, COMMON);
    a->cut = b->cut = true;
    batches_random(b, END_OLD - COMMON, OLD_BYTES);
    stream_node_settle(&b->node);
    CU_ASSERT_EQUAL_FATAL(stream(b, 0)->lsn_durable, END_OLD);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_committed, COMMON);
    old_tail_keep();
    origin_is(a, true);
    hg_streams_quorum_set(a->node.streams, 1, 2);
    epoch_begins(a, EPOCH);
    if (!is_unreleased)
        append(a, 0, 3, 200);
    stream_node_settle(&a->node);
    origin_is(b, false);
    a->node.now_ns = b->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    a->cut = b->cut = false;
    hg_peers_stream_epoch(a->peers, 0);
}

static void over(void)
{
    sites_free();
    orphan_directory_empty(&directory);
}

/* Power goes at b, which starts again with its configuration and new keys. */
static void b_power_cut(void)
{
    hg_peers_free(b->peers);
    hg_disk_sim_crash(b->node.disk);
    stream_node_close(&b->node);
    stream_node_open(&b->node);
    site_peers_make(b, NODE_STREAMS_MAX);
    origin_is(b, false);
    keys();
}

/* Nobody talks to it yet. */
static void b_turns_alone(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        stream_node_turn(&b->node);
        orphan_directory_turn(&directory, b);
    }
    a->node.now_ns = b->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
}

/* ---- what must be ---- */

static void orphan_is_whole(void)
{
    CU_ASSERT_EQUAL_FATAL(directory.count, 1);
    const struct orphan_directory_file *file = &directory.files[0];
    const struct hg_orphan_header *header = (const struct hg_orphan_header *)file->data;
    struct hg_orphan_walk walk;
    CU_ASSERT_TRUE(file->whole);
    CU_ASSERT_TRUE(file->recorded);
    CU_ASSERT_STRING_EQUAL(file->name, "one-1-5-5.orphan");
    CU_ASSERT_EQUAL(hg_orphan_check_header(header, file->bytes), HG_ORPHAN_OK);
    CU_ASSERT_EQUAL(header->lsn_first, COMMON);
    CU_ASSERT_EQUAL(header->lsn_end, END_OLD);
    CU_ASSERT(header->lsn_floor <= COMMON);
    CU_ASSERT_EQUAL_FATAL(file->bytes, sizeof(*header) + old_count);
    CU_ASSERT_EQUAL(memcmp(file->data + sizeof(*header), old_bytes, old_count), 0); /* byte for byte */
    hg_orphan_walk_init(&walk, header);
    for (uint64_t at = sizeof(*header); at < file->bytes;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(file->data + at);
        CU_ASSERT_EQUAL_FATAL(hg_orphan_walk_batch(&walk, batch, file->bytes - at), HG_ORPHAN_OK);
        at += hg_batch_bytes(batch);
    }
    CU_ASSERT_EQUAL(hg_orphan_walk_end(&walk), HG_ORPHAN_OK);
}

/* What a reader of b's log gets of the stream is what a has, all of it and nothing else. */
static void reads_as_the_writer(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    uint8_t chain[16] = {0};
    uint64_t lsn = 1;
    for (int waits = 0; waits < 200;) {
        int rc = hg_cursor_peek(&cursor, b->node.log, &header);
        if (rc == 0) {
            waits++;
            stream_node_turn(&b->node);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(rc, 1);
        if ((header->flags & HG_BATCH_LOCAL) == 0 &&
            !hg_streams_batch_is_cut(b->node.streams, 0, cursor.sequence, header)) {
            CU_ASSERT_EQUAL(header->lsn_first, lsn);
            CU_ASSERT_EQUAL(memcmp(header->chain_previous, chain, sizeof(chain)), 0);
            lsn = header->lsn_end;
            memcpy(chain, header->chain, sizeof(chain));
        }
        hg_cursor_advance(&cursor, header);
    }
    CU_ASSERT_EQUAL(lsn, stream(a, 0)->lsn_durable);
    CU_ASSERT_EQUAL(memcmp(chain, stream(a, 0)->chain_durable, sizeof(chain)), 0);
}

static int audit_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    (void)ctx;
    memcpy(data, hg_disk_sim_bytes(b->node.disk) + offset, bytes);
    return 0;
}

static void audit_nothing(void *ctx)
{
    (void)ctx;
}

static void audit_finding(void *ctx, const struct hg_log_finding *finding)
{
    (void)finding;
    ++*(uint32_t *)ctx;
}

static void audits_clean(void)
{
    static const struct hg_log_audit_ops ops = {
        .read = audit_read, .pause = audit_nothing, .finding = audit_finding};
    struct hg_log_audit_result result;
    uint32_t findings = 0;
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = &findings, .size_bytes = b->node.disk->size_bytes, .has_frames = true};
    hg_log_audit(&config, &result);
    CU_ASSERT_EQUAL(findings, 0);
}

static void is_joined(void)
{
    CU_ASSERT_EQUAL(sending(a, 0)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, COMMON + 3);
    CU_ASSERT_EQUAL(memcmp(&stream(b, 0)->history, &stream(a, 0)->history, sizeof(struct hg_history)), 0);
    CU_ASSERT_EQUAL(stream(a, 0)->lsn_committed, COMMON + 3);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_committed, COMMON + 3);
    orphan_is_whole();
    reads_as_the_writer();
}

/* ---- tests ---- */

static void test_rejoin(void)
{
    fail_over();
    turns(2000);
    is_joined();
    CU_ASSERT(directory.pieces > 1); /* more than one piece holds */
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_cut], 1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    for (int life = 0; life < 3; life++) {
        b_power_cut();
        turns(1000);
        is_joined();
        audits_clean();
    }
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_cut], 1); /* not again */
    over();
}

/* Who is no member is cut only when the epoch is released: until then another fail-over may go on with just
 * what would be cut off here, and the orphan would say that it was never committed. */
static void test_no_member_before_release(void)
{
    is_unreleased = true;
    fail_over();
    is_unreleased = false;
    hg_streams_quorum_set(a->node.streams, 0, 1);
    turns(1500);
    CU_ASSERT(stream(b, 0)->lsn_durable == END_OLD && directory.count == 0);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_cut], 0);
    epoch_released(a, EPOCH);
    append(a, 0, 3, 200);
    uint64_t begin_ns = a->node.now_ns;
    while (stream(b, 0)->lsn_durable != COMMON + 3 && a->node.now_ns < begin_ns + 2 * HG_PEER_OPEN_RETRY_NS)
        turn();
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, COMMON + 3);
    turns(100);
    orphan_is_whole();
    over();
}

/* The file can't be written: nothing is cut and nothing taken, under a name, until it can be. */
static void test_no_orphan_no_cut(void)
{
    fail_over();
    directory.failures = 2;
    turns(1500);
    CU_ASSERT_EQUAL(directory.failures, 1);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_orphan_failed], 1);
    CU_ASSERT_EQUAL(b->node.event_last[HG_EVENT_orphan_failed].a, ENOSPC);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, END_OLD);
    CU_ASSERT_NOT_EQUAL(sending(a, 0)->state, HG_PEER_STREAM_STREAMING);
    for (int i = 0; i < 140 && stream(b, 0)->lsn_durable != COMMON + 3; i++) {
        a->node.now_ns += 100 * HG_NS_PER_MS;
        b->node.now_ns += 100 * HG_NS_PER_MS;
        turns(60);
    }
    turns(500);
    is_joined();
    over();
}

/* The writer asks for what was committed here: a proof of a bug, and nothing is done. */
static void test_floor(void)
{
    fail_over();
    hg_streams_at(b->node.streams, 0)->lsn_committed = COMMON + 1;
    turns(1000);
    CU_ASSERT_EQUAL(sending(a, 0)->state, HG_PEER_STREAM_DIVERGED);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, END_OLD);
    CU_ASSERT_EQUAL(hg_streams_group_counts(b->node.streams)[HG_GROUP_truncate_floor], 1);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_not_cut], 1);
    CU_ASSERT_EQUAL(directory.count, 0);
    over();
}

/* The floor is kept with the stream's records, and counts in later lives. */
static void test_floor_is_kept(void)
{
    fail_over();
    turns(2000);
    is_joined();
    b_power_cut();
    CU_ASSERT(stream(b, 0)->lsn_floor >= COMMON);
    over();
}

/* Nobody else wrote under the epoch that this node began: such a cut is a word from before that. */
static void test_own_epoch(void)
{
    fail_over();
    struct hg_stream_state *s = stream(a, 0);
    struct hg_cut_point point = {.epoch = EPOCH, .lsn = COMMON, .epoch_common = 1};
    struct hg_stream_walk walk = {.from = 0};
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++) {
        rc = hg_streams_chain_at(a->node.streams, 0, COMMON, &walk, point.chain);
        stream_node_turn(&a->node);
    }
    CU_ASSERT_EQUAL_FATAL(rc, 1);
    uint64_t lsn_end = s->lsn_durable;
    CU_ASSERT_EQUAL_FATAL(lsn_end, COMMON + 3);
    CU_ASSERT_EQUAL(hg_streams_cut(a->node.streams, 0, &point, a->node.now_ns), HG_GROUP_truncate_epoch);
    CU_ASSERT_EQUAL(hg_streams_group_counts(a->node.streams)[HG_GROUP_truncate_epoch], 1);
    CU_ASSERT_EQUAL(s->lsn_durable, lsn_end);
    over();
}

static void test_refusals(void)
{
    fail_over();
    turns(2); /* not yet joined */
    hg_streams_group_seal(b->node.streams, 0, EPOCH);
    stream_node_settle(&b->node);
    struct hg_cut_point point = {.epoch = EPOCH - 1, .lsn = COMMON, .epoch_common = 1};
    const uint64_t *counts = hg_streams_group_counts(b->node.streams);
    CU_ASSERT_EQUAL(hg_streams_cut(b->node.streams, 0, &point, b->node.now_ns), HG_GROUP_truncate_epoch);
    point.epoch = EPOCH;
    point.lsn = END_OLD + 1;
    CU_ASSERT_EQUAL(hg_streams_cut(b->node.streams, 0, &point, b->node.now_ns), HG_GROUP_truncate_history);
    point.lsn = COMMON; /* another chain than ours there */
    enum hg_group_reason reason = HG_GROUP_WOULD_BLOCK;
    for (int i = 0; i < 100 && reason == HG_GROUP_WOULD_BLOCK; i++) {
        reason = hg_streams_cut(b->node.streams, 0, &point, b->node.now_ns);
        stream_node_turn(&b->node);
    }
    CU_ASSERT_EQUAL(reason, HG_GROUP_truncate_history);
    CU_ASSERT_EQUAL(counts[HG_GROUP_truncate_epoch], 1);
    CU_ASSERT_EQUAL(counts[HG_GROUP_truncate_history], 2);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, END_OLD);
    CU_ASSERT_EQUAL(directory.count, 0);
    over();
}

/* b cuts itself by one entry under the next epoch, then goes on under it. */
static enum hg_group_reason cut_of_one(uint64_t epoch)
{
    struct hg_stream_state *s = stream(b, 0);
    struct hg_cut_point point = {.epoch = epoch, .epoch_common = hg_history_last(&s->history).epoch};
    enum hg_group_reason reason = HG_GROUP_WOULD_BLOCK;
    for (int i = 0; i < 2; i++) {
        point.lsn = s->lsn_durable;
        memcpy(point.chain, s->chain_durable, sizeof(point.chain));
        batches_random(b, 1, 100);
        stream_node_settle(&b->node);
    }
    CU_ASSERT_EQUAL(hg_streams_group_seal(b->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&b->node);
    for (int i = 0; i < 200 && reason == HG_GROUP_WOULD_BLOCK; i++) {
        reason = hg_streams_cut(b->node.streams, 0, &point, b->node.now_ns);
        b_turns_alone(1);
    }
    b_turns_alone(50);
    CU_ASSERT_EQUAL(hg_streams_group_begin(b->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&b->node);
    epoch_released(b, epoch);
    return reason;
}

/* A log remembers so many cuts as it still holds what they cut off, and takes no more under a name. */
static void test_too_many(void)
{
    one_region = true;
    sites_make();
    a->cut = b->cut = true;
    origin_is(b, true);
    const uint64_t *counts = hg_streams_group_counts(b->node.streams);
    for (uint64_t i = 0; i < HG_STREAM_CUTS_MAX; i++)
        CU_ASSERT_EQUAL(cut_of_one(EPOCH + i), HG_GROUP_OK);
    uint64_t end = stream(b, 0)->lsn_durable;
    CU_ASSERT_EQUAL(counts[HG_GROUP_truncate_many], 0);
    CU_ASSERT_EQUAL(cut_of_one(EPOCH + HG_STREAM_CUTS_MAX), HG_GROUP_truncate_many);
    CU_ASSERT_EQUAL(counts[HG_GROUP_truncate_many], 1);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, end + 2);
    over();
}

/* Power goes after each step: the copy is either whole as it was, or cut with its orphan on the device; it is
 * noted beside the file when, and only when, the log has the cut, by the next life alone if need be; and the
 * copy goes on from there to the same end. */
static void test_power_cut_at_every_step(void)
{
    uint32_t before = 0, pieces = 0, unnoted = 0, cut = 0, joined = 0;
    for (uint32_t steps = 0; steps < 720; steps += HG_TEST_STEP(8)) {
        fail_over();
        directory.notes_fail = steps / HG_TEST_STEP(8) % 2 == 1; /* in this life */
        turns(steps);
        bool written = directory.count == 1 && directory.files[0].whole;
        bool noted = written && directory.files[0].recorded;
        b_power_cut();
        directory.notes_fail = false;
        uint64_t end = stream(b, 0)->lsn_durable;
        b_turns_alone(50);
        CU_ASSERT(!noted || end != END_OLD);
        CU_ASSERT_EQUAL(written && directory.files[0].recorded, end != END_OLD);
        unnoted += !noted && end != END_OLD;
        CU_ASSERT(end == END_OLD || (written && end >= COMMON && end <= COMMON + 3));
        before += end == END_OLD && directory.count == 0;
        pieces += end == END_OLD && directory.count == 1;
        cut += end == COMMON;
        joined += end == COMMON + 3;
        turns(1200);
        is_joined();
        over();
    }
    CU_ASSERT(before > 0 && pieces > 0 && cut + joined > 0 && joined > 0);
    CU_ASSERT(unnoted > 0);
}

/* The file is whole, and then power goes: what is in it is in the stream as well, and nothing may say that
 * it is not. */
static void test_power_cut_before_the_record(void)
{
    fail_over();
    for (int i = 0; i < 2000 && (directory.count == 0 || !directory.files[0].whole); i++)
        turn();
    b_power_cut();
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, END_OLD);
    b_turns_alone(200);
    CU_ASSERT_TRUE(directory.files[0].whole);
    CU_ASSERT_FALSE(directory.files[0].recorded);
    turns(1200);
    is_joined();
    over();
}

/* a wrote COMMON - 1 entries that both have and 3 that it alone has. At COMMON b began an epoch and wrote
 * nothing under it; a takes over again with epoch 5. */
static void fail_over_of_nothing(void)
{
    one_region = true;
    sites_make();
    keys();
    origin_is(a, true);
    origin_is(b, false);
    batches_random(a, COMMON - 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(b, 0)->lsn_durable, COMMON);
    a->cut = b->cut = true;
    batches_random(a, 3, 100);
    stream_node_settle(&a->node);
    origin_is(b, true);
    epoch_begins(b, EPOCH - 2);
    origin_is(b, false);
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, 0)->history).lsn, COMMON);
    epoch_begins(a, EPOCH);
    a->node.now_ns = b->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    a->cut = b->cut = false;
    hg_peers_stream_epoch(a->peers, 0);
}

/* Nothing is above the common point, but an epoch that the writer lacks began there: unless it goes, older
 * batches of the writer do not follow. Power goes after each step. */
static void test_empty_epoch(void)
{
    uint32_t before = 0, taken_back = 0, joined = 0;
    for (uint32_t steps = 0; steps < 240; steps += HG_TEST_STEP(8)) {
        fail_over_of_nothing();
        turns(steps);
        b_power_cut();
        uint64_t epoch = hg_history_last(&stream(b, 0)->history).epoch;
        before += epoch == EPOCH - 2;
        taken_back += epoch == 1;
        joined += epoch == EPOCH;
        turns(800);
        CU_ASSERT_EQUAL(sending(a, 0)->state, HG_PEER_STREAM_STREAMING);
        CU_ASSERT_EQUAL(memcmp(&stream(b, 0)->history, &stream(a, 0)->history, sizeof(struct hg_history)), 0);
        CU_ASSERT_EQUAL(stream(a, 0)->lsn_committed, COMMON + 3);
        CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_refused_batch], 0);
        CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_cut], 0);
        CU_ASSERT_EQUAL(directory.count, 0); /* nothing to keep */
        reads_as_the_writer();
        audits_clean();
        over();
    }
    CU_ASSERT(before > 0 && taken_back > 0 && joined > 0);
}

int main(void)
{
    old_bytes = malloc(8u << 20);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cut", NULL, NULL);
    CU_add_test(suite, "a former writer comes back", test_rejoin);
    CU_add_test(suite, "no member, before the release", test_no_member_before_release);
    CU_add_test(suite, "no orphan, no cut", test_no_orphan_no_cut);
    CU_add_test(suite, "nothing committed is cut", test_floor);
    CU_add_test(suite, "the floor is kept", test_floor_is_kept);
    CU_add_test(suite, "nobody cuts under an epoch that was begun here", test_own_epoch);
    CU_add_test(suite, "refusals", test_refusals);
    CU_add_test(suite, "more cuts than are remembered", test_too_many);
    CU_add_test(suite, "a power cut at every step", test_power_cut_at_every_step);
    CU_add_test(suite, "a power cut before the record", test_power_cut_before_the_record);
    CU_add_test(suite, "an epoch that nothing was written under", test_empty_epoch);
    CU_basic_run_tests();
    free(old_bytes);
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 11;
}
