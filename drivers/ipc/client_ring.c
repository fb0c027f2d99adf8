/* SPDX-License-Identifier: Apache-2.0
 *
 * The dataplane's side of the client ring, and what both sides share. See the header for the ordering rules.
 */
#include "drivers/ipc/client_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "the words in shared memory must not hide a lock");
static_assert(sizeof(_Atomic uint64_t) == 8, "the words in shared memory are plain words");

const char *hg_client_why_text(uint32_t why)
{
    static const char *const texts[] = {
#define HG_X(name, text) [HG_CLIENT_WHY_##name] = text,
        HG_CLIENT_WHYS(HG_X)
#undef HG_X
    };
    return why < HG_COUNT(texts) ? texts[why] : "for a reason this build does not know";
}

const char *hg_client_fault_name(uint32_t fault)
{
    static const char *const names[] = {
#define HG_X(name, text) [HG_CLIENT_FAULT_##name] = text,
        HG_CLIENT_FAULTS(HG_X)
#undef HG_X
    };
    return fault < HG_COUNT(names) ? names[fault] : "client_unknown_fault";
}

static bool ring_bytes_valid(uint64_t bytes)
{
    return bytes >= HG_CLIENT_RING_BYTES_MIN && bytes <= HG_CLIENT_RING_BYTES_MAX &&
           (bytes & (bytes - 1)) == 0;
}

#define POSITIONS_BYTES (HG_CLIENT_SLOTS * sizeof(struct hg_client_position_page))
static_assert(POSITIONS_BYTES % HG_CLIENT_PAGE_BYTES == 0, "rings begin at a page");

uint64_t hg_client_memory_bytes(uint64_t append_bytes, uint64_t deliver_bytes)
{
    if (!ring_bytes_valid(append_bytes) || !ring_bytes_valid(deliver_bytes))
        return 0;
    return 3 * (uint64_t)HG_CLIENT_PAGE_BYTES + POSITIONS_BYTES + append_bytes + deliver_bytes;
}

void hg_client_memory_layout(struct hg_client_memory_head *head, uint64_t append_bytes,
                             uint64_t deliver_bytes)
{
    memset(head, 0, sizeof(*head));
    uint64_t record_bytes = sizeof(struct hg_deliver_record) + HG_CLIENT_BATCH_BYTES_MAX;
    head->magic = HG_CLIENT_MEMORY_MAGIC;
    head->abi = HG_CLIENT_ABI;
    head->slot_count = HG_CLIENT_SLOTS;
    head->memory_bytes = hg_client_memory_bytes(append_bytes, deliver_bytes);
    head->dataplane_offset = HG_CLIENT_PAGE_BYTES;
    head->client_offset = 2 * (uint64_t)HG_CLIENT_PAGE_BYTES;
    head->positions_offset = 3 * (uint64_t)HG_CLIENT_PAGE_BYTES;
    head->append_offset = head->positions_offset + POSITIONS_BYTES;
    head->append_bytes = append_bytes;
    head->deliver_offset = head->append_offset + append_bytes;
    head->deliver_bytes = deliver_bytes;
    /* A quarter, but room for the largest batch if half a ring has it. */
    head->deliver_credit_bytes = hg_max_u64(deliver_bytes / 4, hg_min_u64(deliver_bytes / 2, record_bytes));
}

void hg_client_ring_init(struct hg_client_ring *ring, void *memory, uint64_t append_bytes,
                         uint64_t deliver_bytes, uint64_t boot, uint64_t generation)
{
    uint64_t memory_bytes = hg_client_memory_bytes(append_bytes, deliver_bytes);
    hg_assert(memory_bytes > 0);
    hg_assert(boot != 0);
    hg_assert(((uintptr_t)memory & (HG_CLIENT_PAGE_BYTES - 1)) == 0);
    struct hg_client_memory_head head;
    hg_client_memory_layout(&head, append_bytes, deliver_bytes);
    head.boot = boot;
    head.generation = generation;

    uint8_t *base = memory;
    memset(base, 0, head.append_offset);
    memset(ring, 0, sizeof(*ring));
    ring->head = memory;
    ring->own = (struct hg_client_memory_dataplane *)(base + head.dataplane_offset);
    ring->client = (struct hg_client_memory_client *)(base + head.client_offset);
    ring->positions = (struct hg_client_position_page *)(base + head.positions_offset);
    ring->append = base + head.append_offset;
    ring->deliver = base + head.deliver_offset;
    ring->memory_bytes = memory_bytes;
    ring->append_bytes = append_bytes;
    ring->deliver_bytes = deliver_bytes;
    ring->deliver_credit_bytes = head.deliver_credit_bytes;
    memcpy(ring->head, &head, sizeof(head));
}

int hg_client_ring_create(struct hg_client_ring *ring, uint64_t append_bytes, uint64_t deliver_bytes,
                          uint64_t boot, uint64_t generation, int *memfd)
{
    *memfd = -1;
    uint64_t memory_bytes = hg_client_memory_bytes(append_bytes, deliver_bytes);
    if (memory_bytes == 0)
        return -EINVAL;
    int fd = memfd_create("heliograph-client", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    void *memory = MAP_FAILED;
    /* Allocated now: a lack of memory is an error here, not a SIGBUS in a worker later. */
    if (ftruncate(fd, (off_t)memory_bytes) == 0 && fallocate(fd, 0, 0, (off_t)memory_bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) {
        int error = errno;
        close(fd);
        return -error;
    }
    hg_client_ring_init(ring, memory, append_bytes, deliver_bytes, boot, generation);
    ring->mapped = true;
    *memfd = fd;
    return 0;
}

void hg_client_ring_destroy(struct hg_client_ring *ring)
{
    if (ring->own == NULL)
        return;
    atomic_store_explicit(&ring->own->closed, 1, memory_order_release);
    if (ring->mapped)
        munmap(ring->head, ring->memory_bytes);
    memset(ring, 0, sizeof(*ring));
}

static int ring_poison(struct hg_client_ring *ring, enum hg_client_fault fault)
{
    hg_assert(fault != HG_CLIENT_FAULT_NONE);
    if (ring->fault == HG_CLIENT_FAULT_NONE)
        ring->fault = fault;
    ring->append_peeked = 0;
    ring->deliver_reserved = 0;
    return -EBADMSG;
}

uint16_t hg_client_ring_slot_attach(struct hg_client_ring *ring, uint32_t slot)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    if (++ring->attachments[slot] == 0)
        ring->attachments[slot] = 1;
    return ring->attachments[slot];
}

/* ---- append ring ---- */
static int append_tail_take(struct hg_client_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->client->append_tail, memory_order_acquire);
    if (tail - ring->append_head > ring->append_bytes - (ring->append_head - ring->append_published))
        return ring_poison(ring, HG_CLIENT_FAULT_INDEX_RANGE);
    if (tail % HG_CLIENT_APPEND_ALIGN_BYTES != 0)
        return ring_poison(ring, HG_CLIENT_FAULT_INDEX_ALIGN);
    ring->append_tail = tail;
    ring->append_tail_seen = tail;
    return 0;
}

/* Of a private copy: what makes it an entry. */
static enum hg_client_fault append_record_check(const struct hg_append_record *record)
{
    if (record->type != HG_APPEND_ENTRY || (record->flags & ~(HG_APPEND_CONTINUES | HG_APPEND_AGAIN)) != 0)
        return HG_CLIENT_FAULT_RECORD_TYPE;
    if (record->slot >= HG_CLIENT_SLOTS)
        return HG_CLIENT_FAULT_RECORD_SLOT;
    if (record->key_bytes > HG_CLIENT_KEY_BYTES_MAX || record->data_bytes > HG_CLIENT_DATA_BYTES_MAX ||
        record->span == 0)
        return HG_CLIENT_FAULT_RECORD_SIZES;
    if (record->bytes !=
        hg_align_up(sizeof(*record) + record->key_bytes + record->data_bytes, HG_CLIENT_APPEND_ALIGN_BYTES))
        return HG_CLIENT_FAULT_RECORD_SIZES;
    if (record->op == 0 || record->op > HG_CLIENT_OP_MAX)
        return HG_CLIENT_FAULT_RECORD_OP;
    return HG_CLIENT_FAULT_NONE;
}

int hg_client_ring_append_peek(struct hg_client_ring *ring, struct hg_append_record *record,
                               const uint8_t **key, const uint8_t **data)
{
    if (ring->fault != HG_CLIENT_FAULT_NONE)
        return -EBADMSG;
    ring->append_peeked = 0;
    for (;;) { /* at most three times: a pad ends where the ring ends */
        if (ring->append_head == ring->append_tail) {
            if (append_tail_take(ring) != 0)
                return -EBADMSG;
            if (ring->append_head == ring->append_tail)
                return 0;
        }
        uint64_t used_bytes = ring->append_tail - ring->append_head;
        uint64_t place = ring->append_head & (ring->append_bytes - 1);
        uint64_t run_bytes = hg_min_u64(used_bytes, ring->append_bytes - place);
        /* Two copies of constant size: one of either size is a string instruction, half the cost of a peek.
         */
        if (run_bytes >= sizeof(*record)) {
            memcpy(record, ring->append + place, sizeof(*record));
        } else {
            memset(record, 0, sizeof(*record));
            memcpy(record, ring->append + place, 8);
        }
        atomic_signal_fence(memory_order_seq_cst); /* the compiler may not go back to the shared copy */
        if (record->bytes < 8 || record->bytes % HG_CLIENT_APPEND_ALIGN_BYTES != 0 ||
            record->bytes > run_bytes)
            return ring_poison(ring, HG_CLIENT_FAULT_RECORD_BYTES);
        if (record->type == HG_APPEND_PAD) {
            if (record->bytes != ring->append_bytes - place)
                return ring_poison(ring, HG_CLIENT_FAULT_RECORD_BYTES);
            ring->append_head += record->bytes;
            continue;
        }
        if (record->bytes < sizeof(*record))
            return ring_poison(ring, HG_CLIENT_FAULT_RECORD_BYTES);
        enum hg_client_fault fault = append_record_check(record);
        if (fault != HG_CLIENT_FAULT_NONE)
            return ring_poison(ring, fault);
        *key = ring->append + place + sizeof(*record);
        *data = *key + record->key_bytes;
        ring->append_peeked = record->bytes;
        return 1;
    }
}

void hg_client_ring_append_consume(struct hg_client_ring *ring)
{
    hg_assert(ring->append_peeked > 0);
    ring->append_head += ring->append_peeked;
    ring->append_peeked = 0;
    if (ring->append_head - ring->append_published >= ring->append_bytes / 8)
        hg_client_ring_publish(ring);
}

void hg_client_ring_publish(struct hg_client_ring *ring)
{
    if (ring->append_published == ring->append_head)
        return;
    ring->append_published = ring->append_head;
    /* Release: our reads of the records come before the client may overwrite them. */
    atomic_store_explicit(&ring->own->append_head, ring->append_head, memory_order_release);
    ring->news = true;
}

/* ---- deliver ring ---- */
static uint64_t deliver_record_bytes(uint64_t payload_bytes)
{
    return hg_align_up(sizeof(struct hg_deliver_record) + payload_bytes, HG_CLIENT_DELIVER_ALIGN_BYTES);
}

bool hg_client_ring_deliver_fits(const struct hg_client_ring *ring, uint32_t bytes)
{
    uint64_t record_bytes = deliver_record_bytes(bytes);
    return bytes > 0 && bytes <= HG_CLIENT_BATCH_BYTES_MAX && record_bytes <= ring->deliver_credit_bytes &&
           record_bytes <= ring->deliver_bytes / 2;
}

static int released_take(struct hg_client_ring *ring, uint32_t slot)
{
    uint64_t released = atomic_load_explicit(&ring->client->slots[slot].released_bytes, memory_order_acquire);
    uint64_t outstanding = ring->sent_bytes[slot] - ring->released_bytes[slot];
    if (released - ring->released_bytes[slot] > outstanding)
        return ring_poison(ring, HG_CLIENT_FAULT_RELEASED_RANGE);
    ring->released_bytes[slot] = released;
    return 0;
}

uint64_t hg_client_ring_deliver_outstanding(struct hg_client_ring *ring, uint32_t slot)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    if (ring->fault == HG_CLIENT_FAULT_NONE)
        (void)released_take(ring, slot);
    return ring->sent_bytes[slot] - ring->released_bytes[slot];
}

static bool deliver_room(struct hg_client_ring *ring, uint64_t need_bytes)
{
    if (ring->deliver_bytes - (ring->deliver_tail - ring->deliver_head) >= need_bytes)
        return true;
    /* Acquire: the client's reads are over before we overwrite. */
    uint64_t head = atomic_load_explicit(&ring->client->deliver_head, memory_order_acquire);
    if (head - ring->deliver_head > ring->deliver_tail - ring->deliver_head) {
        ring_poison(ring, HG_CLIENT_FAULT_INDEX_RANGE);
        return false;
    }
    if (head % HG_CLIENT_DELIVER_ALIGN_BYTES != 0) {
        ring_poison(ring, HG_CLIENT_FAULT_INDEX_ALIGN);
        return false;
    }
    ring->deliver_head = head;
    return ring->deliver_bytes - (ring->deliver_tail - ring->deliver_head) >= need_bytes;
}

/* Finds the place of a record; a pad before it goes down now, invisible until the tail moves. */
static bool deliver_place_find(struct hg_client_ring *ring, uint64_t record_bytes)
{
    uint64_t place = ring->deliver_tail & (ring->deliver_bytes - 1);
    uint64_t run_bytes = ring->deliver_bytes - place;
    uint64_t pad_bytes = run_bytes < record_bytes ? run_bytes : 0;
    if (!deliver_room(ring, pad_bytes + record_bytes))
        return false;
    if (pad_bytes > 0) {
        struct hg_deliver_record pad = {.bytes = (uint32_t)pad_bytes, .type = HG_DELIVER_PAD};
        memcpy(ring->deliver + place, &pad, sizeof(pad));
    }
    ring->deliver_place = ring->deliver_tail + pad_bytes;
    ring->deliver_reserved = pad_bytes + record_bytes;
    return true;
}

uint8_t *hg_client_ring_deliver_reserve(struct hg_client_ring *ring, uint32_t slot, uint32_t bytes)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    hg_assert(hg_client_ring_deliver_fits(ring, bytes));
    ring->deliver_reserved = 0;
    if (ring->fault != HG_CLIENT_FAULT_NONE)
        return NULL;
    uint64_t record_bytes = deliver_record_bytes(bytes);
    if (ring->sent_bytes[slot] - ring->released_bytes[slot] + record_bytes > ring->deliver_credit_bytes) {
        if (released_take(ring, slot) != 0)
            return NULL;
        if (ring->sent_bytes[slot] - ring->released_bytes[slot] + record_bytes > ring->deliver_credit_bytes)
            return NULL;
    }
    if (!deliver_place_find(ring, record_bytes))
        return NULL;
    ring->deliver_record = (struct hg_deliver_record){
        .bytes = (uint32_t)record_bytes,
        .type = HG_DELIVER_BATCH,
        .slot = (uint8_t)slot,
        .attachment = ring->attachments[slot],
        .payload_bytes = bytes,
    };
    return ring->deliver + (ring->deliver_place & (ring->deliver_bytes - 1)) +
           sizeof(struct hg_deliver_record);
}

void hg_client_ring_deliver_commit(struct hg_client_ring *ring)
{
    hg_assert(ring->deliver_reserved > 0);
    const struct hg_deliver_record *record = &ring->deliver_record;
    memcpy(ring->deliver + (ring->deliver_place & (ring->deliver_bytes - 1)), record, sizeof(*record));
    if (record->type == HG_DELIVER_BATCH)
        ring->sent_bytes[record->slot] += record->bytes;
    ring->deliver_tail += ring->deliver_reserved;
    ring->deliver_reserved = 0;
    atomic_store_explicit(&ring->own->deliver_tail, ring->deliver_tail, memory_order_release);
    ring->news = true;
}

bool hg_client_ring_deliver_error(struct hg_client_ring *ring, uint32_t slot, enum hg_deliver_type type,
                                  int32_t code, uint64_t lsn)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    hg_assert(type == HG_DELIVER_READ_ERROR || type == HG_DELIVER_APPEND_REFUSED ||
              type == HG_DELIVER_CLOSED);
    hg_assert(code < 0);
    ring->deliver_reserved = 0;
    if (ring->fault != HG_CLIENT_FAULT_NONE || !deliver_place_find(ring, sizeof(struct hg_deliver_record)))
        return false;
    ring->deliver_record = (struct hg_deliver_record){
        .bytes = sizeof(struct hg_deliver_record),
        .type = (uint8_t)type,
        .slot = (uint8_t)slot,
        .attachment = ring->attachments[slot],
        .code = code,
        .lsn = lsn,
    };
    hg_client_ring_deliver_commit(ring);
    return true;
}

/* ---- positions and doorbells ---- */
void hg_client_ring_position_set(struct hg_client_ring *ring, uint32_t slot,
                                 const struct hg_client_position *position)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    uint64_t words[HG_CLIENT_POSITION_WORDS];
    struct hg_client_position copy = *position;
    copy.attachment = ring->attachments[slot];
    memcpy(words, &copy, sizeof(words));
    struct hg_client_position_page *page = &ring->positions[slot];
    uint64_t sequence = ring->position_sequence[slot];
    atomic_store_explicit(&page->sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* whoever sees a new word sees the odd sequence too */
    for (size_t i = 0; i < HG_CLIENT_POSITION_WORDS; i++)
        atomic_store_explicit(&page->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&page->sequence, sequence + 2, memory_order_release);
    ring->position_sequence[slot] = sequence + 2;
    ring->position_changes++;
    atomic_store_explicit(&ring->own->position_changes, ring->position_changes, memory_order_release);
    ring->news = true;
}

uint64_t hg_client_ring_acknowledged(struct hg_client_ring *ring, uint32_t slot)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    const struct hg_client_memory_slot *theirs = &ring->client->slots[slot];
    /* The word of an earlier attachment speaks of another stream. */
    if (atomic_load_explicit(&theirs->attachment, memory_order_acquire) != ring->attachments[slot])
        return 0;
    return atomic_load_explicit(&theirs->lsn_acknowledged, memory_order_acquire);
}

bool hg_client_ring_doorbell_needed(struct hg_client_ring *ring)
{
    if (!ring->news)
        return false;
    ring->news = false;
    atomic_thread_fence(
        memory_order_seq_cst); /* our news before our look; the sleeper: its word before its look */
    uint64_t sleep = atomic_load_explicit(&ring->client->sleep, memory_order_relaxed);
    if ((sleep & 1) == 0 || sleep == ring->rung)
        return false;
    ring->rung = sleep;
    return true;
}

void hg_client_ring_sleep_set(struct hg_client_ring *ring, bool sleeping)
{
    if (((ring->sleep & 1) != 0) == sleeping)
        return;
    ring->sleep++;
    atomic_store_explicit(&ring->own->sleep, ring->sleep, memory_order_relaxed);
    if (sleeping)
        atomic_thread_fence(memory_order_seq_cst); /* the word before the look that follows */
}

bool hg_client_ring_pending(struct hg_client_ring *ring)
{
    if (ring->fault != HG_CLIENT_FAULT_NONE)
        return false;
    uint64_t tail = atomic_load_explicit(&ring->client->append_tail, memory_order_acquire);
    uint64_t changes = atomic_load_explicit(&ring->client->changes, memory_order_acquire);
    bool pending = tail != ring->append_tail_seen || changes != ring->changes_seen;
    ring->append_tail_seen = tail;
    ring->changes_seen = changes;
    return pending;
}
