/* SPDX-License-Identifier: Apache-2.0
 *
 * 10,000 streams in one log: every byte that is allocated for them is counted, all of it at the start; after
 * a crash the index finds each of them again.
 */
#define NODE_STREAMS_MAX       10000u
#define NODE_PAYLOAD_BYTES_MAX (2u << 20) /* the table at a segment's start fits a write */
#define NODE_SEGMENT_BYTES     (8u << 20)
#define NODE_SEGMENTS          10u
#include "stream_node.h"

#define ROUNDS        3u
#define BYTES_MAX     (96u << 20)
#define STREAM_SAMPLE 97u

/* The linker gives us every call (see meson.build). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static uint64_t allocated_bytes, allocations;
static struct hg_disk disk; /* the simulated one's functions: what it allocates is no product's */
static bool in_disk;

static void allocated(uint64_t bytes)
{
    allocated_bytes += in_disk ? 0 : bytes;
    allocations += !in_disk;
}

void *__wrap_malloc(size_t bytes)
{
    allocated(bytes);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    allocated(count * bytes);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    allocated(bytes);
    return __real_realloc(old, bytes);
}

static bool disk_write(struct hg_disk *self, uint64_t tag, const void *data, uint32_t bytes, uint64_t offset)
{
    in_disk = true;
    bool taken = disk.write(self, tag, data, bytes, offset);
    in_disk = false;
    return taken;
}

static uint32_t disk_poll(struct hg_disk *self, struct hg_disk_completion *completions, uint32_t most)
{
    in_disk = true;
    uint32_t count = disk.poll(self, completions, most);
    in_disk = false;
    return count;
}

static struct stream_node node;

static void disk_watch(void)
{
    disk = *node.disk;
    node.disk->write = disk_write;
    node.disk->poll = disk_poll;
}

static uint64_t init_bytes(uint32_t streams_max)
{
    struct hg_streams_config config = {
        .cluster = 7, .region = 1, .streams_max = streams_max, .clock = &node.clock, .events = &node.sink};
    uint64_t before = allocated_bytes;
    struct hg_streams *streams = hg_streams_init(&config);
    before = allocated_bytes - before;
    hg_streams_free(streams);
    return before;
}

static void append_to_all(void)
{
    for (uint32_t slot = 0; slot < NODE_STREAMS_MAX; slot++)
        while (stream_node_append(&node, slot, 100) != HG_APPEND_OK)
            stream_node_settle(&node);
    while (hg_streams_has_open(node.streams)) {
        hg_streams_seal(node.streams, true, node.now_ns);
        stream_node_settle(&node);
    }
    stream_node_settle(&node);
}

/* From where the index says on, the stream's batch with this LSN comes, and none after it before. */
static void finds(uint32_t slot, uint64_t lsn)
{
    struct hg_cursor cursor = {.sequence = hg_streams_sequence_of(node.streams, slot, lsn)};
    const struct hg_batch_header *header;
    uint64_t stream = hg_streams_at(node.streams, slot)->stream;
    for (uint32_t waits = 0; waits < 1000;) {
        int rc = hg_cursor_peek(&cursor, node.log, &header);
        CU_ASSERT_FATAL(rc >= 0);
        if (rc == 0) {
            stream_node_turn(&node);
            waits++;
            continue;
        }
        bool here = (header->flags & HG_BATCH_LOCAL) == 0 && header->stream == stream &&
                    header->lsn_first <= lsn && lsn < header->lsn_end;
        if (here)
            return;
        CU_ASSERT_FATAL(header->stream != stream || header->lsn_first < lsn);
        hg_cursor_advance(&cursor, header);
    }
    CU_FAIL_FATAL("the index did not lead to it");
}

static void test_memory(void)
{
    stream_node_make(&node, 1);
    disk_watch();
    uint64_t bytes = init_bytes(NODE_STREAMS_MAX), more = init_bytes(NODE_STREAMS_MAX / 2);
    printf("\n    %llu bytes for 10,000 streams, %llu for each\n    ", (unsigned long long)bytes,
           (unsigned long long)((bytes - more) / (NODE_STREAMS_MAX / 2)));
    CU_ASSERT(bytes < BYTES_MAX);
    uint64_t count = allocations;
    for (uint32_t i = 0; i < NODE_STREAMS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%u", i);
        CU_ASSERT_EQUAL_FATAL(stream_node_configure(&node, name, i + 1, HG_STREAM_KEY_VALUE, 1, 1), i);
    }
    for (uint32_t i = 0; i < ROUNDS; i++)
        append_to_all();
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(allocations, count); /* nothing after the start, whatever is appended */
    CU_ASSERT(hg_log_appended_bytes(node.log) > NODE_SEGMENT_BYTES);
    stream_node_free(&node);
}

static void test_recovery(void)
{
    stream_node_make(&node, 1);
    for (uint32_t i = 0; i < NODE_STREAMS_MAX; i++)
        (void)stream_node_configure(&node, "s", i + 1, HG_STREAM_KEY_VALUE, 1, 1);
    for (uint32_t i = 0; i < ROUNDS; i++)
        append_to_all();
    stream_node_close(&node);
    hg_disk_sim_crash(node.disk);
    stream_node_open(&node);
    disk_watch();
    uint64_t count = allocations;
    CU_ASSERT_EQUAL_FATAL(hg_streams_count(node.streams), NODE_STREAMS_MAX);
    for (uint32_t slot = 0; slot < NODE_STREAMS_MAX; slot++)
        CU_ASSERT_EQUAL_FATAL(hg_streams_at(node.streams, slot)->lsn_durable, ROUNDS + 1);
    for (uint32_t slot = 0; slot < NODE_STREAMS_MAX; slot += STREAM_SAMPLE)
        for (uint64_t lsn = 1; lsn <= ROUNDS; lsn++)
            finds(slot, lsn);
    CU_ASSERT_EQUAL(allocations, count);
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("streams_memory", NULL, NULL);
    CU_add_test(suite, "memory is fixed, and so much", test_memory);
    CU_add_test(suite, "each is found after a crash", test_recovery);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
