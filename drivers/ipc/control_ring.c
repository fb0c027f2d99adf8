/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ipc/control_ring.h"

#include <errno.h>

#define REGION_MAGIC        UINT64_C(0x474e495243474c48) /* "HLGCRING" */
#define GENERATION_MAX      (UINT64_C(1) << 31)
#define PAGE_GENERATION_MAX (UINT64_C(1) << 62)
#define PAGE_READ_TRIES     4
#define CELL_WORDS          (offsetof(struct cell, reserved) / sizeof(uint64_t))

#ifdef HG_CONTROL_RING_STEPS
#define STEP()     hg_control_ring_step()
#define STEP_WORDS 16 /* a bulk copy is interrupted after so many words */
#else
#define STEP()     ((void)0)
#define STEP_WORDS SIZE_MAX
#endif

struct cell { /* sequence == position + 1: published; written last */
    uint64_t sequence;
    uint64_t generation;
    uint64_t request;
    uint32_t crc32c; /* of this struct up to `reserved`, with itself zero */
    uint32_t zero;
    struct hg_control_message message;
    uint64_t reserved[5];
};
static_assert(sizeof(struct cell) == 320 && sizeof(struct cell) % HG_CACHE_LINE_BYTES == 0, "whole lines");
static_assert(offsetof(struct cell, reserved) == 280, "no padding under the checksum");

struct page { /* odd sequence: being written */
    uint64_t sequence;
    uint64_t generation;
    uint64_t bytes;
    uint64_t crc32c; /* of generation, bytes and body */
    uint64_t reserved[4];
};
static_assert(sizeof(struct page) == HG_CACHE_LINE_BYTES, "a line, then the body");

struct side_line { /* written by one side only */
    uint64_t generation;
    uint64_t beat;
    uint64_t receive_position; /* of the ring it consumes */
    uint64_t poisoned;         /* 1 + enum hg_control_ring_counter */
    uint64_t reserved[4];
};
static_assert(sizeof(struct side_line) == HG_CACHE_LINE_BYTES, "own cache line");

struct hg_control_region {
    uint64_t magic; /* this line is written once, by the creator */
    uint64_t abi_hash;
    uint64_t bytes;
    uint64_t boot;
    uint64_t cells;
    uint64_t reserved[3];
    struct side_line sides[2]; /* by enum hg_control_side */
    uint64_t reserved_lines[8 * 5];
    /* config page | status page | grants page | cells to the dataplane | cells to the control plane */
};
static_assert(sizeof(struct hg_control_region) == 512, "lines");
static_assert(sizeof(struct hg_control_config) % sizeof(uint64_t) == 0, "copied by words");
static_assert(sizeof(struct hg_control_status) % sizeof(uint64_t) == 0, "copied by words");
static_assert(sizeof(struct hg_control_grants) % sizeof(uint64_t) == 0, "copied by words");

static const char *const counter_names[] = {
#define HG_X(name, text) #name,
    HG_CONTROL_RING_COUNTERS(HG_X)
#undef HG_X
};

static const char *const counter_texts[] = {
#define HG_X(name, text) text,
    HG_CONTROL_RING_COUNTERS(HG_X)
#undef HG_X
};

const char *hg_control_ring_counter_name(enum hg_control_ring_counter counter)
{
    hg_assert(counter < HG_CONTROL_RING_COUNTER_COUNT);
    return counter_names[counter];
}

const char *hg_control_ring_counter_text(enum hg_control_ring_counter counter)
{
    hg_assert(counter < HG_CONTROL_RING_COUNTER_COUNT);
    return counter_texts[counter];
}

/* ---- shared accesses: each one is a step ---- */
static uint64_t load(const uint64_t *word)
{
    uint64_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    STEP();
    return value;
}

static void store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    STEP();
}

/* Bulk copies by relaxed words: the other side may be writing, which is then found out, but never undefined.
 */
static void copy_in(void *to, const uint64_t *from, size_t bytes)
{
    uint64_t word;

    for (size_t i = 0; i < bytes / sizeof(word); i++) {
        word = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
        memcpy((uint8_t *)to + i * sizeof(word), &word, sizeof(word));
        if (i % STEP_WORDS == STEP_WORDS - 1)
            STEP();
    }
    STEP();
}

static void copy_out(uint64_t *to, const void *from, size_t bytes)
{
    uint64_t word;

    for (size_t i = 0; i < bytes / sizeof(word); i++) {
        memcpy(&word, (const uint8_t *)from + i * sizeof(word), sizeof(word));
        __atomic_store_n(&to[i], word, __ATOMIC_RELAXED);
        if (i % STEP_WORDS == STEP_WORDS - 1)
            STEP();
    }
    STEP();
}

/* ---- layout ---- */
static size_t page_bytes(size_t body_bytes)
{
    return sizeof(struct page) + hg_align_up(body_bytes, HG_CACHE_LINE_BYTES);
}

static bool cells_valid(uint64_t cells)
{
    return cells >= HG_CONTROL_RING_CELLS_MIN && cells <= HG_CONTROL_RING_CELLS_MAX &&
           (cells & (cells - 1)) == 0;
}

static size_t pages_bytes(void)
{
    return page_bytes(sizeof(struct hg_control_config)) + page_bytes(sizeof(struct hg_control_status)) +
           page_bytes(sizeof(struct hg_control_grants));
}

size_t hg_control_region_bytes(uint32_t cells)
{
    hg_assert(cells_valid(cells));
    return sizeof(struct hg_control_region) + pages_bytes() + 2 * (size_t)cells * sizeof(struct cell);
}

/* The page `writer` writes. */
static struct page *page_of(const struct hg_control_ring *ring, enum hg_control_side writer)
{
    uint8_t *at = (uint8_t *)ring->region + sizeof(struct hg_control_region);

    if (writer == HG_SIDE_DATAPLANE)
        at += page_bytes(sizeof(struct hg_control_config));
    return (struct page *)(void *)at;
}

static struct page *grants_page_of(const struct hg_control_ring *ring)
{
    uint8_t *at = (uint8_t *)page_of(ring, HG_SIDE_DATAPLANE) + page_bytes(sizeof(struct hg_control_status));
    return (struct page *)(void *)at;
}

/* The cell of `position` in the ring that `producer` writes. */
static struct cell *cell_of(const struct hg_control_ring *ring, enum hg_control_side producer,
                            uint64_t position)
{
    uint8_t *at = (uint8_t *)ring->region + sizeof(struct hg_control_region) + pages_bytes();
    uint64_t index = position & (ring->cells - 1);

    if (producer == HG_SIDE_DATAPLANE)
        index += ring->cells;
    return (struct cell *)(void *)at + index;
}

static enum hg_control_side other(enum hg_control_side side)
{
    return side == HG_SIDE_CONTROL ? HG_SIDE_DATAPLANE : HG_SIDE_CONTROL;
}

static struct side_line *line_of(const struct hg_control_ring *ring, enum hg_control_side side)
{
    return &ring->region->sides[side];
}

/* Differs whenever a struct or the layout does. */
static uint64_t abi_hash(void)
{
    const uint64_t facts[] = {
        HG_CONTROL_ABI,
        sizeof(struct hg_control_region),
        sizeof(struct cell),
        sizeof(struct page),
        sizeof(struct hg_control_message),
        sizeof(struct hg_control_tail),
        sizeof(struct hg_control_config),
        sizeof(struct hg_config_node),
        sizeof(struct hg_config_port),
        sizeof(struct hg_config_peer),
        sizeof(struct hg_config_log),
        sizeof(struct hg_config_stream),
        sizeof(struct hg_config_consumer),
        offsetof(struct hg_control_config, streams),
        sizeof(struct hg_control_status),
        sizeof(struct hg_status_port),
        sizeof(struct hg_status_peer),
        sizeof(struct hg_status_log),
        sizeof(struct hg_status_stream),
        sizeof(struct hg_status_stream_peer),
        sizeof(struct hg_status_client),
        sizeof(struct hg_status_consumer),
        sizeof(struct hg_status_drop),
        sizeof(struct hg_control_grants),
        offsetof(struct hg_control_status, streams),
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < HG_COUNT(facts); i++)
        hash = (hash ^ facts[i]) * UINT64_C(0x100000001b3);
    return hash;
}

void hg_control_region_format(void *memory, uint32_t cells, uint64_t boot)
{
    struct hg_control_region *region = memory;

    hg_assert(cells_valid(cells) && boot != 0);
    hg_assert((uintptr_t)memory % HG_CACHE_LINE_BYTES == 0);
    region->abi_hash = abi_hash();
    region->bytes = hg_control_region_bytes(cells);
    region->boot = boot;
    region->cells = cells;
    store(&region->magic, REGION_MAGIC);
}

/* ---- opening ---- */
static int poison(struct hg_control_ring *ring, enum hg_control_ring_counter why)
{
    if (!ring->poisoned) {
        ring->poisoned = true;
        ring->poison = why;
        ring->counters[why]++;
        store(&line_of(ring, ring->side)->poisoned, 1 + (uint64_t)why);
    }
    return -EBADMSG;
}

/* The producer's position is not in the region: it is the first cell, from the consumer's index on, that was
 * never published. A producer that died inside a cell finds that cell again. */
static int find_send_position(struct hg_control_ring *ring)
{
    uint64_t head = load(&line_of(ring, other(ring->side))->receive_position);
    uint64_t position = head;

    if (head >= PAGE_GENERATION_MAX)
        return poison(ring, HG_CONTROL_RING_poison_head);
    while (position - head < ring->cells &&
           load(&cell_of(ring, ring->side, position)->sequence) == position + 1)
        position++;
    ring->send_position = position;
    return 0;
}

static int open_page(struct hg_control_ring *ring, struct page *page, struct hg_control_page_writer *writer)
{
    uint64_t sequence = load(&page->sequence);

    writer->generation = load(&page->generation);
    writer->sequence = sequence + (sequence & 1);
    if (writer->generation >= PAGE_GENERATION_MAX || sequence >= PAGE_GENERATION_MAX)
        return poison(ring, HG_CONTROL_RING_poison_generation);
    return 0;
}

static int open_pages(struct hg_control_ring *ring)
{
    int rc = open_page(ring, page_of(ring, ring->side), &ring->page);

    return rc == 0 && ring->side == HG_SIDE_CONTROL ? open_page(ring, grants_page_of(ring), &ring->grants)
                                                    : rc;
}

int hg_control_ring_open(struct hg_control_ring *ring, void *memory, size_t bytes, enum hg_control_side side)
{
    struct hg_control_region *region = memory;
    struct side_line *own;
    uint64_t cells;

    memset(ring, 0, sizeof(*ring));
    for (int i = 0; i < HG_CONTROL_RING_FDS; i++)
        ring->fds[i] = -1;
    if (bytes < sizeof(*region) || load(&region->magic) != REGION_MAGIC ||
        load(&region->abi_hash) != abi_hash())
        return -EPROTO;
    cells = load(&region->cells);
    ring->boot = load(&region->boot);
    if (!cells_valid(cells) || load(&region->bytes) != hg_control_region_bytes((uint32_t)cells) ||
        bytes < hg_control_region_bytes((uint32_t)cells) || ring->boot == 0)
        return -EBADMSG;
    ring->region = region;
    ring->region_bytes = bytes;
    ring->side = side;
    ring->cells = (uint32_t)cells;
    if (hg_control_ring_must_recreate(ring)) {
        ring->poisoned = true;
        ring->poison = HG_CONTROL_RING_poison_header;
        return -EBADMSG;
    }
    own = line_of(ring, side);
    ring->generation = load(&own->generation) + 1;
    if (ring->generation >= GENERATION_MAX)
        return poison(ring, HG_CONTROL_RING_poison_generation);
    ring->receive_position = load(&own->receive_position);
    if (ring->receive_position >= PAGE_GENERATION_MAX)
        return poison(ring, HG_CONTROL_RING_poison_head);
    ring->request_last = ring->generation << 32;
    if (find_send_position(ring) < 0 || open_pages(ring) < 0)
        return -EBADMSG;
    store(&own->generation, ring->generation);
    return 0;
}

static int header_check(struct hg_control_ring *ring)
{
    const struct hg_control_region *region = ring->region;

    if (ring->poisoned)
        return -EBADMSG;
    if (load(&region->magic) != REGION_MAGIC || load(&region->boot) != ring->boot ||
        load(&region->cells) != ring->cells || load(&region->bytes) != hg_control_region_bytes(ring->cells))
        return poison(ring, HG_CONTROL_RING_poison_header);
    return 0;
}

/* ---- messages ---- */
uint64_t hg_control_ring_request(struct hg_control_ring *ring)
{
    hg_assert((ring->request_last & UINT32_MAX) < UINT32_MAX);
    return ++ring->request_last;
}

static bool ends(const char *text, size_t bytes)
{
    return memchr(text, '\0', bytes) != NULL;
}

/* Its texts end within their arrays. */
static bool texts_end(const struct hg_control_message *message)
{
    return message->type == HG_CONTROL_TAIL ||
           (ends(message->name, sizeof(message->name)) && ends(message->text, sizeof(message->text)));
}

static uint32_t cell_crc32c(const struct cell *cell)
{
    struct cell copy = *cell;

    copy.crc32c = 0;
    return hg_crc32c(0, &copy, offsetof(struct cell, reserved));
}

int hg_control_ring_send(struct hg_control_ring *ring, uint64_t request,
                         const struct hg_control_message *message)
{
    uint64_t position = ring->send_position;
    struct cell cell = {0}, *shared = cell_of(ring, ring->side, position);
    uint64_t head;

    hg_assert(texts_end(message));
    if (header_check(ring) < 0)
        return -EBADMSG;
    head = load(&line_of(ring, other(ring->side))->receive_position);
    if (head > position || position - head > ring->cells)
        return poison(ring, HG_CONTROL_RING_poison_head);
    if (position - head == ring->cells) {
        ring->counters[HG_CONTROL_RING_refused_full]++;
        return -EAGAIN;
    }
    cell.sequence = position + 1;
    cell.generation = ring->generation;
    cell.request = request;
    cell.message = *message;
    cell.crc32c = cell_crc32c(&cell);
    copy_out(&shared->generation, &cell.generation, (CELL_WORDS - 1) * sizeof(uint64_t));
    store(&shared->sequence, cell.sequence);
    ring->send_position = position + 1;
    ring->counters[HG_CONTROL_RING_sent]++;
    return 0;
}

static bool type_expected(enum hg_control_side receiver, uint32_t type)
{
    switch (type) {
    case HG_CONTROL_HELLO:
        return true;
    case HG_CONTROL_APPLY:
    case HG_CONTROL_COMMAND:
        return receiver == HG_SIDE_DATAPLANE;
    case HG_CONTROL_RESULT:
    case HG_CONTROL_EVENT:
    case HG_CONTROL_TAIL:
        return receiver == HG_SIDE_CONTROL;
    default:
        return false;
    }
}

/* A private copy of a published cell: 1 good, 0 stale, or poisoned. */
static int cell_validate(struct hg_control_ring *ring, const struct cell *cell, uint64_t position)
{
    uint64_t generation;

    if (cell->sequence != position + 1 || cell->zero != 0 || cell->crc32c != cell_crc32c(cell))
        return poison(ring, HG_CONTROL_RING_poison_crc);
    generation = hg_control_ring_peer_generation(ring);
    if (cell->generation > generation || cell->generation == 0 || generation >= GENERATION_MAX)
        return poison(ring, HG_CONTROL_RING_poison_generation);
    if (!type_expected(ring->side, cell->message.type))
        return poison(ring, HG_CONTROL_RING_poison_type);
    if (!texts_end(&cell->message))
        return poison(ring, HG_CONTROL_RING_poison_text);
    return cell->generation == generation || cell->message.type == HG_CONTROL_EVENT;
}

int hg_control_ring_receive(struct hg_control_ring *ring, struct hg_control_received *received)
{
    struct cell cell = {0};

    if (header_check(ring) < 0)
        return -EBADMSG;
    for (uint32_t i = 0; i < ring->cells; i++) { /* stale ones are passed over, a ring's worth at most */
        uint64_t position = ring->receive_position;
        struct cell *shared = cell_of(ring, other(ring->side), position);
        uint64_t sequence = load(&shared->sequence);
        int good;

        if (sequence != position + 1) {
            uint64_t last_lap = position >= ring->cells ? position + 1 - ring->cells : 0;

            return sequence == last_lap ? 0 : poison(ring, HG_CONTROL_RING_poison_sequence);
        }
        cell.sequence = sequence;
        copy_in(&cell.generation, &shared->generation, (CELL_WORDS - 1) * sizeof(uint64_t));
        good = cell_validate(ring, &cell, position);
        if (good < 0)
            return good;
        if (good) {
            received->generation = cell.generation;
            received->request = cell.request;
            received->message = cell.message;
            return 1;
        }
        ring->counters[HG_CONTROL_RING_drop_stale]++;
        ring->receive_position++;
        store(&line_of(ring, ring->side)->receive_position, ring->receive_position);
    }
    return 0;
}

void hg_control_ring_done(struct hg_control_ring *ring)
{
    if (ring->poisoned)
        return;
    ring->receive_position++;
    ring->counters[HG_CONTROL_RING_received]++;
    store(&line_of(ring, ring->side)->receive_position, ring->receive_position);
}

/* ---- pages ---- */
static uint32_t page_crc32c(uint64_t generation, const void *body, size_t bytes)
{
    const uint64_t facts[2] = {generation, bytes};

    return hg_crc32c(hg_crc32c(0, facts, sizeof(facts)), body, bytes);
}

static uint64_t page_write(struct hg_control_ring *ring, struct page *page,
                           struct hg_control_page_writer *writer, const void *body, size_t bytes)
{
    if (header_check(ring) < 0)
        return 0;
    hg_assert(writer->sequence % 2 == 0);
    if (writer->generation + 1 >=
        PAGE_GENERATION_MAX) { /* taken from the region at open: not to be trusted */
        (void)poison(ring, HG_CONTROL_RING_poison_generation);
        return 0;
    }
    writer->generation++;
    store(&page->sequence, writer->sequence + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* the odd sequence is seen before any new word of the body */
    store(&page->generation, writer->generation);
    store(&page->bytes, bytes);
    store(&page->crc32c, page_crc32c(writer->generation, body, bytes));
    copy_out((uint64_t *)(void *)(page + 1), body, bytes);
    writer->sequence += 2;
    store(&page->sequence, writer->sequence);
    return writer->generation;
}

/* 0 = body and *generation are one complete page, checked; else as hg_control_ring_config_read(). */
static int page_read(struct hg_control_ring *ring, const struct page *page, void *body, size_t bytes,
                     uint64_t *generation)
{
    if (header_check(ring) < 0)
        return -EBADMSG;
    for (int i = 0; i < PAGE_READ_TRIES; i++) {
        uint64_t sequence = load(&page->sequence), size, crc32c;

        if (sequence == 0)
            return -ENODATA;
        if (sequence % 2 == 1) {
            ring->counters[HG_CONTROL_RING_page_retry]++;
            continue;
        }
        *generation = load(&page->generation);
        size = load(&page->bytes);
        crc32c = load(&page->crc32c);
        copy_in(body, (const uint64_t *)(const void *)(page + 1), bytes);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load(&page->sequence) != sequence) {
            ring->counters[HG_CONTROL_RING_page_retry]++;
            continue;
        }
        if (size != bytes || *generation == 0 || crc32c != page_crc32c(*generation, body, bytes))
            return poison(ring, HG_CONTROL_RING_poison_page_crc);
        return 0;
    }
    return -EAGAIN;
}

uint64_t hg_control_ring_config_write(struct hg_control_ring *ring, const struct hg_control_config *config)
{
    hg_assert(ring->side == HG_SIDE_CONTROL && hg_control_config_bounds(config) == NULL);
    return page_write(ring, page_of(ring, ring->side), &ring->page, config, sizeof(*config));
}

uint64_t hg_control_ring_status_write(struct hg_control_ring *ring, const struct hg_control_status *status)
{
    hg_assert(ring->side == HG_SIDE_DATAPLANE && hg_control_status_bounds(status) == NULL);
    return page_write(ring, page_of(ring, ring->side), &ring->page, status, sizeof(*status));
}

int hg_control_ring_config_read(struct hg_control_ring *ring, struct hg_control_config *page,
                                uint64_t *generation)
{
    static _Thread_local struct hg_control_config copy;
    uint64_t read = 0;
    int rc;

    hg_assert(ring->side == HG_SIDE_DATAPLANE);
    rc = page_read(ring, page_of(ring, other(ring->side)), &copy, sizeof(copy), &read);
    if (rc == 0 && hg_control_config_bounds(&copy) != NULL)
        rc = poison(ring, HG_CONTROL_RING_poison_page_content);
    if (rc == 0) {
        *page = copy;
        *generation = read;
    }
    return rc;
}

int hg_control_ring_status_read(struct hg_control_ring *ring, struct hg_control_status *page,
                                uint64_t *generation)
{
    static _Thread_local struct hg_control_status copy;
    uint64_t read = 0;
    int rc;

    hg_assert(ring->side == HG_SIDE_CONTROL);
    rc = page_read(ring, page_of(ring, other(ring->side)), &copy, sizeof(copy), &read);
    if (rc == 0 && hg_control_status_bounds(&copy) != NULL)
        rc = poison(ring, HG_CONTROL_RING_poison_page_content);
    if (rc == 0) {
        *page = copy;
        *generation = read;
    }
    return rc;
}

uint64_t hg_control_ring_grants_write(struct hg_control_ring *ring, const struct hg_control_grants *grants)
{
    hg_assert(ring->side == HG_SIDE_CONTROL);
    return page_write(ring, grants_page_of(ring), &ring->grants, grants, sizeof(*grants));
}

int hg_control_ring_grants_read(struct hg_control_ring *ring, struct hg_control_grants *page,
                                uint64_t *generation)
{
    struct hg_control_grants copy;
    uint64_t read = 0;

    hg_assert(ring->side == HG_SIDE_DATAPLANE);
    int rc = page_read(ring, grants_page_of(ring), &copy, sizeof(copy), &read);

    if (rc == 0) {
        *page = copy;
        *generation = read;
    }
    return rc;
}

/* ---- life ---- */
void hg_control_ring_beat(struct hg_control_ring *ring)
{
    struct side_line *own = line_of(ring, ring->side);

    store(&own->beat, __atomic_load_n(&own->beat, __ATOMIC_RELAXED) + 1);
}

bool hg_control_ring_peer_alive(struct hg_control_ring *ring, uint64_t now_ns, uint64_t timeout_ns)
{
    uint64_t beat = load(&line_of(ring, other(ring->side))->beat);

    if (!ring->peer_beat_known || beat != ring->peer_beat) {
        ring->peer_beat_known = true;
        ring->peer_beat = beat;
        ring->peer_beat_seen_ns = now_ns;
    }
    return now_ns - ring->peer_beat_seen_ns <= timeout_ns;
}

uint64_t hg_control_ring_peer_generation(const struct hg_control_ring *ring)
{
    return load(&line_of(ring, other(ring->side))->generation);
}

bool hg_control_ring_must_recreate(const struct hg_control_ring *ring)
{
    return ring->poisoned || load(&line_of(ring, HG_SIDE_CONTROL)->poisoned) != 0 ||
           load(&line_of(ring, HG_SIDE_DATAPLANE)->poisoned) != 0;
}
