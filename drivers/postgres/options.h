/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-postgres' command line, and its two modes.
 */
#ifndef HG_POSTGRES_OPTIONS_H
#define HG_POSTGRES_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Exit codes, besides those of hg_receive_outcome_exit(). docs/postgres.md explains them. */
enum hg_postgres_exit {
    HG_EXIT_OK = 0,
    HG_EXIT_FAILED = 1,
    HG_EXIT_USAGE = 2,
    HG_EXIT_OTHER_SYSTEM = 3,
    HG_EXIT_TIMELINE = 4,
    HG_EXIT_WAL_REMOVED = 5,
    HG_EXIT_NOT_CONTIGUOUS = 6,
    HG_EXIT_PRIMARY_SETUP = 7,
    HG_EXIT_DIRECTORY = 8,
};

struct hg_postgres_options {
    bool out; /* else in */
    bool json;
    const char *run;
    const char *stream;
    const char *primary;
    const char *slot;
    const char *directory;
    const char *consumer;
    uint64_t status_interval_ns;
    uint32_t segment_bytes; /* 0 = the stream's */
};

/* 0: go on. Otherwise the process exits with *exit_code (help was printed, or what is wrong was said on
 * stderr). */
int hg_postgres_options_parse(int argc, char **argv, struct hg_postgres_options *options, int *exit_code);

/* The modes: run until stopped or refused; return the exit code. */
int hg_postgres_in(const struct hg_postgres_options *options);
int hg_postgres_out(const struct hg_postgres_options *options);

#endif
