/* SPDX-License-Identifier: Apache-2.0
 *
 * A log with a corrupt durable write is opened where others may have what it had: the write is marked, all
 * that it has is known, nothing of it is served, and it is repaired from them. Each block in turn, a crash
 * after every turn, the header in the ring alone; and what is refused as ever.
 */
#include "dataplane/wal/log_heal.h"
#include "log_harness.h"

#define ROTTEN 5u
#define WRITES 40u
#define FAR    160u

static struct harness h;

/* Writes of three batches of one stream each. */
static void prepare(uint64_t seed)
{
    harness_create(&h, seed, 24);
    harness_threes(&h, WRITES, 1800);
    h.may_mark = true;
}

/* A byte of the payload of a batch, behind its header. */
static uint64_t payload_place(uint64_t sequence, uint32_t index)
{
    return harness_batch_place(&h, sequence, index) + sizeof(struct hg_batch_header) + 100;
}

static uint64_t marked(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    return stats.marked_writes;
}

static int read_write(uint64_t sequence)
{
    const uint8_t *payload;
    uint32_t bytes;
    int rc;
    while ((rc = hg_log_at(h.log, sequence, &payload, &bytes)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    return rc;
}

/* All that was marked is as it was written again, for this process and the next. */
static void heal_and_check(void)
{
    while (hg_log_heal_left(h.log) > 0) {
        harness_give(&h);
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    harness_check_reads(&h);
    CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
    harness_settle(&h);
    harness_crash(&h, true);
    h.may_mark = false; /* nobody is asked any more */
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(marked(), 0);
    harness_check_recovered(&h);
    harness_check_reads(&h);
}

/* What the same rot is without others who may have it. */
static bool is_refused_alone(void)
{
    h.may_mark = false;
    bool is_refused = harness_recover(&h) != HG_LOG_READY;
    CU_ASSERT_EQUAL(is_refused, hg_log_is_corrupt(h.log));
    CU_ASSERT_EQUAL(marked(), 0);
    harness_crash(&h, false);
    h.may_mark = true;
    return is_refused;
}

/* A byte of each block of the log in turn: marked only what was refused, and then nothing is missing. */
static void test_every_block(void)
{
    uint32_t marks = 0, refused = 0, fine = 0, near = 0;
    for (uint64_t block = 0;; block++) {
        prepare(block % 5);
        struct hg_log_write_header *last, *header;
        uint64_t end = harness_place_of(&h, WRITES, &last) + hg_log_write_bytes(last->payload_bytes),
                 sequence = 1;
        uint64_t at = HG_LOG_SEGMENTS_OFFSET + block * HG_LOG_BLOCK_BYTES;
        if (at >= end) {
            harness_destroy(&h);
            break;
        }
        for (uint64_t next = 2; next <= WRITES && harness_place_of(&h, next, &header) <= at; next++)
            sequence = next;
        harness_flip(&h, at + 200 + block * 37 % 3800);
        bool was_refused = block % 3 != 0 || is_refused_alone();
        if (harness_recover(&h) != HG_LOG_READY) {
            CU_ASSERT_TRUE(hg_log_is_corrupt(h.log) && was_refused);
            near += sequence + HG_LOG_WRITES_UNFLUSHED_MAX >= WRITES - 1;
            refused++;
        } else if (marked() == 0) {
            fine++;
            harness_check_recovered(&h);
            harness_check_reads(&h);
        } else {
            CU_ASSERT_TRUE(was_refused);
            CU_ASSERT(sequence + HG_LOG_WRITES_UNFLUSHED_MAX < WRITES);
            CU_ASSERT_EQUAL(marked(), 1);
            CU_ASSERT_EQUAL(hg_log_heal_of(h.log)->writes[0].sequence, sequence);
            CU_ASSERT(h.rotten > 0);
            harness_check_recovered(&h);
            CU_ASSERT_EQUAL(read_write(sequence), -EBADMSG);
            heal_and_check();
            marks++;
        }
        harness_destroy(&h);
    }
    CU_ASSERT(marks > 10 && refused > 10 && fine > 10 && near > 5);
}

/* The process dies after so many turns of opening it and of repairing: the next one has it marked, or whole.
 */
static void test_crash(void)
{
    uint32_t back = 0, again = 0;
    for (uint32_t turns = 0; turns < 200; turns++) {
        prepare(turns % 7);
        harness_flip(&h, payload_place(ROTTEN, 1));
        harness_open(&h);
        for (uint32_t i = 0; i < turns && harness_turn(&h); i++)
            if (hg_log_state(h.log) == HG_LOG_READY)
                harness_give(&h);
        harness_crash(&h, turns % 2 == 0);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT(marked() <= 1);
        back += marked() == 0;
        again += marked() == 1;
        CU_ASSERT_FALSE_FATAL(h.recovered_wrong);
        CU_ASSERT_EQUAL_FATAL(h.recovered, h.count);
        heal_and_check();
        harness_destroy(&h);
    }
    CU_ASSERT(back > 20 && again > 20);
}

/* Its header block is gone too: the ring has that, and it is written again, so that the next process knows
 * it. */
static void test_header_in_ring(void)
{
    prepare(3);
    struct hg_log_write_header *header;
    harness_flip(&h, payload_place(ROTTEN, 0));
    harness_flip(&h, harness_place_of(&h, ROTTEN, &header) + 2048);
    CU_ASSERT_TRUE(is_refused_alone());
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(marked(), 1);
    CU_ASSERT_TRUE(hg_log_write_header_is_valid(header, h.geometry.log_uuid));
    harness_check_recovered(&h);
    heal_and_check();
    harness_destroy(&h);
}

/* So many as are tracked are marked; one more, and it is refused. */
static void test_many(void)
{
    for (uint32_t more = 0; more < 2; more++) {
        struct hg_log_write_header *header;
        prepare(4);
        for (uint32_t i = 0; i < HG_LOG_HEAL_WRITES_MAX + more; i++) { /* in the frames of its last batch */
            uint64_t at = harness_place_of(&h, ROTTEN + i, &header) + HG_LOG_BLOCK_BYTES;
            harness_flip(&h, at + header->payload_bytes - 2 * HG_BATCH_ALIGN_BYTES);
        }
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), more ? HG_LOG_FAILED : HG_LOG_READY);
        if (!more) {
            CU_ASSERT_EQUAL(marked(), HG_LOG_HEAL_WRITES_MAX);
            CU_ASSERT_EQUAL(hg_log_heal_left(h.log), HG_LOG_HEAL_WRITES_MAX);
            harness_check_recovered(&h);
            for (uint32_t i = 0; i < HG_LOG_HEAL_WRITES_MAX; i++)
                CU_ASSERT_EQUAL(read_write(ROTTEN + i), -EBADMSG);
        }
        harness_destroy(&h);
    }
}

/* What is not known to be in it: a batch's header, local records, a batch that does not follow. */
static void test_refused(void)
{
    struct hg_log_write_header *header;
    for (uint32_t kind = 0; kind < 3; kind++) {
        prepare(5 + kind);
        uint64_t at = payload_place(ROTTEN, 1) - 100 - sizeof(struct hg_batch_header);
        if (kind == 0)
            harness_flip(&h, at + 60);
        if (kind == 1)
            harness_flip(&h, harness_place_of(&h, 1, &header) + HG_LOG_BLOCK_BYTES +
                                 300); /* the table that opens the segment */
        if (kind == 2) {
            harness_flip(&h, at + sizeof(struct hg_batch_header) + 100);
            h.refuses_rotten = true;
        }
        CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
        CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
        harness_destroy(&h);
    }
}

/* Nothing but headers behind it tells that a write was durable, and it is marked; so are others, further on
 * than was looked: of the end that is found then the same is asked. */
static void test_headers_tell_twice(void)
{
    struct hg_log_write_header *header;
    harness_create(&h, 9, 40);
    harness_threes(&h, FAR, 1800);
    h.may_mark = true;
    uint64_t last = h.durable_promised;
    for (uint64_t i = 0; i < HG_LOG_RING_BLOCKS; i++)
        harness_ring_erase(&h, i);
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        struct hg_log_superblock *superblock = (struct hg_log_superblock *)hg_disk_sim_bytes(h.disk) + copy;
        superblock->durable_sequence = 0;
        hg_log_superblock_seal(superblock, copy);
    }
    CU_ASSERT(harness_place_of(&h, last, &header) - harness_place_of(&h, ROTTEN, &header) >
              2 * (HG_LOG_WRITES_UNFLUSHED_MAX + 2) * hg_log_write_bytes_max(PAYLOAD_BYTES_MAX));
    harness_flip(&h, payload_place(ROTTEN, 1));
    harness_flip(&h, payload_place(last - 1, 1)); /* the last one says that this one was durable */
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
    CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
    CU_ASSERT_EQUAL(marked(), 1);
    harness_flip(&h, payload_place(last - 1, 1));
    harness_crash(&h, false);
    h.durable_promised = last;
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(marked(), 1);
    harness_check_recovered(&h);
    heal_and_check();
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_mark", NULL, NULL);
    CU_add_test(suite, "every block", test_every_block);
    CU_add_test(suite, "crash", test_crash);
    CU_add_test(suite, "its header is in the ring", test_header_in_ring);
    CU_add_test(suite, "many", test_many);
    CU_add_test(suite, "refused as ever", test_refused);
    CU_add_test(suite, "headers tell twice", test_headers_tell_twice);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
