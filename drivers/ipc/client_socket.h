/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages between a client and the dataplane on <run>/dataplane.sock (SOCK_SEQPACKET: one message a
 * packet), and the socket calls both sides use. Fixed sizes, little-endian, copied before they are validated.
 *
 *   client                                dataplane
 *   HELLO{abi, name}                 ->   checks peer credentials
 *                                    <-   WELCOME{boot, pid}, or REFUSED{code, text} and a close
 *   ATTACH{request, stream, ...}     ->
 *                                    <-   ANSWER{request, code, worker, slot, attachment, facts} and, the
 * first time on this worker, three descriptors: memfd, doorbell of the worker (the client writes it),
 * doorbell of the client (the client polls it) DETACH{worker, slot, attachment} ->   no answer; the slot may
 * be given again with another attachment Either side going away is seen as a hang-up; nothing else needs
 * saying.
 *
 * ANSWER codes are HG_E_ codes of drivers/client/heliograph.h: NOT_READY (recovering, or the place of the
 * producer is still taken) and UNKNOWN make the library ask again until its caller's deadline; all others end
 * the attempt. The dataplane sets the slot's position before it answers with 0.
 */
#ifndef HG_IPC_CLIENT_SOCKET_H
#define HG_IPC_CLIENT_SOCKET_H

#include "drivers/ipc/client_ring.h"

#include <sys/types.h>

#define HG_CLIENT_SOCKET_NAME   "dataplane.sock"
#define HG_CLIENT_NAME_BYTES    32u
#define HG_CLIENT_TEXT_BYTES    192u
#define HG_CLIENT_MESSAGE_MAGIC 0x4d434c48u /* "HLCM" */
#define HG_CLIENT_WORKERS_MAX   64u
#define HG_CLIENT_DESCRIPTORS   3u
#define HG_CLIENT_REGION_MAX    31u

enum hg_client_message_type {
    HG_CLIENT_HELLO = 1,
    HG_CLIENT_WELCOME = 2,
    HG_CLIENT_REFUSED = 3,
    HG_CLIENT_ATTACH = 4,
    HG_CLIENT_ANSWER = 5,
    HG_CLIENT_DETACH = 6,
};

enum hg_client_attach_flags { HG_CLIENT_ATTACH_APPEND = 1, HG_CLIENT_ATTACH_SUBSCRIBE = 2 };
enum hg_client_answer_flags { HG_CLIENT_ANSWER_MEMORY = 1 }; /* the three descriptors come with it */

struct hg_client_message_head {
    uint32_t magic;
    uint16_t type;  /* enum hg_client_message_type */
    uint16_t bytes; /* of the whole message */
};

struct hg_client_hello {
    struct hg_client_message_head head;
    uint32_t abi; /* HG_CLIENT_ABI */
    uint32_t reserved;
    char name[HG_CLIENT_NAME_BYTES]; /* not empty */
};

struct hg_client_welcome {
    struct hg_client_message_head head;
    uint32_t abi;
    uint32_t pid;
    uint64_t boot; /* not 0 */
};

struct hg_client_refused {
    struct hg_client_message_head head;
    int32_t code; /* HG_E_ */
    uint32_t reserved;
    char text[HG_CLIENT_TEXT_BYTES]; /* a sentence */
};

struct hg_client_attach {
    struct hg_client_message_head head;
    uint64_t request;                    /* repeated in the answer */
    char name[HG_CLIENT_NAME_BYTES];     /* of the stream */
    char consumer[HG_CLIENT_NAME_BYTES]; /* registered; empty = none */
    uint32_t flags;                      /* enum hg_client_attach_flags, at least one */
    uint32_t incarnation;                /* 0 = whatever it is */
    uint64_t lsn_from;                   /* 0 = from the consumer's position, or the oldest kept */
    uint64_t system_identifier;          /* 0 = don't care */
    uint32_t lsn_unit_bytes;             /* 0 = don't care */
    uint32_t append_ring_bytes; /* power of two or 0 = default; counts at the first stream of a worker only */
};

struct hg_client_answer {
    struct hg_client_message_head head;
    uint64_t request;
    int32_t code;        /* HG_E_; 0 = attached and the rest holds */
    uint32_t flags;      /* enum hg_client_answer_flags */
    uint16_t worker;     /* < HG_CLIENT_WORKERS_MAX */
    uint16_t slot;       /* < HG_CLIENT_SLOTS, within the worker */
    uint16_t attachment; /* from hg_client_ring_slot_attach */
    uint16_t kind;       /* enum hg_stream_kind */
    uint32_t incarnation;
    uint32_t lsn_unit_bytes;
    uint64_t stream;
    uint64_t epoch;
    uint64_t system_identifier;
    uint64_t lsn_oldest;
    uint64_t lsn_end; /* where the next append must begin; 0 = physical and still empty: anywhere */
    uint64_t lsn_durable;
    uint64_t lsn_from; /* subscribed: where delivery begins (the request's 0 resolved): frames whose end is
                          above */
    char text[HG_CLIENT_TEXT_BYTES]; /* why not, with code != 0: what, which thing, what to do */
};

struct hg_client_detach {
    struct hg_client_message_head head;
    uint16_t worker;
    uint16_t slot;
    uint16_t attachment;
    uint16_t reserved;
};

union hg_client_message {
    struct hg_client_message_head head;
    struct hg_client_hello hello;
    struct hg_client_welcome welcome;
    struct hg_client_refused refused;
    struct hg_client_attach attach;
    struct hg_client_answer answer;
    struct hg_client_detach detach;
};
static_assert(sizeof(struct hg_client_hello) == 48, "hello");
static_assert(sizeof(struct hg_client_welcome) == 24, "welcome");
static_assert(sizeof(struct hg_client_refused) == 208, "refused");
static_assert(sizeof(struct hg_client_attach) == 112, "attach");
static_assert(sizeof(struct hg_client_answer) == 288, "answer");
static_assert(sizeof(struct hg_client_detach) == 16, "detach");

/* Zeroes the message and fills its head. */
void hg_client_message_init(union hg_client_message *message, enum hg_client_message_type type);
/* Bytes of a message of this type; 0 = no such type. */
uint32_t hg_client_message_bytes(uint32_t type);
/* Pure. Checks a private copy of `bytes` received bytes: magic, type, size, names terminated and clean,
 * flags, slot, sizes. Returns 0 or -EBADMSG. HELLO's abi is not checked: the receiver answers REFUSED with a
 * sentence. */
int hg_client_message_check(const union hg_client_message *message, size_t bytes);
/* Copies a name of < HG_CLIENT_NAME_BYTES printable bytes without space or '/'. Returns 0 or -EINVAL. */
int hg_client_name_copy(char *target, const char *name);

/* Sends one message with descriptor_count (0..HG_CLIENT_DESCRIPTORS) descriptors, which stay the caller's.
 * Never waits, never signals. Returns 0 or -errno (EAGAIN: the peer doesn't read; EPIPE: it is gone). */
int hg_client_message_send(int socket, const union hg_client_message *message, const int *descriptors,
                           uint32_t descriptor_count);
/* Receives and checks one message. Never waits. Descriptors (close-on-exec, the caller's from here) go to
 * descriptors[HG_CLIENT_DESCRIPTORS], -1 where none; a message may bring exactly 3 (ANSWER with MEMORY) or
 * none, else they are closed and it is refused. Returns 1; 0 = the peer closed; -EAGAIN = nothing there;
 * -EBADMSG; -errno. */
int hg_client_message_receive(int socket, union hg_client_message *message, int *descriptors);

struct hg_client_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
/* Of a connected socket, as the kernel knows them. Returns 0 or -errno. */
int hg_client_peer_get(int socket, struct hg_client_peer *peer);

struct hg_client_listener {
    int socket; /* non-blocking, close-on-exec; poll for POLLIN, then accept */
    int lock;   /* on <path>.lock, held while we live */
    char path[108];
};
/* Listens on `path` (a socket with this mode, 0600 for the same user only). The lock file <path>.lock says
 * that a process listens there; a socket left by a dead one is removed. Returns 0; -EADDRINUSE when another
 * process holds the lock; -ENAMETOOLONG; -errno. */
int hg_client_listener_open(struct hg_client_listener *listener, const char *path, mode_t mode);
/* A connection (non-blocking, close-on-exec), or -EAGAIN, or -errno. */
int hg_client_listener_accept(struct hg_client_listener *listener);
void hg_client_listener_close(
    struct hg_client_listener *listener); /* removes the socket, then lets the lock go */
/* Connects. Returns a non-blocking descriptor or -errno (ENOENT, ECONNREFUSED: nobody listens). */
int hg_client_socket_connect(const char *path);

#endif
