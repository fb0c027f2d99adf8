/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/scenario.h"

#define BIT(c) (1u << SIM_CLASS_##c)
#define CLASSES_NET                                                                                          \
    (BIT(LOSS) | BIT(BURST) | BIT(JITTER) | BIT(DUPLICATE) | BIT(REPLAY) | BIT(CORRUPT) | BIT(TRUNCATE) |    \
     BIT(QUEUE) | BIT(CUT) | BIT(PORT))
#define CLASSES_ALL ((1u << SIM_CLASS_COUNT) - 1)

/* ---- promises ---- */

static const enum sim_sometimes promises_always[] = {
    SIM_batches_read_back,  SIM_log_reads_from_disk, SIM_batches_compressed,
    SIM_batches_stored_raw, SIM_retransmissions,     SIM_probe_timeouts,
    SIM_segments_reused,    SIM_appends_judged,      SIM_turns_without_allocation};
static const enum sim_sometimes promises_pair[] = {SIM_retries_told,
                                                   SIM_breakers_opened,
                                                   SIM_breakers_closed,
                                                   SIM_receive_overruns,
                                                   SIM_packets_lost_on_the_link,
                                                   SIM_spurious_retransmissions,
                                                   SIM_packets_reordered,
                                                   SIM_duplicates_dropped,
                                                   SIM_replays_dropped,
                                                   SIM_corruption_dropped,
                                                   SIM_truncation_dropped,
                                                   SIM_unknown_spi,
                                                   SIM_rekeys,
                                                   SIM_process_kills,
                                                   SIM_kills_inside_a_turn,
                                                   SIM_power_losses,
                                                   SIM_crashes_in_recovery,
                                                   SIM_all_nodes_down_at_once,
                                                   SIM_torn_tails_discarded,
                                                   SIM_chains_verified_at_resume,
                                                   SIM_read_stalls,
                                                   SIM_appends_pushed_back,
                                                   SIM_disk_errors_restarted,
                                                   SIM_short_writes,
                                                   SIM_disk_stalls,
                                                   SIM_clock_jumps,
                                                   SIM_pauses,
                                                   SIM_port_refusals,
                                                   SIM_unheard_appends_gone};
static const enum sim_sometimes promises_loss[] = {
    SIM_packets_lost_on_the_link, SIM_spurious_retransmissions, SIM_packets_reordered,
    SIM_duplicates_dropped,       SIM_replays_dropped,          SIM_corruption_dropped,
    SIM_truncation_dropped,       SIM_packets_recovered,        SIM_port_refusals};
static const enum sim_sometimes promises_crash[] = {SIM_retries_told,
                                                    SIM_recoveries_again,
                                                    SIM_process_kills,
                                                    SIM_kills_inside_a_turn,
                                                    SIM_crashes_in_recovery,
                                                    SIM_all_nodes_down_at_once,
                                                    SIM_chains_verified_at_resume,
                                                    SIM_rekeys,
                                                    SIM_pauses,
                                                    SIM_unknown_spi,
                                                    SIM_unheard_appends_gone};
static const enum sim_sometimes promises_power[] = {
    SIM_recoveries_again,          SIM_power_losses,           SIM_process_kills,
    SIM_kills_inside_a_turn,       SIM_crashes_in_recovery,    SIM_all_nodes_down_at_once,
    SIM_chains_verified_at_resume, SIM_torn_tails_discarded,   SIM_disk_stalls,
    SIM_unheard_appends_gone,      SIM_power_losses_with_dsync};
static const enum sim_sometimes promises_idle[] = {SIM_process_kills,
                                                   SIM_power_losses,
                                                   SIM_crashes_in_recovery,
                                                   SIM_disk_errors_restarted,
                                                   SIM_chains_verified_at_resume,
                                                   SIM_pauses,
                                                   SIM_peer_downs};
static const enum sim_sometimes promises_bottleneck[] = {SIM_packets_lost_on_the_link, SIM_packets_reordered,
                                                         SIM_packets_recovered, SIM_paths_changed,
                                                         SIM_spurious_retransmissions};
static const enum sim_sometimes promises_disk[] = {SIM_disk_errors_restarted, SIM_short_writes,
                                                   SIM_reads_again, SIM_disks_told_stuck};
static const enum sim_sometimes promises_rollback[] = {SIM_retries_told, SIM_streams_gap, SIM_rollbacks,
                                                       SIM_streams_diverged};
static const enum sim_sometimes promises_rot[] = {SIM_corrupt_logs_refused, SIM_logs_opened_with_a_mark,
                                                  SIM_marks_mended};
static const enum sim_sometimes promises_narrow[] = {SIM_packets_too_large_for_the_path,
                                                     SIM_paths_found_narrow};
static const enum sim_sometimes promises_fullog[] = {SIM_stalls_named, SIM_peer_downs, SIM_credit_stalls,
                                                     SIM_appends_pushed_back};
static const enum sim_sometimes promises_paths[] = {SIM_packets_reordered, SIM_spurious_retransmissions,
                                                    SIM_paths_changed, SIM_flaps};

static const enum sim_sometimes promises_workers[] = {
    SIM_packets_handed_over, SIM_streams_elsewhere, SIM_workers_changed, SIM_streams_moved,
    SIM_moves_refused,       SIM_moves_settled,     SIM_retries_told,    SIM_process_kills,
    SIM_power_losses,        SIM_lanes_made_late};

static const enum sim_sometimes promises_rekey[] = {
    SIM_keys_renewed,       SIM_packets_under_old_keys, SIM_exchanges_from_both_sides,
    SIM_kills_between_keys, SIM_process_kills,          SIM_packets_lost_on_the_link};

static const enum sim_sometimes promises_fec[] = {SIM_packets_recovered, SIM_parity_not_enough,
                                                  SIM_packets_lost_on_the_link};

static const enum sim_sometimes promises_ecn[] = {SIM_packets_marked, SIM_marks_told, SIM_marks_hidden,
                                                  SIM_ecn_ended};

static const enum sim_sometimes promises_hostile[] = {SIM_lies_told,
                                                      SIM_liar_replays_dropped,
                                                      SIM_liar_versions_refused,
                                                      SIM_liar_frames_malformed,
                                                      SIM_liar_acks_refused,
                                                      SIM_liar_aliases_refused,
                                                      SIM_liar_data_beyond_credit,
                                                      SIM_liar_data_contradicted,
                                                      SIM_liar_batches_refused,
                                                      SIM_liar_parity_refused,
                                                      SIM_liar_groups_crowded,
                                                      SIM_liar_controls_refused,
                                                      SIM_liar_controls_of_nothing,
                                                      SIM_liar_workers_refused,
                                                      SIM_liar_streams_not_here,
                                                      SIM_liar_streams_given_up,
                                                      SIM_liar_silences,
                                                      SIM_liar_memory_full,
                                                      SIM_events_suppressed,
                                                      SIM_rekeys,
                                                      SIM_process_kills};

static const enum sim_sometimes promises_quorum[] = {
    SIM_retries_told,       SIM_stalls_named,         SIM_commits_awaited,   SIM_commits_without_a_member,
    SIM_commits_told_ahead, SIM_commits_counted_anew, SIM_quorums_lost,      SIM_quorums_back,
    SIM_disks_lost,         SIM_disks_filled_again,   SIM_rest_dead,         SIM_rest_cut_off,
    SIM_streams_held_back,  SIM_process_kills,        SIM_power_losses,      SIM_unheard_appends_there,
    SIM_recovered_alike,    SIM_clock_jumps,          SIM_corruption_dropped};

static const enum sim_sometimes promises_members[] = {
    SIM_commits_awaited,     SIM_members_joint, SIM_members_changed, SIM_members_awaited,
    SIM_members_old_refused, SIM_process_kills, SIM_power_losses,    SIM_packets_lost_on_the_link,
    SIM_recovered_alike,     SIM_clock_jumps};

static const enum sim_sometimes promises_grants[] = {
    SIM_grants_lapsed,    SIM_grants_back, SIM_appends_without_grant, SIM_acks_held_back,
    SIM_frozen_in_a_turn, SIM_suspends,    SIM_control_planes_killed, SIM_pauses};

static const enum sim_sometimes promises_cluster[] = {SIM_retries_told,
                                                      SIM_breakers_opened,
                                                      SIM_stalls_named,
                                                      SIM_groups_sealed,
                                                      SIM_groups_opened,
                                                      SIM_orders_refused,
                                                      SIM_promises_after_restart,
                                                      SIM_epochs_taken_by_others,
                                                      SIM_metastore_writes_unanswered,
                                                      SIM_writers_deposed,
                                                      SIM_slow_turns,
                                                      SIM_quorums_lost,
                                                      SIM_quorums_back,
                                                      SIM_process_kills,
                                                      SIM_power_losses,
                                                      SIM_disk_errors_restarted,
                                                      SIM_disk_stalls,
                                                      SIM_flaps,
                                                      SIM_rest_dead,
                                                      SIM_rest_cut_off,
                                                      SIM_recovered_alike,
                                                      SIM_clock_jumps,
                                                      SIM_corruption_dropped,
                                                      SIM_replays_dropped};

static const enum sim_sometimes promises_gray[] = {
    SIM_writes_lost, SIM_reads_wrong,  SIM_recoveries_misread, SIM_damage_refused,
    SIM_reads_again, SIM_power_losses, SIM_process_kills};

static const enum sim_sometimes promises_failover[] = {SIM_breakers_opened,
                                                       SIM_breakers_closed,
                                                       SIM_failovers_done,
                                                       SIM_failovers_blocked,
                                                       SIM_newest_writes_rotten,
                                                       SIM_failovers_of_five,
                                                       SIM_failovers_lost,
                                                       SIM_failovers_resumed,
                                                       SIM_copies_filled,
                                                       SIM_copies_cut,
                                                       SIM_cuts_refused,
                                                       SIM_orphans_written,
                                                       SIM_writers_moved,
                                                       SIM_deposed_writers_appended,
                                                       SIM_deposed_writers_reached_outside,
                                                       SIM_outside_followed,
                                                       SIM_metastore_writes_unanswered,
                                                       SIM_metastore_answers_late,
                                                       SIM_promises_after_restart,
                                                       SIM_quorums_lost,
                                                       SIM_process_kills,
                                                       SIM_power_losses,
                                                       SIM_recovered_alike,
                                                       SIM_unheard_appends_gone,
                                                       SIM_copies_named,
                                                       SIM_disks_lost,
                                                       SIM_clock_jumps,
                                                       SIM_corruption_dropped,
                                                       SIM_failovers_awaited_grant,
                                                       SIM_deposed_acks_held_back,
                                                       SIM_new_writers_granted,
                                                       SIM_renewals_raced,
                                                       SIM_grants_lapsed,
                                                       SIM_appends_without_grant,
                                                       SIM_frozen_in_a_turn,
                                                       SIM_suspends};

static const enum sim_sometimes promises_joint[] = {SIM_failovers_blocked,
                                                    SIM_members_cancelled,
                                                    SIM_breakers_opened,
                                                    SIM_failovers_done,
                                                    SIM_failovers_while_joint,
                                                    SIM_failovers_resumed,
                                                    SIM_members_joint,
                                                    SIM_members_changed,
                                                    SIM_members_changed_by_another,
                                                    SIM_members_awaited,
                                                    SIM_members_old_refused,
                                                    SIM_copies_filled,
                                                    SIM_copies_cut,
                                                    SIM_orphans_written,
                                                    SIM_writers_moved,
                                                    SIM_deposed_writers_appended,
                                                    SIM_deposed_writers_reached_outside,
                                                    SIM_outside_followed,
                                                    SIM_metastore_writes_unanswered,
                                                    SIM_quorums_lost,
                                                    SIM_process_kills,
                                                    SIM_power_losses,
                                                    SIM_recovered_alike,
                                                    SIM_copies_named,
                                                    SIM_clock_jumps};

static const enum sim_sometimes promises_minority[] = {
    SIM_grants_lapsed,   SIM_grants_back,      SIM_appends_without_grant,
    SIM_acks_held_back,  SIM_frozen_in_a_turn, SIM_suspends,
    SIM_quorums_lost,    SIM_quorums_back,     SIM_minorities_without_grant,
    SIM_commits_awaited, SIM_clock_jumps};

static const enum sim_sometimes promises_atlas[] = {SIM_atlas_rot,
                                                    SIM_atlas_lost_sector,
                                                    SIM_atlas_misdirected,
                                                    SIM_atlas_unreadable,
                                                    SIM_atlas_header,
                                                    SIM_atlas_header_unreadable,
                                                    SIM_atlas_lost_write,
                                                    SIM_atlas_misdirected_write,
                                                    SIM_atlas_local,
                                                    SIM_atlas_one_copy_left,
                                                    SIM_atlas_mended,
                                                    SIM_atlas_dies_damaged,
                                                    SIM_atlas_told_to_operator,
                                                    SIM_damage_met_by_a_reader,
                                                    SIM_corrupt_logs_refused,
                                                    SIM_disks_lost,
                                                    SIM_disks_filled_again,
                                                    SIM_power_losses,
                                                    SIM_process_kills,
                                                    SIM_clock_jumps};

static const enum sim_sometimes promises_horizon[] = {
    SIM_holders_let_go,           SIM_holders_back,         SIM_streams_gap,   SIM_streams_begun_anew,
    SIM_streams_begun_anew_twice, SIM_reads_from_a_horizon, SIM_process_kills, SIM_power_losses,
    SIM_recovered_alike};

/* ---- the table ---- */

#define PROMISES(name) promises_##name, HG_COUNT(promises_##name)

/* A scenario's place is part of what its seeds mean: new ones come last. */
static const struct sim_scenario scenarios[] = {
    {"pair", "everything at once: each fault class on with probability one half", CLASSES_ALL, 0, 0,
     PROMISES(pair)},
    {"loss", "a bad network only: loss, bursts, reordering, copies, damage, cuts", CLASSES_NET, BIT(LOSS), 0,
     PROMISES(loss)},
    {"crash", "processes die at any event, in recovery, in the middle of a turn; the power stays",
     CLASSES_NET | BIT(KILL) | BIT(PAUSE), BIT(KILL), 0, PROMISES(crash)},
    {"power", "power goes: unflushed sectors are old, new, torn or zero",
     BIT(POWER) | BIT(KILL) | BIT(LOSS) | BIT(DISK_STALL), BIT(POWER), 0, PROMISES(power)},
    {"disk", "writes, flushes and reads fail, are short, take seconds",
     BIT(DISK_STALL) | BIT(DISK_ERROR) | BIT(DISK_SHORT) | BIT(POWER) | BIT(LOSS),
     BIT(DISK_ERROR) | BIT(DISK_SHORT), 0, PROMISES(disk)},
    {"rollback", "a node's disk is replaced by an older image of itself, then other bytes are written",
     BIT(LOSS) | BIT(KILL) | BIT(JITTER), 0, SIM_SCENARIO_ROLLBACK, PROMISES(rollback)},
    {"rot", "a bit of a log flips while its node is down: it is repaired or refused, never shortened",
     BIT(POWER) | BIT(LOSS), 0, SIM_SCENARIO_ROT, PROMISES(rot)},
    {"fullog", "a peer is cut off until logs are full: producers are pushed back, nothing is dropped",
     BIT(LOSS) | BIT(KILL) | BIT(POWER) | BIT(JITTER), 0, SIM_SCENARIO_LONG_CUT, PROMISES(fullog)},
    {"narrow",
     "paths that carry less than their link, from the start, for a while or for good, and say nothing",
     CLASSES_NET | BIT(KILL), 0, SIM_SCENARIO_NARROW, PROMISES(narrow)},
    {"idle", "a frame now and then: nothing waits for a batch to fill", CLASSES_ALL, 0, SIM_SCENARIO_IDLE,
     PROMISES(idle)},
    {"paths", "each packet takes one of several paths, paths change their length, a direction comes and goes",
     CLASSES_NET | BIT(KILL), 0, SIM_SCENARIO_PATHS, PROMISES(paths)},
    {"workers",
     "one to three workers a node, other numbers on other nodes, more after a restart; ports that do not "
     "steer",
     CLASSES_ALL & ~(BIT(DISK_ERROR) | BIT(DISK_SHORT)), 0, SIM_SCENARIO_WORKERS, PROMISES(workers)},
    {"rekey",
     "keys are renewed every few hundred packets, from either side, under loss, reordering, cuts and deaths",
     CLASSES_NET | BIT(KILL) | BIT(POWER) | BIT(PAUSE), 0, SIM_SCENARIO_REKEY, PROMISES(rekey)},
    {"fec",
     "long paths that lose packets alone and in bursts, light and heavy load; each seed with parity and "
     "without",
     BIT(LOSS) | BIT(BURST) | BIT(DUPLICATE), BIT(LOSS), SIM_SCENARIO_FEC, PROMISES(fec)},
    {"ecn",
     "queues that mark before they drop; links that clear, change, set or drop the marks, peers that hide "
     "them",
     CLASSES_NET | BIT(KILL), BIT(QUEUE), SIM_SCENARIO_ECN, PROMISES(ecn)},
    {"hostile", "two honest nodes and one with valid keys that lies, in everything, without end",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(KILL), 0, SIM_SCENARIO_HOSTILE, PROMISES(hostile)},
    {"bottleneck",
     "one or two origins and one link with a rate and a queue: it is filled, its queue is short, it is "
     "shared",
     0, 0, SIM_SCENARIO_BOTTLENECK, PROMISES(bottleneck)},
    {"quorum",
     "a region of three or five nodes and one in another region: deaths, cuts, power, a disk lost for good",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(CUT) | BIT(KILL) | BIT(POWER) | BIT(PAUSE) |
         BIT(DISK_STALL),
     0, SIM_SCENARIO_QUORUM, PROMISES(quorum)},
    {"members",
     "a region's members are replaced, added and removed under load, deaths and cuts; control planes are "
     "late "
     "or tell of old ones",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(CUT) | BIT(KILL) | BIT(POWER) | BIT(PAUSE) |
         BIT(DISK_STALL),
     0, SIM_SCENARIO_QUORUM | SIM_SCENARIO_MEMBERS, PROMISES(members)},
    {"grants",
     "write grants of a metastore that is slow or away: pauses, suspends, stops in the middle of a turn, "
     "control "
     "planes that die",
     BIT(LOSS) | BIT(JITTER) | BIT(KILL) | BIT(POWER) | BIT(PAUSE) | BIT(DISK_STALL), 0, SIM_SCENARIO_GRANTS,
     PROMISES(grants)},
    {"cluster",
     "regions of one or three nodes: partitions of every shape, slow devices and processors, operators who "
     "seal and open, also wrongly",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(KILL) | BIT(POWER) | BIT(PAUSE), 0, SIM_SCENARIO_CLUSTER,
     PROMISES(cluster)},
    {"gray",
     "devices that lose or misplace writes which they acknowledged, or read wrong once: refused by name, or "
     "read again",
     BIT(LOSS) | BIT(KILL) | BIT(POWER) | BIT(JITTER), 0, SIM_SCENARIO_GRAY, PROMISES(gray)},
    {"failover",
     "a region of three nodes whose writer changes: partitions, deaths, drivers that die or race, write "
     "grants, a metastore that is slow, away, or writes and does not say so",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(KILL) | BIT(POWER) | BIT(PAUSE), 0, SIM_SCENARIO_FAILOVER,
     PROMISES(failover)},
    {"atlas",
     "sectors rot, are lost, misdirected or unreadable, of each position on all nodes of a region but one: "
     "mended, "
     "or refused and the disk replaced",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(CUT) | BIT(KILL) | BIT(POWER) | BIT(PAUSE), BIT(POWER),
     SIM_SCENARIO_QUORUM | SIM_SCENARIO_ATLAS, PROMISES(atlas)},
    {"joint",
     "a region's members change while its writer does by fail-over: partitions, deaths, drivers that die, "
     "and "
     "the next writer goes on with the change",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(KILL) | BIT(POWER) | BIT(PAUSE), 0,
     SIM_SCENARIO_FAILOVER | SIM_SCENARIO_MEMBERS, PROMISES(joint)},
    {"minority",
     "a region with a quorum and write grants at once: its writer is paused, cut off or left with a "
     "minority, "
     "and its metastore is slow or away",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(CUT) | BIT(KILL) | BIT(POWER) | BIT(PAUSE) |
         BIT(DISK_STALL),
     0, SIM_SCENARIO_QUORUM | SIM_SCENARIO_GRANTS, PROMISES(minority)},
    {"horizon",
     "a peer is away for longer than it may hold its origin's log: a gap by name, and it begins anew by "
     "order where "
     "that log begins",
     BIT(LOSS) | BIT(JITTER) | BIT(DUPLICATE) | BIT(CUT) | BIT(KILL) | BIT(POWER) | BIT(PAUSE), 0,
     SIM_SCENARIO_HORIZON, PROMISES(horizon)},
};

uint32_t hg_sim_scenario_count(void)
{
    return HG_COUNT(scenarios);
}

const struct sim_scenario *hg_sim_scenario_at(uint32_t scenario)
{
    hg_assert(scenario < HG_COUNT(scenarios));
    return &scenarios[scenario];
}

int32_t hg_sim_scenario_find(const char *name)
{
    for (uint32_t i = 0; i < HG_COUNT(scenarios); i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return (int32_t)i;
    return -1;
}

bool hg_sim_scenario_has(uint32_t scenario, enum sim_scenario_flag flag)
{
    return (hg_sim_scenario_at(scenario)->flags & flag) != 0;
}

static bool is_listed(const enum sim_sometimes *list, uint32_t count, enum sim_sometimes what)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == what)
            return true;
    return false;
}

bool hg_sim_scenario_promises(uint32_t scenario, enum sim_sometimes what)
{
    const struct sim_scenario *s = hg_sim_scenario_at(scenario);
    bool fills_logs = (s->flags & (SIM_SCENARIO_BOTTLENECK | SIM_SCENARIO_CLUSTER | SIM_SCENARIO_FAILOVER |
                                   SIM_SCENARIO_ATLAS)) == 0;
    return (is_listed(promises_always, HG_COUNT(promises_always), what) &&
            (fills_logs || what != SIM_segments_reused)) ||
           is_listed(s->promises, s->promise_count, what);
}
