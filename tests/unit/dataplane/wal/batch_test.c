/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/batch.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>

#define OUT_BYTES (2u << 20)

static uint8_t raw[HG_FRAME_BYTES_MAX], raw_out[HG_FRAME_BYTES_MAX];
static uint8_t out[OUT_BYTES] __attribute__((aligned(16)));
static uint8_t spare[OUT_BYTES] __attribute__((aligned(16)));
static uint8_t data_memory[HG_FRAME_DATA_BYTES_MAX];
static void *lz4_state;
static struct hg_batch_builder builder;

static const struct hg_batch_origin origin = {.cluster = 7,
                                              .stream = 42,
                                              .incarnation = 3,
                                              .group = 5,
                                              .region = 2,
                                              .kind = HG_STREAM_KEY_VALUE,
                                              .epoch = 9,
                                              .log_restarts = 11,
                                              .codec = HG_CODEC_LZ4,
                                              .chain_previous = {1, 2, 3}};

/* Different frames, different data. */
static const uint8_t *data_of(uint64_t lsn, uint32_t data_bytes)
{
    return data_bytes > 4096 ? data_memory : data_memory + lsn % 200 * 4096;
}

static struct hg_frame frame_of(uint64_t lsn, uint32_t data_bytes)
{
    struct hg_frame frame = {.lsn = lsn,
                             .span = 1,
                             .op = HG_OP_UPDATE,
                             .key_bytes = 5,
                             .data_bytes = data_bytes,
                             .table_id = 17,
                             .transaction_id = 1000 + lsn,
                             .hlc = 1u << 20,
                             .key = "alpha",
                             .data = data_of(lsn, data_bytes)};
    return frame;
}

static void add(uint64_t lsn, uint32_t data_bytes)
{
    struct hg_frame frame = frame_of(lsn, data_bytes);
    CU_ASSERT_EQUAL_FATAL(hg_batch_builder_add(&builder, &frame), 0);
}

static uint32_t seal(uint32_t vector_bytes)
{
    uint8_t vector[HG_BATCH_VECTOR_BYTES_MAX];
    memset(vector, 0x5a, sizeof(vector));
    memset(out, 0xee, 4096);
    uint32_t most = hg_batch_sealed_bytes_max(&builder, vector_bytes);
    uint32_t bytes = hg_batch_seal(&builder, &origin, vector, vector_bytes, out, OUT_BYTES, lz4_state);
    CU_ASSERT(bytes <= most && bytes % 16 == 0);
    CU_ASSERT_EQUAL(builder.frame_count, 0);
    return bytes;
}

static struct hg_batch_header *header(void)
{
    return (struct hg_batch_header *)out;
}

static void crc_fix(void)
{
    header()->crc32c = hg_crc32c(0, out, offsetof(struct hg_batch_header, crc32c));
}

/* Opens and walks; returns the frames found. */
static uint32_t walk(uint32_t bytes)
{
    const uint8_t *frames;
    uint32_t frames_bytes, offset = 0, count = 0;
    struct hg_frame frame;
    int result;

    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, sizeof(raw_out), &frames, &frames_bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(hg_batch_check_frames(out, frames, frames_bytes), HG_BATCH_REASON_OK);
    while ((result = hg_frame_next(frames, frames_bytes, header()->hlc_base, &offset, &frame)) == 1) {
        CU_ASSERT_EQUAL_FATAL(frame.lsn, header()->lsn_first + count);
        CU_ASSERT_EQUAL(frame.transaction_id, 1000 + frame.lsn);
        CU_ASSERT(frame.key_bytes == 5 && memcmp(frame.key, "alpha", 5) == 0);
        CU_ASSERT_EQUAL(memcmp(frame.data, data_of(frame.lsn, frame.data_bytes), frame.data_bytes), 0);
        count++;
    }
    CU_ASSERT_EQUAL(result, 0);
    return count;
}

static void data_compressible(void)
{
    for (size_t i = 0; i < sizeof(data_memory); i++)
        data_memory[i] = (uint8_t)(i % 50);
}

static void data_random(void)
{
    struct hg_random random;
    hg_random_init(&random, 1);
    hg_random_fill(&random, data_memory, sizeof(data_memory));
}

static void test_round_trip(void)
{
    data_compressible();
    struct hg_frame frame = frame_of(100, 300), back;
    frame.client_id = 77;
    frame.client_sequence = 78;
    frame.flags = HG_FRAME_CONTINUES;
    frame.op = HG_OP_INSERT;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    frame = frame_of(101, 400);
    frame.hlc += 1234567;
    frame.span = 10;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    uint32_t bytes = seal(64);
    CU_ASSERT_EQUAL(hg_batch_bytes(header()), bytes);
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(header()->codec, HG_CODEC_LZ4);
    CU_ASSERT(header()->stored_bytes < header()->raw_bytes);
    CU_ASSERT(header()->lsn_first == 100 && header()->lsn_end == 111 && header()->frame_count == 2);
    CU_ASSERT(header()->cluster == 7 && header()->stream == 42 && header()->incarnation == 3);
    CU_ASSERT(header()->group == 5 && header()->region == 2 && header()->epoch == 9);
    CU_ASSERT(header()->log_restarts == 11 && header()->vector_bytes == 64);
    CU_ASSERT_EQUAL(out[sizeof(struct hg_batch_header)], 0x5a);
    const uint8_t *frames;
    uint32_t frames_bytes, offset = 0;
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, sizeof(raw_out), &frames, &frames_bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(hg_batch_check_frames(out, frames, frames_bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(hg_frame_next(frames, frames_bytes, header()->hlc_base, &offset, &back), 1);
    CU_ASSERT(back.client_id == 77 && back.client_sequence == 78);
    CU_ASSERT(back.op == HG_OP_INSERT && back.flags == (HG_FRAME_CONTINUES | HG_FRAME_CLIENT));
    CU_ASSERT(back.data_bytes == 300 && back.table_id == 17 && back.hlc == 1u << 20);
    CU_ASSERT_EQUAL(hg_frame_next(frames, frames_bytes, header()->hlc_base, &offset, &back), 1);
    CU_ASSERT(back.lsn == 101 && back.span == 10 && back.hlc == (1u << 20) + 1234567 && back.client_id == 0);
    CU_ASSERT_EQUAL(hg_frame_next(frames, frames_bytes, header()->hlc_base, &offset, &back), 0);
}

static void test_chain(void)
{
    struct hg_batch_origin next = origin;
    uint8_t vector[8] = {0};
    data_compressible();
    add(1, 100);
    seal(0);
    uint8_t first[16];
    memcpy(first, header()->chain, 16);
    add(1, 100);
    seal(0);
    CU_ASSERT_EQUAL(memcmp(first, header()->chain, 16), 0); /* same content, same chain */
    memcpy(next.chain_previous, first, 16);
    add(2, 100);
    uint32_t bytes = hg_batch_seal(&builder, &next, vector, 8, out, OUT_BYTES, lz4_state);
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(memcmp(header()->chain_previous, first, 16), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(header()->chain, first, 16), 0);
}

static void test_largest_frame(void)
{
    data_random();
    add(1, HG_FRAME_DATA_BYTES_MAX);
    struct hg_frame more = frame_of(2, 0);
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &more), -ENOSPC);
    uint32_t bytes = seal(HG_BATCH_VECTOR_BYTES_MAX);
    CU_ASSERT_EQUAL(header()->codec, HG_CODEC_NONE);
    CU_ASSERT(bytes <= HG_BATCH_BYTES_MAX && bytes > HG_FRAME_DATA_BYTES_MAX);
    CU_ASSERT_EQUAL(walk(bytes), 1);
    data_compressible();
    add(1, HG_FRAME_DATA_BYTES_MAX);
    bytes = seal(0);
    CU_ASSERT_EQUAL(header()->codec, HG_CODEC_LZ4);
    CU_ASSERT_EQUAL(walk(bytes), 1);
}

static void test_many_frames(void)
{
    data_compressible();
    uint64_t lsn = 1;
    struct hg_frame frame = frame_of(1, 0);
    frame.key_bytes = 0;
    while (hg_batch_builder_add(&builder, &frame) == 0)
        frame.lsn = ++lsn;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), -ENOSPC);
    CU_ASSERT_EQUAL(builder.frame_count, HG_BATCH_RAW_BYTES_MAX / 40);
    seal(0);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    /* 10,000 frames of the smallest size exceed 256 KiB, so the count limit is reached only on paper: check
     * it. */
    builder.frame_count = HG_BATCH_FRAMES_MAX;
    builder.lsn_end = frame.lsn;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), -ENOSPC);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    for (lsn = 1; lsn <= 5000; lsn++)
        add(lsn, lsn % 3);
    CU_ASSERT_EQUAL(walk(seal(16)), 5000);
}

static void test_incompressible(void)
{
    data_random();
    for (uint64_t lsn = 1; lsn <= 60; lsn++)
        add(lsn, 4000);
    uint32_t bytes = seal(8);
    CU_ASSERT_EQUAL(header()->codec, HG_CODEC_NONE);
    CU_ASSERT_EQUAL(header()->stored_bytes, header()->raw_bytes);
    CU_ASSERT_EQUAL(walk(bytes), 60);
    data_compressible();
    for (uint64_t lsn = 1; lsn <= 60; lsn++)
        add(lsn, 4000);
    struct hg_batch_origin plain = origin;
    plain.codec = HG_CODEC_NONE;
    bytes = hg_batch_seal(&builder, &plain, NULL, 0, out, OUT_BYTES, lz4_state);
    CU_ASSERT_EQUAL(header()->codec, HG_CODEC_NONE);
    CU_ASSERT_EQUAL(walk(bytes), 60);
}

static void expect_invalid(struct hg_frame frame)
{
    uint32_t bytes = builder.raw_bytes;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), -EINVAL);
    CU_ASSERT_EQUAL(builder.raw_bytes, bytes);
}

static void test_builder_refuses(void)
{
    data_compressible();
    add(10, 10);
    struct hg_frame frame = frame_of(12, 10);
    expect_invalid(frame); /* gap */
    frame.lsn = 10;
    expect_invalid(frame); /* overlap */
    frame.lsn = 11;
    frame.span = 0;
    expect_invalid(frame);
    frame.span = 1;
    frame.data_bytes = HG_FRAME_DATA_BYTES_MAX + 1;
    expect_invalid(frame);
    frame.data_bytes = 1;
    frame.key_bytes = HG_FRAME_KEY_BYTES_MAX + 1;
    expect_invalid(frame);
    frame.key_bytes = 5;
    frame.hlc = builder.hlc_base - 1;
    expect_invalid(frame);
    frame.hlc = builder.hlc_base + UINT32_MAX + 1ull;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), -ENOSPC);
    frame.hlc = builder.hlc_base + UINT32_MAX;
    frame.flags = 0x80;
    expect_invalid(frame);
    frame.flags = 0;
    frame.op = 0;
    expect_invalid(frame);
    frame.op = HG_OP_DELETE;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    frame.lsn = UINT64_MAX;
    expect_invalid(frame);
    frame.lsn = UINT64_MAX - 1;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    CU_ASSERT_EQUAL(builder.lsn_end, UINT64_MAX);
}

static uint32_t sample(void)
{
    data_compressible();
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    for (uint64_t lsn = 1; lsn <= 20; lsn++)
        add(lsn, 100);
    return seal(16);
}

#define EXPECT_LIMITS(statement)                                                                             \
    do {                                                                                                     \
        bytes = sample();                                                                                    \
        statement;                                                                                           \
        crc_fix();                                                                                           \
        CU_ASSERT_EQUAL(hg_batch_check_header(out, OUT_BYTES), HG_BATCH_REASON_LIMITS);                      \
        CU_ASSERT_EQUAL(hg_batch_bytes(header()), 0);                                                        \
    } while (0)

static void test_limits(void)
{
    uint32_t bytes;
    EXPECT_LIMITS(header()->stream = 0);
    EXPECT_LIMITS(header()->stored_bytes = 0);
    EXPECT_LIMITS(header()->stored_bytes = header()->raw_bytes + 1);
    EXPECT_LIMITS(header()->stored_bytes = UINT32_MAX);
    EXPECT_LIMITS(header()->raw_bytes = UINT32_MAX & ~7u);
    EXPECT_LIMITS(header()->raw_bytes += 4);
    EXPECT_LIMITS(header()->raw_bytes = HG_BATCH_RAW_BYTES_MAX + 8);
    EXPECT_LIMITS(header()->vector_bytes = HG_BATCH_VECTOR_BYTES_MAX + 8);
    EXPECT_LIMITS(header()->vector_bytes = 12);
    EXPECT_LIMITS(header()->frame_count = 0);
    EXPECT_LIMITS(header()->frame_count = HG_BATCH_FRAMES_MAX + 1);
    EXPECT_LIMITS(header()->frame_count = 1000);
    EXPECT_LIMITS(header()->lsn_end = header()->lsn_first);
    EXPECT_LIMITS(header()->lsn_end = header()->lsn_first + 19);
    EXPECT_LIMITS(header()->lsn_end = UINT64_MAX);
    EXPECT_LIMITS(header()->codec = HG_CODEC_NONE);
    EXPECT_LIMITS(header()->flags = HG_BATCH_LOCAL);
    (void)bytes;
}

static void test_reasons(void)
{
    uint32_t bytes = sample();
    const uint8_t *frames;
    uint32_t frames_bytes;

    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes - 1), HG_BATCH_REASON_SHORT);
    CU_ASSERT_EQUAL(hg_batch_verify(out, 191), HG_BATCH_REASON_SHORT);
    CU_ASSERT_EQUAL(hg_batch_verify(out, 0), HG_BATCH_REASON_SHORT);
    header()->magic++;
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_MAGIC);
    bytes = sample();
    header()->epoch++;
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_HEADER_CRC);
    crc_fix();
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_CHAIN);
    bytes = sample();
    header()->version = 2;
    crc_fix();
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_VERSION);
    bytes = sample();
    header()->flags = HG_BATCH_ENCRYPTED;
    crc_fix();
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_VERSION);
    bytes = sample();
    out[sizeof(struct hg_batch_header) + 3] ^= 1; /* vector */
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_DIGEST);
    CU_ASSERT_EQUAL(hg_batch_check_header(out, bytes), HG_BATCH_REASON_OK);
    bytes = sample();
    header()->raw_bytes += 8;
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, sizeof(raw_out), &frames, &frames_bytes),
                    HG_BATCH_REASON_CODEC);
    bytes = sample();
    header()->raw_bytes -= 8;
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, sizeof(raw_out), &frames, &frames_bytes),
                    HG_BATCH_REASON_CODEC);
    bytes = sample();
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, 16, &frames, &frames_bytes), HG_BATCH_REASON_LIMITS);
    CU_ASSERT_EQUAL(hg_batch_open(out, raw_out, sizeof(raw_out), &frames, &frames_bytes), HG_BATCH_REASON_OK);
    header()->lsn_end++;
    CU_ASSERT_EQUAL(hg_batch_check_frames(out, frames, frames_bytes), HG_BATCH_REASON_FRAMES);
    header()->lsn_end--;
    header()->frame_count++;
    CU_ASSERT_EQUAL(hg_batch_check_frames(out, frames, frames_bytes), HG_BATCH_REASON_FRAMES);
    header()->frame_count--;
    raw_out[310] ^= 1;
    CU_ASSERT_EQUAL(hg_batch_check_frames(out, frames, frames_bytes), HG_BATCH_REASON_FRAMES);
    for (int i = HG_BATCH_REASON_OK; i <= HG_BATCH_REASON_FRAMES; i++)
        CU_ASSERT(strlen(hg_batch_reason_text((enum hg_batch_reason)i)) > 3);
}

static void test_every_bit_matters(void)
{
    uint32_t bytes = sample();
    memcpy(spare, out, bytes);
    for (uint32_t bit = 0; bit < bytes * 8; bit++) {
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT_NOT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
        out[bit / 8] = spare[bit / 8];
    }
}

/* Nothing else covers the bytes up to the next multiple of 16: somebody could say something in them. */
static void test_padding(void)
{
    uint32_t padded_count = 0;
    for (uint32_t raw_bytes = 0; raw_bytes < 4; raw_bytes++) {
        struct hg_frame frame = frame_of(1, 8 * raw_bytes);
        hg_batch_builder_init(&builder, raw, sizeof(raw));
        CU_ASSERT_EQUAL_FATAL(hg_batch_builder_add(&builder, &frame), 0);
        struct hg_batch_origin stored = origin;
        stored.codec = HG_CODEC_NONE;
        uint32_t bytes = hg_batch_seal(&builder, &stored, NULL, 0, out, sizeof(out), lz4_state);
        uint32_t used = (uint32_t)sizeof(struct hg_batch_header) + header()->stored_bytes;
        CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
        for (uint32_t at = used; at < bytes; at++, padded_count++) {
            out[at] = 1;
            CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_PADDING);
            out[at] = 0;
        }
    }
    CU_ASSERT(padded_count > 0);
}

static void test_hostile_frames(void)
{
    struct hg_random random;
    uint8_t bytes[256];
    struct hg_frame frame;

    hg_random_init(&random, 5);
    for (int i = 0; i < 20000; i++) {
        hg_random_fill(&random, bytes, sizeof(bytes));
        uint32_t offset = 0, size = (uint32_t)hg_random_below(&random, sizeof(bytes) + 1);
        uint8_t *exact = malloc(size + 1);
        memcpy(exact, bytes, size);
        int result = hg_frame_next(exact, size, 0, &offset, &frame);
        CU_ASSERT(result == -EBADMSG || size == 0);
        free(exact);
    }
    uint32_t offset = 300;
    CU_ASSERT_EQUAL(hg_frame_next(bytes, 256, 0, &offset, &frame), -EBADMSG);
}

static void test_records(void)
{
    struct hg_local_record *records = (struct hg_local_record *)(out + sizeof(struct hg_batch_header));
    struct hg_batch_origin local = {.cluster = 7};
    const uint8_t *frames;
    uint32_t frames_bytes;

    memset(records, 0, 3 * sizeof(*records));
    records[2].lsn = 99;
    uint32_t bytes = hg_batch_seal_records(&local, 3, out, OUT_BYTES);
    CU_ASSERT_EQUAL(bytes, 192 + 3 * 128);
    CU_ASSERT_EQUAL(hg_batch_verify(out, bytes), HG_BATCH_REASON_OK);
    CU_ASSERT_EQUAL(header()->flags, HG_BATCH_LOCAL);
    CU_ASSERT_EQUAL(hg_batch_open(out, NULL, 0, &frames, &frames_bytes), HG_BATCH_REASON_OK);
    CU_ASSERT(frames == (uint8_t *)records && frames_bytes == 3 * 128);
}

static int setup(void)
{
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    return 0;
}

static void each(void)
{
    hg_batch_builder_init(&builder, raw, sizeof(raw));
}

int main(void)
{
    lz4_state = malloc((size_t)LZ4_sizeofState());
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite_with_setup_and_teardown("batch", setup, NULL, each, NULL);
    CU_add_test(suite, "round trip", test_round_trip);
    CU_add_test(suite, "chain", test_chain);
    CU_add_test(suite, "largest frame", test_largest_frame);
    CU_add_test(suite, "many frames", test_many_frames);
    CU_add_test(suite, "incompressible", test_incompressible);
    CU_add_test(suite, "builder refuses", test_builder_refuses);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "reasons", test_reasons);
    CU_add_test(suite, "every bit matters", test_every_bit_matters);
    CU_add_test(suite, "padding is zero", test_padding);
    CU_add_test(suite, "hostile frames", test_hostile_frames);
    CU_add_test(suite, "records", test_records);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    free(lz4_state);
    return failures != 0;
}
