/* SPDX-License-Identifier: Apache-2.0
 *
 * The segment writer over a directory in memory that can crash at every call: killed (the system keeps what
 * was written) or with power lost (only what was synced stays). After each crash a new writer goes on from
 * the acknowledged position, and at every moment every complete name must hold exactly the stream's bytes.
 */
#include "drivers/postgres/segments.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT  HG_SEGMENT_BYTES_MIN
#define FILE_MAX 8
#define FIRST    UINT64_C(0x3000000)
#define SEGMENTS 2

struct file {
    bool used;
    char name[HG_SEGMENT_FILE_NAME_BYTES];
    uint32_t node;
};

struct node {
    uint8_t *seen;   /* what a reader sees */
    uint8_t *synced; /* what survives a power cut */
    uint64_t bytes;
    bool dirty;
};

static struct file names[FILE_MAX], names_synced[FILE_MAX];
static struct node nodes[FILE_MAX];
static uint32_t node_count;
static int node_open = -1;
static unsigned call_count, call_crash;
static unsigned call_error;
static int error_number;
static jmp_buf crash;
static uint64_t acknowledged;
static unsigned completed_count, verified_count;

static uint8_t wal_byte(uint64_t lsn)
{
    return (uint8_t)(lsn * 2654435761u >> 13 ^ lsn >> 20);
}

static uint8_t *wal_bytes(uint64_t lsn, uint32_t bytes)
{
    static uint8_t buffer[SEGMENT];
    for (uint32_t i = 0; i < bytes; i++) {
        buffer[i] = wal_byte(lsn + i);
    }
    return buffer;
}

/* Each call is a place to die, or to fail. */
static int step(void)
{
    call_count++;
    if (call_count == call_crash) {
        longjmp(crash, 1);
    }
    if (call_count == call_error) {
        return -error_number;
    }
    return 0;
}

static struct file *file_find(const char *name)
{
    for (int i = 0; i < FILE_MAX; i++) {
        if (names[i].used && strcmp(names[i].name, name) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

static int64_t fake_size(void *context, const char *name)
{
    int rc = step();
    struct file *file = file_find(name);
    if (rc < 0) {
        return rc;
    }
    return file == NULL ? -ENOENT : (int64_t)nodes[file->node].bytes;
}

static struct file *file_create(const char *name)
{
    for (int i = 0; i < FILE_MAX; i++) {
        if (!names[i].used) {
            names[i].used = true;
            snprintf(names[i].name, sizeof(names[i].name), "%s", name);
            names[i].node = node_count++;
            CU_ASSERT_FATAL(node_count <= FILE_MAX);
            nodes[names[i].node].seen = calloc(1, SEGMENT);
            nodes[names[i].node].synced = calloc(1, SEGMENT);
            memset(nodes[names[i].node].synced, 0xee, SEGMENT);
            return &names[i];
        }
    }
    CU_FAIL_FATAL("too many files");
    return NULL;
}

static int fake_open(void *context, const char *name, uint64_t bytes, bool allocate)
{
    int rc = step();
    CU_ASSERT_EQUAL(node_open, -1);
    if (rc < 0) {
        return rc;
    }
    struct file *file = file_find(name);
    if (file == NULL) {
        CU_ASSERT_FATAL(allocate);
        file = file_create(name);
    }
    if (allocate) {
        nodes[file->node].bytes = bytes;
        nodes[file->node].dirty = true;
    }
    node_open = (int)file->node;
    return 0;
}

static int fake_write(void *context, uint64_t offset, const void *data, uint32_t bytes)
{
    struct node *node = &nodes[node_open];
    CU_ASSERT_FATAL(offset + bytes <= node->bytes);
    /* A crash in the middle of a write leaves half of it. */
    node->dirty = true;
    memcpy(node->seen + offset, data, bytes / 2);
    int rc = step();
    if (rc == 0) {
        memcpy(node->seen + offset, data, bytes);
    }
    return rc;
}

static int fake_read(void *context, uint64_t offset, void *data, uint32_t bytes)
{
    int rc = step();
    CU_ASSERT_FATAL(offset + bytes <= nodes[node_open].bytes);
    memcpy(data, nodes[node_open].seen + offset, bytes);
    return rc;
}

static int fake_sync(void *context)
{
    struct node *node = &nodes[node_open];
    int rc = step();
    if (rc == 0) {
        memcpy(node->synced, node->seen, SEGMENT);
        node->dirty = false;
    }
    return rc;
}

static void fake_close(void *context)
{
    CU_ASSERT_NOT_EQUAL(node_open, -1);
    node_open = -1;
}

static int fake_rename(void *context, const char *from, const char *to)
{
    int rc = step();
    if (rc < 0) {
        return rc;
    }
    CU_ASSERT_PTR_NULL(file_find(to));
    struct file *file = file_find(from);
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_FALSE(nodes[file->node].dirty);
    snprintf(file->name, sizeof(file->name), "%s", to);
    return 0;
}

static int fake_sync_directory(void *context)
{
    int rc = step();
    if (rc == 0) {
        memcpy(names_synced, names, sizeof(names));
    }
    return rc;
}

static void fake_completed(void *context, const struct hg_segment_done *done)
{
    /* Dying just before the acknowledgement is the case that makes an unacknowledged complete segment. */
    step();
    CU_ASSERT_EQUAL(done->lsn_end, done->lsn_first + SEGMENT);
    acknowledged = done->lsn_end;
    completed_count++;
    verified_count += done->verified;
}

static const struct hg_segment_files files = {
    NULL,      fake_size,  fake_open,   fake_write,          fake_read,
    fake_sync, fake_close, fake_rename, fake_sync_directory, fake_completed};

static void world_reset(void)
{
    for (uint32_t i = 0; i < node_count; i++) {
        free(nodes[i].seen);
        free(nodes[i].synced);
    }
    memset(nodes, 0, sizeof(nodes));
    memset(names, 0, sizeof(names));
    memset(names_synced, 0, sizeof(names_synced));
    node_count = 0;
    node_open = -1;
    acknowledged = FIRST;
    call_count = 0;
    call_crash = 0;
    call_error = 0;
    completed_count = 0;
    verified_count = 0;
}

static void power_cut(void)
{
    memcpy(names, names_synced, sizeof(names));
    for (uint32_t i = 0; i < node_count; i++) {
        memcpy(nodes[i].seen, nodes[i].synced, SEGMENT);
        nodes[i].dirty = false;
    }
}

static uint64_t newest_complete(void)
{
    uint64_t newest = 0;
    for (int i = 0; i < FILE_MAX; i++) {
        uint32_t timeline;
        uint64_t lsn;
        if (names[i].used && hg_segment_name_parse(names[i].name, SEGMENT, &timeline, &lsn)) {
            newest = lsn + SEGMENT > newest ? lsn + SEGMENT : newest;
        }
    }
    return newest;
}

/* Every complete name holds the stream's bytes, and everything acknowledged has one. */
static void check_complete(void)
{
    for (int i = 0; i < FILE_MAX; i++) {
        uint32_t timeline;
        uint64_t lsn;
        if (names[i].used && hg_segment_name_parse(names[i].name, SEGMENT, &timeline, &lsn)) {
            CU_ASSERT_EQUAL(nodes[names[i].node].bytes, SEGMENT);
            CU_ASSERT_EQUAL(memcmp(nodes[names[i].node].seen, wal_bytes(lsn, SEGMENT), SEGMENT), 0);
        }
    }
    for (uint64_t lsn = FIRST; lsn < acknowledged; lsn += SEGMENT) {
        char name[HG_SEGMENT_NAME_BYTES];
        CU_ASSERT_PTR_NOT_NULL(file_find(hg_segment_name(name, 1, lsn, SEGMENT)));
    }
}

#define FRAME_BYTES 300001 /* never ends at a segment's end */

/* What the stream delivers: whole frames whose end is above the acknowledged position. */
static uint64_t frame_first(uint64_t position)
{
    return FIRST + (position - FIRST) / FRAME_BYTES * FRAME_BYTES;
}

static enum hg_segments_outcome feed(struct hg_segments *segments)
{
    enum hg_segments_outcome outcome = HG_SEGMENTS_OK;
    uint64_t lsn = segments->step == HG_SEGMENTS_STEP_START ? frame_first(acknowledged)
                                                            : frame_first(segments->lsn_next);
    for (; acknowledged < FIRST + SEGMENTS * SEGMENT && outcome == HG_SEGMENTS_OK; lsn += FRAME_BYTES) {
        outcome = hg_segments_push(segments, lsn, wal_bytes(lsn, FRAME_BYTES), FRAME_BYTES);
    }
    return outcome;
}

static struct hg_segments *writer_new(void)
{
    static struct hg_segments segments;
    hg_segments_init(&segments, &files, 1, SEGMENT, newest_complete());
    return &segments;
}

static void test_plain(void)
{
    world_reset();
    CU_ASSERT_EQUAL(feed(writer_new()), HG_SEGMENTS_OK);
    CU_ASSERT_EQUAL(acknowledged, FIRST + SEGMENTS * SEGMENT);
    CU_ASSERT_EQUAL(completed_count, SEGMENTS);
    check_complete();
    power_cut();
    check_complete();
}

static unsigned calls_of_a_run(void)
{
    world_reset();
    CU_ASSERT_EQUAL(feed(writer_new()), HG_SEGMENTS_OK);
    return call_count;
}

static void test_crash_everywhere(void)
{
    unsigned calls = calls_of_a_run();
    volatile unsigned verified = 0;
    CU_ASSERT(calls > 15);
    for (int power = 0; power < 2; power++) {
        for (volatile unsigned at = 1; at <= calls; at++) {
            world_reset();
            call_crash = at;
            if (setjmp(crash) == 0) {
                feed(writer_new());
                CU_FAIL("it should have crashed");
            }
            node_open = -1;
            if (power) {
                power_cut();
            }
            check_complete();
            call_crash = 0;
            CU_ASSERT_EQUAL(feed(writer_new()), HG_SEGMENTS_OK);
            CU_ASSERT_EQUAL(acknowledged, FIRST + SEGMENTS * SEGMENT);
            verified += verified_count;
            check_complete();
            power_cut();
            check_complete();
        }
    }
    CU_ASSERT(verified > 0);
}

static void test_no_space_everywhere(void)
{
    unsigned calls = calls_of_a_run();
    unsigned retries = 0, restarts = 0;
    for (unsigned at = 1; at <= calls; at++) {
        world_reset();
        call_error = at;
        error_number = at % 2 ? ENOSPC : EDQUOT;
        struct hg_segments *segments = writer_new();
        enum hg_segments_outcome outcome = feed(segments);
        if (outcome == HG_SEGMENTS_RETRY) {
            retries++;
            CU_ASSERT_EQUAL(segments->error_number, error_number);
            outcome = feed(segments);
        } else if (outcome == HG_SEGMENTS_RESTART) {
            restarts++;
            hg_segments_close(segments);
            outcome = feed(writer_new());
        }
        CU_ASSERT_EQUAL(outcome, HG_SEGMENTS_OK);
        CU_ASSERT_EQUAL(acknowledged, FIRST + SEGMENTS * SEGMENT);
        power_cut();
        check_complete();
    }
    CU_ASSERT(retries > 10);
    CU_ASSERT_EQUAL(restarts, SEGMENTS);
}

static void test_other_errors_end_it(void)
{
    unsigned calls = calls_of_a_run();
    unsigned failures = 0;
    for (unsigned at = 1; at <= calls; at++) {
        world_reset();
        call_error = at;
        error_number = EIO;
        struct hg_segments *segments = writer_new();
        enum hg_segments_outcome outcome = feed(segments);
        hg_segments_close(segments);
        if (outcome == HG_SEGMENTS_FAILED) {
            failures++;
            CU_ASSERT_EQUAL(segments->error_number, EIO);
            CU_ASSERT_PTR_NOT_NULL(segments->error_step);
        }
        power_cut();
        check_complete();
    }
    CU_ASSERT_EQUAL(failures, calls - SEGMENTS); /* all but the acknowledgements, which can't fail here */
}

static void test_gap_and_overlap(void)
{
    world_reset();
    struct hg_segments *segments = writer_new();
    CU_ASSERT_EQUAL(hg_segments_push(segments, FIRST, wal_bytes(FIRST, 1000), 1000), HG_SEGMENTS_OK);
    CU_ASSERT_EQUAL(hg_segments_push(segments, FIRST + 1001, "x", 1), HG_SEGMENTS_GAP);
    CU_ASSERT_EQUAL(segments->lsn_error, FIRST + 1000);
    CU_ASSERT_EQUAL(hg_segments_push(segments, FIRST + 10, "x", 1), HG_SEGMENTS_OK);
    CU_ASSERT_EQUAL(segments->lsn_next, FIRST + 1000);
    CU_ASSERT_EQUAL(nodes[0].seen[10], wal_byte(FIRST + 10));
    CU_ASSERT_EQUAL(hg_segments_push(segments, FIRST + 900, wal_bytes(FIRST + 900, 200), 200),
                    HG_SEGMENTS_OK);
    CU_ASSERT_EQUAL(segments->lsn_next, FIRST + 1100);
    CU_ASSERT_EQUAL(memcmp(nodes[0].seen, wal_bytes(FIRST, 1100), 1100), 0);
    CU_ASSERT_EQUAL(nodes[0].seen[1100], 0);
    CU_ASSERT_EQUAL(nodes[0].bytes, SEGMENT);
    CU_ASSERT_EQUAL(hg_segments_push(segments, 0, "x", 1), HG_SEGMENTS_POSITION);
    CU_ASSERT_EQUAL(hg_segments_push(segments, UINT64_MAX, "x", 1), HG_SEGMENTS_POSITION);
    hg_segments_close(segments);
}

static void test_begin(void)
{
    static struct hg_segments segments;
    world_reset();
    /* In the middle of a segment, nothing in the directory: from the next segment on, and said so. */
    hg_segments_init(&segments, &files, 1, SEGMENT, 0);
    CU_ASSERT_EQUAL(hg_segments_push(&segments, FIRST + 5, wal_bytes(FIRST + 5, 10), 10), HG_SEGMENTS_OK);
    CU_ASSERT_TRUE(segments.began_mid_segment);
    CU_ASSERT_EQUAL(segments.lsn_start, FIRST + SEGMENT);
    CU_ASSERT_EQUAL(call_count, 0);
    /* A frame that crosses the saved position is the ordinary case. */
    hg_segments_init(&segments, &files, 1, SEGMENT, 0);
    CU_ASSERT_EQUAL(hg_segments_push(&segments, FIRST - 5, wal_bytes(FIRST - 5, 10), 10), HG_SEGMENTS_OK);
    CU_ASSERT_FALSE(segments.began_mid_segment);
    CU_ASSERT_EQUAL(segments.lsn_start, FIRST);
    CU_ASSERT_EQUAL(segments.lsn_next, FIRST + 5);
    hg_segments_close(&segments);
    /* The directory ends below where the stream begins. */
    world_reset();
    hg_segments_init(&segments, &files, 1, SEGMENT, FIRST);
    CU_ASSERT_EQUAL(hg_segments_push(&segments, FIRST + SEGMENT, "x", 1), HG_SEGMENTS_GAP);
    CU_ASSERT_EQUAL(segments.lsn_error, FIRST);
    hg_segments_init(&segments, &files, 1, SEGMENT, FIRST);
    CU_ASSERT_EQUAL(hg_segments_push(&segments, FIRST + 1, "x", 1), HG_SEGMENTS_GAP);
    CU_ASSERT_EQUAL(call_count, 0);
}

static void test_foreign_files(void)
{
    char name[HG_SEGMENT_NAME_BYTES];
    world_reset();
    struct hg_segments *segments = writer_new();
    CU_ASSERT_EQUAL(feed(segments), HG_SEGMENTS_OK);
    hg_segments_close(segments);
    struct file *file = file_find(hg_segment_name(name, 1, FIRST, SEGMENT));
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    acknowledged = FIRST;
    nodes[file->node].seen[70001] ^= 1;
    segments = writer_new();
    CU_ASSERT_EQUAL(feed(segments), HG_SEGMENTS_DIFFERENT);
    CU_ASSERT_EQUAL(segments->lsn_error, FIRST + 70001);
    CU_ASSERT_EQUAL(acknowledged, FIRST);
    hg_segments_close(segments);
    nodes[file->node].seen[70001] ^= 1;
    nodes[file->node].bytes = SEGMENT - 1;
    CU_ASSERT_EQUAL(feed(writer_new()), HG_SEGMENTS_SIZE);
    CU_ASSERT_EQUAL(acknowledged, FIRST);
    nodes[file->node].bytes = SEGMENT;
    CU_ASSERT_EQUAL(feed(writer_new()), HG_SEGMENTS_OK);
    CU_ASSERT_EQUAL(verified_count, SEGMENTS);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("postgres_segments", NULL, NULL);
    CU_add_test(suite, "two segments", test_plain);
    CU_add_test(suite, "crash at every call", test_crash_everywhere);
    CU_add_test(suite, "no space at every call", test_no_space_everywhere);
    CU_add_test(suite, "other errors end it", test_other_errors_end_it);
    CU_add_test(suite, "gap and overlap", test_gap_and_overlap);
    CU_add_test(suite, "where it begins", test_begin);
    CU_add_test(suite, "foreign files are refused", test_foreign_files);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    world_reset();
    CU_cleanup_registry();
    return failures != 0;
}
