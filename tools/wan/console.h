/* SPDX-License-Identifier: Apache-2.0
 *
 * The UNIX socket that takes commands while helio-wan runs. One line a command; the answer is text, or one
 * line of JSON when the line begins with the word "json". Served by the one thread between two turns; never
 * blocks on a client.
 */
#ifndef HG_WAN_CONSOLE_H
#define HG_WAN_CONSOLE_H

#include "tools/wan/command.h"

#include <poll.h>
#include <stdio.h>

#define HG_WAN_CLIENTS_MAX 8
#define HG_WAN_POLLS_MAX   (HG_WAN_CLIENTS_MAX + 1)

/* Runs a line and returns the answer, malloc'd. */
typedef char *hg_wan_console_run(void *owner, const char *line, bool json);

struct hg_wan_client {
    int fd;       /* -1 = free */
    bool closing; /* has sent its last line; closed when the answers are out */
    uint32_t line_bytes;
    char line[HG_WAN_LINE_BYTES_MAX];
    char *answer;
    size_t answer_bytes;
    size_t answer_sent;
};

struct hg_wan_console {
    int fd;
    hg_wan_console_run *run;
    void *owner;
    char path[HG_WAN_SOCKET_BYTES_MAX];
    struct hg_wan_client clients[HG_WAN_CLIENTS_MAX];
};

/* Listens on `path`, replacing a socket left behind there (the caller holds the lock that says it is one).
 * Mode 0600. Returns 0 or a negative errno with a sentence in `error`. */
int hg_wan_console_open(struct hg_wan_console *console, const char *path, hg_wan_console_run *run,
                        void *owner, char *error, size_t error_bytes);
void hg_wan_console_close(struct hg_wan_console *console);

/* Fills in what to poll for; returns how many. */
nfds_t hg_wan_console_polls(const struct hg_wan_console *console, struct pollfd polls[HG_WAN_POLLS_MAX]);

/* Accepts, reads, runs, answers: whatever is possible without waiting. */
void hg_wan_console_serve(struct hg_wan_console *console);

/* The other end: sends one line to the socket at `path` and copies the answer to `out`. Returns 0, 1 when the
 * answer is an error, or a negative errno with a sentence in `error`. */
int hg_wan_console_send(const char *path, const char *line, bool json, FILE *out, char *error,
                        size_t error_bytes);

#endif
