/* SPDX-License-Identifier: Apache-2.0
 *
 * To be preloaded into helio-dataplane: chosen submissions to a log's ring go wrong, as a device or a kernel
 * does it.
 *
 *     HELIO_URING=KIND:N[+]:EFFECT[,...] [HELIO_URING_WHEN=PATH]
 *
 * KIND: write (into a segment), ring (header ring), superblock, read, flush. The Nth of the kind is hit,
 * counted from 1; with + all from then on. EFFECT: the name of an error (EIO, ENOSPC, ECANCELED, ...):
 * nothing is done and that is the result; short: half of its blocks are transferred, at least one, and that
 * is the result; lost: nothing is done and all of it is the result. With HELIO_URING_WHEN nothing is counted
 * until PATH exists. Each effect is said on standard error.
 *
 * A submission with an error becomes a no-operation, which completes as it is submitted, a flush a timer: a
 * flush that fails takes its time, and who acknowledges before it ends has the time to. Results are changed
 * before the program can look.
 */
#include "dataplane/wal/format.h"

#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RULES_MAX   8u
#define CHANGED_MAX 4096u

enum kind { KIND_WRITE, KIND_RING, KIND_SUPERBLOCK, KIND_READ, KIND_FLUSH, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"write", "ring", "superblock", "read", "flush"};

struct rule {
    enum kind kind;
    unsigned long nth;
    bool is_lasting;
    char effect[16];
};

/* A result that is to be changed when it comes. */
struct changed {
    uint64_t user_data;
    int32_t result;
};

static struct rule rules[RULES_MAX];
static uint32_t rule_count;
static const char *begins_when; /* a path; NULL = it has begun */
static unsigned long counts[KIND_COUNT];

/* Of the thread that owns a ring; a worker has one. */
static __thread struct changed changed[CHANGED_MAX];
static __thread uint32_t changed_count;
static __thread unsigned sqe_seen;

static void refuse(const char *text)
{
    fprintf(stderr, "HELIO_URING: %s: give KIND:N[+]:EFFECT[,...]\n", text);
    _exit(2);
}

static void rule_add(char *text)
{
    struct rule *rule = &rules[rule_count];
    char kind[16], plus[2] = "";
    if (rule_count == RULES_MAX ||
        (sscanf(text, "%15[a-z]:%lu%1[+]:%15s", kind, &rule->nth, plus, rule->effect) != 4 &&
         sscanf(text, "%15[a-z]:%lu:%15s", kind, &rule->nth, rule->effect) != 3))
        refuse(text);
    rule->is_lasting = plus[0] == '+';
    for (rule->kind = 0; rule->kind < KIND_COUNT && strcmp(kind, kind_names[rule->kind]) != 0;)
        rule->kind++;
    if (rule->kind == KIND_COUNT || rule->nth == 0)
        refuse(text);
    rule_count++;
}

__attribute__((constructor)) static void shim_start(void)
{
    const char *given = getenv("HELIO_URING");
    if (given == NULL)
        return;
    begins_when = getenv("HELIO_URING_WHEN");
    char *text = strdup(given), *rest = text;
    while (text != NULL && *rest != '\0') {
        char *one = rest;
        rest += strcspn(rest, ",");
        if (*rest == ',')
            *rest++ = '\0';
        rule_add(one);
    }
    free(text);
}

static enum kind kind_of(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED:
        return sqe->off < HG_LOG_RING_OFFSET       ? KIND_SUPERBLOCK
               : sqe->off < HG_LOG_SEGMENTS_OFFSET ? KIND_RING
                                                   : KIND_WRITE;
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
        return KIND_READ;
    case IORING_OP_FSYNC:
        return KIND_FLUSH;
    default:
        return KIND_COUNT;
    }
}

static int32_t error_of(const char *name)
{
    for (int error = 1; error < 134; error++) {
        const char *known = strerrorname_np(error);
        if (known != NULL && strcmp(known, name) == 0)
            return -error;
    }
    refuse(name);
    return 0;
}

/* Nothing is done; `result` is what the program will see. */
static void noop_make(struct io_uring_sqe *sqe, int32_t result)
{
    static struct __kernel_timespec flush_fails_after = {.tv_nsec = 20 * 1000 * 1000};
    uint64_t user_data = sqe->user_data;
    bool is_flush = sqe->opcode == IORING_OP_FSYNC;
    if (changed_count == CHANGED_MAX)
        refuse("too much at once");
    memset(sqe, 0, sizeof(*sqe));
    if (is_flush)
        io_uring_prep_timeout(sqe, &flush_fails_after, 0, 0);
    else
        io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
    changed[changed_count++] = (struct changed){.user_data = user_data, .result = result};
}

static void effect_apply(const struct rule *rule, struct io_uring_sqe *sqe)
{
    uint32_t bytes = rule->kind == KIND_FLUSH ? 0 : sqe->len;
    fprintf(stderr, "uring_shim: %s %lu: %s\n", kind_names[rule->kind], counts[rule->kind], rule->effect);
    if (strcmp(rule->effect, "short") == 0) {
        uint32_t blocks = bytes / HG_LOG_BLOCK_BYTES;
        if (blocks > 1)
            sqe->len = blocks / 2 * HG_LOG_BLOCK_BYTES;
        else
            noop_make(sqe, 0);
    } else {
        noop_make(sqe, strcmp(rule->effect, "lost") == 0 ? (int32_t)bytes : error_of(rule->effect));
    }
}

static void submission_judge(struct io_uring_sqe *sqe)
{
    enum kind kind = kind_of(sqe);
    if (kind == KIND_COUNT || (begins_when != NULL && access(begins_when, F_OK) != 0))
        return;
    begins_when = NULL;
    counts[kind]++;
    for (uint32_t i = 0; i < rule_count; i++) {
        const struct rule *rule = &rules[i];
        if (rule->kind == kind &&
            (rule->is_lasting ? counts[kind] >= rule->nth : counts[kind] == rule->nth)) {
            effect_apply(rule, sqe);
            return;
        }
    }
}

static void results_change(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    io_uring_for_each_cqe(ring, head, cqe)
    {
        for (uint32_t i = 0; i < changed_count; i++) {
            if (changed[i].user_data != cqe->user_data)
                continue;
            cqe->res = changed[i].result;
            changed[i] = changed[--changed_count];
            break;
        }
    }
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    static int (*next)(struct io_uring *);
    if (next == NULL)
        next = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
    if (ring->sq.sqe_tail - sqe_seen > ring->sq.ring_entries)
        sqe_seen = ring->sq.sqe_head; /* another ring than before */
    /* What the kernel did not take the last time was judged then. */
    for (; sqe_seen != ring->sq.sqe_tail; sqe_seen++)
        submission_judge(&ring->sq.sqes[sqe_seen & ring->sq.ring_mask]);
    int result = next(ring);
    results_change(ring);
    return result;
}

/* What the inline functions of liburing call when they enter the kernel. */
int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit, unsigned wait_count,
                       sigset_t *mask)
{
    static int (*next)(struct io_uring *, struct io_uring_cqe **, unsigned, unsigned, sigset_t *);
    if (next == NULL)
        next = (int (*)(struct io_uring *, struct io_uring_cqe **, unsigned, unsigned, sigset_t *))dlsym(
            RTLD_NEXT, "__io_uring_get_cqe");
    int result = next(ring, cqe, submit, wait_count, mask);
    results_change(ring);
    return result;
}
