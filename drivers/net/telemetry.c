/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/telemetry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/un.h>

#include <rte_telemetry.h>

/* The lock guards `published` alone. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_control_status published;

void hg_telemetry_publish(const struct hg_control_status *status)
{
    pthread_mutex_lock(&lock);
    published = *status;
    pthread_mutex_unlock(&lock);
}

/* The caller frees it; NULL = no memory. */
static struct hg_control_status *published_copy(void)
{
    struct hg_control_status *copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return NULL;
    pthread_mutex_lock(&lock);
    *copy = published;
    pthread_mutex_unlock(&lock);
    return copy;
}

/* ---- one thing ---- */

static int u64_add(struct rte_tel_data *d, const char *name, uint64_t value)
{
    return rte_tel_data_add_dict_u64(d, name, value);
}

#define MEMBER(field) u64_add(d, #field, of->field)

static int port_answer(const struct hg_control_status *status, uint32_t i, struct rte_tel_data *d)
{
    const struct hg_status_port *of = &status->ports[i];
    return rte_tel_data_add_dict_string(d, "name", of->name) |
           rte_tel_data_add_dict_string(d, "driver", of->driver) | MEMBER(link_up) | MEMBER(opened) |
           MEMBER(rx_packets) | MEMBER(rx_bytes) | MEMBER(tx_packets) | MEMBER(tx_bytes) | MEMBER(rx_missed) |
           MEMBER(tx_dropped) | MEMBER(reconnects);
}

static int lane_answer(const struct hg_control_status *status, uint32_t i, struct rte_tel_data *d)
{
    const struct hg_status_peer *of = &status->peers[i];
    return rte_tel_data_add_dict_string(d, "name", of->name) |
           rte_tel_data_add_dict_string(d, "congestion", of->congestion) |
           rte_tel_data_add_dict_string(d, "congestion_state", of->congestion_state) |
           rte_tel_data_add_dict_string(d, "ecn", of->ecn) | MEMBER(state) | MEMBER(key_generation) |
           MEMBER(srtt_ns) | MEMBER(rttvar_ns) | MEMBER(rtt_min_ns) | MEMBER(rate_bytes_per_s) |
           MEMBER(cwnd_bytes) | MEMBER(pacing_bytes_per_s) | MEMBER(delivery_bytes_per_s) |
           MEMBER(path_mtu_bytes) | MEMBER(bytes_in_flight) | MEMBER(credit_bytes_left) |
           MEMBER(credit_bytes_given) | MEMBER(data_bytes_sent) | MEMBER(data_bytes_resent) |
           MEMBER(data_bytes_received) | MEMBER(packets_sent) | MEMBER(packets_received) |
           MEMBER(packets_lost) | MEMBER(ecn_sent) | MEMBER(ecn_marked_there) | MEMBER(ecn_marked) |
           MEMBER(ecn_failed) | MEMBER(fec_groups) | MEMBER(fec_parity_sent) | MEMBER(fec_recovered_there) |
           MEMBER(fec_recovered) | MEMBER(fec_unrecoverable) | MEMBER(handshakes);
}

static int stream_answer(const struct hg_control_status *status, uint32_t i, struct rte_tel_data *d)
{
    const struct hg_status_stream *of = &status->streams[i];
    return rte_tel_data_add_dict_string(d, "name", of->name) | MEMBER(stream) | MEMBER(lsn_oldest) |
           MEMBER(lsn_end) | MEMBER(lsn_durable) | MEMBER(frames) | MEMBER(batches) | MEMBER(raw_bytes) |
           MEMBER(stored_bytes) | MEMBER(clients);
}

/* ---- commands ---- */

typedef int answer_fn(const struct hg_control_status *status, uint32_t i, struct rte_tel_data *d);

/* Without a parameter the names, with one all about the thing of that name; an answer never gets longer than
 * the 16 KB that DPDK sends. `first` is the name of the first thing, `stride` the bytes to the next. */
static int answer(const struct hg_control_status *status, const char *first, size_t stride, uint32_t count,
                  const char *wanted, answer_fn *one, struct rte_tel_data *d)
{
    if (wanted == NULL || wanted[0] == '\0') {
        int rc = rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
        for (uint32_t i = 0; i < count && rc == 0; i++)
            rc = rte_tel_data_add_array_string(d, first + i * stride);
        return rc;
    }
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(first + i * stride, wanted) == 0)
            return rte_tel_data_start_dict(d) != 0 || one(status, i, d) != 0 ? -EINVAL : 0;
    return -ENOENT;
}

#define COMMAND(what, things, things_count, one)                                                             \
    static int what##_command(const char *command, const char *wanted, struct rte_tel_data *d)               \
    {                                                                                                        \
        (void)command;                                                                                       \
        struct hg_control_status *status = published_copy();                                                 \
        if (status == NULL)                                                                                  \
            return -ENOMEM;                                                                                  \
        int rc = answer(status, status->things[0].name, sizeof(status->things[0]), status->things_count,     \
                        wanted, one, d);                                                                     \
        free(status);                                                                                        \
        return rc;                                                                                           \
    }
COMMAND(ports, ports, port_count, port_answer)
COMMAND(lanes, peers, peer_count, lane_answer)
COMMAND(streams, streams, stream_count, stream_answer)

static bool drop_where_first(const struct hg_control_status *status, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++)
        if (strcmp(status->drops[j].where, status->drops[i].where) == 0)
            return false;
    return true;
}

/* DPDK 22.11 takes no dictionary inside another answer, so there is one answer for each place. */
static int drops_answer(const struct hg_control_status *status, const char *wanted, struct rte_tel_data *d)
{
    bool places = wanted == NULL || wanted[0] == '\0';
    bool found = places;
    int rc = places ? rte_tel_data_start_array(d, RTE_TEL_STRING_VAL) : rte_tel_data_start_dict(d);
    for (uint32_t i = 0; i < status->drop_count && rc == 0; i++) {
        const struct hg_status_drop *drop = &status->drops[i];
        if (places && drop_where_first(status, i)) {
            rc = rte_tel_data_add_array_string(d, drop->where);
        } else if (!places && strcmp(drop->where, wanted) == 0) {
            rc = u64_add(d, drop->name, drop->count);
            found = true;
        }
    }
    return rc != 0 ? rc : found ? 0 : -ENOENT;
}

static int drops_command(const char *command, const char *wanted, struct rte_tel_data *d)
{
    (void)command;
    struct hg_control_status *status = published_copy();
    if (status == NULL)
        return -ENOMEM;
    int rc = drops_answer(status, wanted, d);
    free(status);
    return rc;
}

int hg_telemetry_register(void)
{
    static const struct {
        const char *command;
        telemetry_cb function;
        const char *help;
    } commands[] = {
        {"/heliograph/ports", ports_command, "Names of ports; with a name: link and counters of it"},
        {"/heliograph/lanes", lanes_command, "Names of peers; with a name: the lane there"},
        {"/heliograph/streams", streams_command, "Names of streams; with a name: positions and bytes"},
        {"/heliograph/drops", drops_command, "Places that dropped or refused; with one: what, and how much"},
    };
    int rc = 0;
    for (size_t i = 0; i < HG_COUNT(commands) && rc == 0; i++)
        rc = rte_telemetry_register_cmd(commands[i].command, commands[i].function, commands[i].help);
    return rc;
}

bool hg_telemetry_path_fits(const char *run_dir, const char *file_prefix)
{
    static const char rest[] = "/dpdk//dpdk_telemetry.v2:99"; /* :N as DPDK numbers instances of one prefix */
    return strlen(run_dir) + strlen(file_prefix) + sizeof(rest) <=
           sizeof(((struct sockaddr_un *)0)->sun_path);
}
