/* SPDX-License-Identifier: Apache-2.0
 *
 * Command files: text in, the wanted configuration out, or every error with its place. Parsing is pure; only
 * load and check_paths touch the disk. Names must be defined above the line that uses them.
 */
#ifndef HG_CONTROLPLANE_COMMAND_FILE_H
#define HG_CONTROLPLANE_COMMAND_FILE_H

#include "controlplane/grammar.h"
#include "drivers/ipc/control_state.h"

#include <jansson.h>

#define HG_COMMAND_FILE_BYTES_MAX   (1u << 20)
#define HG_COMMAND_FILE_ERRORS_MAX  64
#define HG_RATE_DEFAULT_BYTES_PER_S UINT64_C(125000000) /* 1 Gbit/s: `fixed` without a rate */
#define HG_LOG_MEMORY_BYTES_MIN     (UINT64_C(8) << 20)
#define HG_PEER_CREDIT_BYTES_MIN    (UINT64_C(1) << 20)

enum hg_port_kind {
    HG_PORT_MEMIF,
    HG_PORT_PCI,
    HG_PORT_AF_PACKET,
    HG_PORT_TAP,
    HG_PORT_AF_XDP,
    HG_PORT_PCAP
};

struct hg_place {
    uint32_t line, column;
};

struct hg_port_source { /* what a port was written as; its devargs are built from it */
    enum hg_port_kind kind;
    uint32_t memif_id;
    bool memif_listens;
    char target[HG_CONTROL_PATH_BYTES]; /* socket, PCI address, interface, file */
    struct hg_place place;              /* of target */
};

struct hg_command_config { /* the wanted configuration and what it takes to write it down again */
    struct hg_control_config wanted;
    struct hg_port_source ports[HG_CONTROL_PORTS_MAX];
    char metastore_path[HG_CONTROL_PATH_BYTES]; /* empty: in the run directory */
};

struct hg_command_error {
    struct hg_place place; /* 0:0 = the file as a whole */
    char text[HG_GRAMMAR_ERROR_BYTES];
};

struct hg_command_file { /* large: not for the stack */
    char path[HG_CONTROL_PATH_BYTES];
    struct hg_command_config config; /* to be used only when error_count is 0 */
    uint32_t command_count;
    uint32_t
        error_count; /* kept: at most HG_COMMAND_FILE_ERRORS_MAX, the last then says that there are more */
    struct hg_command_error errors[HG_COMMAND_FILE_ERRORS_MAX];
    /* bookkeeping */
    uint32_t line_now;
    uint32_t failed_subjects; /* a "port" line failed: complain about no unknown port */
    uint32_t node_line;
    struct hg_place quorum_place;
    struct hg_place grant_place;
    struct hg_place key_places[HG_CONTROL_PEERS_MAX];
    struct hg_place log_places[HG_CONTROL_LOGS_MAX];
    struct hg_command command;
};

/* Parses a whole file's text. True when it has no error. `path` is only for messages. */
bool hg_command_file_parse(struct hg_command_file *file, const char *path, const char *text, size_t bytes);
/* What the file names must be there: keys (regular, mode 0600 or less), the directories of logs and memif
 * sockets. Adds errors; true when there are none. */
bool hg_command_file_check_paths(struct hg_command_file *file);
/* Reads, parses, checks paths. False: errors say why (also that it can't be read). */
bool hg_command_file_load(struct hg_command_file *file, const char *path);
/* file:line:column: text, one a line, in order of place. */
void hg_command_file_errors_print(const struct hg_command_file *file, FILE *out);
/* {"file", "ok", "commands", "errors": [{"file", "line", "column", "text"}]}; the caller's reference. */
json_t *hg_command_file_json(const struct hg_command_file *file);

/* Writes a command file that gives the same configuration. */
void hg_command_config_print(const struct hg_command_config *config, FILE *out);

/* What a `set peer` says of a peer: rate, congestion, fec, ecn, rekey-... False, with a sentence in `error`,
 * when it says nothing or what can't be; then nothing is changed. `fixed` without any rate gets the default
 * one.
 */
bool hg_command_peer_change(struct hg_config_peer *peer, const struct hg_command *command, char *error,
                            size_t error_bytes);
#define HG_COMMAND_REKEY_RANGE                                                                               \
    "keys are renewed after 256 to 134217728 packets, 256k to 128g bytes, 1 to 3600 seconds, got \"%s\""
/* What a command says of limits: `keyword`-bytes and `keyword`-seconds ("retain", "drop-behind"). What it
 * does not say stays as it is. False: it says neither. */
bool hg_command_limit_change(const struct hg_command *command, const char *keyword, uint64_t *bytes,
                             uint64_t *seconds);
/* Prints them as a line needs them, with a blank before each; nothing for zeros. */
void hg_command_limit_print(FILE *out, const char *keyword, uint64_t bytes, uint64_t seconds);
/* `set log`, `set stream`, `set consumer` on a configuration: the limits that the command is about. False,
 * with a sentence in `error`, when there is no such log, stream or consumer. */
struct hg_command_limit {
    const char *keyword;
    uint64_t *bytes, *seconds;
};
bool hg_command_limit_find(struct hg_control_config *config, const struct hg_command *command,
                           struct hg_command_limit *limit, char *error, size_t error_bytes);
/* Whether n and w fit the nodes of our region that are configured, and its streams go to all of them. False:
 * `error` says what does not. */
bool hg_command_quorum_check(const struct hg_control_config *config, uint64_t n, uint64_t w, char *error,
                             size_t error_bytes);
/* "fixed", "cubic", "bbr"; static. */
const char *hg_config_congestion_text(uint32_t congestion);
const char *hg_config_fec_text(uint32_t fec);
const char *hg_config_ecn_text(uint32_t ecn);
/* Forgets a peer, and that streams go to it; true when it was there. */
bool hg_command_config_peer_remove(struct hg_command_config *config, const char *name);
/* Forgets a consumer of a stream; true when it was there. */
bool hg_command_config_consumer_remove(struct hg_command_config *config, const char *name,
                                       const char *stream);

/* ---- inside controlplane: command_build.c ---- */
/* Applies one parsed command of a file; errors are added. */
void hg_command_build(struct hg_command_file *file, const struct hg_command *command);
void hg_command_file_error(struct hg_command_file *file, struct hg_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Index by name, or -1. */
int hg_config_port_find(const struct hg_control_config *config, const char *name);
int hg_config_peer_find(const struct hg_control_config *config, const char *name);
int hg_config_stream_find(const struct hg_control_config *config, const char *name);
const char *hg_config_stream_kind_text(uint32_t kind);

#endif
