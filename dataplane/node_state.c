/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NODE_STATE_MAGIC   0x4e474c48u /* "HLGN" */
#define NODE_STATE_VERSION 4u

struct node_state {
    uint32_t magic;
    uint32_t version;
    struct hg_config_node node;
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    uint32_t log_count;
    uint32_t crc32c; /* of everything before it */
};
static_assert(sizeof(struct node_state) == 72 + HG_CONTROL_LOGS_MAX * 296, "node state");

static int write_synced(const char *path, const struct node_state *state)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int rc = write(fd, state, sizeof(*state)) == (ssize_t)sizeof(*state) ? 0 : -EIO;
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    close(fd);
    return rc;
}

int hg_node_state_save(const struct hg_node *node, const struct hg_config_node *config,
                       const struct hg_config_log *logs, uint32_t log_count)
{
    char path[HG_CONTROL_PATH_BYTES], fresh[HG_CONTROL_PATH_BYTES];
    struct node_state state;
    memset(&state, 0, sizeof(state));
    state.magic = NODE_STATE_MAGIC;
    state.version = NODE_STATE_VERSION;
    state.node = *config;
    hg_assert(log_count <= HG_CONTROL_LOGS_MAX);
    state.log_count = log_count;
    memcpy(state.logs, logs, log_count * sizeof(logs[0]));
    state.crc32c = hg_crc32c(0, &state, offsetof(struct node_state, crc32c));
    snprintf(path, sizeof(path), "%s/node.state", node->run_dir);
    snprintf(fresh, sizeof(fresh), "%s/node.state.new", node->run_dir);
    int rc = write_synced(fresh, &state);
    if (rc == 0 && rename(fresh, path) != 0)
        rc = -errno;
    return rc;
}

int hg_node_state_load(const struct hg_node *node, struct hg_config_node *config, struct hg_config_log *logs,
                       uint32_t *log_count)
{
    char path[HG_CONTROL_PATH_BYTES];
    struct node_state state;
    snprintf(path, sizeof(path), "%s/node.state", node->run_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, &state, sizeof(state));
    close(fd);
    if (n != (ssize_t)sizeof(state) || state.magic != NODE_STATE_MAGIC ||
        state.version != NODE_STATE_VERSION ||
        state.crc32c != hg_crc32c(0, &state, offsetof(struct node_state, crc32c)) || state.log_count == 0 ||
        state.log_count > HG_CONTROL_LOGS_MAX)
        return -EBADMSG;
    *config = state.node;
    *log_count = state.log_count;
    memcpy(logs, state.logs, sizeof(state.logs));
    return 0;
}
