/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes an orphan of entries that are in a stream: what a copy is left with when it was cut for an epoch that
 * was never released, and the next fail-over went on from another copy with the same tail. For integration
 * tests.
 *
 *     orphan_of RUN_DIR STREAM FROM END OTHER
 *
 * RUN_DIR/orphan/NAME.orphan and its .cut, with the entries of [FROM, END), those from OTHER on with another
 * stamp. Prints the name.
 */
#include "dataplane/wal/orphan.h"
#include "drivers/client/heliograph.h"

#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define WAIT_SECONDS 30u
#define PATH_BYTES   4200u

static uint64_t deadline(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + WAIT_SECONDS) * 1000000000u + (uint64_t)now.tv_nsec;
}

static void failed(const char *what, struct hg_client *client)
{
    fprintf(stderr, "%s: %s\n", what, client != NULL ? hg_client_error(client) : "");
    exit(1);
}

static void file_write(const char *run, const char *name, const char *suffix, const void *header,
                       const void *batch, size_t bytes)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/orphan", run);
    (void)mkdir(path, 0700); /* it may be there */
    snprintf(path, sizeof(path), "%s/orphan/%s%s", run, name, suffix);
    FILE *file = fopen(path, "wb");
    size_t head = header != NULL ? sizeof(struct hg_orphan_header) : 0;
    if (file == NULL || (head > 0 && fwrite(header, head, 1, file) != 1) ||
        (bytes > 0 && fwrite(batch, bytes, 1, file) != 1) || fclose(file) != 0)
        failed(path, NULL);
}

static void entries_add(struct hg_client *client, struct hg_stream *stream, struct hg_batch_builder *builder,
                        uint64_t end, uint64_t other)
{
    for (uint64_t lsn = 0; lsn + 1 < end;) {
        struct hg_entry entry;
        if (hg_stream_read(stream, &entry, deadline()) < 0)
            failed("read", client);
        lsn = entry.lsn;
        struct hg_frame frame = {.lsn = entry.lsn,
                                 .span = entry.span,
                                 .op = entry.op,
                                 .key_bytes = entry.key_bytes,
                                 .data_bytes = entry.data_bytes,
                                 .table_id = entry.table_id,
                                 .transaction_id = entry.transaction_id,
                                 .hlc = entry.hlc + (lsn >= other),
                                 .client_id = entry.client_id,
                                 .client_sequence = entry.client_sequence,
                                 .key = entry.key,
                                 .data = entry.data};
        if (hg_batch_builder_add(builder, &frame) != 0)
            failed("too many entries for a batch", NULL);
    }
}

int main(int argc, char **argv)
{
    static uint8_t raw[(HG_FRAME_BYTES_MAX + 4095) & ~4095ull], batch[HG_BATCH_BYTES_MAX];
    struct hg_stream_status status;
    struct hg_batch_builder builder;
    struct hg_stream *stream;
    char name[HG_ORPHAN_NAME_BYTES];
    if (argc != 6)
        return 2;
    uint64_t from = strtoull(argv[3], NULL, 10), end = strtoull(argv[4], NULL, 10);
    struct hg_stream_options options = {.subscribe = true, .lsn_from = from};
    struct hg_client *client = hg_client_open(argv[1], "orphan-of");
    if (client == NULL || hg_stream_attach(client, argv[2], &options, &stream, deadline()) != 0 ||
        hg_stream_status_get(stream, &status) != 0)
        failed("attach", client);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    entries_add(client, stream, &builder, end, strtoull(argv[5], NULL, 10));
    struct hg_batch_origin origin = {.stream = status.stream,
                                     .incarnation = status.incarnation,
                                     .kind = (uint16_t)status.kind,
                                     .region = 1,
                                     .epoch = status.epoch,
                                     .chain_previous = {7}};
    void *lz4 = malloc((size_t)LZ4_sizeofState());
    uint32_t bytes =
        hg_batch_seal(&builder, &origin, NULL, 0, batch, hg_batch_sealed_bytes_max(&builder, 0), lz4);
    struct hg_orphan_header header = {.stream = status.stream,
                                      .incarnation = status.incarnation,
                                      .kind = (uint16_t)status.kind,
                                      .epoch_cut = status.epoch,
                                      .lsn_first = from,
                                      .lsn_end = end,
                                      .batch_count = 1,
                                      .batches_bytes = bytes,
                                      .chain_previous = {7}};
    snprintf(header.name, sizeof(header.name), "%s", argv[2]);
    memcpy(header.chain, ((const struct hg_batch_header *)(const void *)batch)->chain, sizeof(header.chain));
    hg_orphan_seal(&header);
    hg_orphan_name(&header, name);
    file_write(argv[1], name, "", &header, batch, bytes);
    file_write(argv[1], name, HG_ORPHAN_CUT, NULL, NULL, 0);
    printf("%s\n", name);
    free(lz4);
    hg_client_close(client);
    return 0;
}
