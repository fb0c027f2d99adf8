/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/line.h"
#include "drivers/clock/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES_MIN  2048u
#define BUFFER_MORE_BYTES 1024u /* what a buffer takes of helio-wan's --mem besides, rounded up */
#define FRAME_MORE_BYTES  18u   /* than the MTU: Ethernet header and one VLAN tag */

bool hg_perf_line_set(const struct hg_perf_line *line, const struct hg_perf_emulated *wan, const char *a,
                      const char *b)
{
    char rest[160], loss[48] = "", command[256];
    uint64_t rtt_ns = line->rtt_ms * (uint64_t)HG_NS_PER_MS;
    uint64_t queue = line->rate_bits / 8 * rtt_ns / HG_NS_PER_S;
    if (line->loss_pct > 0)
        snprintf(loss, sizeof(loss), " loss %g%% burst %u", line->loss_pct,
                 line->bursts ? HG_PERF_LINE_BURST_PACKETS : 1);
    snprintf(rest, sizeof(rest), "delay %lluus rate %lluk queue %llu%s",
             (unsigned long long)(rtt_ns / 2 / HG_NS_PER_US), (unsigned long long)(line->rate_bits / 1000),
             (unsigned long long)hg_max_u64(queue, HG_PERF_LINE_QUEUE_MIN), loss);
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof(command), "link set %s %s %s", i == 0 ? a : b, i == 0 ? b : a, rest);
        if (!hg_perf_emulated_command(wan, command)) {
            fprintf(stderr, "helio-perf: helio-wan refuses '%s'\n", command);
            return false;
        }
    }
    return true;
}

uint32_t hg_perf_line_memory_mb(const struct hg_perf_line *line)
{
    uint64_t rtt_us = line->rtt_ms * UINT64_C(1000);
    uint64_t bytes = line->rate_bits / 8 * rtt_us / 1000000; /* of the queue; half of it is on the way */
    uint64_t frames = (bytes + bytes / 2) / line->mtu_bytes + bytes / line->mtu_bytes / 2;
    uint64_t buffer_bytes = hg_perf_line_buffer_bytes(line->mtu_bytes) + BUFFER_MORE_BYTES;
    return HG_PERF_EMULATED_MEMORY_MB + (uint32_t)(frames * buffer_bytes >> 20);
}

uint32_t hg_perf_line_buffer_bytes(uint32_t mtu_bytes)
{
    return (uint32_t)hg_max_u64(BUFFER_BYTES_MIN, hg_align_up(mtu_bytes + FRAME_MORE_BYTES, 64));
}

void hg_perf_line_devargs(const struct hg_perf_emulated *wan, uint32_t id, uint32_t ring_bits,
                          uint32_t mtu_bytes, char *devargs, size_t devargs_bytes)
{
    snprintf(devargs, devargs_bytes,
             "net_memif0,role=client,id=%u,socket=%.200s/wan-memif.sock,socket-abstract=no,bsize=%u,rsize=%u",
             id, wan->run, hg_perf_line_buffer_bytes(mtu_bytes), ring_bits);
}

static void ticks_read(struct hg_perf_line_look *look)
{
    unsigned long long t[8]; /* user nice system idle iowait irq softirq steal */
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5],
               &t[6], &t[7]) == 8) {
        look->stolen_ticks = t[7];
        look->busy_ticks = t[0] + t[1] + t[2] + t[5] + t[6];
        look->ticks = look->busy_ticks + t[3] + t[4] + t[7];
    }
    fclose(file);
}

static uint64_t process_ticks(pid_t process)
{
    char path[64];
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)process);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) !=
        2)
        user = system = 0;
    fclose(file);
    return user + system;
}

bool hg_perf_line_look(const struct hg_perf_emulated *wan, const char *a, const char *b,
                       const pid_t processes[], uint32_t count, struct hg_perf_line_look *look)
{
    static const char *const names[] = {"forwarded",   "lost_loss",    "lost_queue",      "overdue",
                                        "lost_memory", "lost_tx_full", "forwarded_bytes", "busy_ns"};
    uint64_t values[2][HG_COUNT(names)];
    struct hg_clock *clock = hg_clock_tsc();
    memset(look, 0, sizeof(*look));
    look->now_ns = clock->now_ns(clock);
    ticks_read(look);
    look->emulator_ticks = look->own_ticks = process_ticks(wan->child);
    look->watcher_ticks = process_ticks(getpid());
    for (uint32_t i = 0; i < count; i++)
        look->own_ticks += process_ticks(processes[i]);
    bool told = hg_perf_emulated_counters(wan, a, b, names, values[0], HG_COUNT(names));
    uint64_t asked_ns = clock->now_ns(clock);
    if (!told || !hg_perf_emulated_counters(wan, b, a, names, values[1], HG_COUNT(names))) {
        fprintf(stderr, "helio-perf: helio-wan does not tell what it did between %s and %s\n", a, b);
        return false;
    }
    look->counted_ns = asked_ns;
    look->lost = values[0][1];
    look->delivered_bytes = values[0][6];
    look->emulator_busy_ns = values[0][7];
    look->queue_full = values[0][2];
    for (int i = 0; i < 2; i++) {
        look->delivered += values[i][0];
        look->overdue += values[i][3];
        look->emulator_dropped += values[i][4] + values[i][5];
    }
    look->frames = values[0][0] + values[0][1] + values[0][2] + values[0][4] + values[0][5];
    return true;
}

static double share(uint64_t before, uint64_t after, uint64_t of_before, uint64_t of_after)
{
    return of_after > of_before ? (double)(after - before) / (double)(of_after - of_before) : 0;
}

void hg_perf_line_between(const struct hg_perf_line_look looks[2], struct hg_perf_line_found *found)
{
    const struct hg_perf_line_look *a = &looks[0], *b = &looks[1];
    found->seconds = (double)(b->now_ns - a->now_ns) / 1e9;
    found->used_bits_per_s = (double)(b->delivered_bytes - a->delivered_bytes) * 8 /
                             ((double)(b->counted_ns - a->counted_ns) / 1e9);
    found->lost_share = share(a->lost, b->lost, a->frames, b->frames);
    found->queue_full_share = share(a->queue_full, b->queue_full, a->frames, b->frames);
    found->dropped_share = share(a->emulator_dropped, b->emulator_dropped, a->delivered, b->delivered);
    found->overdue_share = share(a->overdue, b->overdue, a->delivered, b->delivered);
    found->stolen_share = share(a->stolen_ticks, b->stolen_ticks, a->ticks, b->ticks);
    found->others_share = share(a->busy_ticks, b->busy_ticks, a->ticks, b->ticks) -
                          share(a->own_ticks, b->own_ticks, a->ticks, b->ticks);
    double ticks = found->seconds * (double)sysconf(_SC_CLK_TCK);
    found->emulator_cpu_share = (double)(b->emulator_ticks - a->emulator_ticks) / ticks;
    found->watcher_cpu_share = (double)(b->watcher_ticks - a->watcher_ticks) / ticks;
    found->emulator_busy_share =
        (double)(b->emulator_busy_ns - a->emulator_busy_ns) / ((double)(b->counted_ns - a->counted_ns));
    found->counts = b->delivered > a->delivered && found->others_share <= HG_PERF_LINE_OTHERS_MAX &&
                    found->dropped_share <= HG_PERF_LINE_DROPPED_MAX &&
                    found->overdue_share <= HG_PERF_LINE_OVERDUE_MAX;
}
