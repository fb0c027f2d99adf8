/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/drivers/client/fake_dataplane.h"

#include "drivers/client/heliograph.h"

#include <errno.h>
#include <lz4.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAKE_DELIVER_BYTES (4u << 20)
#define FAKE_TURN_ENTRIES  64

struct fake_dataplane *fake_create(void)
{
    struct fake_dataplane *fake = calloc(1, sizeof(*fake));
    hg_assert(fake != NULL);
    snprintf(fake->run_dir, sizeof(fake->run_dir), "/tmp/hg-client-test-XXXXXX");
    hg_assert(mkdtemp(fake->run_dir) != NULL);
    fake->raw = malloc(HG_FRAME_BYTES_MAX);
    fake->lz4_state = malloc((size_t)LZ4_sizeofState());
    fake->boot = 1000;
    pthread_mutex_init(&fake->mutex, NULL);
    return fake;
}

struct fake_stream *fake_stream_add(struct fake_dataplane *fake, const char *name, uint64_t stream,
                                    uint16_t kind, uint64_t lsn_end)
{
    hg_assert(fake->stream_count < FAKE_STREAMS_MAX);
    struct fake_stream *made = &fake->streams[fake->stream_count++];
    hg_assert(hg_client_name_copy(made->name, name) == 0);
    made->stream = stream;
    made->kind = kind;
    made->lsn_end = lsn_end;
    return made;
}

static uint64_t stream_durable(const struct fake_stream *stream)
{
    if (stream->durable_count > 0)
        return stream->batches[stream->durable_count - 1].lsn_end;
    return stream->batch_count > 0 ? stream->batches[0].lsn_first : stream->lsn_end;
}

static uint64_t stream_oldest(const struct fake_stream *stream)
{
    return stream->batch_count > stream->oldest ? stream->batches[stream->oldest].lsn_first : 0;
}

static void position_send(struct fake_dataplane *fake, struct fake_client *client, uint32_t slot)
{
    const struct fake_stream *stream = client->slots[slot].stream;
    struct hg_client_position position;
    memset(&position, 0, sizeof(position));
    position.lsn_consumed = stream->lsn_end;
    position.lsn_durable = position.lsn_committed = stream_durable(stream);
    position.lsn_durable_region[2] = position.lsn_durable;
    position.lsn_oldest = stream_oldest(stream);
    position.epoch = 1;
    position.incarnation = 1;
    position.writable = (client->slots[slot].flags & HG_CLIENT_ATTACH_APPEND) != 0 && fake->writable_why == 0;
    position.writable_why = fake->writable_why;
    hg_client_ring_position_set(&client->ring, slot, &position);
}

/* ---- appending
 * ---------------------------------------------------------------------------------------------- */
static void batch_seal(struct fake_dataplane *fake, struct fake_stream *stream,
                       struct hg_batch_builder *builder)
{
    if (builder->frame_count == 0)
        return;
    hg_assert(stream->batch_count < FAKE_BATCHES_MAX);
    struct fake_batch *batch = &stream->batches[stream->batch_count++];
    struct hg_batch_origin origin = {.cluster = 1,
                                     .stream = stream->stream,
                                     .incarnation = 1,
                                     .region = 1,
                                     .kind = stream->kind,
                                     .epoch = 1,
                                     .codec = HG_CODEC_LZ4};
    memcpy(origin.chain_previous, stream->chain, sizeof(origin.chain_previous));
    uint32_t bytes_max = hg_batch_sealed_bytes_max(builder, 0);
    batch->bytes = aligned_alloc(16, hg_align_up(bytes_max, 16));
    batch->lsn_first = builder->lsn_first;
    batch->lsn_end = builder->lsn_end;
    batch->size_bytes = hg_batch_seal(builder, &origin, NULL, 0, batch->bytes, bytes_max, fake->lz4_state);
    memcpy(stream->chain, ((struct hg_batch_header *)batch->bytes)->chain, sizeof(stream->chain));
    if (!fake->hold_durable)
        stream->durable_count = stream->batch_count;
}

static bool entry_refused(struct fake_dataplane *fake, struct fake_client *client,
                          const struct hg_append_record *record)
{
    struct fake_slot *slot = &client->slots[record->slot];
    if (slot->stream == NULL || slot->attachment != record->attachment || slot->refused) {
        fake->entries_stale++;
        return true;
    }
    struct fake_stream *stream = slot->stream;
    int32_t code = fake->refuse_code;
    fake->refuse_code = 0;
    if (code == 0 && stream->lsn_end != 0 && record->lsn != stream->lsn_end)
        code = record->lsn < stream->lsn_end ? HG_E_OVERLAP : HG_E_GAP;
    if (code == 0)
        return false;
    hg_assert(hg_client_ring_deliver_error(&client->ring, record->slot, HG_DELIVER_APPEND_REFUSED, code,
                                           record->lsn));
    slot->refused = true;
    return true;
}

static bool appends_take(struct fake_dataplane *fake, struct fake_client *client)
{
    struct hg_batch_builder builder;
    struct fake_stream *open = NULL;
    bool busy = false;
    hg_batch_builder_init(&builder, fake->raw, (uint32_t)HG_FRAME_BYTES_MAX);
    for (int i = 0; i < FAKE_TURN_ENTRIES && !fake->hold_consume; i++) {
        struct hg_append_record record;
        const uint8_t *key, *data;
        int rc = hg_client_ring_append_peek(&client->ring, &record, &key, &data);
        fake->faults += rc < 0;
        if (rc != 1)
            break;
        busy = true;
        if (!entry_refused(fake, client, &record)) {
            struct fake_stream *stream = client->slots[record.slot].stream;
            struct hg_frame frame = {.lsn = record.lsn,
                                     .span = record.span,
                                     .op = record.op,
                                     .flags = record.flags,
                                     .key_bytes = record.key_bytes,
                                     .data_bytes = record.data_bytes,
                                     .table_id = record.table_id,
                                     .transaction_id = record.transaction_id,
                                     .hlc = 5,
                                     .client_id = record.client_id,
                                     .client_sequence = record.client_sequence,
                                     .key = key,
                                     .data = data};
            if (open != NULL && open != stream)
                batch_seal(fake, open, &builder);
            open = stream;
            if (hg_batch_builder_add(&builder, &frame) == -ENOSPC) {
                batch_seal(fake, open, &builder);
                hg_assert(hg_batch_builder_add(&builder, &frame) == 0);
            }
            stream->lsn_end = record.lsn + record.span;
            fake->entries_taken++;
        }
        hg_client_ring_append_consume(&client->ring);
    }
    if (open != NULL)
        batch_seal(fake, open, &builder);
    hg_client_ring_publish(&client->ring);
    return busy;
}

/* ---- delivering
 * --------------------------------------------------------------------------------------------- */
static bool batches_deliver(struct fake_dataplane *fake, struct fake_client *client, uint32_t index)
{
    struct fake_slot *slot = &client->slots[index];
    bool busy = false;
    if ((slot->flags & HG_CLIENT_ATTACH_SUBSCRIBE) == 0)
        return false;
    while (slot->next < slot->stream->durable_count) {
        const struct fake_batch *batch = &slot->stream->batches[slot->next];
        if (batch->lsn_end > slot->lsn_from) {
            uint8_t *place = hg_client_ring_deliver_reserve(&client->ring, index, batch->size_bytes);
            if (place == NULL)
                break;
            memcpy(place, batch->bytes, batch->size_bytes);
            if (fake->corrupt_next)
                place[batch->size_bytes / 2] ^= 4;
            fake->corrupt_next = false;
            hg_client_ring_deliver_commit(&client->ring);
        }
        slot->next++;
        busy = true;
    }
    uint64_t acknowledged = hg_client_ring_acknowledged(&client->ring, index);
    if (acknowledged > slot->stream->acknowledged)
        slot->stream->acknowledged = acknowledged;
    return busy;
}

static bool client_turn(struct fake_dataplane *fake, struct fake_client *client)
{
    if (!client->has_memory)
        return false;
    bool busy = appends_take(fake, client);
    for (uint32_t i = 0; i < HG_CLIENT_SLOTS; i++) {
        if (client->slots[i].stream == NULL)
            continue;
        if (!fake->hold_durable)
            client->slots[i].stream->durable_count = client->slots[i].stream->batch_count;
        position_send(fake, client, i);
        if (fake->depose_code != 0 && (client->slots[i].flags & HG_CLIENT_ATTACH_APPEND) != 0) {
            hg_assert(hg_client_ring_deliver_error(&client->ring, i, HG_DELIVER_APPEND_REFUSED,
                                                   fake->depose_code, 0));
            client->slots[i].refused = true;
            fake->depose_code = 0;
            busy = true;
        }
        busy |= batches_deliver(fake, client, i);
    }
    if (hg_client_ring_doorbell_needed(&client->ring)) {
        uint64_t one = 1;
        hg_assert(write(client->doorbell_client, &one, sizeof(one)) == sizeof(one));
    }
    return busy;
}

/* ---- the socket
 * ------------------------------------------------------------------------------------------------- */
static void client_drop(struct fake_client *client, bool kill)
{
    if (client->has_memory) {
        if (kill)
            munmap(client->ring.head, client->ring.memory_bytes);
        else
            hg_client_ring_destroy(&client->ring);
        close(client->doorbell_worker);
        close(client->doorbell_client);
    }
    close(client->socket);
    memset(client, 0, sizeof(*client));
    client->socket = -1;
}

static struct fake_stream *stream_by_name(struct fake_dataplane *fake, const char *name)
{
    for (uint32_t i = 0; i < fake->stream_count; i++)
        if (strncmp(fake->streams[i].name, name, HG_NAME_BYTES) == 0)
            return &fake->streams[i];
    return NULL;
}

static int32_t attach_code(struct fake_dataplane *fake, const struct fake_stream *stream,
                           const struct hg_client_attach *attach)
{
    if (fake->not_ready > 0) {
        fake->not_ready--;
        return HG_E_NOT_READY;
    }
    if (stream == NULL)
        return HG_E_UNKNOWN;
    if ((attach->flags & HG_CLIENT_ATTACH_SUBSCRIBE) != 0 && attach->lsn_from != 0 &&
        attach->lsn_from < stream_oldest(stream))
        return HG_E_GAP;
    return 0;
}

static void attach_answer(struct fake_dataplane *fake, struct fake_client *client,
                          const struct hg_client_attach *attach)
{
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_ANSWER);
    struct hg_client_answer *answer = &message.answer;
    answer->request = attach->request;
    struct fake_stream *stream = stream_by_name(fake, attach->name);
    answer->code = attach_code(fake, stream, attach);
    fake->attaches++;
    int descriptors[3];
    uint32_t descriptor_count = 0;
    if (answer->code == 0) {
        if (!client->has_memory) {
            uint64_t append_bytes = attach->append_ring_bytes != 0 ? attach->append_ring_bytes : 4u << 20;
            hg_assert(hg_client_ring_create(&client->ring, append_bytes, FAKE_DELIVER_BYTES, fake->boot,
                                            ++fake->memories, &descriptors[0]) == 0);
            client->doorbell_worker = descriptors[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            client->doorbell_client = descriptors[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            client->has_memory = true;
            answer->flags = HG_CLIENT_ANSWER_MEMORY;
            descriptor_count = 3;
        }
        uint16_t index = 0;
        while (client->slots[index].stream != NULL)
            index++;
        hg_assert(index < HG_CLIENT_SLOTS);
        struct fake_slot *slot = &client->slots[index];
        *slot = (struct fake_slot){.stream = stream, .flags = attach->flags, .lsn_from = attach->lsn_from};
        slot->attachment = hg_client_ring_slot_attach(&client->ring, index);
        slot->next = stream->oldest;
        answer->slot = index;
        answer->attachment = slot->attachment;
        answer->kind = stream->kind;
        answer->incarnation = 1;
        answer->stream = stream->stream;
        answer->epoch = 1;
        answer->lsn_oldest = stream_oldest(stream);
        answer->lsn_end = stream->lsn_end;
        answer->lsn_durable = stream_durable(stream);
        answer->lsn_from = attach->lsn_from != 0 ? attach->lsn_from : stream_oldest(stream);
        position_send(fake, client, index);
    } else {
        snprintf(answer->text, sizeof(answer->text), "the test says no (%d)", answer->code);
    }
    (void)hg_client_message_send(client->socket, &message, descriptors,
                                 descriptor_count); /* gone: seen later */
    if (descriptor_count > 0)
        close(descriptors[0]);
}

/* Returns false when the client is gone. */
static bool messages_take(struct fake_dataplane *fake, struct fake_client *client)
{
    for (;;) {
        union hg_client_message message, answer;
        int descriptors[3];
        int rc = hg_client_message_receive(client->socket, &message, descriptors);
        if (rc == -EAGAIN)
            return true;
        if (rc != 1)
            return false;
        switch (message.head.type) {
        case HG_CLIENT_HELLO:
            hg_client_message_init(&answer, HG_CLIENT_WELCOME);
            answer.welcome.abi = HG_CLIENT_ABI;
            answer.welcome.pid = (uint32_t)getpid();
            answer.welcome.boot = fake->boot;
            if (hg_client_message_send(client->socket, &answer, NULL, 0) != 0)
                return false;
            break;
        case HG_CLIENT_ATTACH:
            attach_answer(fake, client, &message.attach);
            break;
        case HG_CLIENT_DETACH:
            if (client->slots[message.detach.slot].attachment == message.detach.attachment)
                client->slots[message.detach.slot].stream = NULL;
            break;
        default:
            return false;
        }
    }
}

static void client_accept(struct fake_dataplane *fake)
{
    int descriptor = hg_client_listener_accept(&fake->listener);
    if (descriptor < 0)
        return;
    struct hg_client_peer peer;
    hg_assert(hg_client_peer_get(descriptor, &peer) == 0 && peer.pid == getpid() && peer.uid == getuid());
    for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
        if (fake->clients[i].socket < 0) {
            fake->clients[i].socket = descriptor;
            return;
        }
    }
    close(descriptor);
}

static void all_sleep(struct fake_dataplane *fake, bool sleeping)
{
    for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        if (fake->clients[i].has_memory)
            hg_client_ring_sleep_set(&fake->clients[i].ring, sleeping);
}

static bool any_pending(struct fake_dataplane *fake)
{
    bool pending = false;
    for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        if (fake->clients[i].has_memory)
            pending |= hg_client_ring_pending(&fake->clients[i].ring);
    return pending;
}

static void *fake_main(void *argument)
{
    struct fake_dataplane *fake = argument;
    for (;;) {
        struct pollfd descriptors[2 + 2 * FAKE_CLIENTS_MAX];
        bool busy = false;
        pthread_mutex_lock(&fake->mutex);
        for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
            struct fake_client *client = &fake->clients[i];
            if (client->socket >= 0 && !messages_take(fake, client))
                client_drop(client, false);
            busy |= client_turn(fake, client);
            descriptors[2 + i] = (struct pollfd){.fd = client->socket, .events = POLLIN};
            descriptors[2 + FAKE_CLIENTS_MAX + i] =
                (struct pollfd){.fd = client->has_memory ? client->doorbell_worker : -1, .events = POLLIN};
        }
        all_sleep(fake, true);
        busy |= any_pending(fake);
        descriptors[0] = (struct pollfd){.fd = fake->stop, .events = POLLIN};
        descriptors[1] = (struct pollfd){.fd = fake->listener.socket, .events = POLLIN};
        pthread_mutex_unlock(&fake->mutex);
        /* Woken by bells only; a test that changes a wish waits no longer than this. */
        (void)poll(descriptors, HG_COUNT(descriptors), busy ? 0 : 20);
        pthread_mutex_lock(&fake->mutex);
        all_sleep(fake, false);
        for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++) {
            uint64_t count;
            if (fake->clients[i].has_memory)
                (void)!read(fake->clients[i].doorbell_worker, &count, sizeof(count));
        }
        if (descriptors[1].revents != 0)
            client_accept(fake);
        pthread_mutex_unlock(&fake->mutex);
        if (descriptors[0].revents != 0)
            return NULL;
    }
}

void fake_start(struct fake_dataplane *fake)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", fake->run_dir, HG_CLIENT_SOCKET_NAME);
    hg_assert(hg_client_listener_open(&fake->listener, path, 0600) == 0);
    for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        fake->clients[i].socket = -1;
    fake->boot++;
    fake->stop = eventfd(0, EFD_CLOEXEC);
    fake->running = true;
    hg_assert(pthread_create(&fake->thread, NULL, fake_main, fake) == 0);
}

static void stream_truncate(struct fake_stream *stream)
{
    uint64_t durable = stream_durable(stream);
    while (stream->batch_count > stream->durable_count)
        free(stream->batches[--stream->batch_count].bytes);
    stream->lsn_end = durable;
    memset(stream->chain, 0, sizeof(stream->chain));
    if (stream->batch_count > 0)
        memcpy(stream->chain,
               ((struct hg_batch_header *)stream->batches[stream->batch_count - 1].bytes)->chain,
               sizeof(stream->chain));
}

void fake_kill(struct fake_dataplane *fake)
{
    if (!fake->running)
        return;
    uint64_t one = 1;
    hg_assert(write(fake->stop, &one, sizeof(one)) == sizeof(one));
    pthread_join(fake->thread, NULL);
    for (uint32_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        if (fake->clients[i].socket >= 0)
            client_drop(&fake->clients[i], true);
    close(fake->listener.socket); /* the name stays, as after kill -9 */
    close(fake->listener.lock);
    close(fake->stop);
    fake->running = false;
    for (uint32_t i = 0; i < fake->stream_count; i++)
        stream_truncate(&fake->streams[i]);
}

void fake_destroy(struct fake_dataplane *fake)
{
    fake_kill(fake);
    for (uint32_t i = 0; i < fake->stream_count; i++)
        for (uint32_t j = 0; j < fake->streams[i].batch_count; j++)
            free(fake->streams[i].batches[j].bytes);
    static const char *const names[] = {"dataplane.sock", "dataplane.sock.lock"};
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", fake->run_dir, names[i]);
        unlink(path);
    }
    rmdir(fake->run_dir);
    free(fake->raw);
    free(fake->lz4_state);
    pthread_mutex_destroy(&fake->mutex);
    free(fake);
}
