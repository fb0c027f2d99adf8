/* SPDX-License-Identifier: Apache-2.0
 *
 * The client's side of the client ring. See client_ring.h for the ordering rules.
 */
#include "drivers/ipc/client_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A writer needs well under a microsecond; one that takes this long died in the middle. */
#define POSITION_TRIES_MAX 100000u

int hg_client_view_init(struct hg_client_view *view, void *memory, uint64_t memory_bytes)
{
    memset(view, 0, sizeof(*view));
    if (memory_bytes < sizeof(struct hg_client_memory_head))
        return -EBADMSG;
    struct hg_client_memory_head head;
    memcpy(&head, memory, sizeof(head));
    atomic_signal_fence(memory_order_seq_cst); /* the compiler may not go back to the shared copy */
    if (head.magic != HG_CLIENT_MEMORY_MAGIC)
        return -EBADMSG;
    if (head.abi != HG_CLIENT_ABI)
        return -EPROTO;
    if (hg_client_memory_bytes(head.append_bytes, head.deliver_bytes) != memory_bytes || head.boot == 0)
        return -EBADMSG;
    struct hg_client_memory_head expected; /* there is one layout for given sizes: anything else is refused */
    hg_client_memory_layout(&expected, head.append_bytes, head.deliver_bytes);
    expected.boot = head.boot;
    expected.generation = head.generation;
    if (memcmp(&expected, &head, sizeof(head)) != 0)
        return -EBADMSG;

    uint8_t *base = memory;
    view->memory = memory;
    view->memory_bytes = memory_bytes;
    view->dataplane = (struct hg_client_memory_dataplane *)(base + head.dataplane_offset);
    view->own = (struct hg_client_memory_client *)(base + head.client_offset);
    view->positions = (struct hg_client_position_page *)(base + head.positions_offset);
    view->append = base + head.append_offset;
    view->deliver = base + head.deliver_offset;
    view->append_bytes = head.append_bytes;
    view->deliver_bytes = head.deliver_bytes;
    view->deliver_credit_bytes = head.deliver_credit_bytes;
    view->boot = head.boot;
    view->generation = head.generation;
    return 0;
}

int hg_client_view_map(struct hg_client_view *view, int memfd)
{
    memset(view, 0, sizeof(*view));
    int seals = fcntl(memfd, F_GET_SEALS);
    if (seals < 0)
        return -errno;
    if ((seals & F_SEAL_SHRINK) == 0)
        return -EBADMSG;
    struct stat status;
    if (fstat(memfd, &status) != 0)
        return -errno;
    if (status.st_size < (off_t)sizeof(struct hg_client_memory_head))
        return -EBADMSG;
    uint64_t memory_bytes = (uint64_t)status.st_size;
    void *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    int rc = hg_client_view_init(view, memory, memory_bytes);
    if (rc != 0) {
        munmap(memory, memory_bytes);
        return rc;
    }
    view->mapped = true;
    return 0;
}

void hg_client_view_unmap(struct hg_client_view *view)
{
    if (view->mapped)
        munmap(view->memory, view->memory_bytes);
    memset(view, 0, sizeof(*view));
}

static int view_poison(struct hg_client_view *view, enum hg_client_fault fault)
{
    hg_assert(fault != HG_CLIENT_FAULT_NONE);
    if (view->fault == HG_CLIENT_FAULT_NONE)
        view->fault = fault;
    view->deliver_peeked = 0;
    return -EBADMSG;
}

static void changes_raise(struct hg_client_view *view)
{
    view->changes++;
    atomic_store_explicit(&view->own->changes, view->changes, memory_order_release);
    view->news = true;
}

/* ---- append ring ---- */
/* Returns 1 when there is room, 0 when not, -EBADMSG. */
static int append_room(struct hg_client_view *view, uint64_t need_bytes)
{
    if (view->append_bytes - (view->append_tail - view->append_head) >= need_bytes)
        return 1;
    /* Acquire: the worker's reads are over before we overwrite. */
    uint64_t head = atomic_load_explicit(&view->dataplane->append_head, memory_order_acquire);
    if (head - view->append_head > view->append_published - view->append_head)
        return view_poison(view, HG_CLIENT_FAULT_INDEX_RANGE);
    if (head % HG_CLIENT_APPEND_ALIGN_BYTES != 0)
        return view_poison(view, HG_CLIENT_FAULT_INDEX_ALIGN);
    view->append_head = head;
    return view->append_bytes - (view->append_tail - view->append_head) >= need_bytes;
}

int hg_client_view_append(struct hg_client_view *view, const struct hg_append_record *record, const void *key,
                          const void *data)
{
    if (view->fault != HG_CLIENT_FAULT_NONE)
        return -EBADMSG;
    hg_assert(record->key_bytes <= HG_CLIENT_KEY_BYTES_MAX && record->data_bytes <= HG_CLIENT_DATA_BYTES_MAX);
    hg_assert(record->slot < HG_CLIENT_SLOTS);
    uint64_t content_bytes = sizeof(*record) + record->key_bytes + record->data_bytes;
    uint64_t record_bytes = hg_align_up(content_bytes, HG_CLIENT_APPEND_ALIGN_BYTES);
    if (record_bytes > view->append_bytes / 2)
        return -EMSGSIZE;
    uint64_t place = view->append_tail & (view->append_bytes - 1);
    uint64_t run_bytes = view->append_bytes - place;
    uint64_t pad_bytes = run_bytes < record_bytes ? run_bytes : 0;
    int room = append_room(view, pad_bytes + record_bytes);
    if (room <= 0)
        return room < 0 ? room : -EAGAIN;
    if (pad_bytes > 0) {
        struct hg_append_record pad = {.bytes = (uint32_t)pad_bytes, .type = HG_APPEND_PAD};
        memcpy(view->append + place, &pad, 8); /* there may be no room for more */
        place = 0;
    }
    struct hg_append_record copy = *record;
    copy.bytes = (uint32_t)record_bytes;
    copy.type = HG_APPEND_ENTRY;
    uint8_t *target = view->append + place;
    memcpy(target, &copy, sizeof(copy));
    if (copy.key_bytes > 0)
        memcpy(target + sizeof(copy), key, copy.key_bytes);
    if (copy.data_bytes > 0)
        memcpy(target + sizeof(copy) + copy.key_bytes, data, copy.data_bytes);
    memset(target + content_bytes, 0, record_bytes - content_bytes);
    view->append_tail += pad_bytes + record_bytes;
    return 0;
}

void hg_client_view_append_publish(struct hg_client_view *view)
{
    if (view->append_published == view->append_tail)
        return;
    view->append_published = view->append_tail;
    atomic_store_explicit(&view->own->append_tail, view->append_tail, memory_order_release);
    view->news = true;
}

/* ---- deliver ring ---- */
static int deliver_tail_take(struct hg_client_view *view)
{
    uint64_t tail = atomic_load_explicit(&view->dataplane->deliver_tail, memory_order_acquire);
    if (tail - view->deliver_head > view->deliver_bytes)
        return view_poison(view, HG_CLIENT_FAULT_INDEX_RANGE);
    if (tail % HG_CLIENT_DELIVER_ALIGN_BYTES != 0)
        return view_poison(view, HG_CLIENT_FAULT_INDEX_ALIGN);
    view->deliver_tail = tail;
    return 0;
}

/* Of a private copy. */
static enum hg_client_fault deliver_record_check(const struct hg_client_view *view,
                                                 const struct hg_deliver_record *record)
{
    if (record->slot >= HG_CLIENT_SLOTS)
        return HG_CLIENT_FAULT_RECORD_SLOT;
    switch (record->type) {
    case HG_DELIVER_BATCH:
        if (record->payload_bytes == 0 || record->payload_bytes > HG_CLIENT_BATCH_BYTES_MAX ||
            record->bytes !=
                hg_align_up(sizeof(*record) + record->payload_bytes, HG_CLIENT_DELIVER_ALIGN_BYTES))
            return HG_CLIENT_FAULT_RECORD_SIZES;
        if (view->delivered_bytes[record->slot] - view->released_bytes[record->slot] + record->bytes >
            view->deliver_credit_bytes)
            return HG_CLIENT_FAULT_CREDIT;
        return HG_CLIENT_FAULT_NONE;
    case HG_DELIVER_READ_ERROR:
    case HG_DELIVER_APPEND_REFUSED:
    case HG_DELIVER_CLOSED:
        if (record->payload_bytes != 0 || record->bytes != sizeof(*record) || record->code >= 0)
            return HG_CLIENT_FAULT_RECORD_SIZES;
        return HG_CLIENT_FAULT_NONE;
    default:
        return HG_CLIENT_FAULT_RECORD_TYPE;
    }
}

int hg_client_view_deliver_peek(struct hg_client_view *view, struct hg_deliver_record *record,
                                const uint8_t **payload)
{
    if (view->fault != HG_CLIENT_FAULT_NONE)
        return -EBADMSG;
    view->deliver_peeked = 0;
    for (;;) { /* at most three times: a pad ends where the ring ends */
        if (view->deliver_head == view->deliver_tail) {
            if (deliver_tail_take(view) != 0)
                return -EBADMSG;
            if (view->deliver_head == view->deliver_tail)
                return 0;
        }
        uint64_t place = view->deliver_head & (view->deliver_bytes - 1);
        uint64_t run_bytes = hg_min_u64(view->deliver_tail - view->deliver_head, view->deliver_bytes - place);
        memcpy(record, view->deliver + place, sizeof(*record)); /* indices are aligned to its size */
        atomic_signal_fence(memory_order_seq_cst);              /* as above */
        if (record->bytes < sizeof(*record) || record->bytes % HG_CLIENT_DELIVER_ALIGN_BYTES != 0 ||
            record->bytes > run_bytes)
            return view_poison(view, HG_CLIENT_FAULT_RECORD_BYTES);
        if (record->type == HG_DELIVER_PAD) {
            if (record->bytes != view->deliver_bytes - place)
                return view_poison(view, HG_CLIENT_FAULT_RECORD_BYTES);
            view->deliver_head += record->bytes;
            continue;
        }
        enum hg_client_fault fault = deliver_record_check(view, record);
        if (fault != HG_CLIENT_FAULT_NONE)
            return view_poison(view, fault);
        *payload = view->deliver + place + sizeof(*record);
        view->deliver_peeked = record->bytes;
        view->deliver_peeked_slot = record->type == HG_DELIVER_BATCH ? record->slot : HG_CLIENT_SLOTS;
        return 1;
    }
}

void hg_client_view_deliver_consume(struct hg_client_view *view)
{
    hg_assert(view->deliver_peeked > 0);
    if (view->deliver_peeked_slot < HG_CLIENT_SLOTS)
        view->delivered_bytes[view->deliver_peeked_slot] += view->deliver_peeked;
    view->deliver_head += view->deliver_peeked;
    view->deliver_peeked = 0;
    atomic_store_explicit(&view->own->deliver_head, view->deliver_head, memory_order_release);
    changes_raise(view);
}

void hg_client_view_release(struct hg_client_view *view, uint32_t slot, uint64_t record_bytes)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    hg_assert(record_bytes <= view->delivered_bytes[slot] - view->released_bytes[slot]);
    view->released_bytes[slot] += record_bytes;
    atomic_store_explicit(&view->own->slots[slot].released_bytes, view->released_bytes[slot],
                          memory_order_release);
    changes_raise(view);
}

/* ---- positions and doorbells ---- */
void hg_client_view_slot_attach(struct hg_client_view *view, uint32_t slot, uint16_t attachment)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    struct hg_client_memory_slot *own = &view->own->slots[slot];
    atomic_store_explicit(&own->lsn_acknowledged, 0, memory_order_relaxed);
    /* Release: who sees this attachment doesn't see what an earlier one acknowledged. */
    atomic_store_explicit(&own->attachment, attachment, memory_order_release);
}

void hg_client_view_acknowledge(struct hg_client_view *view, uint32_t slot, uint64_t lsn)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    atomic_store_explicit(&view->own->slots[slot].lsn_acknowledged, lsn, memory_order_release);
    changes_raise(view);
}

bool hg_client_view_position_get(const struct hg_client_view *view, uint32_t slot,
                                 struct hg_client_position *position)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    struct hg_client_position_page *page = &view->positions[slot];
    uint64_t words[HG_CLIENT_POSITION_WORDS];
    for (uint32_t i = 0; i < POSITION_TRIES_MAX; i++) {
        uint64_t before = atomic_load_explicit(&page->sequence, memory_order_acquire);
        for (size_t j = 0; j < HG_CLIENT_POSITION_WORDS; j++)
            words[j] = atomic_load_explicit(&page->words[j], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        uint64_t after = atomic_load_explicit(&page->sequence, memory_order_relaxed);
        if (before == after && (before & 1) == 0) {
            memcpy(position, words, sizeof(*position));
            return true;
        }
    }
    return false;
}

uint64_t hg_client_view_durable(const struct hg_client_view *view, uint32_t slot)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    size_t word = offsetof(struct hg_client_position, lsn_durable) / sizeof(uint64_t);
    return atomic_load_explicit(&view->positions[slot].words[word], memory_order_acquire);
}

uint64_t hg_client_view_committed(const struct hg_client_view *view, uint32_t slot)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    size_t word = offsetof(struct hg_client_position, lsn_committed) / sizeof(uint64_t);
    return atomic_load_explicit(&view->positions[slot].words[word], memory_order_acquire);
}

bool hg_client_view_writable(const struct hg_client_view *view, uint32_t slot, uint32_t *why)
{
    hg_assert(slot < HG_CLIENT_SLOTS);
    size_t offset = offsetof(struct hg_client_position, writable);
    static_assert(offsetof(struct hg_client_position, writable) % 8 == 0, "both in one word");
    static_assert(offsetof(struct hg_client_position, writable_why) ==
                      offsetof(struct hg_client_position, writable) + 4,
                  "both in one word");
    uint64_t word = atomic_load_explicit(&view->positions[slot].words[offset / 8], memory_order_acquire);
    *why = (uint32_t)(word >> 32);
    return (uint32_t)word != 0;
}

bool hg_client_view_closed(const struct hg_client_view *view)
{
    return atomic_load_explicit(&view->dataplane->closed, memory_order_acquire) != 0;
}

bool hg_client_view_doorbell_needed(struct hg_client_view *view)
{
    if (!view->news)
        return false;
    view->news = false;
    atomic_thread_fence(
        memory_order_seq_cst); /* our news before our look; the sleeper: its word before its look */
    uint64_t sleep = atomic_load_explicit(&view->dataplane->sleep, memory_order_relaxed);
    if ((sleep & 1) == 0 || sleep == view->rung)
        return false;
    view->rung = sleep;
    return true;
}

void hg_client_view_sleep_set(struct hg_client_view *view, bool sleeping)
{
    if (((view->sleep & 1) != 0) == sleeping)
        return;
    view->sleep++;
    atomic_store_explicit(&view->own->sleep, view->sleep, memory_order_relaxed);
    if (sleeping)
        atomic_thread_fence(memory_order_seq_cst); /* the word before the look that follows */
}

void hg_client_view_seen(struct hg_client_view *view)
{
    view->position_changes_seen =
        atomic_load_explicit(&view->dataplane->position_changes, memory_order_acquire);
    view->deliver_tail_seen = atomic_load_explicit(&view->dataplane->deliver_tail, memory_order_acquire);
    view->append_head_seen = atomic_load_explicit(&view->dataplane->append_head, memory_order_acquire);
}

bool hg_client_view_pending(struct hg_client_view *view)
{
    return view->position_changes_seen !=
               atomic_load_explicit(&view->dataplane->position_changes, memory_order_acquire) ||
           view->deliver_tail_seen !=
               atomic_load_explicit(&view->dataplane->deliver_tail, memory_order_acquire) ||
           view->append_head_seen !=
               atomic_load_explicit(&view->dataplane->append_head, memory_order_acquire) ||
           hg_client_view_closed(view);
}
