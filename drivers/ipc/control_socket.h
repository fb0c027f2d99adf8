/* SPDX-License-Identifier: Apache-2.0
 *
 * How the control plane gets the control ring: over the same <run>/dataplane.sock (SOCK_SEQPACKET) that
 * clients use. The first packet of a connection tells who it is: a client's HELLO begins with
 * HG_CLIENT_MESSAGE_MAGIC, the control plane's with HG_CONTROL_SOCKET_MAGIC.
 *
 *   control plane                    dataplane
 *   HELLO{abi, pid}             ->   checks peer credentials: same user, or root
 *                               <-   WELCOME{boot, pid} with three descriptors, or REFUSED{code, text} and a
 * close After that nothing is said; either side going away is seen as a hang-up. One connection at a time is
 * the control plane's: the dataplane refuses a second one while the first is open.
 *
 * The dataplane, on a readable connection that is not yet known:
 *   rc = hg_control_socket_peek(fd);           1: control plane; 0: some other, leave it to the client's code
 *   if (hg_control_ring_must_recreate(&ring))  close and create it anew, with a new boot
 *   rc = hg_control_socket_answer(fd, busy ? NULL : &ring, "why not");   0: keep fd open, it is the control
 * plane
 */
#ifndef HG_IPC_CONTROL_SOCKET_H
#define HG_IPC_CONTROL_SOCKET_H

#include "drivers/ipc/control_ring.h"

#define HG_CONTROL_SOCKET_MAGIC 0x43434c48u /* "HLCC" */

enum hg_control_socket_type {
    HG_CONTROL_SOCKET_HELLO = 1,
    HG_CONTROL_SOCKET_WELCOME = 2,
    HG_CONTROL_SOCKET_REFUSED = 3,
};

struct hg_control_socket_message { /* of every type */
    uint32_t magic;
    uint16_t type;
    uint16_t bytes; /* of the whole message */
    uint32_t abi;   /* HG_CONTROL_ABI */
    uint32_t pid;
    uint64_t boot;
    int32_t code; /* REFUSED: -errno */
    uint32_t reserved;
    char text[HG_CONTROL_TEXT_BYTES]; /* REFUSED: a sentence */
};
static_assert(sizeof(struct hg_control_socket_message) == 32 + HG_CONTROL_TEXT_BYTES,
              "control socket message");

/* ---- dataplane ---- */
/* Looks at the first packet without taking it. 1 = from a control plane; 0 = not; -EAGAIN = none yet;
 * -ECONNRESET = hung up; -errno. Never waits. */
int hg_control_socket_peek(int socket);
/* Takes the HELLO, checks it and who sent it, and answers: WELCOME with the ring's descriptors, or REFUSED.
 * Without a ring it is refused with -EBUSY and `text`. 0 = welcome was sent; else -errno and the caller
 * closes the socket. */
int hg_control_socket_answer(int socket, const struct hg_control_ring *ring, const char *text);

/* ---- control plane ---- */
/* Connects to `path` and says HELLO. Returns a non-blocking, close-on-exec descriptor, or -errno (ENOENT,
 * ECONNREFUSED: nobody listens; ENAMETOOLONG). */
int hg_control_socket_connect(const char *path);
/* Once the socket is readable: 1 = *fds are the three descriptors (the caller's), 0 = refused: *text says
 * why, -EAGAIN, -ECONNRESET = hung up, -EPROTO = an answer that is none, -errno. */
int hg_control_socket_receive(int socket, int fds[HG_CONTROL_RING_FDS], char text[HG_CONTROL_TEXT_BYTES]);

#endif
